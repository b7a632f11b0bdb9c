"""`cloudops status`: a workspace on one screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

import click

from cfa.cloudops.cli import output
from cfa.cloudops.cli.agent import agent_state, agent_text
from cfa.cloudops.cli.context import Json, find_workspace, load_settings, open_batch
from cfa.cloudops.cli.declare import Commands
from cfa.cloudops.model.values import Job, JobState, Task, TaskResult, TaskState

if TYPE_CHECKING:
    from cfa.cloudops.provider.batch import BatchProvider
    from cfa.cloudops.settings import Settings

root = Commands()

#: Lines of each part, so that all parts fit on one screen.
_JOBS = 8
_TASKS = 5
#: Characters of a command or a reason.
_WORDS = 60


@root.add()
def status(ctx: click.Context, as_json: Json = False) -> None:
    """Show on one screen the jobs, what runs, what failed, the agent and the backend.

    It is also what cloudops shows without a command in a directory with a workspace.
    """
    settings = load_settings(ctx)
    agent = agent_state(find_workspace(settings))
    with open_batch(ctx) as batch:
        every = batch.list_jobs()
        pools = {pool.spec.id: pool.spec.backend for pool in batch.list_pools()}
        jobs = sorted(every, key=_latest, reverse=True)[:_JOBS]
        running = _tasks(batch, [job for job in jobs if job.counts.running], _runs)
        failed = _tasks(batch, [job for job in jobs if job.counts.failed], _failed)
    if as_json:
        output.document(
            {
                "workspace": settings.home,
                "backend": {"name": settings.backend, "origin": _origin(settings)},
                "agent": agent,
                "pools": pools,
                "jobs": jobs,
                "running": running,
                "failed": failed,
            }
        )
        return
    output.facts(
        [
            ("workspace", settings.home),
            ("backend", f"{settings.backend} ({_origin(settings)}), for new pools"),
            (
                "pools",
                ", ".join(f"{name} on {backend}" for name, backend in pools.items()) or "none",
            ),
            ("agent", agent_text(agent)),
        ]
    )
    output.line("")
    _show_jobs(jobs)
    _more(len(every) - len(jobs), "cloudops job list")
    _show_running(jobs, running)
    _show_failed(jobs, failed)


def _origin(settings: Settings) -> str:
    return settings.origins["CLOUDOPS_BACKEND"]


def _latest(job: Job) -> tuple[bool, datetime]:
    """Jobs that have something to do come first, then the newest."""
    return job.state is not JobState.COMPLETED, job.created


def _runs(task: Task) -> bool:
    return task.state is TaskState.RUNNING


def _failed(task: Task) -> bool:
    return task.result is TaskResult.FAILURE


def _tasks(batch: BatchProvider, jobs: Sequence[Job], wanted: Callable[[Task], bool]) -> list[Task]:
    """The first wanted tasks of jobs, `_TASKS` of all jobs together."""
    found = (task for job in jobs for task in batch.list_tasks(job.spec.id) if wanted(task))
    return list(islice(found, _TASKS))


def _show_jobs(jobs: Sequence[Job]) -> None:
    output.table(
        ("job", "state", "active", "running", "succeeded", "failed", "created", "problem"),
        (
            (
                job.spec.id,
                job.state,
                job.counts.active,
                job.counts.running,
                job.counts.succeeded,
                job.counts.failed,
                output.when(job.created),
                job.problem,
            )
            for job in jobs
        ),
        empty="no jobs",
    )


def _show_running(jobs: Sequence[Job], tasks: Sequence[Task]) -> None:
    if not tasks:
        return
    output.heading("Running")
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
    )
    _more(sum(job.counts.running for job in jobs) - len(tasks), "cloudops task list JOB")


def _show_failed(jobs: Sequence[Job], tasks: Sequence[Task]) -> None:
    if not tasks:
        return
    output.heading("Failed")
    output.table(("task", "job", "why"), ((task.id, task.job_id, _why(task)) for task in tasks))
    _more(sum(job.counts.failed for job in jobs) - len(tasks), "cloudops task list --failed JOB")
    first = tasks[0]
    output.line(f"Its last lines: cloudops task show {first.job_id} {first.id}")


def _why(task: Task) -> str:
    return _short(task.failure.message) if task.failure else ""


def _short(text: str) -> str:
    return text if len(text) <= _WORDS else f"{text[: _WORDS - 3]}..."


def _seconds(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds())


def _more(count: int, command: str) -> None:
    if count > 0:
        output.line(f"... and {count:,} more: {command}")
