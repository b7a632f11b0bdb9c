"""A part of what tasks wrote: the last lines, of tasks since a time.

`Excerpt` stands between the service and what shows output, which reads each file from its beginning
on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import define, frozen

from cfa.cloudops.errors import InvalidInputError
from cfa.cloudops.model.tail import Read, tail_offset

if TYPE_CHECKING:
    from cfa.cloudops.model.values import Event
    from cfa.cloudops.provider.batch import BatchProvider

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@frozen(kw_only=True)
class Part:
    """What is wanted. `tail`: the last lines of each stream, all when None. `since`: leave out tasks
    that ended before."""

    tail: int | None = None
    since: datetime | None = None


#: All of it, as it is.
ALL = Part()


@define
class _Place:
    """How far a file was read. `given`: something of it was shown."""

    offset: int
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
                self._places[key] = _Place(0)
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
        return data

    def _begin(self, job_id: str, task_id: str, read: Read) -> _Place | None:
        """Where to begin with a file; None: it is left out."""
        part = self._part
        if part.since is not None:
            ended = self._batch.get_task(job_id, task_id).ended
            if ended is not None and ended < part.since:
                return None
        return _Place(0 if part.tail is None else tail_offset(read, part.tail))


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
