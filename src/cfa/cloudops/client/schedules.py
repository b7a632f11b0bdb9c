"""Job schedules: create, suspend, resume, delete."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cfa.cloudops.client.arguments import command_text
from cfa.cloudops.client.pools import owner_metadata
from cfa.cloudops.errors import InvalidInputError, JobScheduleExistsError
from cfa.cloudops.model import names
from cfa.cloudops.model.values import JobScheduleSpec

if TYPE_CHECKING:
    from cfa.cloudops.provider.batch import BatchProvider
    from cfa.cloudops.rehearsal import Rehearsal

_log = logging.getLogger(__name__)

_FORMAT = "%Y-%m-%d %H:%M:%S"
#: Whoever means "never" leaves the argument out; the store keeps seconds, exact for so long.
_LONGEST = timedelta(days=36_500)


class ScheduleMixin:
    """Methods of `CloudClient` about job schedules."""

    _batch: BatchProvider
    rehearsal: Rehearsal | None

    def create_job_schedule(
        self,
        job_schedule_name: str,
        pool_name: str,
        command: str | Sequence[str],
        timeout: float = 30,
        start_window: timedelta | None = None,
        recurrence_interval: timedelta | None = None,
        do_not_run_until: str | None = None,
        do_not_run_after: str | None = None,
        exist_ok: bool = False,
        verify_pool: bool = True,
        verbose: bool = False,
    ) -> None:
        """Create a job schedule, which creates jobs with one task each at fixed times.

        The id of the schedule is its name in lower case, with `-` for blanks. Its jobs are
        `<id>:job-1`, `<id>:job-2` and so on. The task of each job is `<id>-job`, and the job
        completes with it. Only one job of a schedule is active at a time; the next job waits for
        its end.

        Jobs start only while an agent runs; `cloudops agent --stay` keeps one running. If jobs were
        missed, only the latest of them starts, provided that it is still within its window.

        Args:
            job_schedule_name: name of the schedule.
            pool_name: the pool on which the tasks run.
            command: program and arguments of each task, as text or as a list, as in `add_task`.
            timeout: seconds for the request to the service; has no effect on this machine.
            start_window: time after its due time in which a job may start; later, it is skipped.
                Default: until the next job is due.
            recurrence_interval: time between the starts of two jobs. Default: there is only one
                job.
            do_not_run_until: start of the first job, `YYYY-MM-DD HH:MM:SS` in UTC, as on the cloud.
                Default: the first job starts at once.
            do_not_run_after: no job starts after this time, which has the same format.
            exist_ok: keep a schedule of this id, unchanged.
            verify_pool: refuse a pool that does not exist. If False, the jobs wait for the pool.
            verbose: print what was done.

        Raises:
            ValueError: the pool does not exist, a time has another format, or an argument can never
                work.
            RuntimeError: a schedule or a job of this id exists.
        """
        spec = job_schedule_spec(
            job_schedule_name,
            pool_name,
            command,
            timeout=timeout,
            start_window=start_window,
            recurrence_interval=recurrence_interval,
            do_not_run_until=do_not_run_until,
            do_not_run_after=do_not_run_after,
        )
        if verify_pool:
            self._batch.get_pool(spec.pool_id)
        if self.rehearsal is not None:
            self.rehearsal.command(command)
            self.rehearsal.schedule(spec)
        try:
            self._batch.create_job_schedule(spec)
        except JobScheduleExistsError:
            if not exist_ok:
                raise
            said = f"Job schedule {spec.id} exists."
        else:
            said = f"Created job schedule {spec.id}."
            if advice := self._batch.schedule_advice:
                _log.warning("Job schedule %s: %s", spec.id, advice)
        if verbose:
            print(said)  # noqa: T201  asked for

    def suspend_job_schedule(self, job_schedule_id: str) -> None:
        """Suspend a schedule: it creates no jobs until it is resumed. An active job continues.

        Args:
            job_schedule_id: id of the schedule: its name in lower case, with `-` for blanks.

        Raises:
            ValueError: the schedule does not exist.
            RuntimeError: the schedule has completed.
        """
        self._batch.disable_job_schedule(names.job_schedule_id(job_schedule_id))

    def resume_job_schedule(self, job_schedule_id: str) -> None:
        """Resume a schedule: it creates jobs again, at the same times as before.

        Jobs that were due meanwhile are skipped, except for the latest one if it is still within
        its window.

        Args:
            job_schedule_id: id of the schedule: its name in lower case, with `-` for blanks.

        Raises:
            ValueError: the schedule does not exist.
            RuntimeError: the schedule has completed.
        """
        self._batch.enable_job_schedule(names.job_schedule_id(job_schedule_id))

    def delete_job_schedule(self, job_schedule_id: str) -> None:
        """Delete a schedule, and return when it is gone. Its jobs stay, including active ones.

        Args:
            job_schedule_id: id of the schedule: its name in lower case, with `-` for blanks.

        Raises:
            ValueError: the schedule does not exist.
        """
        self._batch.delete_job_schedule(names.job_schedule_id(job_schedule_id))


def job_schedule_spec(
    name: str,
    pool_name: str,
    command: str | Sequence[str],
    *,
    timeout: float,
    start_window: timedelta | None,
    recurrence_interval: timedelta | None,
    do_not_run_until: str | None,
    do_not_run_after: str | None,
) -> JobScheduleSpec:
    """What a user wrote, checked: see `create_job_schedule`. Raises: InvalidInputError."""
    _check_timeout(timeout)
    spec = JobScheduleSpec(
        id=names.job_schedule_id(name),
        pool_id=names.pool_id(pool_name),
        command_line=command_text(command),
        display_name=name,
        start_window=_interval("start_window", start_window),
        recurrence_interval=_interval("recurrence_interval", recurrence_interval),
        do_not_run_until=_moment("do_not_run_until", do_not_run_until),
        do_not_run_after=_moment("do_not_run_after", do_not_run_after),
        metadata=owner_metadata(),
    )
    _check_order(spec)
    return spec


def _check_timeout(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise InvalidInputError(
            f"timeout={value!r} is not a number of seconds above 0.", "Correct timeout."
        )


def _interval(name: str, value: Any) -> timedelta | None:
    if value is None:
        return None
    if not isinstance(value, timedelta) or value <= timedelta(0):
        raise InvalidInputError(
            f"{name}={value!r} is not a timedelta above 0.", f"Write {name}=timedelta(minutes=15)."
        )
    if value > _LONGEST:
        raise InvalidInputError(
            f"{name}={value!r} is more than a hundred years.", f"Leave {name} out."
        )
    return value


def _moment(name: str, value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        return datetime.strptime(value, _FORMAT).replace(tzinfo=UTC)
    except (TypeError, ValueError):
        raise InvalidInputError(
            f"{name}={value!r} is not a time in the format {_FORMAT!r}.",
            f"Write it in UTC, such as {name}='2030-12-31 23:59:00'.",
        ) from None


def _check_order(spec: JobScheduleSpec) -> None:
    until, after = spec.do_not_run_until, spec.do_not_run_after
    if until is not None and after is not None and after < until:
        raise InvalidInputError(
            f"do_not_run_after ({after:%Y-%m-%d %H:%M:%S}) is before do_not_run_until "
            f"({until:%Y-%m-%d %H:%M:%S}): no job could ever start.",
            "Exchange the two, or correct one.",
        )
    if after is not None and after < datetime.now(UTC):
        _log.warning(
            "Job schedule %s: do_not_run_after is %s UTC, which has passed: no job starts.",
            spec.id,
            after.strftime(_FORMAT),
        )
