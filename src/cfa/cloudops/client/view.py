"""What a user sees of tasks: their output, line by line, and a summary.

Used when a script ends with tasks under way, and by `cloudops logs`. The service's events say which
tasks run and which are done; only files of running tasks are looked at again.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from attrs import define, field

from cfa.cloudops.errors import CloudOpsError, NotFoundError
from cfa.cloudops.model.plain import plain, shortened
from cfa.cloudops.model.values import Task, TaskResult

if TYPE_CHECKING:
    from cfa.cloudops.provider.batch import BatchProvider

#: A file that `cloudops run` made, into which each client of the script writes, in a line of JSON,
#: how the tasks that it added ended. The variable may outlive the file.
REPORT_VARIABLE = "CLOUDOPS_RUN_REPORT"
#: Seconds between two looks at the output of running tasks. Files do not tell when they grow.
LOOK_S = 0.1
_CHUNK = 1 << 16
#: Bytes after which a line is shown though its end has not come.
_LONGEST = 1 << 16
_STREAMS = ("stdout.txt", "stderr.txt")


@define(eq=False)
class _Tail:
    """How much of a task's two streams was shown."""

    offsets: dict[str, int] = field(factory=lambda: dict.fromkeys(_STREAMS, 0))
    #: The begun line, or the rest of a long one.
    rest: dict[str, bytes] = field(factory=lambda: dict.fromkeys(_STREAMS, b""))


class OutputView:
    """Shows output of tasks as it comes, each line prefixed with the task's id.

    Args:
        batch: the service.
        wanted: whether to show a task of a job, by (job id, task id); all when not given.
        out, err: where lines of standard output and standard error go.
        prefix: False shows lines as they are.
        raw: also to a terminal, where else control characters are shown as escapes.
        streams: `stdout.txt`, `stderr.txt` or both. One alone goes to `out`, whichever it is.
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
        streams: Sequence[str] = _STREAMS,
    ) -> None:
        self._batch = batch
        self._wanted = wanted
        targets: tuple[TextIO | None, ...] = (out or sys.stdout, err or sys.stderr)  # None: closed
        pairs = zip(streams, targets, strict=False)
        self._streams = {name: target for name, target in pairs if target is not None}
        self._prefix = prefix
        self._escaped = {
            name for name, target in self._streams.items() if not raw and _seen(target)
        }
        self._after: dict[str, int] = {}
        self._running: dict[tuple[str, str], _Tail] = {}
        #: Tasks that are done and shown.
        self.done: set[tuple[str, str]] = set()

    def look(self, job_id: str) -> None:
        """Show what is new in a job.

        Raises:
            JobNotFoundError: it was deleted.
        """
        self._flush()
        events = self._batch.list_events(job_id, self._after.get(job_id, 0))
        # A try that another one followed has no files any more: the next one has written over them.
        latest = {event.task_id: event.number for event in events if event.what == "running"}
        for event in events:
            self._after[job_id] = event.number
            if event.task_id is None or (
                self._wanted is not None and not self._wanted(job_id, event.task_id)
            ):
                continue
            key = (job_id, event.task_id)
            match event.what:
                case "running":
                    self._running[key] = _Tail()
                    self.done.discard(key)
                case "completed":
                    self._show(key, self._running.pop(key, _Tail()), last=True)
                    self.done.add(key)
                case "retry" | "requeue":
                    tail = self._running.pop(key, _Tail())
                    if event.number > latest.get(event.task_id, 0):
                        self._show(key, tail, last=True)
                case _:
                    pass
        for key, tail in self._running.items():
            if key[0] == job_id:
                self._show(key, tail, last=False)
        self._flush()

    def finish(self) -> None:
        """Show also the begun lines of tasks that still run. The last call."""
        for key, tail in self._running.items():
            self._show(key, tail, last=True)
        self._flush()

    def _flush(self) -> None:
        """Keep the order of what goes to streams as text and as bytes."""
        for stream in self._streams.values():
            stream.flush()

    def _show(self, key: tuple[str, str], tail: _Tail, *, last: bool) -> None:
        for name in self._streams:
            while True:
                try:
                    data = self._batch.read_task_file(*key, name, tail.offsets[name], _CHUNK)
                except NotFoundError:
                    return  # deleted since
                tail.offsets[name] += len(data)
                *lines, rest = (tail.rest[name] + data).split(b"\n")
                for line in lines:
                    self._write(name, key[1], line)
                while len(rest) > _LONGEST:
                    cut = _between_signs(rest, _LONGEST)
                    self._write(name, key[1], rest[:cut], ended=False)
                    rest = rest[cut:]
                tail.rest[name] = rest
                if len(data) < _CHUNK:
                    break
            if last and tail.rest[name]:
                self._write(name, key[1], tail.rest[name])
                tail.rest[name] = b""

    def _write(self, name: str, task_id: str, line: bytes, *, ended: bool = True) -> None:
        """Show a line, or a part of one that is too long; only a single file goes on in its line."""
        stream, escaped = self._streams[name], name in self._escaped
        end = "\n" if ended or self._prefix or escaped else ""
        before = f"{task_id} | " if self._prefix else ""
        binary = None if escaped else getattr(stream, "buffer", None)
        if binary is not None:
            binary.write(before.encode() + line + end.encode())
            return
        text = line.decode(errors="replace")
        if escaped:
            text = plain(text.rstrip("\r"), keep="\t")
        write(stream, f"{before}{text}{end}")


def _seen(stream: TextIO) -> bool:
    """Whether a terminal shows what is written."""
    return not stream.closed and stream.isatty()


def _between_signs(data: bytes, place: int) -> int:
    """The last place up to the given one that is not inside of a UTF-8 sequence."""
    for cut in range(place, place - 4, -1):
        if data[cut] & 0xC0 != 0x80:
            return cut
    return place


def write(stream: TextIO, text: str) -> None:
    """Write text; signs that the stream cannot show are escaped."""
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def say(text: str) -> None:
    """A line of ours, when the script has ended: on standard error, if there is one."""
    if sys.stderr is not None:
        write(sys.stderr, f"cloudops: {plain(text, keep=chr(10))}\n")


def failure_text(task: Task) -> str:
    """One line about a failed task."""
    reason = task.failure.message if task.failure else "failed"
    return f"{task.id}: {plain(shortened(reason, 1000))}"


class Farewell:
    """Stays with a script's unfinished tasks when it ends, so that it needs no line to wait.

    The exit status stays what the script made it. Ctrl-C detaches: the tasks go on. `cloudops run`,
    whose exit status is about the tasks as well, gets a report.
    """

    def __init__(
        self, batch: BatchProvider, at_exit: str, at_end: Callable[[], None] | None = None
    ) -> None:
        self._batch = batch
        self._at_end = at_end
        self._expected: dict[str, set[str]] = {}
        self._added: dict[str, set[str]] = {}
        self._problems: dict[str, str | None] = {}
        self._pid = os.getpid()
        self._detach = at_exit == "detach" or hasattr(sys, "ps1") or "ipykernel" in sys.modules
        atexit.register(self._at_exit)

    def expect(self, job_id: str, task_ids: Iterable[str]) -> None:
        """Tasks that this script added."""
        new = set(task_ids)
        self._expected.setdefault(job_id, set()).update(new)
        self._added.setdefault(job_id, set()).update(new)

    def forget(self, job_id: str) -> None:
        """The user has seen how the job ended, or deleted it."""
        self._expected.pop(job_id, None)

    def cancel(self) -> None:
        """The client is closed: nothing is shown at exit."""
        atexit.unregister(self._at_exit)
        if os.getpid() == self._pid:
            self._report(0)
            if self._at_end is not None:
                self._at_end()

    def _at_exit(self) -> None:
        if os.getpid() != self._pid:
            return  # a forked child is not the script
        status = 0
        try:
            if self._expected:
                interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
                if self._detach or interrupted:
                    self._say_detached()
                else:
                    self._stay()
        except KeyboardInterrupt:
            status = 130
            self._say_detached()
        except BrokenPipeError:
            # Nobody reads any more; the tasks go on. Python flushes once more when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        except CloudOpsError as error:
            status = error.exit_status
            say(str(error))
        finally:
            self._report(status)
            if self._at_end is not None:
                self._at_end()
            self._batch.close()

    def _report(self, status: int) -> None:
        """Write how the tasks of this client ended, if anybody asked.

        Args:
            status: exit status of what went wrong while we stayed, 0 for nothing.
        """
        path = os.environ.get(REPORT_VARIABLE)
        if not path or not self._added:
            return
        failed = unrun = 0
        try:
            for job_id, ids in self._added.items():
                more = self._outcome(job_id, ids)
                failed, unrun = failed + more[0], unrun + more[1]
        except CloudOpsError as error:
            status = status or error.exit_status
        line = json.dumps({"failed": failed, "unrun": unrun, "status": status}) + "\n"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except OSError:
            return  # the one who asked is gone
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def _outcome(self, job_id: str, ids: set[str]) -> tuple[int, int]:
        """Tasks that failed, and those that never run because their job has ended."""
        try:
            job = self._batch.get_job(job_id)
            ended = job.state == "completed"
            if not job.counts.failed and not (ended and job.counts.active):
                return 0, 0
            tasks = [task for task in self._batch.list_tasks(job_id) if task.id in ids]
        except NotFoundError:
            return 0, 0  # deleted: whoever did it knows
        failed = sum(task.result is TaskResult.FAILURE for task in tasks)
        return failed, sum(task.result is None for task in tasks) if ended else 0

    def _stay(self) -> None:
        expected = self._expected
        view = OutputView(self._batch, lambda job_id, task_id: task_id in expected.get(job_id, ()))
        open_jobs = set(expected)
        while open_jobs:
            for job_id in list(open_jobs):
                if self._look(view, job_id):
                    open_jobs.discard(job_id)
            if open_jobs:
                self._batch.wait_for_change(LOOK_S)
        self._summarise()

    def _look(self, view: OutputView, job_id: str) -> bool:
        """Show what is new; True when nothing more will come from this job."""
        try:
            job = self._batch.get_job(job_id)
            view.look(job_id)
        except NotFoundError:
            self._expected.pop(job_id, None)
            say(f"the job {job_id} was deleted; its tasks are gone.")
            return True
        if job.problem and self._problems.get(job_id) != job.problem:
            say(f"{job_id}: {job.problem}")
        self._problems[job_id] = job.problem
        if job.settled:
            return True
        return not job.logs_owed and all(
            (job_id, task) in view.done for task in self._expected[job_id]
        )

    def _summarise(self) -> None:
        good = 0
        bad: list[Task] = []
        unrun = 0
        for job_id, ids in self._expected.items():
            try:
                tasks = list(self._batch.list_tasks(job_id))
            except NotFoundError:
                continue
            for task in tasks:
                if task.id not in ids:
                    continue
                if task.result is TaskResult.SUCCESS:
                    good += 1
                elif task.result is TaskResult.FAILURE:
                    bad.append(task)
                else:
                    unrun += 1
        if not self._expected:
            return
        text = f"{good} succeeded, {len(bad)} failed"
        if unrun:
            text += f", {unrun} not run (their job was ended)"
        lines = [text, *(f"  {failure_text(task)}" for task in bad[:20])]
        if len(bad) > 20:
            lines.append(f"  ... and {len(bad) - 20} more: cloudops task list <job>")
        say("\n".join(lines))

    def _say_detached(self) -> None:
        for job_id in self._expected:
            try:
                counts = self._batch.task_counts(job_id)
            except NotFoundError:
                continue
            left = counts.active + counts.running
            if left:
                say(
                    f"detached; {left} tasks of {job_id} go on. "
                    f"Follow: cloudops logs -f {job_id}   Stop: cloudops job terminate {job_id}"
                )
