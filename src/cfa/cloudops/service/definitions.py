"""Definitions of pools and jobs as readable text, and rows of the store as values."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from attrs import asdict, fields_dict

from cfa.cloudops.autoscale import remaining_task_autoscale_formula
from cfa.cloudops.errors import InvalidInputError, StoreUnreadableError
from cfa.cloudops.model.values import (
    AutoscaleRun,
    Event,
    Failure,
    Isolation,
    Job,
    JobSchedule,
    JobScheduleSpec,
    JobScheduleState,
    JobSpec,
    JobState,
    Mount,
    Pool,
    PoolSpec,
    Resources,
    Task,
    TaskCounts,
    TaskResult,
    TaskState,
)
from cfa.cloudops.service import store
from cfa.cloudops.service.occurrences import next_occurrence
from cfa.cloudops.service.sums import sound

POOL_COLUMNS = f"{sound('pool.definition')}, state, created, scaling"
JOB_COLUMNS = (
    f"{sound('job.definition')}, state, created, ended, terminate_reason, last_task_number, "  # noqa: S608
    f"active, running, succeeded, failed, problem, log_problem, {store.PULLING}, "
    f"(SELECT COUNT(*) FROM task WHERE task.job = job.number AND {store.OWED})"
)
SCHEDULE_COLUMNS = f"{sound('schedule.definition')}, state, created, ended, used, recent_job"
TASK_COLUMNS = (
    f"{sound('task.id')}, command, task.state, exit_code, failure, message, image, task.created, "
    "started, task.ended, node, retried, requeued, unmet"
)

#: As `shlex` sees it: other blanks, such as a no-break space, are part of a word.
_WORD = re.compile(r"[^ \t\r\n]+")
#: What makes a command more than words between blanks.
_QUOTING = re.compile(r"""['"\\]""")

_STATES = (TaskState.ACTIVE, TaskState.PREPARING, TaskState.RUNNING, TaskState.COMPLETED)


def check_command(text: str) -> None:
    """Check that a command line can be split, quicker than by splitting it.

    Raises:
        InvalidInputError: as `split_command`.
    """
    if (
        not text.isascii()
        or "\0" in text
        or _QUOTING.search(text) is not None
        or _WORD.search(text) is None
    ):
        split_command(text)


def split_command(text: str) -> list[str]:
    """Words of a command line by POSIX rules; no shell will see it.

    Raises:
        InvalidInputError: it is empty, a quote is left open, or it has a NUL.
    """
    if "\0" in text:
        raise InvalidInputError(f"The command {text!r} has a NUL character.", "Remove it.")
    if not text.isascii() and any("\ud800" <= sign <= "\udfff" for sign in text):
        raise InvalidInputError(
            f"The command {text!r} has bytes that are not text.",
            "Rename the file, or name it in a script that the task runs.",
        )
    try:
        # shlex is slow; most commands have nothing for it to do.
        words = shlex.split(text) if _QUOTING.search(text) else _WORD.findall(text)
    except ValueError as error:
        raise InvalidInputError(
            f"The command {text!r} cannot be split into words: {error}.",
            "Close every quote. No shell runs a command; for a shell, write sh -c '...'.",
        ) from None
    if not words:
        raise InvalidInputError("The command of a task is empty.", "Pass command_line.")
    return words


def mounts_text(mounts: tuple[Mount, ...] | None) -> str | None:
    """Mounts as JSON, or None for None."""
    return None if mounts is None else json.dumps([[m.source, m.target] for m in mounts])


def mounts_from(text: str | None) -> tuple[Mount, ...] | None:
    return None if text is None else tuple(Mount(*pair) for pair in json.loads(text))


def definition(spec: PoolSpec | JobSpec | JobScheduleSpec) -> str:
    """A definition as indented JSON, for the store and for people; intervals are in seconds."""
    return json.dumps(asdict(spec), indent=2, default=_time_text)


def _time_text(value: timedelta | datetime) -> float | str:
    return value.total_seconds() if isinstance(value, timedelta) else value.isoformat()


#: So many are kept as they were read: whoever adds tasks one by one reads the same ones each time.
_DEFINITIONS = 32
#: What comes of values that nobody wrote.
_WRONG = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    OSError,
    RecursionError,
)


def _unreadable(what: str, error: BaseException) -> StoreUnreadableError:
    if isinstance(error, StoreUnreadableError):
        return error
    return StoreUnreadableError(
        f"The store holds {what} that cannot be read: {type(error).__name__}: {error}.",
        "Restore it from a copy, or set CLOUDOPS_HOME to another directory to start over.",
    )


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """Say that something in the store is not what this version, or one before it, wrote there."""
    try:
        yield
    except _WRONG as error:
        raise _unreadable(what, error) from None


def _table(text: str, kind: type) -> dict[str, Any]:
    """A definition of any version: what it lacks has its default, what it has beyond is left out."""
    data = json.loads(text)
    if not isinstance(data, dict):
        raise TypeError("no object")
    return {name: data[name] for name in fields_dict(kind) if name in data}


@lru_cache(_DEFINITIONS)
def pool_spec(text: str) -> PoolSpec:
    """A pool from its definition. Raises: StoreUnreadableError."""
    with _readable("a pool"):
        data = _table(text, PoolSpec)
        if data.get("autoscale_formula") is not None and "autoscale_interval_s" not in data:
            # Of a version that kept formulas, but always gave a pool all of its nodes.
            data["autoscale_formula"] = remaining_task_autoscale_formula(
                max_number_vms=data.get("nodes", 1)
            )
        if "mounts" in data:
            data["mounts"] = tuple(
                Mount(mount["source"], mount["target"]) for mount in data["mounts"]
            )
        if "isolation" in data:
            data["isolation"] = Isolation(data["isolation"])
        if "resources" in data:
            data["resources"] = Resources(**_table(json.dumps(data["resources"]), Resources))
        return PoolSpec(**_with_metadata(data))


@lru_cache(_DEFINITIONS)
def job_spec(text: str) -> JobSpec:
    """A job from its definition. Raises: StoreUnreadableError."""
    with _readable("a job"):
        return JobSpec(**_with_metadata(_table(text, JobSpec)))


def schedule_spec(text: str) -> JobScheduleSpec:
    """A job schedule from its definition. Raises: StoreUnreadableError."""
    with _readable("a job schedule"):
        data = _table(text, JobScheduleSpec)
        for name in ("start_window", "recurrence_interval"):
            if data.get(name) is not None:
                data[name] = timedelta(seconds=data[name])
        for name in ("do_not_run_until", "do_not_run_after"):
            if data.get(name) is not None:
                data[name] = datetime.fromisoformat(data[name])
        return JobScheduleSpec(**_with_metadata(data))


def _with_metadata(data: dict[str, Any]) -> dict[str, Any]:
    if "metadata" in data:
        data["metadata"] = tuple((name, value) for name, value in data["metadata"])
    return data


def when(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


#: Tasks that were added together have this time in common.
_created = lru_cache(8)(_time)


def pool_value(row: store.Row) -> Pool:
    """A row of `POOL_COLUMNS`."""
    text, state, created, scaling = row
    spec = pool_spec(text)
    dedicated, low_priority = spec.dedicated_nodes, spec.nodes - spec.dedicated_nodes
    run = None
    with _readable("a pool"):
        if spec.autoscale_formula is not None:
            held = json.loads(scaling or "{}")
            dedicated, low_priority = held.get("dedicated", 0), held.get("low_priority", 0)
            if held:
                run = AutoscaleRun(
                    evaluated=_time(held["evaluated"]), results=held["results"], error=held["error"]
                )
        return Pool(
            spec=spec,
            state=state,
            created=_time(created),
            dedicated_nodes=dedicated,
            low_priority_nodes=low_priority,
            autoscale_run=run,
        )


def job_value(row: store.Row) -> Job:
    """A row of `JOB_COLUMNS`."""
    (
        text, state, created, ended, reason, last, active, running, succeeded, failed, problem,
        log_problem, pulling, owed,
    ) = row  # fmt: skip
    spec = job_spec(text)
    if problem is not None or state == JobState.COMPLETED:
        pulling = None  # that no longer is what keeps its tasks from running
    elif pulling is not None:
        problem = f"Pulling the image {pulling}."
    with _readable("a job"):
        return Job(
            spec=spec,
            state=JobState(state),
            created=_time(created),
            ended=when(ended),
            terminate_reason=reason,
            last_task_number=last,
            counts=TaskCounts(active=active, running=running, succeeded=succeeded, failed=failed),
            problem=log_problem if problem is None else problem,
            logs_owed=owed,
            pulling=pulling,
        )


def schedule_value(row: store.Row) -> JobSchedule:
    """A row of `SCHEDULE_COLUMNS`."""
    text, state, created, ended, used, recent = row
    spec = schedule_spec(text)
    with _readable("a job schedule"):
        following = None
        if state == JobScheduleState.ACTIVE:
            following = next_occurrence(spec, _time(created), used, datetime.now(UTC))
        return JobSchedule(
            spec=spec,
            state=JobScheduleState(state),
            created=_time(created),
            ended=when(ended),
            next_run=None if following is None else following.due,
            recent_job=recent,
        )


def task_value(row: store.Row, job_id: str, directory: str) -> Task:
    """A row of `TASK_COLUMNS`; `directory` is the job's."""
    (
        identifier, command, state, exit_code, failure, message, image, created, started, ended,
        node, retried, requeued, unmet,
    ) = row  # fmt: skip
    try:
        result = None
        if state == store.COMPLETED:
            result = TaskResult.SUCCESS if failure is None else TaskResult.FAILURE
        return Task(
            id=identifier,
            job_id=job_id,
            command_line=command,
            state=_STATES[state],
            result=result,
            exit_code=exit_code,
            failure=None if failure is None else Failure(code=failure, message=message or ""),
            image=image,
            created=_created(created),
            started=when(started),
            ended=when(ended),
            node_id=node,
            retry_count=retried,
            requeue_count=requeued,
            waits_for=unmet,
            directory=f"{directory}/{identifier}",
        )
    except _WRONG as error:
        raise _unreadable(f"a task of the job {job_id!r}", error) from None


def event_value(row: store.Row) -> Event:
    """A row of number, time, task id, what, detail."""
    number, seconds, task_id, what, detail = row
    try:
        return Event(
            number=number, time=_time(seconds), task_id=task_id, what=what, detail=detail or ""
        )
    except _WRONG as error:
        raise _unreadable("an event", error) from None
