"""How jobs end: by themselves, with their manager task, because the user said so, and for good. How
tasks are deleted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from cfa.cloudops.errors import CloudOpsError
from cfa.cloudops.service.additions import BY_ITSELF
from cfa.cloudops.service.placement import Job
from cfa.cloudops.service.store import COMPLETED, DELETE, NOTHING, pulling_name

if TYPE_CHECKING:
    from cfa.cloudops.service.ledger import Attempt
    from cfa.cloudops.service.scheduler import Scheduler

_log = logging.getLogger(__name__)


class Endings:
    """Completes and removes jobs, and removes tasks, for the scheduler."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._store = scheduler.store
        self._ledger = scheduler.ledger
        self._removed: list[int] = []  # numbers of jobs whose files are gone
        self._kept: list[tuple[int, str]] = []  # those of which some are not, and why
        self._leaving: dict[int, int] = {}  # tasks whose files are being removed, and their jobs
        self._left: list[tuple[int, bool]] = []  # numbers of those, and whether all files are gone

    @property
    def news(self) -> bool:
        """Whether `settle` has something to do."""
        return bool(self._removed or self._kept or self._left)

    @property
    def busy(self) -> bool:
        """Whether the agent must stay."""
        return bool(self._leaving)

    def settle(self) -> None:
        """Forget jobs and tasks whose files are gone, and keep the others. In a transaction."""
        left, self._left = self._left, []
        for number, gone in left:
            job_number = self._leaving.pop(number)
            if gone:
                self._ledger.delete(job_number, number)
            else:
                self._store.execute(
                    "UPDATE task SET request = ? WHERE number = ?", (NOTHING, number)
                )
            self._scheduler.wanted(job_number)
        removed, self._removed = self._removed, []
        for number in removed:
            self._remove_rows(number)
        kept, self._kept = self._kept, []
        for number, why in kept:
            self._store.execute(
                "UPDATE job SET state = 'completed', ended = COALESCE(ended, ?), problem = ? "
                "WHERE number = ?",
                (time.time(), why, number),
            )
            self._scheduler.jobs.pop(number, None)

    def complete(self) -> None:
        """End the jobs that have come to their end. In a transaction."""
        self._ledger.flush()  # the counters below must be of now
        for job in list(self._scheduler.jobs.values()):
            if job.manager is not None and job.state == "active":
                self._end_with_manager(job)
            if job.running or job.number in self._leaving.values():
                continue
            if job.state == "active" and (job.hungry or job.buffer):
                continue
            if job.state == "active":
                self._complete_by_itself(job)
            elif self._scheduler.outputs.owes(job.number):
                pass  # it ends when they are saved
            elif job.state == "terminating":
                self._set_completed(job)
            elif job.state == "deleting" and not job.removing:
                self._scheduler.after(partial(self._remove, job))

    def _end_with_manager(self, job: Job) -> None:
        """End a job whose manager task is completed or was deleted, with all that it added."""
        row = self._store.row(
            "SELECT state FROM task WHERE job = ? AND id = ?", (job.number, job.manager)
        )
        if row is not None and row[0] != COMPLETED:
            return
        job.state, job.hungry, job.ended_by_user = "terminating", False, True
        job.buffer.clear()
        self._store.execute(
            "UPDATE job SET state = 'terminating', terminate_reason = 'JMComplete' "
            "WHERE number = ?",
            (job.number,),
        )
        for attempt in job.running.values():
            self._scheduler.end(attempt, "The manager task of its job ended.", hard=False)

    def _complete_by_itself(self, job: Job) -> None:
        row = self._store.row(
            "SELECT active + running, succeeded + failed, state FROM job WHERE number = ?",
            (job.number,),
        )
        if row is None:
            return
        if row[2] != "active":  # a client ended it since we looked
            self._scheduler.agent.at(0, self._scheduler.look)
            return
        job.out_of_work = row[0] == 0
        if (
            job.out_of_work
            and row[1]
            and job.auto_complete
            and not self._scheduler.outputs.owes(job.number)
        ):
            self._set_completed(job, BY_ITSELF)

    def _set_completed(self, job: Job, reason: str | None = None) -> None:
        now = time.time()
        job.state, job.out_of_work = "completed", True
        self._store.execute(
            "UPDATE job SET state = 'completed', ended = ?, problem = NULL, "
            "terminate_reason = COALESCE(?, terminate_reason) WHERE number = ?",
            (now, reason, job.number),
        )
        self._ledger.event("completed", job.number, None, reason or "terminated", now)
        self._tell_schedule(job.id)

    def _remove(self, job: Job) -> None:
        """Delete a job when its nodes are gone: first its files, then its rows."""
        for node in job.nodes:
            self._scheduler.crew.dismiss(node, 0)
        if job.nodes or job.running or job.removing:
            return  # the end of the last one brings us back here
        job.removing = True

        def removed(_: object, error: BaseException | None) -> None:
            if error is None:
                self._removed.append(job.number)
                return
            known = isinstance(error, CloudOpsError)
            _log.error("removing files of job %s: %s", job.id, error, exc_info=not known and error)
            self._kept.append((job.number, str(error)))

        self._scheduler.agent.work(
            partial(self._scheduler.workspace.remove_job, job.id, job.number), removed
        )

    def delete_task(self, job_number: int, number: int, task_id: str) -> None:
        """Delete a task that does not run: first its files, then its rows. In a transaction."""
        if number in self._leaving:
            return
        self._leaving[number] = job_number
        row = self._store.row("SELECT id FROM job WHERE number = ?", (job_number,))

        def removed(gone: bool) -> None:
            self._left.append((number, gone))

        self._scheduler.after(partial(self._clear, row[0] if row else "", task_id, removed))

    def delete_ended(self, attempt: Attempt) -> None:
        """Delete a task that had to be ended first, when its logs are saved. In a transaction."""
        self._store.execute(
            "UPDATE task SET request = ? WHERE number = ?", (DELETE, attempt.number)
        )
        if attempt.log_day is None:
            self.delete_task(attempt.job, attempt.number, attempt.task_id)

    def discard(self, job_id: str, name: str) -> None:
        """Remove what was put aside in the directory of a job."""
        self._clear(job_id, name, lambda _: None)

    def _clear(self, job_id: str, name: str, then: Callable[[bool], None]) -> None:
        """Remove something in a job's directory; what stays goes with the job, or is told of again."""

        def done(_: object, error: BaseException | None) -> None:
            if error is not None:
                known = isinstance(error, CloudOpsError)
                _log.error("job %s: %s", job_id, error, exc_info=not known and error)
            then(error is None)

        self._scheduler.agent.work(
            partial(self._scheduler.workspace.remove_task, job_id, name), done
        )

    def _remove_rows(self, number: int) -> None:
        self._store.execute(
            "DELETE FROM edge WHERE parent IN (SELECT number FROM task WHERE job = ?)", (number,)
        )
        self._store.execute("DELETE FROM event WHERE job = ?", (number,))
        self._store.execute("DELETE FROM node WHERE job = ?", (number,))
        self._store.retire_numbers("job", "task")
        self._store.execute("DELETE FROM job WHERE number = ?", (number,))
        for name in (f"given-ids-{number}", pulling_name(number)):
            self._store.execute("DELETE FROM meta WHERE name = ?", (name,))
        job = self._scheduler.jobs.pop(number, None)
        if job is not None:
            self._scheduler.after(partial(self._scheduler.strip, job))
            self._tell_schedule(job.id)

    def _tell_schedule(self, job_id: str) -> None:
        """The next job of a schedule may have waited for the end of this one: look at it anew."""
        if ":" in job_id:
            self._scheduler.agent.at(time.monotonic(), self._scheduler.look)
