"""`cloudops job monitor`: live progress on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from cfa.cloudops.cli import output
from cfa.cloudops.cli.jobs import counts_text
from cfa.cloudops.client.view import failure_text
from cfa.cloudops.errors import WaitTimeoutError
from cfa.cloudops.model.plain import plain
from cfa.cloudops.model.values import Job, TaskResult

if TYPE_CHECKING:
    from cfa.cloudops.provider.batch import BatchProvider

#: Seconds between two lines where there is no terminal.
_PLAIN_S = 5.0
_MOST_FAILURES = 20


def follow(batch: BatchProvider, job_id: str, timeout_s: float | None) -> int:
    """Show a job's progress until its tasks are completed; the exit status.

    Raises:
        JobNotFoundError: there is none, or it was deleted meanwhile.
        WaitTimeoutError: the time is over; the job goes on.
    """
    start = time.monotonic()
    job = batch.get_job(job_id)
    with _progress(job) as show:
        while not job.settled:
            elapsed = time.monotonic() - start
            show(job, elapsed)
            if timeout_s is not None and elapsed >= timeout_s:
                raise WaitTimeoutError(
                    f"The job {job_id!r} did not complete within {timeout_s / 60:g} minutes; its "
                    f"tasks are {counts_text(job)}.",
                    f"It goes on: cloudops job monitor {job_id}   "
                    f"Stop it: cloudops job terminate {job_id}",
                )
            left = 1.0 if timeout_s is None else min(1.0, timeout_s - elapsed)
            batch.wait_for_change(left)
            job = batch.get_job(job_id)
    return _summarise(batch, job)


def _summarise(batch: BatchProvider, job: Job) -> int:
    """Print how the job ended; 0 only when all of its tasks succeeded."""
    because = f" ({job.terminate_reason})" if job.terminate_reason else ""
    output.line(f"{job.spec.id} {job.state}{because}; tasks {counts_text(job)}")
    if not job.counts.failed:
        return 1 if job.counts.active else 0
    failed = (task for task in batch.list_tasks(job.spec.id) if task.result is TaskResult.FAILURE)
    for task in islice(failed, _MOST_FAILURES):
        output.line(f"  {failure_text(task)}")
    if job.counts.failed > _MOST_FAILURES:
        output.line(f"  ... all of them: cloudops task list --failed {job.spec.id}")
    return 1


@contextmanager
def _progress(job: Job) -> Iterator[Callable[[Job, float], None]]:
    if not output.is_terminal(sys.stdout):
        yield _plain()
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[words]}"),
    )
    with Progress(*columns, transient=True, refresh_per_second=8) as progress:
        bar = progress.add_task(job.spec.id, total=job.counts.total, words="")

        def show(job: Job, _elapsed_s: float) -> None:
            words = f"[cyan]{job.counts.running} running[/]"
            if job.counts.failed:
                words += f" [red]{job.counts.failed} failed[/]"
            progress.update(
                bar, total=job.counts.total, completed=job.counts.completed, words=words
            )
            if job.problem and job.problem not in told:
                told.add(job.problem)
                progress.console.print(plain(job.problem), style="yellow", markup=False)

        told: set[str] = set()
        yield show


def _plain() -> Callable[[Job, float], None]:
    """Shows a line when it says something new, at most one in five seconds."""
    last = ""
    shown_s = -_PLAIN_S

    def show(job: Job, elapsed_s: float) -> None:
        nonlocal last, shown_s
        text = counts_text(job) + (f" ({job.problem})" if job.problem else "")
        if text != last and elapsed_s - shown_s >= _PLAIN_S:
            output.line(f"{output.duration(elapsed_s)}: tasks {text}", flush=True)
            last, shown_s = text, elapsed_s

    return show
