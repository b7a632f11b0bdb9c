"""What a user sees of tasks: their output, line by line.

Used when a script ends with tasks under way, and by `cloudops logs`. The service's events say which
tasks run and which are done; only files of running tasks are looked at again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, TextIO

from attrs import define, field

from cfa.cloudops.client.remarks import going_on, write
from cfa.cloudops.client.screen import COLOURS, Piece, shows_lines
from cfa.cloudops.errors import NotFoundError
from cfa.cloudops.model.colours import coloured, in_colour
from cfa.cloudops.model.plain import command_line, plain
from cfa.cloudops.model.tail import file_size
from cfa.cloudops.model.values import Event
from cfa.cloudops.model.words import when
from cfa.cloudops.model.written import settled, shown

if TYPE_CHECKING:
    from rich.text import Text

    from cfa.cloudops.client.notebook import NotebookScreen
    from cfa.cloudops.client.screen import Screen
    from cfa.cloudops.provider.batch import BatchProvider

#: Seconds between two looks at the output of running tasks. Files do not tell when they grow.
LOOK_S = 0.1
_CHUNK = 1 << 16
#: Bytes after which a line is shown though its end has not come.
_LONGEST = 1 << 16
#: Bytes from the end of an output that is not shown in which a begun line is looked for.
_LAST_BYTES = 1 << 12
#: Seconds for which one look may draw; then lines are skipped, or the view would be ever later.
_LATE_S = 2.0
#: Bytes before the end at which a view that has skipped lines goes on.
_SHOWN_AGAIN = 1 << 13
STREAMS = ("stdout.txt", "stderr.txt")


@define(eq=False)
class _Tail:
    """How much of a task's two streams was shown."""

    offsets: dict[str, int] = field(factory=lambda: dict.fromkeys(STREAMS, 0))
    #: The begun line, or the rest of a long one.
    rest: dict[str, bytes] = field(factory=lambda: dict.fromkeys(STREAMS, b""))
    #: Streams with a begun line of which a part was shown.
    parted: set[str] = field(factory=set)
    #: The stream that was written to last.
    latest: str = STREAMS[0]
    #: Whether it was looked at before: what comes now was written since.
    seen: bool = False


class OutputView:
    """Shows output of tasks as it comes, each line prefixed with the task's id.

    A terminal shows of each line what a terminal of the task's own would.

    Args:
        batch: the service.
        wanted: whether to show a task of a job, by (job id, task id); all when not given.
        out, err: where lines of standard output and standard error go.
        prefix: False shows lines as they are.
        raw: also to a terminal, where else control characters are shown as escapes.
        timestamps: begin each line with its time, that of the arrival of its end; of what tasks that
            are completed had written before the first look, that of their end. A line shows what a
            terminal would, wherever it goes, unless `raw`.
        jobs: the jobs that will be looked at. The prefixes of several name the job too.
        streams: `stdout.txt`, `stderr.txt` or both. One alone goes to `out`, whichever it is.
        screen: draws what is meant for a terminal.
        gives_up: a stream that cannot be written is no error. A line says so, and nothing more goes
            there.
    """

    def __init__(
        self,
        batch: BatchProvider,
        wanted: Callable[[str, str], bool] | None = None,
        out: TextIO | None = None,
        err: TextIO | None = None,
        *,
        prefix: bool = True,
        raw: bool = False,
        timestamps: bool = False,
        jobs: Collection[str] = (),
        streams: Sequence[str] = STREAMS,
        screen: Screen | NotebookScreen | None = None,
        gives_up: bool = False,
    ) -> None:
        self._batch = batch
        self._gives_up = gives_up
        self._wanted = wanted
        targets: tuple[TextIO | None, ...] = (out or sys.stdout, err or sys.stderr)  # None: closed
        pairs = zip(streams, targets, strict=False)
        self._streams = {name: target for name, target in pairs if target is not None}
        self._prefix = prefix
        self._raw = raw
        self._timestamps = timestamps
        self._jobs = tuple(jobs)
        self._escaped = {
            name for name, target in self._streams.items() if not raw and shows_lines(target)
        }
        self._screen = screen
        self._width = 0
        self._colours: dict[str, str] = {}
        self._after: dict[str, int] = {}
        self._look_s = time.monotonic()
        self._running: dict[tuple[str, str], _Tail] = {}
        #: Tasks that are done and shown.
        self.done: set[tuple[str, str]] = set()

    def look(self, job_id: str, last_task_number: int = 0) -> list[Event]:
        """Show what is new in a job.

        Args:
            job_id: the job.
            last_task_number: number of its newest task, so that prefixes have one width.

        Returns:
            The new events of the tasks that are shown, and of the job.

        Raises:
            JobNotFoundError: it was deleted.
        """
        self._look_s = time.monotonic()
        self._flush()
        found = []
        events = self._batch.list_events(job_id, self._after.get(job_id, 0))
        # A try that another one followed has no files any more: the next one has written over them.
        latest = {event.task_id: event.number for event in events if event.what == "running"}
        self._widen(job_id, latest, last_task_number)
        for event in events:
            self._after[job_id] = event.number
            if event.task_id is None:
                found.append(event)
                continue
            if self._wanted is not None and not self._wanted(job_id, event.task_id):
                continue
            found.append(event)
            key = (job_id, event.task_id)
            match event.what:
                case "running":
                    self._running[key] = _Tail()
                    self.done.discard(key)
                case "completed":
                    self._show(key, self._running.pop(key, _Tail()), ended=event.time)
                    self.done.add(key)
                case "retry" | "requeue":
                    tail = self._running.pop(key, _Tail())
                    if event.number > latest.get(event.task_id, 0):
                        self._show(key, tail, ended=event.time)
                case _:
                    pass
        for key, tail in self._running.items():
            if key[0] == job_id:
                self._show(key, tail)
        self._flush()
        return found

    def begun(self, job_id: str, task_id: str) -> str:
        """What a terminal would show of the line that a running task has not ended; '' for none."""
        key = (job_id, task_id)
        tail = self._running.get(key)
        if tail is None:
            return ""
        if not self._streams:
            self._skip(key, tail)
        lines = (shown(tail.rest[name], begun=True).strip() for name in (tail.latest, *STREAMS))
        return next(filter(None, lines), "")

    def _skip(self, key: tuple[str, str], tail: _Tail) -> None:
        """Go on to the begun lines of a task whose output is not shown."""
        for name in STREAMS:
            start = tail.offsets[name]
            try:
                data = self._batch.read_task_file(*key, name, start, _CHUNK)
                if len(data) == _CHUNK:
                    size = file_size(partial(self._batch.read_task_file, *key, name))
                    start = max(start, size - _LAST_BYTES)
                    data = self._batch.read_task_file(*key, name, start, _CHUNK)
                    tail.rest[name] = b""
            except NotFoundError:
                return  # deleted since
            tail.offsets[name] = start + len(data)
            if data:
                tail.latest = name
                rest = settled((tail.rest[name] + data).rpartition(b"\n")[2])
                tail.rest[name] = rest[:_CHUNK]

    def label(self, job_id: str, task_id: str) -> str:
        """A task's id; where several jobs are looked at, with the job unless it begins with that."""
        if len(self._jobs) < 2:
            return task_id
        begins = (job for job in self._jobs if task_id.startswith(f"{job}-"))
        return task_id if max(begins, key=len, default="") == job_id else f"{job_id}/{task_id}"

    def _widen(self, job_id: str, task_ids: Iterable[str | None], last_task_number: int) -> None:
        """Make room for the prefixes of these tasks, and of numbered ones that are still to run."""
        for task_id in filter(None, task_ids):
            label = self.label(job_id, task_id)
            begin = label.rstrip("0123456789")
            digits = max(len(label) - len(begin), len(str(last_task_number)))
            width = len(begin) + digits if begin != label else len(label)
            self._width = max(self._width, width)

    def finish(self) -> None:
        """Show also the begun lines of tasks that still run. The last call."""
        for key, tail in self._running.items():
            self._show(key, tail, ended=datetime.now(UTC))
        self._flush()

    def _flush(self) -> None:
        """Keep the order of what goes to streams as text and as bytes."""
        if self._screen is not None:
            self._screen.flush()
        for name, stream in tuple(self._streams.items()):
            self._try(name, stream.flush)

    def _try(self, name: str, act: Callable[[], object]) -> None:
        """Write to a stream, or give it up."""
        if not self._gives_up:
            act()
            return
        stream = self._streams.get(name)
        with going_on("What tasks write is"):
            act()
            return
        self._streams = {one: other for one, other in self._streams.items() if other is not stream}

    def _show(self, key: tuple[str, str], tail: _Tail, *, ended: datetime | None = None) -> None:
        """Show what is new of a task; of one that has `ended` also the begun lines."""
        stamp = ""
        if self._timestamps:
            stamp = f"{when(datetime.now(UTC) if ended is None or tail.seen else ended)} "
        for name in tuple(self._streams):
            obeyed = name in self._escaped or (self._timestamps and not self._raw)
            while True:
                try:
                    late = time.monotonic() - self._look_s >= _LATE_S
                    if late and self._screen is not None and name in self._escaped:
                        self._pass_over(key, name, tail)
                    data = self._batch.read_task_file(*key, name, tail.offsets[name], _CHUNK)
                except NotFoundError:
                    return  # deleted since
                tail.offsets[name] += len(data)
                *lines, rest = (tail.rest[name] + data).split(b"\n")
                self._write(name, key, tail, lines, stamp)
                if data:
                    tail.latest = name
                    rest = settled(rest) if obeyed else rest
                while len(rest) > _LONGEST:
                    cut = _between_signs(rest, _LONGEST)
                    self._write(name, key, tail, [rest[:cut]], stamp, ended=False)
                    rest = rest[cut:]
                tail.rest[name] = rest
                if len(data) < _CHUNK:
                    break
            if ended is not None and tail.rest[name]:
                self._write(name, key, tail, [tail.rest[name]], stamp)
                tail.rest[name] = b""
        tail.seen = True

    def _pass_over(self, key: tuple[str, str], name: str, tail: _Tail) -> None:
        """Skip what a terminal cannot show in time, up to the last lines, and say so.

        Raises:
            NotFoundError: the task was deleted.
        """
        read = partial(self._batch.read_task_file, *key, name)
        offset = tail.offsets[name]
        end = file_size(read) - _SHOWN_AGAIN
        skipped = 0
        while offset < end and (data := read(offset, min(1 << 20, end - offset))):
            skipped += data.count(b"\n")
            offset += len(data)
        rest, newline, _ = read(offset, _CHUNK).partition(b"\n")
        if not skipped or not newline:
            return
        tail.offsets[name] = offset + len(rest) + 1
        tail.rest[name] = b""
        tail.parted.discard(name)
        if self._screen is not None:
            text = f"... {skipped + 1:,} lines skipped: {command_line('logs', *key)}"
            self._screen.line((plain(text), "yellow"))

    def _write(
        self,
        name: str,
        key: tuple[str, str],
        tail: _Tail,
        lines: Sequence[bytes],
        stamp: str,
        *,
        ended: bool = True,
    ) -> None:
        """Show lines, or a part of one that is too long; only a single file goes on in its line."""
        if not lines or name not in self._streams:  # given up
            return
        first = "" if name in tail.parted else stamp
        (tail.parted.discard if ended else tail.parted.add)(name)
        label = self.label(*key)
        if name in self._escaped:
            self._write_lines(name, label, lines, [first, *[stamp] * (len(lines) - 1)])
            return
        end = "\n" if ended or self._prefix else ""
        before = ""
        if self._prefix:
            prefix = label.ljust(self._width)
            before = f"{coloured(prefix, self._colour(label), self._streams[name])} | "
        if self._timestamps and not self._raw:
            lines = [shown(one).encode() if b"\r" in one.rstrip(b"\r") else one for one in lines]
        # All at once: there may be very many.
        text = f"{end}{before}{stamp}".encode().join(lines)
        text = f"{before}{first}".encode() + text + end.encode()
        self._try(name, partial(_put, self._streams[name], text))

    def _write_lines(
        self, name: str, label: str, lines: Sequence[bytes], stamps: Sequence[str]
    ) -> None:
        """Show lines on a terminal, which obeys none of their signs but colours."""
        prefix = plain(label).ljust(self._width)
        wrong = name == "stderr.txt"
        if self._screen is None:
            stream = self._streams[name]
            before = f"{prefix} {'!' if wrong else '|'} " if self._prefix else ""
            colours = in_colour(stream)
            text = "".join(
                f"{before}{stamp}{shown(line, colours=colours)}\n"
                for stamp, line in zip(stamps, lines, strict=True)
            )
            self._try(name, partial(write, stream, text))
            return
        head: list[Piece] = []
        if self._prefix:
            mark = ("! ", "bold red") if wrong else ("| ", "dim")
            head = [(f"{prefix} ", self._colour(label)), mark]
        for stamp, line in zip(stamps, lines, strict=True):
            text = shown(line, colours=True)
            self._screen.line(
                *head, (stamp, ""), _from_ansi(text) if "\x1b" in text else (text, "")
            )

    def _colour(self, label: str) -> str:
        """The colour of a task's prefix, one after the other."""
        return self._colours.setdefault(label, COLOURS[len(self._colours) % len(COLOURS)])


def _put(stream: TextIO, text: bytes) -> None:
    """Write what tasks wrote, byte for byte where the stream takes bytes."""
    binary = getattr(stream, "buffer", None)
    if binary is None:
        write(stream, text.decode(errors="replace"))
    else:
        binary.write(text)


def _from_ansi(text: str) -> Text:
    from rich.text import Text

    return Text.from_ansi(text)


def _between_signs(data: bytes, place: int) -> int:
    """The last place up to the given one that is not inside of a UTF-8 sequence."""
    for cut in range(place, place - 4, -1):
        if data[cut] & 0xC0 != 0x80:
            return cut
    return place
