"""Definitions of pools and jobs as readable text, and rows of the store as values."""

from __future__ import annotations

import json
import re
import shlex
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import asdict

from cfa.cloudops.errors import InvalidInputError
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

POOL_COLUMNS = "definition, state, created, scaling"
JOB_COLUMNS = (
    "definition, state, created, ended, terminate_reason, last_task_number, "  # noqa: S608
    "active, running, "
    "succeeded, failed, COALESCE(problem, log_problem), "
    f"(SELECT COUNT(*) FROM task WHERE task.job = job.number AND {store.OWED})"
)
SCHEDULE_COLUMNS = "definition, state, created, ended, used, recent_job"
TASK_COLUMNS = (
    "task.id, command, task.state, exit_code, failure, message, image, task.created, started, "
    "task.ended, node, retried, requeued, unmet"
)

#: As `shlex` sees it: other blanks, such as a no-break space, are part of a word.
_WORD = re.compile(r"[^ \t\r\n]+")

_STATES = (TaskState.ACTIVE, TaskState.PREPARING, TaskState.RUNNING, TaskState.COMPLETED)


def split_command(text: str) -> list[str]:
    """Words of a command line by POSIX rules; no shell will see it.

    Raises:
        InvalidInputError: it is empty, a quote is left open, or it has a NUL.
    """
    if "\0" in text:
        raise InvalidInputError(f"The command {text!r} has a NUL character.", "Remove it.")
    if not text.isascii() and any("\ud800" <= sign <= "\udfff" for sign in text):
        raise InvalidInputError(
            f"The command {text!r} has bytes that are no text.",
            "Rename the file, or name it in a script that the task runs.",
        )
    try:
        # shlex is slow; most commands have nothing for it to do.
        words = shlex.split(text) if any(sign in text for sign in "'\"\\") else _WORD.findall(text)
    except ValueError as error:
        raise InvalidInputError(
            f"The command {text!r} cannot be split into words: {error}.",
            "Close every quote; commands are not run by a shell, write sh -c '...' for one.",
        ) from None
    if not words:
        raise InvalidInputError("A task needs a command, this one is empty.", "Pass command_line.")
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


def _pairs(items: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in items)


def pool_spec(text: str) -> PoolSpec:
    data: dict[str, Any] = json.loads(text)
    data["mounts"] = tuple(Mount(**mount) for mount in data["mounts"])
    data["isolation"] = Isolation(data["isolation"])
    data["resources"] = Resources(**data["resources"])
    data["metadata"] = _pairs(data["metadata"])
    return PoolSpec(**data)


def job_spec(text: str) -> JobSpec:
    data: dict[str, Any] = json.loads(text)
    data["metadata"] = _pairs(data["metadata"])
    return JobSpec(**data)


def schedule_spec(text: str) -> JobScheduleSpec:
    data: dict[str, Any] = json.loads(text)
    for name in ("start_window", "recurrence_interval"):
        if data[name] is not None:
            data[name] = timedelta(seconds=data[name])
    for name in ("do_not_run_until", "do_not_run_after"):
        if data[name] is not None:
            data[name] = datetime.fromisoformat(data[name])
    data["metadata"] = _pairs(data["metadata"])
    return JobScheduleSpec(**data)


def when(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def pool_value(row: store.Row) -> Pool:
    """A row of `POOL_COLUMNS`."""
    text, state, created, scaling = row
    spec = pool_spec(text)
    dedicated, low_priority = spec.dedicated_nodes, spec.nodes - spec.dedicated_nodes
    run = None
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
        text, state, created, ended, reason, last, active, running, succeeded, failed, problem, owed,
    ) = row  # fmt: skip
    return Job(
        spec=job_spec(text),
        state=JobState(state),
        created=_time(created),
        ended=when(ended),
        terminate_reason=reason,
        last_task_number=last,
        counts=TaskCounts(active=active, running=running, succeeded=succeeded, failed=failed),
        problem=problem,
        logs_owed=owed,
    )


def schedule_value(row: store.Row) -> JobSchedule:
    """A row of `SCHEDULE_COLUMNS`."""
    text, state, created, ended, used, recent = row
    spec = schedule_spec(text)
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
        created=_time(created),
        started=when(started),
        ended=when(ended),
        node_id=node,
        retry_count=retried,
        requeue_count=requeued,
        waits_for=unmet,
        directory=f"{directory}/{identifier}",
    )


def event_value(row: store.Row) -> Event:
    """A row of number, time, task id, what, detail."""
    number, seconds, task_id, what, detail = row
    return Event(
        number=number, time=_time(seconds), task_id=task_id, what=what, detail=detail or ""
    )
