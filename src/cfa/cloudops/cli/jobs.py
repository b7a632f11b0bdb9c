"""`cloudops job`."""

from __future__ import annotations

from typing import Annotated

import click
from click.exceptions import Exit

from cfa.cloudops.cli import completion, output
from cfa.cloudops.cli.context import (
    Json,
    all_of,
    load_settings,
    one_of,
    open_batch,
    open_client,
)
from cfa.cloudops.cli.declare import Commands, argument, option
from cfa.cloudops.errors import InvalidInputError, JobExistsError, JobNotFoundError
from cfa.cloudops.model import names
from cfa.cloudops.model.plain import command_line
from cfa.cloudops.model.values import JobSpec, JobState

commands = Commands()

Words = Annotated[list[str] | None, argument(metavar="[JOB]...", shell_complete=completion.jobs)]
Word = Annotated[str | None, argument(metavar="[JOB]", shell_complete=completion.jobs)]
Name = Annotated[
    str | None,
    option(
        "-j", "--job-name", metavar="JOB", help="The job, as an option.",
        shell_complete=completion.jobs,
    ),
]  # fmt: skip
Names = Annotated[
    list[str] | None,
    option(
        "-j", "--job-name", metavar="JOB", help="The job, as an option.",
        shell_complete=completion.jobs,
    ),
]  # fmt: skip


@commands.add("list")
def list_jobs(ctx: click.Context, as_json: Json = False) -> None:
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
        spared=("pool", "created", "succeeded", "active"),
    )


@commands.add()
def create(
    ctx: click.Context,
    job_name: Annotated[str, option("-j", "--job-name", help="Name of the job; blanks are removed.")],
    pool_name: Annotated[
        str,
        option(
            "-p", "--pool-name", help="The pool on which the tasks run.", shell_complete=completion.pools
        ),
    ],
    save_logs_to_blob: Annotated[
        str | None,
        option(
            "--save-logs-to-blob", metavar="CONTAINER",
            help="Save the output of tasks to this blob container.",
            shell_complete=completion.containers,
        ),
    ] = None,
    logs_folder: Annotated[
        str | None,
        option("--logs-folder", help="Folder in that container; default: stdout_stderr."),
    ] = None,
    task_retries: Annotated[
        int, option("--task-retries", help="Number of retries of a failed task; -1: no limit.")
    ] = 0,
    mark_complete: Annotated[
        bool,
        option(
            "--mark-complete/--no-mark-complete",
            help="Complete the job when all of its tasks have completed.",
        ),
    ] = True,
    task_id_ints: Annotated[
        bool, option("--task-id-ints", help="Number the tasks: 1, 2, ...")
    ] = False,
    timeout: Annotated[
        float | None,
        option(
            "-t", "--timeout", metavar="MINUTES", help="Minutes until the job is terminated."
        ),
    ] = None,
    exist_ok: Annotated[
        bool, option("-e", "--exist-ok", help="Continue with a job of this name, unchanged.")
    ] = False,
    verbose: Annotated[
        bool, option("-v", "--verbose", help="Also print the definition of the job.")
    ] = False,
) -> None:  # fmt: skip
    """Create a job: a named set of tasks on a pool."""
    job_id = names.job_id(job_name)
    with open_client(ctx) as client:
        existed = exist_ok and client.check_job_status(job_name) != "does not exist"
        try:
            client.create_job(
                job_name,
                pool_name,
                save_logs_to_blob,
                logs_folder,
                task_retries,
                mark_complete,
                task_id_ints,
                timeout,
                exist_ok,
            )
        except JobExistsError as error:
            if load_settings(ctx).existing_job != "error":
                raise  # says why it was not replaced
            raise JobExistsError(
                error.message,
                "To continue with it: --exist-ok   "
                f"To delete it with its results: {command_line('job delete', job_id)}",
            ) from None
    output.line(f"job {job_id} exists" if existed else f"created job {job_id}")
    if verbose:
        show(ctx, job_id)


@commands.add()
def stats(
    ctx: click.Context,
    job: Word = None,
    job_name: Annotated[
        str | None,
        option(
            "-j", "--job-name", metavar="JOB", help="The job, as an option.",
            shell_complete=completion.jobs,
        ),
    ] = None,
    file_name: Annotated[
        str | None,
        option("--file-name", help="File name without .csv; default: <job>-stats."),
    ] = None,
) -> None:  # fmt: skip
    """Write a table of a job's tasks to a CSV file, and print its name."""
    job_id = names.job_id(one_of(job, job_name, "job"))
    with open_client(ctx) as client:
        client.download_job_stats(job_id, file_name)
    output.line(f"{file_name or job_id + '-stats'}.csv")


@commands.add()
def download(
    ctx: click.Context,
    job_name: Annotated[
        str, option("-j", "--job-name", help="The job.", shell_complete=completion.jobs)
    ],
    blob_paths: Annotated[
        list[str],
        option("--blob-paths", metavar="PATH", help="Files and folders; repeatable."),
    ],
    target: Annotated[str, option("-o", "--target", help="Local folder; created if missing.")],
    container_name: Annotated[
        str,
        option(
            "-c",
            "--container-name",
            help="The blob container.",
            shell_complete=completion.containers,
        ),
    ],
) -> None:
    """Wait for a job, at most 480 minutes, then download its files and folders.

    Exit status: 0 if the tasks succeeded, 1 if one failed or never ran. The files are downloaded in
    both cases.
    """
    job_id = names.job_id(job_name)
    with open_client(ctx) as client:
        client.download_after_job(job_id, blob_paths, target, container_name)
        counts = client._batch.task_counts(job_id)
    output.line(f"downloaded {', '.join(blob_paths)} to {target}")
    raise Exit(1 if counts.failed or counts.active else 0)


@commands.add()
def show(
    ctx: click.Context,
    job: Annotated[str, argument(shell_complete=completion.jobs)],
    as_json: Json = False,
) -> None:
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
            ("tasks", found.counts),
            ("retries", "without limit" if spec.max_task_retries < 0 else spec.max_task_retries),
            ("time limit", "none" if spec.timeout_s is None else output.duration(spec.timeout_s)),
            ("completes", _end(spec)),
            ("task ids", _task_ids(spec)),
            ("logs saved to", _logs(spec)),
            ("directory", directory),
            *((f"metadata {name}", value) for name, value in spec.metadata),
        ]
    )


@commands.add()
def monitor(
    ctx: click.Context,
    job: Word = None,
    job_name: Name = None,
    timeout: Annotated[
        float | None,
        option("-t", "--timeout", help="Minutes to wait at most.", metavar="MINUTES"),
    ] = None,
    download_job_stats: Annotated[
        bool,
        option("--download-job-stats", help="Then write <job>-stats.csv."),
    ] = False,
) -> None:
    """Follow a job until its tasks have completed.

    Exit status: 0 if all tasks succeeded, 1 if one failed or never ran, 7 if the time ran out.
    """
    if timeout is not None and not timeout > 0:
        raise InvalidInputError(
            f"--timeout {timeout:g} is not above 0.", "Give a number of minutes."
        )
    from cfa.cloudops.cli.monitor import follow

    wanted = names.job_id(one_of(job, job_name, "job"))
    with open_batch(ctx) as batch:
        status = follow(batch, wanted, None if timeout is None else timeout * 60)
    if download_job_stats:
        with open_client(ctx) as client:
            client.download_job_stats(wanted)
    raise Exit(status)


@commands.add()
def status(ctx: click.Context, job: Word = None, job_name: Name = None) -> None:
    """Print the state of a job: active, complete, terminating, ..., or: does not exist.

    Exit status: 0 if no task failed, 1 if one did, 3 if the job does not exist.
    """
    with open_batch(ctx) as batch:
        try:
            found = batch.get_job(names.job_id(one_of(job, job_name, "job")))
        except JobNotFoundError:
            output.line("does not exist")
            raise
    output.line("complete" if found.state is JobState.COMPLETED else found.state)
    raise Exit(1 if found.counts.failed else 0)


@commands.add()
def terminate(ctx: click.Context, jobs: Words = None, job_name: Names = None) -> None:
    """Terminate jobs: running tasks end and fail, no others start. Results stay."""
    with open_batch(ctx) as batch:
        for job in map(names.job_id, all_of(jobs, job_name, "job")):
            batch.terminate_job(job)
            output.line(f"terminated job {job}")


@commands.add()
def delete(ctx: click.Context, jobs: Words = None, job_name: Names = None) -> None:
    """Delete jobs with their tasks and files. Running tasks end."""
    with open_batch(ctx) as batch:
        for job in map(names.job_id, all_of(jobs, job_name, "job")):
            batch.delete_job(job)
            output.line(f"deleted job {job}")


def _end(spec: JobSpec) -> str:
    if spec.manager_task_id is not None:
        return f"with the task {spec.manager_task_id}"
    return "when all of its tasks have" if spec.auto_complete else "when terminated"


def _task_ids(spec: JobSpec) -> str:
    return "1, 2, ..." if spec.integer_task_ids else f"{spec.id.replace(':', '-')}-<suffix>-<n>"


def _logs(spec: JobSpec) -> str:
    return "" if spec.log_container is None else f"{spec.log_container}/{spec.log_folder}"
