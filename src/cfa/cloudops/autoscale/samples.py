"""Samples of a variable and the methods that formulas read them with."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime

from attrs import frozen

from cfa.cloudops.autoscale.values import Kind, Vector

#: Seconds between two samples on the cloud.
PERIOD_S = 30.0
#: Seconds for which samples are kept.
HISTORY_S = 24 * 3600.0


@frozen
class Series:
    """Samples of one variable, oldest first. `times` are seconds since the epoch."""

    times: Sequence[float]
    values: Sequence[float]
    period_s: float = PERIOD_S

    @classmethod
    def until(cls, now: datetime, values: Sequence[float | None], period_s: float) -> Series:
        """Samples of which the last is of `now`; None stands for one that is missing."""
        end = now.timestamp()
        found = [
            (end - (len(values) - 1 - index) * period_s, float(value))
            for index, value in enumerate(values)
            if value is not None
        ]
        return cls([time for time, _ in found], [value for _, value in found], period_s)

    def last(self, count: float) -> Vector:
        """The newest `count` samples, however old."""
        return tuple(self.values[max(0, len(self.values) - int(max(0, count))) :])

    def between(self, start: float, end: float) -> Vector:
        """Samples after the earlier of two times, up to and with the later one."""
        first, last = self._window(start, end)
        return tuple(self.values[first:last])

    def percent(self, start: float, end: float) -> float:
        """How many of the samples that there should be between two times are there."""
        first, last = self._window(start, end)
        expected = max(1.0, abs(end - start) / self.period_s)
        return min(100.0, 100 * (last - first) / expected)

    def begin(self) -> datetime:
        """Time of the oldest sample. `IndexError` when there is none."""
        return datetime.fromtimestamp(self.times[0], UTC)

    def _window(self, start: float, end: float) -> tuple[int, int]:
        # A window of n periods holds n samples: its older end is outside.
        return bisect_right(self.times, min(start, end)), bisect_right(self.times, max(start, end))


def method_result(name: str, kinds: tuple[Kind, ...]) -> Kind | None:
    """The type that a method gives for types of arguments, None where they do not fit."""
    times = (Kind.INTERVAL, Kind.TIMESTAMP)
    ends = sum(kind in times for kind in kinds)
    in_order = all(kind in times for kind in kinds[:ends]) and ends <= 2
    rest = kinds[ends:] if in_order else None
    match name:
        case "GetSample":
            windowed = ends > 0 and rest in ((), (Kind.DOUBLE,))
            return Kind.VECTOR if windowed or kinds == (Kind.DOUBLE,) else None
        case "GetSamplePercent":
            return Kind.DOUBLE if ends > 0 and rest == () else None
        case "GetSamplePeriod":
            return None if kinds else Kind.INTERVAL
        case "Count":
            return None if kinds else Kind.DOUBLE
        case "HistoryBeginTime":
            return None if kinds else Kind.TIMESTAMP
        case _:
            return None


#: How the methods are written, for error messages.
METHODS = {
    "GetSample": "GetSample(count), or GetSample(start [, end] [, percent])",
    "GetSamplePercent": "GetSamplePercent(start [, end])",
    "GetSamplePeriod": "GetSamplePeriod()",
    "Count": "Count()",
    "HistoryBeginTime": "HistoryBeginTime()",
}
