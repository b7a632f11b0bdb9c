"""`cloudops job`."""

from __future__ import annotations

from typing import Annotated

import typer

from cfa.cloudops.cli import output
from cfa.cloudops.cli.context import Json, open_batch
from cfa.cloudops.errors import InvalidInputError
from cfa.cloudops.model.values import Job, JobSpec

app = typer.Typer(no_args_is_help=True, help="List, show, monitor, terminate and delete jobs.")


@app.command("list")
def list_jobs(ctx: typer.Context, as_json: Json = False) -> None:
    """List the jobs of the workspace, oldest first."""
    with open_batch(ctx) as batch:
        jobs = batch.list_jobs()
    if as_json:
        output.document(jobs)
        return
    output.table(
        ("job", "pool", "state", "active", "running", "succeeded", "failed", "created", "problem"),
        (
            (
                job.spec.id,
                job.spec.pool_id,
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


@app.command()
def show(ctx: typer.Context, job: str, as_json: Json = False) -> None:
    """Show the definition and the state of a job."""
    with open_batch(ctx) as batch:
        found = batch.get_job(job)
        directory = batch.workspace.job_directory(found.spec.id)
    if as_json:
        output.document({"job": found, "directory": directory})
        return
    spec = found.spec
    output.facts(
        [
            ("job", spec.id),
            ("state", found.state),
            ("problem", found.problem),
            ("created", output.when(found.created)),
            ("ended", output.when(found.ended)),
            ("because", found.terminate_reason),
            ("pool", spec.pool_id),
            ("tasks", counts_text(found)),
            ("retries", "without limit" if spec.max_task_retries < 0 else spec.max_task_retries),
            ("time limit", "none" if spec.timeout_s is None else output.duration(spec.timeout_s)),
            ("completes", _end(spec)),
            ("task ids", _task_ids(spec)),
            ("logs saved to", _logs(spec)),
            ("directory", directory),
            *((f"metadata {name}", value) for name, value in spec.metadata),
        ]
    )


@app.command()
def monitor(
    ctx: typer.Context,
    job: str,
    timeout: Annotated[
        float | None, typer.Option(help="Minutes to wait at most.", metavar="MINUTES")
    ] = None,
) -> None:
    """Follow a job until its tasks are completed.

    Exit status: 0 when all succeeded, 1 when one failed or never ran, 7 when the time is over.
    """
    if timeout is not None and not timeout > 0:
        raise InvalidInputError(f"--timeout {timeout:g} is not above 0.", "Give minutes.")
    from cfa.cloudops.cli.monitor import follow

    with open_batch(ctx) as batch:
        status = follow(batch, job, None if timeout is None else timeout * 60)
    raise typer.Exit(status)


@app.command()
def terminate(ctx: typer.Context, jobs: Annotated[list[str], typer.Argument()]) -> None:
    """End jobs: what runs is ended and fails, nothing else starts. Their results stay."""
    with open_batch(ctx) as batch:
        for job in jobs:
            batch.terminate_job(job)
            print(f"terminated job {job}")


@app.command()
def delete(ctx: typer.Context, jobs: Annotated[list[str], typer.Argument()]) -> None:
    """Delete jobs with their tasks and the files of these; ends what runs."""
    with open_batch(ctx) as batch:
        for job in jobs:
            batch.delete_job(job)
            print(f"deleted job {job}")


def counts_text(job: Job) -> str:
    """`12: 10 succeeded, 1 failed, 1 running`, states without a task left out."""
    counts = job.counts
    parts = [
        f"{count} {name}"
        for count, name in (
            (counts.succeeded, "succeeded"),
            (counts.failed, "failed"),
            (counts.running, "running"),
            (counts.active, "waiting"),
        )
        if count
    ]
    return f"{counts.total}: {', '.join(parts)}" if parts else "none"


def _end(spec: JobSpec) -> str:
    if spec.manager_task_id is not None:
        return f"with the task {spec.manager_task_id}"
    return "when all of its tasks have" if spec.auto_complete else "when told to"


def _task_ids(spec: JobSpec) -> str:
    return "1, 2, ..." if spec.integer_task_ids else f"{spec.id.replace(':', '-')}-<suffix>-<n>"


def _logs(spec: JobSpec) -> str:
    return "" if spec.log_container is None else f"{spec.log_container}/{spec.log_folder}"
