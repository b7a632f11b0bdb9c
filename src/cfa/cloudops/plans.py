"""Plans: what a TOML file asks for, checked, before anything is done.

`[job]` names the job, `[upload]` what goes into a blob container first, `[experiment]` or `[[task]]`
the tasks. Relative paths are relative to the current directory, not to the file.
"""

from __future__ import annotations

import difflib
import itertools
import logging
import os
import re
import shlex
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen

from cfa.cloudops.client.jobs import minutes, retries
from cfa.cloudops.client.pools import parse_mounts
from cfa.cloudops.client.selection import location, relative
from cfa.cloudops.documents import Place, read_toml
from cfa.cloudops.errors import (
    InvalidInputError,
    LocalFileNotFoundError,
    MissingKeyError,
    TaskNotFoundError,
)
from cfa.cloudops.model import names
from cfa.cloudops.model.plain import some
from cfa.cloudops.parameters import check_number, command_lines

_log = logging.getLogger(__name__)

_TEXT, _TEXTS, _TRUTH = "a string", "a list of strings", "true or false"
_COUNT, _NUMBER = "a whole number of at least -1", "a number"

_JOB = {
    "job_name": _TEXT, "pool_name": _TEXT, "save_logs_to_blob": _TEXT, "logs_folder": _TEXT,
    "task_retries": _COUNT, "monitor_job": _TRUTH, "container": _TEXT, "timeout": _NUMBER,
    "exist_ok": _TRUTH, "task_id_ints": _TRUTH, "mark_complete_after_tasks_run": _TRUTH,
}  # fmt: skip
_UPLOAD = {
    "container_name": _TEXT, "location_in_blob": _TEXT, "folders": _TEXTS, "files": _TEXTS,
}  # fmt: skip
#: Width or precision of a place in `base_cmd`, as no command has it.
_TOO_WIDE = re.compile("[1-9][0-9]{5}")
_TABLES = ("job", "upload", "experiment", "task")
_TASK = {
    "cmd": _TEXT, "name": _TEXT, "depends_on": _TEXTS, "run_dependent_tasks_on_fail": _TRUTH,
    "timeout": _NUMBER, "container": _TEXT, "name_suffix": _TEXT, "mount_pairs": "",
}  # fmt: skip


def _paths(value: Any) -> None:
    for path in _texts(value):
        relative(path, "Name it relative to the current directory.")


#: What the client would find out later: when files are uploaded, or the job is made.
_CHECKS: dict[str, Callable[[Any], object]] = {
    "job_name": names.job_id,
    "pool_name": names.pool_id,
    "save_logs_to_blob": names.blob_container,
    "container_name": names.blob_container,
    "location_in_blob": location,
    "folders": _paths,
    "files": _paths,
    "task_retries": lambda value: retries("task_retries", value),
    "timeout": lambda value: minutes("timeout", value),
    "name_suffix": names.name_suffix,
    "mount_pairs": parse_mounts,
}


@frozen(kw_only=True)
class Upload:
    """Folders and files for a blob container. `location` `"."` is its root."""

    place: Place
    container: str
    location: str
    folders: tuple[str, ...]
    files: tuple[str, ...]


@frozen(kw_only=True)
class Plan:
    """What a file asks for.

    Attributes:
        place: the file.
        job: arguments of `create_job`.
        monitor: whether to wait for the job.
        upload: what to upload first.
        tasks: arguments of `add_task_collection`.
    """

    place: Place
    job: Mapping[str, Any]
    monitor: bool
    upload: Upload | None
    tasks: Sequence[Mapping[str, Any]]

    @property
    def command_lines(self) -> list[str]:
        """What the tasks run, in the order they are added."""
        return [task["command_line"] for task in self.tasks]


def experiment(path: str | os.PathLike[str]) -> Plan:
    """The plan of a file with `[experiment]`: a grid of values, or a file of parameter sets.

    Raises:
        LocalFileNotFoundError: there is no such file.
        MissingKeyError (a KeyError): a table or key is missing.
        InvalidInputError: something in it can never work. The message names file, table and key.
    """
    content = read_toml(path, "experiment")
    top = Place(os.fspath(path))
    table = _table(content, top, "experiment")
    here = top / "[experiment]"
    base_cmd = here.need(table, "base_cmd")
    _check_type(here / "base_cmd", base_cmd, _TEXT)
    if "exp_yaml" in table:
        _check_type(here / "exp_yaml", table["exp_yaml"], _TEXT)
        try:
            lines = command_lines(base_cmd, table["exp_yaml"])
        except LocalFileNotFoundError as error:
            raise type(error)(f"{here / 'exp_yaml'}{error.message}", error.hint) from None
    else:
        lines = _grid(here, base_cmd, {key: table[key] for key in table if key != "base_cmd"})
    if not lines:
        raise here.error("it describes no task.", "Give every parameter at least one value.")
    return _plan(content, top, [(here / "base_cmd", {"command_line": line}) for line in lines])


def tasks(path: str | os.PathLike[str]) -> Plan:
    """The plan of a file with `[[task]]`. Raises: as `experiment`; TaskNotFoundError: a name in
    `depends_on` is that of no task."""
    content = read_toml(path, "task list")
    top = Place(os.fspath(path))
    tables = _need(content, top, "[[task]]", "task")
    if not isinstance(tables, list) or not tables:
        raise (top / "task").error("must be an array of tables.", "Write [[task]] above each task.")
    places = [top / f"[[task]] {number}" for number in range(1, len(tables) + 1)]
    numbers = _names(places, tables)
    found = []
    for index, (here, table) in enumerate(zip(places, tables, strict=True)):
        found.append((here / "cmd", _task(here, table, index, numbers)))
    return _plan(content, top, found)


# --- tables


def _plan(
    content: dict[str, Any], top: Place, found: Iterable[tuple[Place, dict[str, Any]]]
) -> Plan:
    _check_known(top, content, _TABLES)
    job = _table(content, top, "job")
    here = top / "[job]"
    _check(here, job, _JOB)
    for name in ("job_name", "pool_name"):
        here.need(job, name)
    image = job.get("container")
    kept = []
    for place, task in found:
        try:
            words = shlex.split(task["command_line"])
        except ValueError as error:
            raise place.error(
                f"the command cannot be split into words: {error}: {task['command_line']!r}.",
                "Close the quotes.",
            ) from None
        if not words:
            raise place.error("the command is empty.", "Name a program.")
        kept.append({"container_image_name": image, **task} if image else task)
    return Plan(
        place=top,
        job={
            key: job[key] for key in _JOB if key in job and key not in ("monitor_job", "container")
        },
        monitor=job.get("monitor_job", False),
        upload=_upload(content, top),
        tasks=kept,
    )


def _upload(content: dict[str, Any], top: Place) -> Upload | None:
    if "upload" not in content:
        return None
    table = _table(content, top, "upload")
    here = top / "[upload]"
    _check(here, table, _UPLOAD)
    return Upload(
        place=here,
        container=here.need(table, "container_name"),
        location=table.get("location_in_blob") or ".",
        folders=_texts(table.get("folders", ())),
        files=_texts(table.get("files", ())),
    )


def _grid(here: Place, base_cmd: str, variables: dict[str, Any]) -> list[str]:
    """The command for each combination of values; the last variable moves fastest."""
    columns = []
    for name, values in variables.items():
        columns.append((here / name).array(values, f"Write {name} = [...], also for one value."))
        if not values:
            raise (here / name).error("it has no values.", "Add one, or remove the variable.")
    _check_places(here / "base_cmd", base_cmd, variables)
    check_number(here, *map(len, columns))
    lines = []
    for row in itertools.product(*columns):
        try:
            lines.append(base_cmd.format(**dict(zip(variables, row, strict=True))))
        except (LookupError, ValueError, TypeError, AttributeError, MemoryError) as error:
            raise (here / "base_cmd").error(
                f"it cannot be filled in with {dict(zip(variables, row, strict=True))}: {error}.",
                "Write {{ and }} for braces of the command.",
            ) from None
    if len(set(lines)) < len(lines):
        _log.warning("%ssome combinations give the same command.", here / "base_cmd")
    return lines


def _check_places(here: Place, base_cmd: str, variables: Iterable[str]) -> None:
    """Check that the places of a command, as far as they can be read, have variables."""
    try:
        places = [(place, form or "") for _, place, form, _ in string.Formatter().parse(base_cmd)]
    except ValueError:
        return  # said when it is filled in
    for place, form in places:
        name = None if place is None else re.split(r"[.\[]", place, maxsplit=1)[0]
        if name is not None and name not in variables:
            raise here.error(
                f"the place {{{name}}} has no variable."
                if name
                else "a place in braces has no name.",
                "Add the variable to [experiment]; write {{ and }} for braces of the command.",
            )
        if _TOO_WIDE.search(form):  # it would be filled in, and the memory with it
            raise here.error(
                f"the place {{{place}:{form}}} asks for too many characters.", "Lower its width."
            )


def _names(places: Sequence[Place], tables: Sequence[Any]) -> dict[str, int]:
    """Positions of the tasks that have names."""
    found: dict[str, int] = {}
    for index, (here, table) in enumerate(zip(places, tables, strict=True)):
        _check(here, here.table(table), _TASK)
        name = table.get("name")
        if name in found:
            raise (here / "name").error(
                f"{name!r} is also the name of task {found[name] + 1}.", "Give another name."
            )
        if name is not None:
            found[name] = index
    return found


def _task(
    here: Place, table: dict[str, Any], index: int, numbers: dict[str, int]
) -> dict[str, Any]:
    parents = []
    for name in _texts(table.get("depends_on", ())):
        if name not in numbers:
            raise TaskNotFoundError(
                f"{here / 'depends_on'}no task has the name {name!r}.",
                f"The tasks with names are: {some(list(numbers)) or 'none'}.",
            )
        if numbers[name] >= index:
            raise (here / "depends_on").error(
                f"the task {name!r} does not come before this one.",
                f"Move this task below {name!r}.",
            )
        parents.append(numbers[name])
    task: dict[str, Any] = {
        "command_line": here.need(table, "cmd"),
        "depends_on_positions": parents,
        "container_image_name": table.get("container"),
        **{
            name: table[name]
            for name in ("run_dependent_tasks_on_fail", "timeout", "name_suffix", "mount_pairs")
            if name in table
        },
    }
    return {name: value for name, value in task.items() if value is not None}


# --- values


def _table(content: dict[str, Any], top: Place, name: str) -> dict[str, Any]:
    value = _need(content, top, f"[{name}]", name)
    return (top / f"[{name}]").table(value, f"Write [{name}] above its keys.")


def _need(content: dict[str, Any], top: Place, header: str, name: str) -> Any:
    if name not in content:
        raise MissingKeyError(f"{top}the table {header} is missing.", f"Add {header}.")
    return content[name]


def _check(here: Place, table: Mapping[str, Any], known: Mapping[str, str]) -> None:
    """Check what is known. Of the rest, what looks misspelt is refused; files of the cloud may
    have keys that mean nothing."""
    for name, value in table.items():
        if name in known:
            _check_type(here / name, value, known[name])
            try:
                _CHECKS.get(name, bool)(value)
            except InvalidInputError as error:
                raise type(error)(f"{here / name}{error.message}", error.hint) from None
    _check_known(here, table, known)


def _check_known(here: Place, table: Iterable[str], known: Iterable[str]) -> None:
    for name in table:
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, n=1)
        if near:
            raise here.error(f"{name!r} is not known here.", f"Did you mean {near[0]!r}?")
        _log.warning("%s%r is not known, and is ignored.", here, name)


def _check_type(here: Place, value: Any, wanted: str) -> None:
    good = {
        "": True,
        _TEXT: isinstance(value, str),
        _TRUTH: isinstance(value, bool),
        _COUNT: isinstance(value, int) and not isinstance(value, bool) and value >= -1,
        _NUMBER: isinstance(value, int | float) and not isinstance(value, bool),
        _TEXTS: isinstance(value, str)
        or (isinstance(value, list) and all(isinstance(one, str) for one in value)),
    }[wanted]
    if not good:
        raise here.error(f"must be {wanted}, got {value!r}.")


def _texts(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
