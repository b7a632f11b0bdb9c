"""The types of the language, what operators make of them, and the names that formulas may use."""

from __future__ import annotations

import enum
import operator
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import frozen

_TICKS_PER_S = 10_000_000


@frozen(order=True)
class Interval:
    """A span of time in the service's ticks of 100 ns, which `timedelta` cannot hold."""

    ticks: int

    @classmethod
    def of(cls, seconds: float) -> Interval:
        return cls(round(seconds * _TICKS_PER_S))

    @property
    def seconds(self) -> float:
        return self.ticks / _TICKS_PER_S

    def __str__(self) -> str:
        sign, ticks = ("-", -self.ticks) if self.ticks < 0 else ("", self.ticks)
        seconds, fraction = divmod(ticks, _TICKS_PER_S)
        days, seconds = divmod(seconds, 86400)
        text = f"{days}." if days else ""
        text += f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        return f"{sign}{text}" + (f".{fraction:07}" if fraction else "")


class Option(enum.Enum):
    """What becomes of the tasks on a node that is removed."""

    REQUEUE = "requeue"
    TERMINATE = "terminate"
    TASK_COMPLETION = "taskcompletion"
    RETAINED_DATA = "retaineddata"


Vector = tuple[float, ...]
Value = float | Vector | str | datetime | Interval | Option


class Kind(enum.Enum):
    """Types, in the documentation's words."""

    DOUBLE = "double"
    VECTOR = "doubleVec"
    STRING = "string"
    TIMESTAMP = "timestamp"
    INTERVAL = "timeinterval"
    OPTION = "node deallocation option"


_KINDS: dict[type, Kind] = {
    float: Kind.DOUBLE,
    tuple: Kind.VECTOR,
    str: Kind.STRING,
    datetime: Kind.TIMESTAMP,
    Interval: Kind.INTERVAL,
    Option: Kind.OPTION,
}


def kind_of(value: Value) -> Kind:
    return _KINDS[type(value)]


def shown(value: Value) -> str:
    """A value as the service prints it in the results of a run."""
    match value:
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
        case tuple():
            return f"[{','.join(map(shown, value))}]"
        case datetime():
            text = value.astimezone(UTC).isoformat(timespec="milliseconds")
            return text.replace("+00:00", "Z")
        case Option():
            return value.value
        case _:
            return str(value)


# --- operators ------------------------------------------------------------------------------------


@frozen
class Operation:
    """What an operator makes of operands of certain types.

    `extension`: the documentation does not list it, so the cloud may refuse it.
    """

    result: Kind
    apply: Callable[[Any, Any], Value]
    extension: bool = False


_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    ">=": operator.ge,
    ">": operator.gt,
    "!=": operator.ne,
}


def _each(apply: Callable[[float, float], float]) -> Callable[[Vector, Vector], Vector]:
    return lambda left, right: tuple(map(apply, left, _of_length(right, len(left))))


def _of_length(vector: Vector, length: int) -> Vector:
    if len(vector) != length:
        raise ValueError(f"the vectors have {length} and {len(vector)} elements")
    return vector


def _with_each(apply: Callable[[float, float], float]) -> Callable[[Vector, float], Vector]:
    return lambda vector, number: tuple(apply(one, number) for one in vector)


def _to_each(apply: Callable[[float, float], float]) -> Callable[[float, Vector], Vector]:
    return lambda number, vector: tuple(apply(number, one) for one in vector)


def _truth(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], float]:
    return lambda left, right: float(compare(left, right))


def _later(moment: datetime, span: Interval) -> datetime:
    return moment + timedelta(microseconds=span.ticks / 10)


def _between(later: datetime, earlier: datetime) -> Interval:
    return Interval((later - earlier) // timedelta(microseconds=1) * 10)


def _operations() -> dict[tuple[str, Kind, Kind], Operation]:
    number, vector = Kind.DOUBLE, Kind.VECTOR
    moment, span = Kind.TIMESTAMP, Kind.INTERVAL
    table: dict[tuple[str, Kind, Kind], Operation] = {}
    for sign, apply in _ARITHMETIC.items():
        table[sign, number, number] = Operation(number, apply)
        table[sign, vector, number] = Operation(vector, _with_each(apply))
        table[sign, vector, vector] = Operation(vector, _each(apply))
        table[sign, number, vector] = Operation(vector, _to_each(apply), extension=True)
    for sign, compare in _COMPARISONS.items():
        for kind in (number, Kind.STRING, moment, span):
            table[sign, kind, kind] = Operation(number, _truth(compare))
    table |= {
        ("*", number, span): Operation(span, lambda n, s: Interval(round(n * s.ticks))),
        ("*", span, number): Operation(span, lambda s, n: Interval(round(s.ticks * n))),
        ("/", span, number): Operation(span, lambda s, n: Interval(round(s.ticks / n))),
        ("+", span, span): Operation(span, lambda a, b: Interval(a.ticks + b.ticks)),
        ("-", span, span): Operation(span, lambda a, b: Interval(a.ticks - b.ticks)),
        ("+", span, moment): Operation(moment, lambda s, m: _later(m, s)),
        ("+", moment, span): Operation(moment, _later),
        ("-", moment, moment): Operation(span, _between),
        ("-", moment, span): Operation(
            moment, lambda m, s: _later(m, Interval(-s.ticks)), extension=True
        ),
        # The evaluation leaves out the right side where the left one decides.
        ("&&", number, number): Operation(number, lambda a, b: float(bool(a and b))),
        ("||", number, number): Operation(number, lambda a, b: float(bool(a or b))),
    }
    return table


OPERATIONS = _operations()

# --- names ----------------------------------------------------------------------------------------

DEDICATED, LOW_PRIORITY = "$TargetDedicatedNodes", "$TargetLowPriorityNodes"
OPTION = "$NodeDeallocationOption"

#: Older names of variables.
ALIASES = {
    "$TargetDedicated": DEDICATED,
    "$TargetLowPriority": LOW_PRIORITY,
    "$CurrentDedicated": "$CurrentDedicatedNodes",
    "$CurrentLowPriority": "$CurrentLowPriorityNodes",
}

#: Variables that a formula may set.
SETTABLE = {
    DEDICATED: Kind.DOUBLE,
    LOW_PRIORITY: Kind.DOUBLE,
    "$TargetDedicated": Kind.DOUBLE,
    "$TargetLowPriority": Kind.DOUBLE,
    OPTION: Kind.OPTION,
}

#: Read-only variables that are plain numbers.
PLAIN = frozenset(
    {
        "$CurrentDedicatedNodes",
        "$CurrentLowPriorityNodes",
        "$CurrentDedicated",
        "$CurrentLowPriority",
        "$TaskSlotsPerNode",
    }
)

#: Variables with samples, those that the local service takes and those that it does not.
RECORDED = (
    "$ActiveTasks",
    "$RunningTasks",
    "$PendingTasks",
    "$SucceededTasks",
    "$FailedTasks",
    "$PreemptedNodeCount",
    "$UsableNodeCount",
    "$SampleNodeCount",
    "$CPUPercent",
)
NOT_RECORDED = (
    "$WallClockSeconds",
    "$MemoryBytes",
    "$DiskBytes",
    "$DiskReadBytes",
    "$DiskWriteBytes",
    "$DiskReadOps",
    "$DiskWriteOps",
    "$NetworkInBytes",
    "$NetworkOutBytes",
)
SAMPLED = frozenset(RECORDED + NOT_RECORDED)

CONSTANTS: dict[str, Value] = {
    "TimeInterval_Zero": Interval(0),
    "TimeInterval_100ns": Interval(1),
    "TimeInterval_Microsecond": Interval.of(1e-6),
    "TimeInterval_Millisecond": Interval.of(1e-3),
    "TimeInterval_Second": Interval.of(1),
    "TimeInterval_Minute": Interval.of(60),
    "TimeInterval_Hour": Interval.of(3600),
    "TimeInterval_Day": Interval.of(86400),
    "TimeInterval_Week": Interval.of(7 * 86400),
    "TimeInterval_Year": Interval.of(365 * 86400),
    **{option.value: option for option in Option},
}

#: Parts of a timestamp. Sunday is 0.
PARTS: dict[str, Callable[[datetime], int]] = {
    "year": lambda moment: moment.year,
    "month": lambda moment: moment.month,
    "day": lambda moment: moment.day,
    "weekday": lambda moment: moment.isoweekday() % 7,
    "hour": lambda moment: moment.hour,
    "minute": lambda moment: moment.minute,
    "second": lambda moment: moment.second,
}
