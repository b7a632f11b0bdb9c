"""What objects of the cloud's SDK say of jobs and tasks.

The SDK's models have attributes in snake_case and, as mappings, the service's keys in camelCase;
scripts also pass plain mappings in either spelling. What is not offered here and would change the
result is refused; what only the cloud knows is named in the log.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from attrs import evolve

from cfa.cloudops.client import run_options
from cfa.cloudops.client.arguments import command_text, dependencies, tell
from cfa.cloudops.client.jobs import minutes, retries
from cfa.cloudops.errors import InvalidInputError, UnsupportedError
from cfa.cloudops.model import names, references
from cfa.cloudops.model.values import TaskSpec

_log = logging.getLogger(__name__)

#: Parts of a job and a task that change what runs, with what to do instead.
_REFUSED = {
    "auto_pool_specification": "Create the pool with client.create_pool, and name it in pool_info.",
    "job_manager_task": "Add it as a task that others depend on.",
    "job_preparation_task": "Add it as a task that the others depend on.",
    "job_release_task": "Add it as a task that depends on the others.",
    "common_environment_settings": "Write env NAME=value in front of the commands.",
    "environment_settings": "Write env NAME=value in front of the command.",
    "resource_files": "Upload them to a blob container and mount it.",
    "application_package_references": "Put the program into the image.",
    "multi_instance_settings": "Run one task, with as many cores as the node has.",
}
#: Parts that nothing acts on, where more can be said than their names.
_WITHOUT_EFFECT = {
    "constraints.retention_time": "files stay until the job is deleted",
    "exit_conditions.job_action": "the job continues",
    "on_task_failure": "the job continues",
    "task_failure_mode": "the job continues",
    "output_files": "files stay in the task's directory; write into a mount",
}
#: Parts that say nothing about what runs, and values that ask for nothing.
_SILENT = frozenset({"display_name", "uses_task_dependencies", "additional_properties"})
_NOTHING = frozenset({"none", "noaction"})
#: Parts that are read.
_OF_JOB = frozenset(
    {
        "id", "pool_info", "constraints", "all_tasks_complete_mode", "on_all_tasks_complete",
        "metadata",
    }
)  # fmt: skip
_OF_TASK = frozenset(
    {
        "id", "command_line", "container_settings", "constraints", "depends_on", "exit_conditions",
        "output_files",
    }
)  # fmt: skip
_LIMITS = frozenset({"max_task_retry_count", "max_wall_clock_time"})
_NUMBER = r"(\d+(?:[.,]\d+)?)"
#: ISO 8601, without years and months, whose length is not fixed.
_ISO = re.compile(
    rf"P(?=\d|T\d)(?:{_NUMBER}W)?(?:{_NUMBER}D)?"
    rf"(?:T(?=\d)(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?"
)
#: What the service says where there is no limit: the longest duration that it knows.
_NO_LIMIT = timedelta(days=10_675_199)
_UNITS = ("weeks", "days", "hours", "minutes", "seconds")
#: Ids of ranges that are written out one by one.
_MOST_IDS = 10_000


def value(item: Any, *spellings: str) -> Any:
    """A part of an object or a mapping; None when it has none.

    Args:
        item: an object of the SDK, one like it, or a mapping.
        spellings: names of the part in snake_case; the first one that is there counts.
    """
    for name in spellings:
        found = None if isinstance(item, dict) else getattr(item, name, None)
        if found is None and isinstance(item, Mapping):
            found = item.get(name, item.get(_camel(name)))
        if found is not None:
            return found
    return None


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.title, rest))


def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name)


def _parts(item: Any) -> dict[str, Any]:
    """What an object or a mapping has that is not empty, by names in snake_case."""
    found = item if isinstance(item, Mapping) else getattr(item, "__dict__", {})
    return {
        _snake(name): part
        for name, part in found.items()
        if part and isinstance(name, str) and not name.startswith("_")
    }


def word(item: Any) -> str:
    """A value of an enumeration, in lower case."""
    return str(getattr(item, "value", item)).lower()


def check_parts(item: Any, what: str, known: frozenset[str], within: str = "") -> None:
    """Refuse parts that are not offered here, and name those that nothing acts on.

    Args:
        item: an object or a mapping.
        what: what it is, for people.
        known: names of the parts that are read.
        within: the part that it is, with a point behind.

    Raises:
        UnsupportedError: there is a part without which the result would be another.
    """
    found = _parts(item)
    for name, instead in _REFUSED.items():
        if name in found:
            raise UnsupportedError(
                f"{what} has {name}, which is not available on this machine.", instead
            )
    tell_parts(
        f"{within}{name}"
        for name, part in found.items()
        if name not in known | _SILENT and word(part) not in _NOTHING
    )


def tell_parts(names_of_parts: Iterable[str]) -> None:
    """Name parts that nothing acts on, with the reason where there is more to say."""
    tell(
        f"{name} ({_WITHOUT_EFFECT[name]})" if name in _WITHOUT_EFFECT else name
        for name in names_of_parts
    )


# --- jobs


def job_arguments(job: Any) -> dict[str, Any]:
    """Arguments of `CloudClient.create_job` that a description of a job stands for.

    Raises:
        InvalidInputError: it has no id.
        UnsupportedError: as `check_parts`.
    """
    job_id = value(job, "id")
    if job_id is None:
        raise InvalidInputError(f"The job {job!r} has no id.", "Set its id, or pass a name.")
    what = f"The job {job_id!r}"
    check_parts(job, what, _OF_JOB)
    pool, limits = value(job, "pool_info"), value(job, "constraints")
    check_parts(pool, f"The pool_info of the job {job_id!r}", frozenset({"pool_id"}), "pool_info.")
    check_parts(limits, what, _LIMITS, "constraints.")
    mode = value(job, "all_tasks_complete_mode", "on_all_tasks_complete")
    found = {
        "job_name": job_id,
        "pool_name": value(pool, "pool_id"),
        "task_retries": value(limits, "max_task_retry_count"),
        "timeout": _duration(value(limits, "max_wall_clock_time")),
        "mark_complete_after_tasks_run": "terminate" in str(mode).lower(),  # as the service: no
        "metadata": {
            str(value(one, "name")): str(value(one, "value"))
            for one in value(job, "metadata") or ()
        },
    }
    return {key: given for key, given in found.items() if given is not None}


def check_pool(arguments: Mapping[str, Any]) -> None:
    """See that arguments made of an object name a pool: no other is taken for it.

    Raises:
        InvalidInputError: they do not.
    """
    if not arguments.get("pool_name"):
        raise InvalidInputError(
            f"The job {arguments['job_name']!r} names no pool.",
            "Set pool_info.pool_id, or pass pool_name.",
        )


def _duration(given: Any) -> Any:
    """A duration as a timedelta, where ISO 8601, such as `PT3M`, was given; None: no limit."""
    found = _ISO.fullmatch(given) if isinstance(given, str) else None
    if found is not None:
        numbers = (float((part or "0").replace(",", ".")) for part in found.groups())
        try:
            given = timedelta(**dict(zip(_UNITS, numbers, strict=True)))
        except OverflowError:
            return given  # who takes it says what is wrong with it
    return None if isinstance(given, timedelta) and given >= _NO_LIMIT else given


# --- tasks


def task_spec(task: Any) -> TaskSpec:
    """The task that a description stands for, as the service takes it.

    Raises:
        InvalidInputError: it has no id or no command, or something in it can never work.
        UnsupportedError: as `check_parts`.
    """
    task_id, command = value(task, "id"), value(task, "command_line")
    if task_id is None or command is None:
        raise InvalidInputError(
            f"{task!r} is not a task that can be added.",
            "Create it with task.get_task_config(...), or call client.add_task.",
        )
    container = value(task, "container_settings")
    check_container(container)
    spec = TaskSpec(
        command_line=command_text(command),
        id=names.task_id(task_id),
        image=references.image(value(container, "image_name")),
        mounts=run_options.mounts(value(container, "container_run_options")),
    )
    spec = with_parts(spec, task)
    return with_dependencies(spec, value(task, "depends_on"))


def with_parts(spec: TaskSpec, task: Any) -> TaskSpec:
    """A task with limits, exit conditions and output files of a description.

    Raises:
        InvalidInputError: a limit can never work. UnsupportedError: as `check_parts`.
    """
    what = f"The task {spec.id!r}"
    check_parts(task, what, _OF_TASK)
    limits = value(task, "constraints")
    check_parts(limits, what, _LIMITS, "constraints.")
    tries = value(limits, "max_task_retry_count")
    files = value(task, "output_files")
    if files:
        from cfa.cloudops.client import output_files  # few tasks have some

        spec = evolve(spec, upload=output_files.of_files(files))
    return evolve(
        spec,
        timeout_s=minutes("max_wall_clock_time", _duration(value(limits, "max_wall_clock_time"))),
        max_retries=None if tries is None else retries("max_task_retry_count", tries),
        run_dependents_on_failure=_satisfies(value(task, "exit_conditions"), spec.id),
    )


def check_container(settings: Any) -> None:
    """Name what settings of a container ask for and nothing acts on."""
    known = {"image_name", "container_run_options", "working_directory"}
    check_parts(settings, "The container", frozenset(known), "container_settings.")
    directory = value(settings, "working_directory")
    if directory is not None and word(directory) != "containerimagedefault":
        tell(["container_settings.working_directory (a task starts in the image's own)"])


def _satisfies(conditions: Any, task_id: Any) -> bool:
    """Whether tasks that depend on a task run when it fails."""
    codes = [
        *(value(conditions, "exit_codes") or ()),
        *(value(conditions, "exit_code_ranges") or ()),
    ]
    default = value(conditions, "default")
    others = ("pre_processing_error", "file_upload_error")
    options = [default, *(value(one, "exit_options") for one in codes)]
    tell_parts(f"exit_conditions.{name}" for name in others if value(conditions, name))
    for one in options:
        known = frozenset({"dependency_action"})
        check_parts(one, f"The task {task_id!r}", known, "exit_conditions.")

    def satisfied(options: Any) -> bool:
        return "satisfy" in str(value(options, "dependency_action")).lower()

    if satisfied(default):
        return True
    some = any(
        satisfied(value(one, "exit_options")) and value(one, "code", "end") != 0 for one in codes
    )
    if some:
        _log.warning(
            "The exit conditions of the task %r name exit codes: tasks that depend on it run "
            "after every failure on this machine.",
            task_id,
        )
    return some


def with_dependencies(spec: TaskSpec, given: Any) -> TaskSpec:
    """A task with what it depends on: ids, or an object with `task_ids` and `task_id_ranges`.

    Raises:
        InvalidInputError: it is neither, or the ranges are too long to go with other ids.
    """
    ids, ranges = value(given, "task_ids"), value(given, "task_id_ranges")
    if ids is None and ranges is None and not hasattr(given, "task_ids"):
        if isinstance(given, Mapping) and given:
            raise InvalidInputError(
                f"depends_on={given!r} has neither task_ids nor task_id_ranges.",
                "Pass ids of tasks.",
            )
        return evolve(spec, depends_on=dependencies(given))
    found = dependencies(ids)
    pairs = [(int(value(one, "start")), int(value(one, "end"))) for one in ranges or ()]
    if len(pairs) == 1 and not found:
        return evolve(spec, depends_on_range=pairs[0])
    if sum(end - start + 1 for start, end in pairs) > _MOST_IDS:
        raise InvalidInputError(
            f"depends_on has ranges of more than {_MOST_IDS:,} ids beside others.",
            "Let it depend only on one range.",
        )
    more = (str(number) for start, end in pairs for number in range(start, end + 1))
    return evolve(spec, depends_on=dependencies([*found, *more]))
