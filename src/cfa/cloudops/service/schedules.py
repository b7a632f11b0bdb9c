"""Job schedules in the agent: makes each job when it is due.

A job, its task and the mark that its occurrence is used are one transaction, so that whatever is
killed whenever, an occurrence has one job or none. Due times are of the wall clock; the waiting is
done on the agent's own, monotonic one.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from cfa.cloudops.model.values import JobScheduleSpec, JobSpec
from cfa.cloudops.service.definitions import schedule_spec
from cfa.cloudops.service.ledger import insert_job
from cfa.cloudops.service.occurrences import Occurrence, next_occurrence
from cfa.cloudops.service.sums import SUM_TASK, sound

if TYPE_CHECKING:
    from cfa.cloudops.service.scheduler import Scheduler

_log = logging.getLogger(__name__)

#: Nobody tells a process that the clock was set or that the machine slept: while a job is awaited,
#: the clock is read this often, in seconds.
_GLANCE_S = 30.0


class Schedules:
    """The schedules of a workspace. Everything is in the store; kept here is the next alarm."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._agent = scheduler.agent
        self._store = scheduler.store
        self._alarm: float | None = None

    def make_due(self) -> None:
        """Make the jobs that are due, and have the scheduler look again when the next one is.

        It must also look when a job of a schedule ended: the next one may have waited for that.
        """
        if self._take_stock(act=False):
            with self._store.transaction():  # read anew: a client may have written since
                self._agent.still_ours()
                self._take_stock(act=True)

    def _take_stock(self, *, act: bool) -> bool:
        """Whether there is something to write; with `act`, write it."""
        now = datetime.fromtimestamp(time.time(), UTC)
        awaited: list[float] = []
        found = False
        for number, definition, created, used, last_job in self._store.rows(
            f"SELECT number, {sound('schedule.definition')}, created, used, last_job FROM schedule "  # noqa: S608
            "WHERE state = 'active'"
        ):
            spec = schedule_spec(definition)
            due = next_occurrence(spec, datetime.fromtimestamp(created, UTC), used, now)
            if due is not None and due.due > now:
                awaited.append(due.due.timestamp())
            elif not self._is_active(f"{spec.id}:job-{last_job}"):
                found = True
                if act and due is None:
                    self._complete(number, now)
                elif act and due is not None:
                    if due.number > used:
                        _log.info("schedule %s: missed jobs: %d", spec.id, due.number - used)
                    self._make(number, spec, due, last_job + 1, now)
        self._await(min(awaited, default=None))
        return found

    def _is_active(self, job_id: str) -> bool:
        """Whether the newest job of a schedule, the only one that can be, is not completed."""
        row = self._store.row("SELECT state FROM job WHERE id = ?", (job_id,))
        return row is not None and row[0] != "completed"

    def _make(
        self, number: int, spec: JobScheduleSpec, due: Occurrence, job_number: int, now: datetime
    ) -> None:
        """Make the job of an occurrence, with its task."""
        manager = f"{spec.id}-job"
        job = JobSpec(
            id=f"{spec.id}:job-{job_number}",
            pool_id=spec.pool_id,
            auto_complete=False,
            manager_task_id=manager,
            metadata=spec.metadata,
        )
        at = now.timestamp()
        row = insert_job(self._store, job, at)
        self._store.execute(
            "INSERT INTO task (number, job, id, command, retries, release, created) "
            "VALUES (?, ?, ?, ?, 0, 0, ?)",
            (self._store.next_number("task"), row, manager, spec.command_line, at),
        )
        self._store.execute(f"{SUM_TASK} WHERE job = ?", (row,))
        self._store.execute("UPDATE job SET active = 1 WHERE number = ?", (row,))
        self._store.execute(
            "UPDATE schedule SET used = ?, last_job = ?, recent_job = ? WHERE number = ?",
            (due.number + 1, job_number, job.id, number),
        )

    def _complete(self, number: int, now: datetime) -> None:
        self._store.execute(
            "UPDATE schedule SET state = 'completed', ended = ? WHERE number = ?",
            (now.timestamp(), number),
        )

    # --- the alarm

    def _await(self, due: float | None) -> None:
        if due != self._alarm:
            self._alarm = due
            if due is not None:
                self._wait(due)

    def _wait(self, due: float) -> None:
        left = min(max(due - time.time(), 0.0), _GLANCE_S)
        self._agent.at(time.monotonic() + left, partial(self._ring, due))

    def _ring(self, due: float) -> None:
        if due != self._alarm:
            return  # another job is awaited by now
        if time.time() < due:
            self._wait(due)
            return
        self._alarm = None
        self._scheduler.look()
