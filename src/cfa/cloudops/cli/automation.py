"""`cloudops run-experiment` and `run-tasks`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import click
from click.exceptions import Exit

from cfa.cloudops.cli import output
from cfa.cloudops.cli.context import open_client
from cfa.cloudops.cli.declare import Commands, argument, option
from cfa.cloudops.model import names
from cfa.cloudops.model.plain import counted

if TYPE_CHECKING:
    from cfa.cloudops.local import CloudClient
    from cfa.cloudops.plans import Plan

DryRun = Annotated[bool, option("--dry-run", help="Only print the command lines; add nothing.")]
Detach = Annotated[bool, option("--detach", help="Do not wait for the tasks.")]


root = Commands()


@root.add()
def run_experiment(
    ctx: click.Context,
    file: Annotated[str, argument(help="A TOML file with [job] and [experiment].")],
    dry_run: DryRun = False,
    detach: Detach = False,
) -> None:
    """Run a task for each combination of an experiment's parameters, and wait for the tasks.

    Exit status: 0 if all tasks of the job succeeded, 1 if one failed or never ran. With --detach: 0
    if the tasks were added.
    """
    from cfa.cloudops import plans

    _carry_out(ctx, plans.experiment(file), dry_run, detach)


@root.add()
def run_tasks(
    ctx: click.Context,
    file: Annotated[str, argument(help="A TOML file with [job] and [[task]].")],
    dry_run: DryRun = False,
    detach: Detach = False,
) -> None:
    """Run the tasks that a file lists, and wait for them.

    Exit status: as for run-experiment.
    """
    from cfa.cloudops import plans

    _carry_out(ctx, plans.tasks(file), dry_run, detach)


def _show(lines: list[str]) -> None:
    for line in lines:
        output.line(line)


def _carry_out(ctx: click.Context, plan: Plan, dry_run: bool, detach: bool) -> None:
    if dry_run:
        _show(plan.command_lines)
        return
    from attrs import evolve

    from cfa.cloudops.automation import run

    with open_client(ctx, make=True, quiet=False) as client:
        ids = run(evolve(plan, monitor=False), client)
        job = names.job_id(plan.job["job_name"])
        output.note(f"added {counted(len(ids), 'task')} to {job}")
        if not detach:
            raise Exit(_wait(client, job))


def _wait(client: CloudClient, job: str) -> int:
    """Wait for a job; the exit status."""
    client.monitor_job(job)
    counts = client._batch.task_counts(job)
    return 1 if counts.failed or counts.active else 0
