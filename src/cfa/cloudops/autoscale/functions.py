"""The functions of the language."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from attrs import frozen

from cfa.cloudops.autoscale.values import Kind, Value, Vector

_NUMBERS = (Kind.DOUBLE, Kind.VECTOR)


class NoElementsError(ValueError):
    """A function of at least one number got none: samples are missing."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}() of no elements at all")


@frozen
class Function:
    """`result` gives the type for types of arguments, None where they do not fit; `form` says which do.

    `documented`: the service's documentation has it in its tables.
    """

    form: str
    result: Callable[[tuple[Kind, ...]], Kind | None]
    apply: Callable[..., Value]
    documented: bool = True


def _flat(arguments: Sequence[float | Vector]) -> Vector:
    """Numbers and vectors as one vector, from left to right."""
    found: list[float] = []
    for one in arguments:
        if isinstance(one, tuple):
            found += one
        else:
            found.append(one)
    return tuple(found)


def _of_numbers(kinds: tuple[Kind, ...]) -> bool:
    return all(kind in _NUMBERS for kind in kinds)


def _reduce(name: str, apply: Callable[[Vector], float], *, least: int = 1) -> Function:
    """A function from a list to a number."""

    def reduce(*arguments: float | Vector) -> float:
        numbers = _flat(arguments)
        if len(numbers) < least:
            raise NoElementsError(name)
        return float(apply(numbers))

    return Function(
        f"{name}(numbers and vectors)",
        lambda kinds: Kind.DOUBLE if _of_numbers(kinds) else None,
        reduce,
    )


def _for_each(name: str, apply: Callable[[float], float]) -> Function:
    """A function of a number, or of each element of a list."""

    def result(kinds: tuple[Kind, ...]) -> Kind | None:
        if not _of_numbers(kinds):
            return None
        return Kind.DOUBLE if kinds == (Kind.DOUBLE,) else Kind.VECTOR

    def for_each(*arguments: Any) -> Value:
        if len(arguments) == 1 and not isinstance(arguments[0], tuple):
            return float(apply(arguments[0]))
        return tuple(float(apply(one)) for one in _flat(arguments))

    return Function(f"{name}(a number, or numbers and vectors)", result, for_each)


def _fixed(
    form: str, kinds: tuple[Kind, ...], result: Kind, apply: Callable[..., Value]
) -> Function:
    return Function(form, lambda given: result if given == kinds else None, apply)


def _round(number: float) -> float:
    """To the nearest whole number, halves away from zero."""
    return math.copysign(math.floor(abs(number) + 0.5), number)


def _std(numbers: Vector) -> float:
    return statistics.stdev(numbers) if len(numbers) > 1 else 0.0


def _percentile(vector: Vector, percent: float) -> float:
    """Linear between neighbours."""
    if not vector:
        raise NoElementsError("percentile")
    if not 0 <= percent <= 100:
        raise ValueError(f"a percentile is between 0 and 100, not {percent:g}")
    ordered = sorted(vector)
    place = (len(ordered) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _val(vector: Vector, index: float) -> float:
    if not 0 <= index < len(vector):
        raise ValueError(f"there is no element {index:g}: the vector has {len(vector)}")
    return vector[int(index)]


def moment(text: str) -> datetime:
    """A timestamp from ISO 8601 or RFC 1123; UTC where it names no zone.

    Raises:
        ValueError: it is neither.
    """
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        try:
            found = parsedate_to_datetime(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a date and time") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


#: `time` without an argument, and `stop`, are the evaluation's own.
FUNCTIONS: dict[str, Function] = {
    "avg": _reduce("avg", lambda numbers: math.fsum(numbers) / len(numbers)),
    "ceil": _for_each("ceil", math.ceil),
    "floor": _for_each("floor", math.floor),
    "round": _for_each("round", _round),
    "len": _reduce("len", len, least=0),
    "lg": _for_each("lg", math.log2),
    "ln": _for_each("ln", math.log),
    "log": _for_each("log", math.log10),
    "max": _reduce("max", max),
    "min": _reduce("min", min),
    "norm": _reduce("norm", lambda numbers: math.hypot(*numbers), least=0),
    "percentile": _fixed(
        "percentile(a vector, a number)", (Kind.VECTOR, Kind.DOUBLE), Kind.DOUBLE, _percentile
    ),
    "rand": _fixed("rand()", (), Kind.DOUBLE, random.random),
    "range": _reduce("range", lambda numbers: max(numbers) - min(numbers)),
    "std": _reduce("std", _std),
    "sum": _reduce("sum", math.fsum, least=0),
    "time": Function(
        'time(), or time("date and time")',
        lambda kinds: Kind.TIMESTAMP if kinds in ((), (Kind.STRING,)) else None,
        moment,
    ),
    "val": _fixed("val(a vector, a number)", (Kind.VECTOR, Kind.DOUBLE), Kind.DOUBLE, _val),
    "vec": Function(
        "vec(numbers and vectors)",
        lambda kinds: Kind.VECTOR if _of_numbers(kinds) else None,
        lambda *arguments: _flat(arguments),
        documented=False,
    ),
}
