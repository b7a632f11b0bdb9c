"""Job schedules in `LocalBatch`: what a client may ask for. The agent makes their jobs."""

from __future__ import annotations

import abc
import time
from typing import TYPE_CHECKING

from cfa.cloudops.errors import (
    ConflictError,
    InvalidInputError,
    JobScheduleExistsError,
    JobScheduleNotFoundError,
    PoolNotFoundError,
)
from cfa.cloudops.model.plain import some
from cfa.cloudops.model.values import JobSchedule, JobScheduleSpec, JobScheduleState
from cfa.cloudops.provider.batch import BatchProvider
from cfa.cloudops.service import definitions as text

if TYPE_CHECKING:
    from cfa.cloudops.service.link import Link
    from cfa.cloudops.service.store import Store
    from cfa.cloudops.service.workspace import Workspace


class LocalSchedules(BatchProvider):
    """The part of `LocalBatch` about job schedules."""

    workspace: Workspace
    _max_parallel: int

    @property
    @abc.abstractmethod
    def _store(self) -> Store: ...

    @property
    @abc.abstractmethod
    def _link(self) -> Link: ...

    @property
    def schedule_advice(self) -> str:
        from cfa.cloudops.service.link import greeting

        if "stays" in greeting(self.workspace)[3:]:
            return ""
        return (
            "Its jobs start only while an agent runs, and an agent exits after one minute without "
            "work. To keep an agent, leave this command running: cloudops agent --stay"
        )

    def create_job_schedule(self, spec: JobScheduleSpec) -> JobSchedule:
        text.split_command(spec.command_line)
        with self._store.transaction():
            if self._store.row("SELECT 1 FROM schedule WHERE id = ?", (spec.id,)):
                raise JobScheduleExistsError(
                    f"The job schedule {spec.id!r} exists.",
                    "Pass exist_ok=True to keep it unchanged, delete it with delete_job_schedule, or "
                    "choose another name.",
                )
            if self._store.row("SELECT 1 FROM job WHERE id = ?", (spec.id,)):
                raise ConflictError(
                    f"Could not create the job schedule {spec.id!r}: a job has this id.",
                    "Choose another name, or delete the job with delete_job.",
                )
            self._check_schedule_image(spec)
            self._store.set_meta("max_parallel", str(self._max_parallel))
            self._store.execute(
                "INSERT INTO schedule (id, state, definition, created, last_job) "
                "VALUES (?, 'active', ?, ?, ?)",
                (spec.id, text.definition(spec), time.time(), self._last_job(spec.id)),
            )
        self._link.wake()
        return self.get_job_schedule(spec.id)

    def _check_schedule_image(self, spec: JobScheduleSpec) -> None:
        try:
            pool = self.get_pool(spec.pool_id).spec
        except PoolNotFoundError:
            return  # it may come later
        if pool.needs_image and pool.image is None:
            raise InvalidInputError(
                f"No image: the pool {pool.id!r} of the job schedule {spec.id!r} has none.",
                "Create the pool with container_image_name.",
            )

    def _last_job(self, schedule_id: str) -> int:
        """The highest number of a job that an earlier schedule of this id has left."""
        rows = self._store.rows(
            "SELECT id FROM job WHERE id > ? AND id < ?", (f"{schedule_id}:", f"{schedule_id};")
        )
        return max((int(row[0].rpartition("-")[2]) for row in rows), default=0)

    def get_job_schedule(self, schedule_id: str) -> JobSchedule:
        row = self._store.row(
            f"SELECT {text.SCHEDULE_COLUMNS} FROM schedule WHERE id = ?",  # noqa: S608
            (schedule_id,),
        )
        if row is None:
            raise self._no_schedule(schedule_id)
        return text.schedule_value(row)

    def _no_schedule(self, schedule_id: str) -> JobScheduleNotFoundError:
        have = some([repr(found.spec.id) for found in self.list_job_schedules()]) or "none"
        return JobScheduleNotFoundError(
            f"There is no job schedule {schedule_id!r} in {self.workspace.home}. Its job "
            f"schedules are: {have}.",
            "Pass the id: the name in lower case, with '-' for blanks. To create a schedule, call "
            "create_job_schedule.",
        )

    def list_job_schedules(self) -> list[JobSchedule]:
        rows = self._store.rows(f"SELECT {text.SCHEDULE_COLUMNS} FROM schedule ORDER BY number")  # noqa: S608
        return [text.schedule_value(row) for row in rows]

    def disable_job_schedule(self, schedule_id: str) -> None:
        self._change(schedule_id, JobScheduleState.DISABLED)

    def enable_job_schedule(self, schedule_id: str) -> None:
        self._change(schedule_id, JobScheduleState.ACTIVE)
        self._link.wake()

    def _change(self, schedule_id: str, state: JobScheduleState) -> None:
        with self._store.transaction():
            found = self.get_job_schedule(schedule_id)
            if found.state is JobScheduleState.COMPLETED:
                raise ConflictError(
                    f"The job schedule {schedule_id!r} has completed: it starts no more jobs.",
                    "Delete it with delete_job_schedule and create another.",
                )
            self._store.execute(
                "UPDATE schedule SET state = ? WHERE id = ?", (str(state), schedule_id)
            )

    def delete_job_schedule(self, schedule_id: str) -> None:
        with self._store.transaction():
            if not self._store.execute("DELETE FROM schedule WHERE id = ?", (schedule_id,)):
                raise self._no_schedule(schedule_id)
