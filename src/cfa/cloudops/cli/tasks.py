"""`cloudops task`."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Annotated

import click

from cfa.cloudops.cli import completion, output
from cfa.cloudops.cli.context import Json, Raw, listed, one_of, open_batch, open_client
from cfa.cloudops.cli.declare import AddCommand, Commands, argument, option
from cfa.cloudops.errors import FileAccessError, InvalidInputError
from cfa.cloudops.model.plain import counted
from cfa.cloudops.model.tail import last_lines
from cfa.cloudops.model.values import Task, TaskResult

if TYPE_CHECKING:
    from cfa.cloudops.provider.batch import BatchProvider

commands = Commands()

Job = Annotated[str, argument(shell_complete=completion.jobs)]
Tasks = Annotated[list[str], argument(shell_complete=completion.tasks)]
Suffix = Annotated[str, option("--name-suffix", help="Middle part of the ids: <job>-<suffix>-<n>.")]

_LAST_LINES = 20
#: Bytes from the end of an output file in which its last lines are looked for.
_LAST_BYTES = 1 << 16


@commands.add(cls=AddCommand)
def add(
    ctx: click.Context,
    job_name: Annotated[
        str, option("-j", "--job-name", help="The job.", shell_complete=completion.jobs)
    ],
    command_line: Annotated[
        str,
        option(
            "--command-line",
            help="Program and arguments, unless they come after --; use sh -c '...' for pipes, "
            "wildcards and variables.",
        ),
    ],
    name_suffix: Suffix = "",
    depends_on: Annotated[
        list[str] | None,
        option("-d", "--depends-on", metavar="ID", help="Tasks that must succeed first; repeatable."),
    ] = None,
    depends_on_range: Annotated[
        str | None,
        option(
            "--depends-on-range", metavar="FIRST-LAST",
            help="The same as a range of integer ids: 1-5 or 1,5.",
        ),
    ] = None,
    run_dependent_tasks_on_fail: Annotated[
        bool,
        option(
            "--run-dependent-tasks-on-fail", help="Run dependent tasks even if this one fails.",
        ),
    ] = False,
    container_image_name: Annotated[
        str | None,
        option(
            "-i", "--container-image-name", metavar="IMAGE",
            help="The container image; default: the pool's.",
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        option("-t", "--timeout", metavar="MINUTES", help="Minutes that one attempt may take."),
    ] = None,
) -> None:  # fmt: skip
    """Add a task and print its id. It runs in the background.

    What it runs comes after --: cloudops task add -j fit -- python3 fit.py --rate 0.1
    """
    number_range = None if depends_on_range is None else _range(depends_on_range)
    with open_client(ctx) as client:
        task_id = client.add_task(
            job_name=job_name,
            command_line=command_line,
            name_suffix=name_suffix,
            depends_on=listed(depends_on),
            depends_on_range=number_range,
            run_dependent_tasks_on_fail=run_dependent_tasks_on_fail,
            container_image_name=container_image_name,
            timeout=timeout,
        )
    output.line(task_id)


@commands.add("add-collection")
def add_collection(
    ctx: click.Context,
    job_name: Annotated[
        str, option("-j", "--job-name", help="The job.", shell_complete=completion.jobs)
    ],
    tasks_file: Annotated[
        str,
        option(
            "--tasks-file", metavar="FILE",
            help='JSON: [{"command_line": "...", ...}, ...] with the arguments of add_task.',
        ),
    ],
    name_suffix: Suffix = "",
) -> None:  # fmt: skip
    """Add all tasks of a file or none, and print their ids. They run in the background."""
    from cfa.cloudops.documents import read_json

    tasks = read_json(tasks_file, "file of tasks")
    if not isinstance(tasks, list):
        raise InvalidInputError(
            f"{tasks_file}: this is not a list of tasks.", 'Write [{"command_line": "..."}].'
        )
    with open_client(ctx) as client:
        ids = client.add_task_collection(job_name, tasks, name_suffix)
    for task_id in ids:
        output.line(task_id)


@commands.add("add-from-yaml")
def add_from_yaml(
    ctx: click.Context,
    job_name: Annotated[
        str,
        option("-j", "--job-name", help="An existing job.", shell_complete=completion.jobs),
    ],
    base_cmd: Annotated[str, option("--base-cmd", help="The beginning of each command.")],
    file_path: Annotated[str, option("--file-path", help="YAML file with parameter sets.")],
    dry_run: Annotated[
        bool, option("--dry-run", help="Only print the command lines; add nothing.")
    ] = False,
) -> None:
    """Add a task for each parameter set of a YAML file, and print their ids.

    They run in the background.
    """
    if dry_run:
        from cfa.cloudops.parameters import command_lines

        for line in command_lines(base_cmd, file_path):
            output.line(line)
        return
    with open_client(ctx) as client:
        ids = client.add_tasks_from_yaml(job_name, base_cmd, file_path)
    for task_id in ids:
        output.line(task_id)


@commands.add()
def status(
    ctx: click.Context,
    job: Annotated[
        str | None, argument(metavar="[JOB]", shell_complete=completion.jobs)
    ] = None,
    job_name: Annotated[
        str | None,
        option(
            "-j", "--job-name", metavar="JOB", help="The job, as an option.",
            shell_complete=completion.jobs,
        ),
    ] = None,
    task_id: Annotated[
        str | None,
        option(
            "--task-id", metavar="TASK", help="The task; default: all tasks.",
            shell_complete=completion.tasks,
        ),
    ] = None,
) -> None:  # fmt: skip
    """Print the states and exit codes of tasks as JSON.

    Exit status: 0, even if tasks failed.
    """
    wanted = one_of(job, job_name, "job")
    with open_client(ctx) as client:
        text = client.get_task_status(wanted, task_id)
    output.line(text)


@commands.add("list")
def list_tasks(
    ctx: click.Context,
    job: Job,
    failed: Annotated[bool, option("--failed", help="List only failed tasks.")] = False,
    as_json: Json = False,
) -> None:
    """List the tasks of a job, in the order in which they were added."""
    with open_batch(ctx) as batch:
        tasks = [
            task
            for task in batch.list_tasks(job)
            if not failed or task.result is TaskResult.FAILURE
        ]
    if as_json:
        output.document(tasks)
        return
    output.table(
        ("task", "state", "result", "exit", "time", "tries", "command"),
        (
            (
                task.id,
                task.state,
                task.result or "",
                "" if task.exit_code is None else task.exit_code,
                _runtime(task),
                _tries(task),
                task.command_line,
            )
            for task in tasks
        ),
        empty="no failed tasks" if failed else "no tasks",
        spared=("tries", "time", "command", "exit"),
    )


@commands.add()
def show(
    ctx: click.Context,
    job: Job,
    task: Annotated[str, argument(shell_complete=completion.tasks)],
    raw: Raw = False,
    as_json: Json = False,
) -> None:
    """Show a task, the reason if it failed, and the end of its standard error."""
    with open_batch(ctx) as batch:
        found = batch.get_task(job, task)
        if as_json:
            output.document(found)
            return
        output.facts(
            [
                ("task", found.id),
                ("job", found.job_id),
                ("state", found.state),
                ("result", found.result),
                ("exit code", found.exit_code),
                ("failure", found.failure.code if found.failure else None),
                ("message", found.failure.message if found.failure else None),
                ("command", found.command_line),
                ("image", found.image),
                ("node", found.node_id),
                ("waits for", counted(found.waits_for, "other task") if found.waits_for else None),
                ("created", output.when(found.created)),
                ("started", output.when(found.started)),
                ("ended", output.when(found.ended)),
                ("time", _runtime(found)),
                ("retries", found.retry_count or None),
                ("requeued", found.requeue_count or None),
                ("directory", found.directory),
            ]
        )
        if found.result is TaskResult.FAILURE:
            _show_end(batch, found, raw)


@commands.add()
def terminate(ctx: click.Context, job: Job, tasks: Tasks) -> None:
    """Terminate tasks. They complete as failures."""
    with open_batch(ctx) as batch:
        for task in tasks:
            batch.terminate_task(job, task)
            output.line(f"terminated task {task}")


@commands.add()
def delete(ctx: click.Context, job: Job, tasks: Tasks) -> None:
    """Delete tasks and their files. Running tasks end."""
    with open_batch(ctx) as batch:
        for task in tasks:
            batch.delete_task(job, task)
            output.line(f"deleted task {task}")


def _range(text: str) -> tuple[int, int]:
    """`1-5` or `1,5`."""
    found = re.fullmatch(r"\s*(\d+)\s*[-,:\s]\s*(\d+)\s*", text, re.ASCII)
    if found is None:
        raise InvalidInputError(
            f"--depends-on-range {text!r} is not a pair of integer ids.",
            "Write the first and the last: 1-5 or 1,5.",
        )
    return int(found[1]), int(found[2])


def _runtime(task: Task) -> str:
    if task.started is None or task.ended is None:
        return ""
    return output.duration(max(0.0, (task.ended - task.started).total_seconds()))


def _tries(task: Task) -> int:
    """How often it was started; what was lost with its node counts."""
    return 0 if task.started is None else 1 + task.retry_count + task.requeue_count


def _show_end(batch: BatchProvider, task: Task, raw: bool) -> None:
    read = partial(batch.read_task_file, task.job_id, task.id, "stderr.txt")
    try:
        lines = last_lines(read, _LAST_LINES, _LAST_BYTES)
    except FileAccessError as error:
        output.line("")
        output.line(error.message)
        return
    if not lines:
        print("\nIt wrote nothing to standard error.")
        return
    print("\nThe end of its standard error:")
    for line in lines:
        output.written(line, "  ", raw=raw)
