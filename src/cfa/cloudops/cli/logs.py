"""`cloudops logs`: what tasks wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfa.cloudops.client.view import LOOK_S, OutputView
from cfa.cloudops.model.values import JobState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cfa.cloudops.provider.batch import BatchProvider


def show(
    batch: BatchProvider, job_id: str, task_ids: Sequence[str], streams: Sequence[str], wait: bool
) -> None:
    """Print output of tasks, all of the job's when none is named.

    Args:
        batch: the service.
        job_id: the job.
        task_ids: the tasks; the output of a single one is printed as it is.
        streams: `stdout.txt`, `stderr.txt` or both. One alone goes to standard output.
        wait: go on until the tasks are completed.

    Raises:
        JobNotFoundError, TaskNotFoundError: something that was named is not there.
    """
    job = batch.get_job(job_id)
    wanted = {batch.get_task(job_id, task_id).id for task_id in task_ids}
    view = OutputView(
        batch,
        (lambda _, task_id: task_id in wanted) if wanted else None,
        prefix=len(wanted) != 1,
        streams=streams,
    )
    while True:
        # Asked before the look: what completes in between is seen by the next one.
        ended = not wait or job.state is JobState.COMPLETED
        ended = ended or job.counts.active + job.counts.running == 0
        view.look(job.spec.id)
        if ended or (wanted and all((job.spec.id, task) in view.done for task in wanted)):
            view.finish()
            return
        batch.wait_for_change(LOOK_S)
        job = batch.get_job(job_id)
