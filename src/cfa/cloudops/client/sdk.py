"""What objects of the cloud's SDK say of jobs and tasks. `parts` reads their parts."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from attrs import evolve

from cfa.cloudops.client import run_options
from cfa.cloudops.client.arguments import command_text, dependencies, tell
from cfa.cloudops.client.jobs import minutes, retries
from cfa.cloudops.client.parts import check_parts, tell_parts, value, word
from cfa.cloudops.errors import InvalidInputError
from cfa.cloudops.model import names, references
from cfa.cloudops.model.values import TaskSpec

_log = logging.getLogger(__name__)

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
