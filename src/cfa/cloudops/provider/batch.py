"""The interface of a Batch service: pools, jobs and tasks.

The local service (`cfa.cloudops.service.LocalBatch`) is one implementation; a client of Azure Batch
would be another. Executor plugins never meet it.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar

from cfa.cloudops.errors import UnsupportedError
from cfa.cloudops.model.values import (
    Event,
    Job,
    JobSchedule,
    JobScheduleSpec,
    JobSpec,
    Pool,
    PoolSpec,
    Task,
    TaskCounts,
    TaskSpec,
    Usage,
)
from cfa.cloudops.provider.executor import PROVIDER_API, ImageProgress
from cfa.cloudops.settings import Settings


class BatchProvider(abc.ABC):
    """Pools, jobs and tasks. Ids are compared without case; every call is durable when it returns."""

    #: The name under which the provider is registered.
    name: ClassVar[str]
    #: The version of this interface that the provider was written for.
    api: ClassVar[int] = PROVIDER_API

    @abc.abstractmethod
    def __init__(self, settings: Settings) -> None:
        """Connect. Raises: StoreError, BackendError: the service cannot be used."""

    @property
    def schedule_advice(self) -> str:
        """What who makes a job schedule must know about this service; empty: nothing."""
        return ""

    # --- pools

    @abc.abstractmethod
    def create_pool(
        self,
        spec: PoolSpec,
        *,
        replace: bool = False,
        progress: Callable[[ImageProgress], None] | None = None,
    ) -> Pool:
        """Create a pool. When the call returns, the image is present, so the call may block for a
        pull.

        Raises:
            PoolExistsError: there is one and `replace` is false; it is as it was.
            ImageError, BackendError: see `Executor.ensure_image`; no pool is made.
        """

    @abc.abstractmethod
    def get_pool(self, pool_id: str) -> Pool:
        """Raises: PoolNotFoundError."""

    @abc.abstractmethod
    def list_pools(self) -> list[Pool]:
        """All pools, oldest first."""

    @abc.abstractmethod
    def delete_pool(self, pool_id: str) -> None:
        """Delete a pool. Its running tasks are ended and requeued; its jobs stay.

        Raises:
            PoolNotFoundError: there is none.
        """

    # --- jobs

    @abc.abstractmethod
    def create_job(self, spec: JobSpec) -> Job:
        """Create a job. A pool that does not exist is accepted, as on the cloud.

        Raises:
            JobExistsError: there is one; it is as it was.
        """

    @abc.abstractmethod
    def get_job(self, job_id: str) -> Job:
        """Raises: JobNotFoundError."""

    @abc.abstractmethod
    def list_jobs(self) -> list[Job]:
        """All jobs, oldest first."""

    @abc.abstractmethod
    def terminate_job(self, job_id: str, reason: str = "UserTerminate") -> None:
        """End a job: running tasks are ended and fail with `TaskEnded`, others stay `active`.

        Returns when the request is durable. Raises: JobNotFoundError.
        """

    @abc.abstractmethod
    def delete_job(self, job_id: str, *, timeout_s: float = 60) -> None:
        """Delete a job with its tasks and their files, and return when they are gone.

        Raises:
            JobNotFoundError: there is none.
            WaitTimeoutError: it is marked for deletion, which goes on in the background.
        """

    # --- job schedules: an ability that a service need not have

    def create_job_schedule(self, spec: JobScheduleSpec) -> JobSchedule:
        """Create a job schedule. A pool that does not exist is accepted, as for a job.

        Its jobs are `<schedule>:job-<n>`, with one task `<schedule>-job`; a job completes with its
        task. No more than one of them is active at a time.

        Raises:
            JobScheduleExistsError: there is one; it is as it was.
            ConflictError: a job has this id.
            InvalidInputError: the command cannot be split, or the pool has no image for it.
        """
        raise self._no_schedules(f"create the job schedule {spec.id!r}")

    def get_job_schedule(self, schedule_id: str) -> JobSchedule:
        """Raises: JobScheduleNotFoundError."""
        raise self._no_schedules(f"look for the job schedule {schedule_id!r}")

    def list_job_schedules(self) -> list[JobSchedule]:
        """All job schedules, oldest first."""
        raise self._no_schedules("list job schedules")

    def disable_job_schedule(self, schedule_id: str) -> None:
        """Create no more jobs; an active job continues. A disabled schedule stays as it is.

        Raises:
            JobScheduleNotFoundError: there is none.
            ConflictError: it is completed.
        """
        raise self._no_schedules(f"suspend the job schedule {schedule_id!r}")

    def enable_job_schedule(self, schedule_id: str) -> None:
        """Create jobs again. A job that was due meanwhile starts only within its window.

        Raises as `disable_job_schedule`.
        """
        raise self._no_schedules(f"resume the job schedule {schedule_id!r}")

    def delete_job_schedule(self, schedule_id: str) -> None:
        """Delete a job schedule, and return when it is gone. Its jobs stay, including active ones.

        Raises:
            JobScheduleNotFoundError: there is none.
        """
        raise self._no_schedules(f"delete the job schedule {schedule_id!r}")

    def _no_schedules(self, what: str) -> UnsupportedError:
        return UnsupportedError(
            f"Could not {what}: the service {self.name!r} has no job schedules.",
            "Start the jobs from a timer of this machine, such as cron.",
        )

    # --- tasks

    @abc.abstractmethod
    def add_tasks(self, job_id: str, specs: Sequence[TaskSpec]) -> list[str]:
        """Add tasks, all or none, and return their ids in the same order.

        Dependencies may name tasks of the same call, by id or by position. A job that completed by
        itself is opened again.

        Raises:
            JobNotFoundError, JobCompletedError: the job takes no tasks.
            TaskExistsError: an id is taken.
            TaskNotFoundError: a dependency names no task. DependencyCycleError: they form a circle.
            InvalidInputError: an image is missing, a command cannot be split, ...
        """

    @abc.abstractmethod
    def get_task(self, job_id: str, task_id: str) -> Task:
        """Raises: JobNotFoundError, TaskNotFoundError."""

    @abc.abstractmethod
    def list_tasks(self, job_id: str) -> Iterator[Task]:
        """Tasks in the order they were added. Raises: JobNotFoundError (at the call)."""

    @abc.abstractmethod
    def terminate_task(self, job_id: str, task_id: str) -> None:
        """End a task; it completes as a failure (`TaskEnded`). Durable when it returns.

        Raises:
            JobNotFoundError, TaskNotFoundError: there is none.
            ConflictError: it is completed.
        """

    @abc.abstractmethod
    def delete_task(self, job_id: str, task_id: str, *, timeout_s: float = 60) -> None:
        """Delete a task and its files; a running one is ended first. What its completion already
        released stays released. Raises as `delete_job`, and TaskNotFoundError."""

    @abc.abstractmethod
    def task_counts(self, job_id: str) -> TaskCounts:
        """Raises: JobNotFoundError."""

    @abc.abstractmethod
    def read_task_file(
        self, job_id: str, task_id: str, name: str, offset: int = 0, limit: int = 1 << 20
    ) -> bytes:
        """Bytes of `stdout.txt`, `stderr.txt` or `wd/...` from `offset`, at most `limit`.

        `b''` when nothing is there (yet). Raises: JobNotFoundError, TaskNotFoundError, UnsafePathError.
        """

    def task_usage(self, job_id: str) -> Mapping[str, Usage]:
        """Optional: what tasks took, by task id; tasks of which nothing is known are left out.

        Raises: JobNotFoundError.
        """
        self.get_job(job_id)
        return {}

    # --- waiting

    @abc.abstractmethod
    def list_events(self, job_id: str, after: int = 0) -> list[Event]:
        """The events of a job with numbers above `after`, oldest first.

        Raises: JobNotFoundError.
        """

    @abc.abstractmethod
    def wait_for_change(self, timeout_s: float) -> bool:
        """Block until something in the service may have changed, at most `timeout_s` seconds.

        Returns True if the state should be read again, and False if the time ran out. A dead agent
            is replaced.
        """

    def close(self) -> None:  # noqa: B027  a provider may hold nothing
        """Release connections. Accepted work continues. May be called twice."""
