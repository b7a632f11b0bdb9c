"""Parameter sets: a YAML file describes many sets of values; each becomes a command line.

The format is that of griddler, schemas `v0.1`, `v0.3` and `v0.4`. Sets, and parameters in them, come
in the order of the file.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
from collections.abc import Mapping
from typing import Any

from cfa.cloudops.documents import Place, read_yaml
from cfa.cloudops.errors import InvalidInputError
from cfa.cloudops.model.commands import quoted

__all__ = ["command_line", "command_lines", "expand", "parameter_sets"]

_log = logging.getLogger(__name__)

ParameterSet = dict[str, Any]

_FLAG = "(flag)"
_RESERVED = frozenset({"fix", "vary", "if", "comment"})


#: A job of the cloud has no more tasks at once.
MOST_SETS = 1_000_000


def check_number(here: Place, *factors: int) -> None:
    """Refuse combinations that are too many, before the first is made.

    Args:
        here: what describes them.
        factors: how many values each part has.

    Raises:
        InvalidInputError: there would be more than `MOST_SETS`.
    """
    number = math.prod(factors)
    if number > MOST_SETS:
        raise here.error(
            f"it describes {number:,} parameter sets, and {MOST_SETS:,} are the most.",
            "Use fewer values, or several files.",
        )


def command_lines(base_cmd: str, file_path: str | os.PathLike[str]) -> list[str]:
    """A command line for each parameter set of a file.

    Raises:
        As `parameter_sets`; InvalidInputError: `base_cmd` is no text, or empty.
    """
    _check_base(base_cmd)
    return [command_line(base_cmd, values) for values in parameter_sets(file_path)]


def _check_base(base_cmd: Any) -> None:
    if not isinstance(base_cmd, str) or not base_cmd.strip():
        raise InvalidInputError(
            f"base_cmd={base_cmd!r} is not a command.",
            "Pass a program and first arguments as text.",
        )


def command_line(base_cmd: str, values: Mapping[str, Any]) -> str:
    """A command with a parameter set as its arguments.

    `name` with a value becomes `--name value`; `name(flag)` becomes `--name`, unless its value is the
    empty string. Values are written as Python writes them: `True`, `None`, `[0.0, 1.0]`.

    **Quoting.** No shell runs a command, it is only split into words. A value that would not come out
    as exactly one word, because it has blanks, quotes or backslashes, or is empty, is quoted, so that
    the program finds it as one argument: `--bounds '[0.0, 1.0]'`. This holds for values of all types,
    and for names. All other values stay as they are.
    """
    words = [base_cmd.rstrip()]
    for name, value in values.items():
        if name.endswith(_FLAG):
            if value != "":
                words.append(quoted(f"--{name.removesuffix(_FLAG).rstrip()}"))
        else:
            words += [quoted(f"--{name}"), quoted(str(value))]
    return " ".join(words)


def parameter_sets(file_path: str | os.PathLike[str]) -> list[ParameterSet]:
    """The parameter sets that a YAML file describes.

    Raises:
        LocalFileNotFoundError: there is no such file.
        InvalidInputError: it does not follow its schema; the message names file and key.
    """
    sets = expand(read_yaml(file_path, "parameter file"), os.fspath(file_path))
    if not sets:
        _log.warning("%s describes no parameter set.", file_path)
    return sets


def expand(document: Any, source: str = "parameters") -> list[ParameterSet]:
    """The parameter sets of a document.

    Args:
        document: what the YAML file holds: a mapping with `schema` (or `version`).
        source: the file's name, for messages.

    Raises:
        InvalidInputError: the document does not follow its schema.
    """
    top = Place(source)
    content = top.table(document, "Begin the file with 'schema: v0.3'.")
    named = [content.pop(name) for name in ("schema", "version") if name in content]
    if not named:
        raise top.error("it names no schema.", "Begin the file with 'schema: v0.3'.")
    if any(one != named[0] for one in named):
        raise top.error("'schema' and 'version' differ.", "Leave 'version' out.")
    match named[0]:
        case "v0.1":
            return _v01(content, top)
        case "v0.3":
            return _v03(content, top)
        case "v0.4":
            return _v04(content, top)
        case other:
            raise top.error(f"the schema {other!r} is not known.", "Use v0.1, v0.3 or v0.4.")


# --- v0.3


def _v03(content: dict[str, Any], top: Place) -> list[ParameterSet]:
    """Parameters that are fixed, that vary alone or in bundles, each perhaps on a condition."""
    top.only(content, ("parameters",))
    here = top / "parameters"
    parameters = here.table(top.need(content, "parameters"))
    parts = [(name, *_v03_part(here / name, name, value)) for name, value in parameters.items()]
    sets: list[ParameterSet] = [{}]
    check_number(here, *(len(values) for _, values, condition in parts if condition is None))
    for _, values, _ in (part for part in parts if part[2] is None):
        sets = [{**old, **new} for old in sets for new in values]
    for name, values, condition in parts:
        if condition is None:
            continue
        wanted, value = condition
        if sets and not any(wanted in old for old in sets):
            _log.warning(
                "%sis left out: no parameter set has %r at this point.", here / name, wanted
            )
        fitting = [wanted in old and _same(old[wanted], value) for old in sets]
        matching = [old for old, fits in zip(sets, fitting, strict=True) if fits]
        others = [old for old, fits in zip(sets, fitting, strict=True) if not fits]
        check_number(here / name, len(matching), len(values))
        sets = [{**old, **new} for old in matching for new in values] + others
    return sets


def _v03_part(
    here: Place, name: str, value: Any
) -> tuple[list[ParameterSet], tuple[str, Any] | None]:
    """The values of one parameter or bundle, and the condition under which it holds."""
    part = here.table(value, "Write {fix: VALUE}, {vary: [VALUES]} or {NAME: [VALUES], ...}.")
    if not _RESERVED & part.keys():
        return _bundle(here, part), None
    if not {"fix", "vary"} & part.keys() and part.keys() - _RESERVED:
        raise here.error(
            f"a bundle has lists only, not {', '.join(map(repr, sorted(_RESERVED & part.keys())))}.",
            "Take it out; only a parameter with 'fix' or 'vary' can have it.",
        )
    here.only(part, ("fix", "vary", "if", "comment"))
    if ("fix" in part) == ("vary" in part):
        raise here.error("it must have either 'fix' or 'vary'.", "Keep or add one of them.")
    if "fix" in part:
        values = [part["fix"]]
    else:
        values = (here / "vary").array(
            part["vary"], f"To let several vary together, write {name}: {{A: [...], B: [...]}}."
        )
    condition = _condition(here / "if", part["if"]) if "if" in part else None
    return [{name: one} for one in values], condition


def _bundle(here: Place, part: dict[str, Any]) -> list[ParameterSet]:
    columns = [(here / name).array(values) for name, values in part.items()]
    if not columns:
        raise here.error("it is empty.", "Write {fix: VALUE} or {vary: [VALUES]}.")
    if len({len(column) for column in columns}) > 1:
        sizes = ", ".join(f"{name}: {len(part[name])}" for name in part)
        raise here.error(
            f"its lists are not of one length ({sizes}).",
            "They advance together; give each as many.",
        )
    return [dict(zip(part, row, strict=True)) for row in zip(*columns, strict=True)]


def _condition(here: Place, value: Any) -> tuple[str, Any]:
    hint = "Write if: {equals: {NAME: VALUE}}."
    table = here.table(value, hint)
    if set(table) != {"equals"}:
        raise here.error("it must have 'equals' and nothing else.", hint)
    pairs = (here / "equals").table(table["equals"], hint)
    if len(pairs) != 1:
        raise (here / "equals").error(f"it must have exactly one pair, not {len(pairs)}.", hint)
    return next(iter(pairs.items()))


def _same(one: Any, other: Any) -> bool:
    """Equal also for people: Python takes True for 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


# --- v0.1


def _v01(content: dict[str, Any], top: Place) -> list[ParameterSet]:
    """All combinations of a grid, a baseline that wins over it, nests that win over both."""
    top.only(content, ("baseline_parameters", "grid_parameters", "nested_parameters"))
    if not content.keys() & {"baseline_parameters", "grid_parameters"}:
        raise top.error("it needs 'baseline_parameters' or 'grid_parameters'.", "Add one of them.")
    if "nested_parameters" in content and "grid_parameters" not in content:
        raise (top / "nested_parameters").error("it needs 'grid_parameters'.", "Add them.")
    baseline = (top / "baseline_parameters").table(content.get("baseline_parameters", {}))
    here = top / "grid_parameters"
    grid = here.table(content.get("grid_parameters", {}))
    columns = [(here / name).array(values) for name, values in grid.items()]
    check_number(here, *map(len, columns))
    sets = [
        {**dict(zip(grid, row, strict=True)), **baseline} for row in itertools.product(*columns)
    ]
    here = top / "nested_parameters"
    nests = [
        (here / f"[{index}]").table(nest)
        for index, nest in enumerate(here.array(content.get("nested_parameters", [])))
    ]
    return _nested(sets, nests, here)


def _nested(sets: list[ParameterSet], nests: list[ParameterSet], here: Place) -> list[ParameterSet]:
    used: set[int] = set()
    found = []
    for values in sets:
        fitting = [
            index
            for index, nest in enumerate(nests)
            if any(name in values and _same(values[name], one) for name, one in nest.items())
        ]
        if len(fitting) > 1:
            raise here.error(
                f"several of them ({', '.join(map(str, fitting))}) fit the set {values!r}.",
                "Let each share its values with sets that no other shares them with.",
            )
        used.update(fitting)
        found.append({**values, **nests[fitting[0]]} if fitting else values)
    for index, nest in enumerate(nests):
        if index not in used:
            raise (here / f"[{index}]").error(
                f"it fits no parameter set: {nest!r}.", "Let it share a value with the grid."
            )
    return found


# --- v0.4


def _v04(content: dict[str, Any], top: Place) -> list[ParameterSet]:
    """Lists of sets, joined by `union` and `product`."""
    top.only(content, ("experiment",))
    try:
        return _experiment(top.need(content, "experiment"), top / "experiment")
    except RecursionError:  # an anchor within itself
        raise (top / "experiment").error("it is nested too deeply.", "Take levels out.") from None


def _experiment(value: Any, here: Place) -> list[ParameterSet]:
    if isinstance(value, list):
        return [(here / f"[{index}]").table(one) for index, one in enumerate(value)]
    hint = "Write a list of mappings, {union: [...]} or {product: [...]}."
    table = here.table(value, hint)
    if len(table) != 1 or not table.keys() <= {"union", "product"}:
        raise here.error("it must have either 'union' or 'product', and nothing else.", hint)
    [(name, value)] = table.items()
    inner = here / name
    parts = [
        _experiment(part, inner / f"[{index}]") for index, part in enumerate(inner.array(value))
    ]
    if not parts:
        raise inner.error("it is empty.", "Put at least one experiment there.")
    if name == "union":
        check_number(inner, sum(map(len, parts)))
        return list(itertools.chain.from_iterable(parts))
    check_number(inner, *map(len, parts))
    return [_merged(row) for row in itertools.product(*parts)]


def _merged(sets: tuple[ParameterSet, ...]) -> ParameterSet:
    return {name: value for one in sets for name, value in one.items()}
