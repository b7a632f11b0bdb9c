"""`cloudops task`."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Annotated

import typer

from cfa.cloudops.cli import output
from cfa.cloudops.cli.context import Json, open_batch
from cfa.cloudops.model.values import Task, TaskResult

app = typer.Typer(no_args_is_help=True, help="List, show, terminate and delete tasks.")

_LAST_LINES = 20
#: Bytes from the end of an output file in which its last lines are looked for.
_LAST_BYTES = 1 << 16


@app.command("list")
def list_tasks(
    ctx: typer.Context,
    job: str,
    failed: Annotated[bool, typer.Option("--failed", help="Only tasks that failed.")] = False,
    as_json: Json = False,
) -> None:
    """List the tasks of a job, in the order they were added."""
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
    )


@app.command()
def show(ctx: typer.Context, job: str, task: str, as_json: Json = False) -> None:
    """Show a task; of one that failed also why, and the last lines of its standard error."""
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
            ("waits for", f"{found.waits_for} other tasks" if found.waits_for else None),
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
        _show_end(Path(found.directory, "stderr.txt"))


@app.command()
def terminate(ctx: typer.Context, job: str, tasks: Annotated[list[str], typer.Argument()]) -> None:
    """End tasks; they complete as failures."""
    with open_batch(ctx) as batch:
        for task in tasks:
            batch.terminate_task(job, task)
            print(f"terminated task {task}")


@app.command()
def delete(ctx: typer.Context, job: str, tasks: Annotated[list[str], typer.Argument()]) -> None:
    """Delete tasks and their files; ends them if they run."""
    with open_batch(ctx) as batch:
        for task in tasks:
            batch.delete_task(job, task)
            print(f"deleted task {task}")


def _runtime(task: Task) -> str:
    if task.started is None or task.ended is None:
        return ""
    return output.duration(max(0.0, (task.ended - task.started).total_seconds()))


def _tries(task: Task) -> int:
    """How often it was started; what was lost with its node counts."""
    return 0 if task.started is None else 1 + task.retry_count + task.requeue_count


def _show_end(path: Path) -> None:
    lines = _last_lines(path)
    if not lines:
        print("\nIt wrote nothing to standard error.")
        return
    print("\nThe end of its standard error:")
    for line in lines:
        print(f"  {line}")


def _last_lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            start = max(0, file.tell() - _LAST_BYTES)
            file.seek(start)
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return list(deque(text.splitlines(), _LAST_LINES))
