"""`cloudops autoscale`."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
from attrs import asdict
from click.exceptions import Exit

from cfa.cloudops.cli import output
from cfa.cloudops.cli.context import Json
from cfa.cloudops.cli.declare import Commands, argument, option
from cfa.cloudops.errors import FormulaError, InvalidInputError, LocalFileNotFoundError

if TYPE_CHECKING:
    from cfa.cloudops.autoscale import Run, Situation

commands = Commands()


@commands.add()
def check(
    file: Annotated[str, argument(help="A formula; - for standard input.")],
    sample: Annotated[
        list[str] | None,
        option(
            metavar="NAME=V,V,...",
            help="Samples of a variable; the last is the current one, an empty one is missing. Or a "
            "JSON file with lists of samples by name; null is a missing one. Repeatable.",
        ),
    ] = None,
    period: Annotated[float, option(help="Seconds between two samples.")] = 30.0,
    now: Annotated[
        str | None,
        option(metavar="TIME", help="Time of the evaluation: ISO 8601, UTC; default: now."),
    ] = None,
    dedicated: Annotated[
        int, option(type=click.IntRange(min=0), help="Current number of dedicated nodes.")
    ] = 0,
    low_priority: Annotated[
        int, option(type=click.IntRange(min=0), help="Current number of low-priority nodes.")
    ] = 0,
    slots: Annotated[int, option(type=click.IntRange(min=1), help="Task slots per node.")] = 1,
    as_json: Json = False,
) -> None:
    """Read a formula, and evaluate it with the samples given.

    Prints the targets, or the error with its line and column. Exit status: 0 if the formula has a
    value, 1 if it has none or is wrong.
    """
    from cfa.cloudops.autoscale import Situation, evaluate, parse

    text = _text(file)
    moment = _moment(now)
    if period <= 0:
        raise InvalidInputError(f"--period {period:g} is not above 0.", "Leave it out for 30.")
    situation = Situation(
        now=moment,
        series=_series(sample or [], moment, period),
        dedicated=dedicated,
        low_priority=low_priority,
        current_dedicated=dedicated,
        current_low_priority=low_priority,
        slots_per_node=slots,
    )
    try:
        formula = parse(text)
        run = evaluate(formula, situation)
    except FormulaError as error:
        if as_json:
            place = {"line": error.line, "column": error.column}
            output.document({"error": {"code": error.code, "message": str(error), **place}})
        else:
            _show_error(file, text, error)
        raise Exit(1) from None
    if as_json:
        notes = [{"text": note.text, **asdict(note.at)} for note in formula.notes]
        output.document({"run": run, "notes": notes})
        return
    for note in formula.notes:
        output.note(f"{file}:{note.at.line}:{note.at.column}: {note.text}")
    _show(run, situation)


def _show(run: Run, situation: Situation) -> None:
    for warning in run.warnings:
        output.note(warning)
    shown: list[tuple[str, Any]] = [
        (name, value) for name, _, value in (one.partition("=") for one in run.results.split(";"))
    ]
    output.facts([("now", situation.now.isoformat()), *shown[:3]])
    if shown[3:]:  # after the targets and the option
        output.heading("variables")
        output.facts(shown[3:])


def _show_error(file: str, text: str, error: FormulaError) -> None:
    """The error, and the line with a caret below the place."""
    what = error.message.partition(": ")[2] or error.message
    output.note(f"{file}:{error.line}:{error.column}: {what} ({error.code})")
    lines = text.split("\n")
    if error.line <= len(lines):
        line = lines[error.line - 1]
        indent = "".join("\t" if sign == "\t" else " " for sign in line[: error.column - 1])
        output.remark(f"  {line.rstrip()}\n  {indent}^")
    if error.hint:
        output.remark(f"  {error.hint}")


def _text(file: str) -> str:
    try:
        if file == "-":
            return sys.stdin.read()
        return Path(file).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise LocalFileNotFoundError(f"There is no file {file!r}.", "Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"The file {file!r} cannot be read: {error}.") from None


def _moment(now: str | None) -> datetime:
    from cfa.cloudops.autoscale.functions import moment

    if now is None:
        return datetime.now(UTC)
    try:
        return moment(now)
    except ValueError as error:
        raise InvalidInputError(f"--now: {error}.", "Write 2026-03-04T22:15:00Z.") from None


def _series(samples: list[str], now: datetime, period_s: float) -> dict[str, Any]:
    """Samples by variable."""
    from cfa.cloudops.autoscale import Series
    from cfa.cloudops.autoscale.values import SAMPLED

    given: dict[str, list[float | None]] = {}
    for one in samples:
        given |= _given(one)
    for name in given:
        if name not in SAMPLED:
            raise InvalidInputError(
                f"--sample: {name!r} is not a variable with samples.",
                f"These variables have samples: {', '.join(sorted(SAMPLED))}. Quote the $ for the "
                "shell.",
            )
    return {name: Series.until(now, values, period_s) for name, values in given.items()}


def _given(sample: str) -> dict[str, list[float | None]]:
    name, equals, values = sample.partition("=")
    text = "" if equals else _text(sample)
    try:
        if not equals:
            held = json.loads(text)
            return {
                str(key): [None if value is None else float(value) for value in column]
                for key, column in held.items()
            }
        name = name if name.startswith("$") else f"${name}"
        return {name: [float(word) if word.strip() else None for word in values.split(",")]}
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidInputError(
            f"--sample {sample!r} cannot be read: {error}.",
            'Write NAME=1,2,3, or name a JSON file such as {"$PendingTasks": [1, 2, null]}.',
        ) from None
