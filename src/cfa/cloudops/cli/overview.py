"""`cloudops status`: a workspace on one screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

import click

from cfa.cloudops.cli import output
from cfa.cloudops.cli.agent import agent_state, agent_text
from cfa.cloudops.cli.context import Json, find_workspace, load_settings, open_batch
from cfa.cloudops.cli.declare import Commands
from cfa.cloudops.model.plain import command_line, counted
from cfa.cloudops.model.values import Job, JobState, Task, TaskResult, TaskState

if TYPE_CHECKING:
    import os

    from cfa.cloudops.cli.agent import AgentState
    from cfa.cloudops.provider.batch import BatchProvider
    from cfa.cloudops.settings import Settings

root = Commands()

#: Jobs, and tasks that run or failed, where there is no terminal to be filled.
_JOBS = 8
_TASKS = 5
#: Columns of the names of facts.
_NAMES = 11
#: Lines around jobs: a blank one, headers, how many more there are, and the prompt that comes after.
_JOB_LINES = 4
#: Lines around tasks: a blank one, a heading, headers.
_TASK_LINES = 3
#: Characters of a command or a reason where there is no terminal.
_WORDS = 60


@root.add()
def status(ctx: click.Context, as_json: Json = False) -> None:
    """Show jobs, running and failed tasks, the agent and the backend on one screen.

    With --json: all jobs, and all running and failed tasks, however many there are.

    In a directory with a workspace, cloudops without a command shows the same.
    """
    settings = load_settings(ctx)
    agent = agent_state(find_workspace(settings))
    screen = None if as_json else output.screen()
    most = None if as_json else _TASKS if screen is None else screen.lines
    with open_batch(ctx) as batch:
        every = sorted(batch.list_jobs(), key=_latest, reverse=True)
        pools = {pool.spec.id: pool.spec.backend for pool in batch.list_pools()}
        running = _tasks(batch, [(job, job.counts.running) for job in every], _runs, most)
        failed = _tasks(batch, [(job, job.counts.failed) for job in every], _failed, most)
    if as_json:
        output.document(
            {
                "workspace": settings.home,
                "backend": {"name": settings.backend, "origin": _origin(settings)},
                "agent": agent,
                "pools": pools,
                "jobs": every,
                "running": running,
                "failed": failed,
            }
        )
        return
    facts = _facts(settings, agent, pools, screen)
    hint = _hint(failed[0]) if failed else ""
    limits = [_JOBS, _TASKS, _TASKS]
    if screen is not None:
        others = [*(_NAMES + len(value) for value in facts.values()), len(hint)]
        room = screen.lines - sum(-(-length // screen.columns) for length in others)
        limits = _limits(room, [len(every), len(running), len(failed)])
    jobs = every[: limits[0]]
    output.facts(facts.items())
    output.line("")
    _show_jobs(jobs)
    if len(jobs) < len(every):
        output.line(f"... and {len(every) - len(jobs):,} more: cloudops job list")
    _show_running(running[: limits[1]], sum(job.counts.running for job in every))
    _show_failed(failed[: limits[2]], sum(job.counts.failed for job in every))
    if hint:
        output.line(hint)


def _facts(
    settings: Settings,
    agent: AgentState,
    pools: Mapping[str, str],
    screen: os.terminal_size | None,
) -> dict[str, str]:
    """What is said before the jobs, a line for each; only the workspace's path may take more."""
    facts = {
        "workspace": str(settings.home),
        "backend": f"{settings.backend} ({_origin(settings)}), for new pools",
        "pools": ", ".join(f"{name} on {backend}" for name, backend in pools.items()) or "none",
        "agent": agent_text(agent),
    }
    if screen is None:
        return facts
    room = screen.columns - _NAMES
    return {
        name: value if name == "workspace" else output.cut(value, room)
        for name, value in facts.items()
    }


def _origin(settings: Settings) -> str:
    return settings.origins["CLOUDOPS_BACKEND"]


def _latest(job: Job) -> tuple[bool, datetime]:
    """Jobs that have something to do come first, then the newest."""
    return job.state is not JobState.COMPLETED, job.created


def _runs(task: Task) -> bool:
    return task.state is TaskState.RUNNING


def _failed(task: Task) -> bool:
    return task.result is TaskResult.FAILURE


def _tasks(
    batch: BatchProvider,
    counts: Sequence[tuple[Job, int]],
    wanted: Callable[[Task], bool],
    most: int | None,
) -> list[Task]:
    """The first wanted tasks of all jobs together.

    Args:
        batch: the service.
        counts: how many each job has: nothing is looked at once all are found.
        wanted: whether a task is meant.
        most: how many at most; None: all.
    """
    found = (
        task
        for job, count in counts
        if count
        for task in islice(filter(wanted, batch.list_tasks(job.spec.id)), count)
    )
    return list(islice(found, most))


def _limits(room: int, wanted: Sequence[int]) -> list[int]:
    """How many jobs, running tasks and failed tasks a terminal shows.

    As evenly as can be, no more than there are, and at least one of each.

    Args:
        room: lines of the terminal for them and for what is around them.
        wanted: how many there are.
    """
    room -= _JOB_LINES + _TASK_LINES * sum(count > 0 for count in wanted[1:])
    given = [min(1, count) for count in wanted]
    while sum(given) < min(room, sum(wanted)):
        open_ = [part for part, count in enumerate(wanted) if given[part] < count]
        given[min(open_, key=given.__getitem__)] += 1
    return given


def _show_jobs(jobs: Sequence[Job]) -> None:
    now = datetime.now(UTC)
    output.table(
        ("job", "state", "active", "running", "succeeded", "failed", "age", "problem"),
        (
            (
                job.spec.id,
                job.state,
                job.counts.active,
                job.counts.running,
                job.counts.succeeded,
                job.counts.failed,
                _age(job.created, now),
                job.problem,
            )
            for job in jobs
        ),
        empty="no jobs",
        folded=False,
        spared=("age", "succeeded", "active"),
    )


def _show_running(tasks: Sequence[Task], total: int) -> None:
    if not tasks:
        return
    _head("Running", len(tasks), total, "cloudops task list JOB")
    now = datetime.now(UTC)
    output.table(
        ("task", "job", "time", "command"),
        (
            (
                task.id,
                task.job_id,
                "" if task.started is None else output.duration(_seconds(task.started, now)),
                _short(task.command_line),
            )
            for task in tasks
        ),
        folded=False,
        spared=("command", "job"),
    )


def _show_failed(tasks: Sequence[Task], total: int) -> None:
    if not tasks:
        return
    _head("Failed", len(tasks), total, "cloudops task list --failed JOB")
    rows = ((task.id, task.job_id, _why(task)) for task in tasks)
    output.table(("task", "job", "why"), rows, folded=False, spared=("job",))


def _head(title: str, shown: int, total: int, command: str) -> None:
    """A heading that says how to see what is not shown."""
    output.heading(title if shown >= total else f"{title}, {shown} of {total:,}: {command}")


def _hint(task: Task) -> str:
    return f"Its last lines: {command_line('task show', task.job_id, task.id)}"


def _why(task: Task) -> str:
    return _short(task.failure.message) if task.failure else ""


def _short(text: str) -> str:
    """The beginning of a text: more than a terminal has room for, which cuts it, or else not much."""
    if (screen := output.screen()) is not None:
        return text[: screen.columns + 1]
    return text if len(text) <= _WORDS else f"{text[: _WORDS - 3]}..."


def _seconds(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds())


def _age(created: datetime, now: datetime) -> str:
    seconds = _seconds(created, now)
    days = int(seconds // 86400)
    return counted(days, "day") if days else output.duration(seconds)
