"""What objects of the cloud's SDK say of jobs and tasks.

The SDK's models have attributes in snake_case and, as mappings, the service's keys in camelCase;
scripts also pass plain mappings in either spelling. What is not offered here and would change the
result is refused; what only the cloud knows is named in the log.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from attrs import evolve

from cfa.cloudops.client.arguments import command_text, dependencies
from cfa.cloudops.client.jobs import minutes, retries
from cfa.cloudops.errors import InvalidInputError, UnsupportedError
from cfa.cloudops.model import names, references
from cfa.cloudops.model.values import Mount, TaskSpec

_log = logging.getLogger(__name__)

#: Parts of a job and a task that change what runs, with what to do instead.
_REFUSED = {
    "auto_pool_specification": "Make the pool with client.create_pool and name it in pool_info.",
    "job_manager_task": "Add it as a task that others depend on.",
    "job_preparation_task": "Add it as a task that the others depend on.",
    "job_release_task": "Add it as a task that depends on the others.",
    "common_environment_settings": "Write env NAME=value in front of the commands.",
    "environment_settings": "Write env NAME=value in front of the command.",
    "resource_files": "Upload them to a blob container and mount it.",
    "application_package_references": "Put the program into the image.",
    "multi_instance_settings": "Run one task, with as many cores as the node has.",
}
#: Parts that make no difference to a single machine.
_NAMED = (
    "priority", "max_parallel_tasks", "network_configuration", "required_slots", "affinity_info",
    "output_files",
)  # fmt: skip
_BIND = re.compile(r"--mount type=bind,source=[^,\s]*?/([^,/\s]+),target=/*([^,\s]+)")
_ISO = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
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


def check_parts(item: Any, what: str) -> None:
    """Refuse parts that are not offered here, and name those that mean nothing.

    Raises:
        UnsupportedError: there is a part without which the result would be another.
    """
    for name, instead in _REFUSED.items():
        if value(item, name):
            raise UnsupportedError(
                f"{what} has {name}, which is not available on this machine.", instead
            )
    given = [name for name in _NAMED if value(item, name)]
    if given:
        _warn_of_parts(", ".join(given))


@functools.cache
def _warn_of_parts(given: str) -> None:
    """Once in a process: a script that adds a thousand tasks gets one line."""
    _log.warning("Objects of the SDK have %s, which has no effect on this machine.", given)


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
    check_parts(job, f"The job {job_id!r}")
    pool = value(job, "pool_info")
    check_parts(pool, f"The pool_info of the job {job_id!r}")
    limits = value(job, "constraints")
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
    """A duration as a timedelta, where the service's spelling, such as `PT3M`, was given."""
    found = _ISO.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        return given  # who takes it says what is wrong with it
    days, hours, mins, seconds = (float(part or 0) for part in found.groups())
    return timedelta(days=days, hours=hours, minutes=mins, seconds=seconds)


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
    spec = TaskSpec(
        command_line=command_text(command),
        id=names.task_id(task_id),
        image=references.image(value(container, "image_name")),
        mounts=bind_mounts(value(container, "container_run_options")),
    )
    spec = with_parts(spec, task)
    return with_dependencies(spec, value(task, "depends_on"))


def with_parts(spec: TaskSpec, task: Any) -> TaskSpec:
    """A task with limits and exit conditions of a description.

    Raises:
        InvalidInputError: a limit can never work. UnsupportedError: as `check_parts`.
    """
    check_parts(task, f"The task {spec.id!r}")
    limits = value(task, "constraints")
    tries = value(limits, "max_task_retry_count")
    return evolve(
        spec,
        timeout_s=minutes("max_wall_clock_time", _duration(value(limits, "max_wall_clock_time"))),
        max_retries=None if tries is None else retries("max_task_retry_count", tries),
        run_dependents_on_failure=_satisfies(value(task, "exit_conditions"), spec.id),
    )


def _satisfies(conditions: Any, task_id: Any) -> bool:
    """Whether tasks that depend on a task run when it fails."""

    def satisfied(options: Any) -> bool:
        return "satisfy" in str(value(options, "dependency_action")).lower()

    if satisfied(value(conditions, "default")):
        return True
    codes = [
        *(value(conditions, "exit_codes") or ()),
        *(value(conditions, "exit_code_ranges") or ()),
    ]
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
                f"depends_on={given!r} of the task {spec.id!r} has neither task_ids nor "
                "task_id_ranges.",
                "Pass ids of tasks.",
            )
        return evolve(spec, depends_on=dependencies(given))
    found = dependencies(ids)
    pairs = [(int(value(one, "start")), int(value(one, "end"))) for one in ranges or ()]
    if len(pairs) == 1 and not found:
        return evolve(spec, depends_on_range=pairs[0])
    if sum(end - start + 1 for start, end in pairs) > _MOST_IDS:
        raise InvalidInputError(
            f"depends_on of the task {spec.id!r} has ranges of more than {_MOST_IDS:,} ids beside "
            "others.",
            "Let it depend only on one range.",
        )
    more = (str(number) for start, end in pairs for number in range(start, end + 1))
    return evolve(spec, depends_on=dependencies([*found, *more]))


def bind_mounts(options: str | None) -> tuple[Mount, ...] | None:
    """The mounts among a container's options; None, so those of the pool, when there are none."""
    return tuple(Mount(*pair) for pair in _BIND.findall(options or "")) or None
