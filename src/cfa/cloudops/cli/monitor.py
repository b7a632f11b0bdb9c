"""`cloudops job monitor`: a status on a terminal, a line now and then elsewhere, and each failure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cfa.cloudops.cli import output
from cfa.cloudops.client.ending import OneInterrupt
from cfa.cloudops.client.remarks import say_detached
from cfa.cloudops.client.watch import Watch
from cfa.cloudops.errors import WaitTimeoutError
from cfa.cloudops.model.plain import command_line
from cfa.cloudops.model.values import Job

if TYPE_CHECKING:
    from cfa.cloudops.provider.batch import BatchProvider


def follow(batch: BatchProvider, job_id: str, timeout_s: float | None) -> int:
    """Show a job's progress until its tasks are completed; the exit status.

    Raises:
        JobNotFoundError: there is none, or it was deleted meanwhile.
        WaitTimeoutError: the time is over; the job goes on.
    """
    start = time.monotonic()
    job = batch.get_job(job_id)
    with detaching(batch, job_id), Watch(batch, output=False, gives_up=False) as watch:
        while True:
            watch.look(job)
            if job.settled:
                break
            elapsed = time.monotonic() - start
            if timeout_s is not None and elapsed >= timeout_s:
                raise WaitTimeoutError(
                    f"The job {job_id!r} did not complete within {timeout_s / 60:g} minutes; its "
                    f"tasks are {job.counts}.",
                    f"To keep waiting: {command_line('job monitor', job_id)}   "
                    f"To stop it: {command_line('job terminate', job_id)}",
                )
            left = watch.pause_s if timeout_s is None else timeout_s - elapsed
            batch.wait_for_change(min(watch.pause_s, left))
            job = batch.get_job(job_id)
    return _summarise(job)


@contextmanager
def detaching(batch: BatchProvider, job_id: str) -> Iterator[None]:
    """After Ctrl-C, which counts once, say that the job's tasks go on."""
    with OneInterrupt():
        try:
            yield
        except KeyboardInterrupt:
            say_detached(batch, job_id)
            raise


def _summarise(job: Job) -> int:
    """Print how the job ended, whose failures were shown; 0 only when all tasks succeeded."""
    because = f" ({job.terminate_reason})" if job.terminate_reason else ""
    output.line(f"{job.spec.id} {job.state}{because}; tasks {job.counts}")
    return 1 if job.counts.failed or job.counts.active else 0
