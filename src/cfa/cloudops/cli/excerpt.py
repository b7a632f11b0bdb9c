"""A part of what tasks wrote: the last lines, of tasks since a time, with the times of the lines.

`Excerpt` stands between the service and what shows output, which reads each file from its beginning
on. What tasks wrote carries no times: a line's is that of its arrival, or, of what a completed task
had written before anybody looked, that of the task's end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import define, frozen

from cfa.cloudops.cli.output import when
from cfa.cloudops.errors import InvalidInputError

if TYPE_CHECKING:
    from cfa.cloudops.model.values import Event
    from cfa.cloudops.provider.batch import BatchProvider

#: Bytes from an offset on, at most so many; fewer only at the end.
Read: TypeAlias = Callable[[int, int], bytes]

_CHUNK = 1 << 16
_LINES = re.compile(rb"[^\n]*\n|[^\n]+")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@frozen(kw_only=True)
class Part:
    """What is wanted. `tail`: the last lines of each stream, all when None. `since`: leave out tasks
    that ended before. `timestamps`: begin each line with its time."""

    tail: int | None = None
    since: datetime | None = None
    timestamps: bool = False


#: All of it, as it is.
ALL = Part()


@define
class _Place:
    """How far a file was read. `stamp`: of what was there at first; None: of all that comes now.
    `begun`: the last line has no end yet. `given`: something of it was shown."""

    offset: int
    stamp: datetime | None
    begun: bool = False
    given: bool = False


class Excerpt:
    """A service that gives only a part of what tasks wrote. All else is the service's.

    Args:
        batch: the service.
        part: what is wanted.
    """

    def __init__(self, batch: BatchProvider, part: Part) -> None:
        self._batch = batch
        self._part = part
        self._places: dict[tuple[str, str, str], _Place | None] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def list_events(self, job_id: str, after: int = 0) -> Sequence[Event]:
        """The service's. A task that runs again writes its files anew: all of that is shown."""
        events = self._batch.list_events(job_id, after)
        again = {event.task_id for event in events if event.what == "running"}
        for key in self._places:
            if key[0] == job_id and key[1] in again:
                self._places[key] = _Place(0, None)
        return events

    def read_task_file(
        self, job_id: str, task_id: str, name: str, offset: int = 0, limit: int = 1 << 20
    ) -> bytes:
        """The next bytes of the part; from its beginning with offset 0. Raises: NotFoundError."""
        key = (job_id, task_id, name)
        read = partial(self._batch.read_task_file, job_id, task_id, name)
        place = self._places.get(key)
        if offset == 0 and (place is None or place.given):
            place = self._places[key] = self._begin(job_id, task_id, read)
        if place is None:
            return b""
        data = read(place.offset, limit)
        place.given = place.given or bool(data)
        place.offset += len(data)
        if len(data) < limit:
            stamp, place.stamp = place.stamp, None
        else:
            stamp = place.stamp
        return self._stamped(place, data, stamp) if self._part.timestamps else data

    def _begin(self, job_id: str, task_id: str, read: Read) -> _Place | None:
        """Where to begin with a file; None: it is left out."""
        part, ended = self._part, None
        if part.since is not None or part.timestamps:
            ended = self._batch.get_task(job_id, task_id).ended
        if part.since is not None and ended is not None and ended < part.since:
            return None
        return _Place(0 if part.tail is None else tail_offset(read, part.tail), ended)

    def _stamped(self, place: _Place, data: bytes, stamp: datetime | None) -> bytes:
        """Lines with their times."""
        if not data:
            return b""
        before = f"{when(stamp or datetime.now(UTC))} ".encode()
        found = b"".join(before + line for line in _LINES.findall(data))
        found, place.begun = found[len(before) * place.begun :], not data.endswith(b"\n")
        return found


def tail_offset(read: Read, lines: int) -> int:
    """The offset at which the last lines of a file begin; a last line without an end counts."""
    size = _size(read)
    width = _CHUNK
    while True:
        start = max(0, size - width)
        data = _all(read, start, size)
        ends = [found.end() for found in re.finditer(rb"\n", data)]
        if data.endswith(b"\n"):
            ends.pop()
        if lines == 0:
            return size
        if len(ends) >= lines:
            return start + ends[-lines]
        if start == 0:
            return 0
        width *= 4


def _size(read: Read) -> int:
    """The size of a file, by few reads."""
    first = len(read(0, _CHUNK))
    if first < _CHUNK:
        return first
    low, high = _CHUNK, 2 * _CHUNK
    while read(high - 1, 1):
        low, high = high, 2 * high
    while high - low > 1:  # there are `low` bytes, and fewer than `high`
        middle = (low + high) // 2
        low, high = (middle, high) if read(middle - 1, 1) else (low, middle)
    return low


def _all(read: Read, start: int, end: int) -> bytes:
    parts = []
    while start < end and (data := read(start, min(1 << 20, end - start))):
        parts.append(data)
        start += len(data)
    return b"".join(parts)


def moment(text: str, now: datetime | None = None) -> datetime:
    """A time: `10m` ago (s, m, h, d), or ISO 8601, in the user's zone when it names none.

    Raises:
        InvalidInputError: it is neither.
    """
    now = now or datetime.now(UTC)
    ago = re.fullmatch(r"([0-9]{1,9})([smhd])", text.strip())
    try:
        if ago is not None:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidInputError(
            f"--since {text!r} is not a time.", "Write 10m, 2h, 3d, or 2026-03-04T22:15+01:00."
        ) from None
