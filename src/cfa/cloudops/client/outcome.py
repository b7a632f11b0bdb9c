"""How a job ended, as a value that scripts read like the dictionary of the cloud's client."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from cfa.cloudops.errors import TasksFailedError
from cfa.cloudops.model.plain import command_line, some
from cfa.cloudops.model.values import Job, Task, TaskResult


class JobResult(dict[str, Any]):
    """What `monitor_job` returns.

    A dictionary with the keys of the cloud's client: `completed` (True), `elapsed time` (a
    `timedelta`), `terminate_reason` (text or None), and the numbers of tasks `tasks complete`,
    `tasks remaining`, `success` and `fail`.

    Attributes:
        job_id: the job.
        failed_tasks: the tasks that failed, in the order they were added.
        unrun_tasks: the tasks that never ran, because the job was ended before.
    """

    def __init__(self, job: Job, tasks: Iterable[Task], elapsed_s: float) -> None:
        """Args: the job; all of its tasks, read only when some did not succeed; seconds waited."""
        counts = job.counts
        super().__init__(
            {
                "completed": True,
                "elapsed time": timedelta(seconds=elapsed_s),
                "terminate_reason": job.terminate_reason,
                "tasks complete": counts.completed,
                "tasks remaining": counts.active + counts.running,
                "success": counts.succeeded,
                "fail": counts.failed,
            }
        )
        self.job_id = job.spec.id
        bad = counts.failed + counts.active
        others = [one for one in tasks if one.result is not TaskResult.SUCCESS] if bad else []
        self.failed_tasks = tuple(one for one in others if one.result is TaskResult.FAILURE)
        self.unrun_tasks = tuple(one for one in others if one.result is None)

    @property
    def succeeded(self) -> bool:
        """Whether every task ran and succeeded."""
        return not self.failed_tasks and not self.unrun_tasks

    def _repr_html_(self) -> str:
        from cfa.cloudops.model import show  # for notebooks alone

        bad = (*self.failed_tasks, *self.unrun_tasks)
        tasks = show.table([task.columns() for task in bad]) if bad else ""
        return show.record({"job": self.job_id, **self}) + tasks

    def raise_for_failures(self) -> None:
        """Nothing when every task succeeded.

        Raises:
            TasksFailedError (a RuntimeError): tasks failed, or never ran.
        """
        if self.succeeded:
            return
        said = [
            f"{len(tasks)} {what}: {some([task.id for task in tasks])}"
            for tasks, what in ((self.failed_tasks, "failed"), (self.unrun_tasks, "never ran"))
            if tasks
        ]
        first = (self.failed_tasks or self.unrun_tasks)[0].id
        raise TasksFailedError(
            f"Of the tasks of the job {self.job_id!r}, {'; '.join(said)}.",
            f"To see why: {command_line('task show', self.job_id, first)}",
        )
