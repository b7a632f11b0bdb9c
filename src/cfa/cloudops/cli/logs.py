"""`cloudops logs`: what tasks wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from cfa.cloudops.cli.excerpt import ALL, Excerpt, Part
from cfa.cloudops.cli.monitor import detaching
from cfa.cloudops.client.view import OutputView
from cfa.cloudops.client.watch import Watch
from cfa.cloudops.model.values import JobState, TaskResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cfa.cloudops.model.values import Job
    from cfa.cloudops.provider.batch import BatchProvider


def show(
    batch: BatchProvider,
    job_id: str,
    task_ids: Sequence[str],
    streams: Sequence[str],
    *,
    wait: bool,
    raw: bool = False,
    timestamps: bool = False,
    part: Part = ALL,
) -> int:
    """Print output of tasks, all of the job's when none is named; the exit status.

    It is 1 when `wait`ing has shown that one of the tasks failed or will not run, else 0.

    Args:
        batch: the service.
        job_id: the job.
        task_ids: the tasks; the output of a single one is printed as it is.
        streams: `stdout.txt`, `stderr.txt` or both. One alone goes to standard output.
        wait: go on until the tasks are completed.
        raw: pass control characters on also to a terminal.
        timestamps: begin each line with its time.
        part: what of their output is shown.

    Raises:
        JobNotFoundError, TaskNotFoundError: something that was named is not there.
    """
    job = batch.get_job(job_id)
    wanted = {batch.get_task(job_id, task_id).id for task_id in task_ids}
    shown = (lambda _, task_id: task_id in wanted) if wanted else None
    source = batch if part == ALL else cast("BatchProvider", Excerpt(batch, part))
    if not wait:
        view = OutputView(
            source,
            shown,
            prefix=len(wanted) != 1,
            raw=raw,
            timestamps=timestamps,
            streams=streams,
        )
        view.look(job.spec.id, job.last_task_number)
        view.finish()
        return 0
    with (
        detaching(batch, job.spec.id),
        Watch(
            batch,
            shown,
            prefix=len(wanted) != 1,
            raw=raw,
            timestamps=timestamps,
            streams=streams,
            source=source,
            gives_up=False,
        ) as watch,
    ):
        while True:
            # Asked before the look: what completes in between is seen by the next one.
            ended = job.state is JobState.COMPLETED
            ended = ended or job.counts.active + job.counts.running == 0
            watch.look(job)
            if ended or (wanted and all((job.spec.id, one) in watch.view.done for one in wanted)):
                watch.view.finish()
                return int(not _good(batch, job, wanted))
            batch.wait_for_change(watch.pause_s)
            job = batch.get_job(job_id)


def _good(batch: BatchProvider, job: Job, wanted: set[str]) -> bool:
    """Whether the named tasks, or else all of the job's, succeeded."""
    if wanted:
        found = (batch.get_task(job.spec.id, task_id) for task_id in wanted)
        return all(task.result is TaskResult.SUCCESS for task in found)
    return job.counts.failed + job.counts.active == 0
