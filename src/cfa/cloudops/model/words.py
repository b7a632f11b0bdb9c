"""Times and lengths of time as words."""

from __future__ import annotations

from datetime import datetime, timedelta


def duration(seconds: float) -> str:
    """`0.3 s`, `42 s`, `1:02:03`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else str(timedelta(seconds=round(seconds)))


def clock(seconds: float) -> str:
    """Whole seconds: `3 s`, `42 s`, `1:02:03`."""
    return f"{int(seconds)} s" if seconds < 120 else str(timedelta(seconds=int(seconds)))


def when(time: datetime | None) -> str:
    """A time of the user's clock with its zone, to the second: `2026-03-04 22:15:00+01:00`."""
    return "" if time is None else time.astimezone().isoformat(" ", "seconds")
