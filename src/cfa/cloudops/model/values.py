"""Pools, jobs, tasks, mounts and their states, with the names and units of Azure Batch."""

from __future__ import annotations

import enum
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from cfa.cloudops.model import names
from cfa.cloudops.model.words import duration

if TYPE_CHECKING:
    from cfa.cloudops.model.uploads import Upload


class JobState(enum.StrEnum):
    """States of a job, in the service's spelling."""

    ACTIVE = "active"
    DISABLING = "disabling"
    DISABLED = "disabled"
    ENABLING = "enabling"
    TERMINATING = "terminating"
    COMPLETED = "completed"
    DELETING = "deleting"


class JobScheduleState(enum.StrEnum):
    """States of a job schedule, in the service's spelling."""

    ACTIVE = "active"
    DISABLED = "disabled"
    TERMINATING = "terminating"
    COMPLETED = "completed"
    DELETING = "deleting"


class TaskState(enum.StrEnum):
    """States of a task. They only move forward, except for retry and requeue (to `active`)."""

    ACTIVE = "active"
    PREPARING = "preparing"
    RUNNING = "running"
    COMPLETED = "completed"


class TaskResult(enum.StrEnum):
    """How a completed task ended."""

    SUCCESS = "success"
    FAILURE = "failure"


class Isolation(enum.StrEnum):
    """Whether tasks of a job share a node's container (`job`) or get a fresh one each (`task`)."""

    JOB = "job"
    TASK = "task"


@frozen
class Mount:
    """A blob container seen by tasks at `/<target>`, read and write."""

    source: str = field(converter=names.blob_container)
    target: str = field(converter=names.mount_target)


@frozen
class Resources:
    """Limits of one node. `None` means no limit of ours."""

    cpus: float | None = None
    memory_bytes: int | None = None


@frozen(kw_only=True)
class PoolSpec:
    """Definition of a pool.

    `backend` is the name of the executor that opens its nodes. `nodes` x `slots_per_node` tasks may
    run at once, never more than the machine's own cap; `dedicated_nodes` says how many of the nodes
    are dedicated. With an `autoscale_formula`, evaluated every `autoscale_interval_s` seconds, the
    number of nodes is `Pool.nodes`, and `nodes` here is the cap of the ready-made formula.
    `needs_image` is set by the service: whether the backend runs images at all. `storage` is the URL
    below which the mounts' containers lie.
    """

    id: str
    backend: str
    image: str | None = None
    needs_image: bool = True
    mounts: tuple[Mount, ...] = ()
    vm_size: str = ""
    nodes: int = 1
    slots_per_node: int = 1
    isolation: Isolation = Isolation.JOB
    storage: str = ""
    resources: Resources = Resources()
    dedicated_nodes: int = 0
    autoscale_formula: str | None = None
    autoscale_interval_s: float = 5.0
    metadata: tuple[tuple[str, str], ...] = ()


@frozen(kw_only=True)
class AutoscaleRun:
    """The latest evaluation of a pool's formula: `results` as `name=value;...`, or the `error` for
    which the pool stayed as it was."""

    evaluated: datetime
    results: str = ""
    error: str | None = None


@frozen(kw_only=True)
class Pool:
    """A pool as the service holds it. The numbers of nodes are what it is meant to have now;
    `autoscale_run` is None before the first task."""

    spec: PoolSpec
    state: str
    created: datetime
    dedicated_nodes: int = 0
    low_priority_nodes: int = 0
    autoscale_run: AutoscaleRun | None = None

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def nodes(self) -> int:
        return self.dedicated_nodes + self.low_priority_nodes

    def __repr__(self) -> str:
        spec = self.spec
        return (
            f"Pool(id={self.id!r}, backend={spec.backend!r}, image={spec.image!r}, "
            f"nodes={self.nodes}, slots_per_node={spec.slots_per_node})"
        )

    def columns(self) -> dict[str, Any]:
        """What a table of pools shows of it."""
        spec = self.spec
        return {
            "pool": self.id,
            "backend": spec.backend,
            "image": spec.image,
            "nodes": self.nodes,
            "slots per node": spec.slots_per_node,
            "VM size": spec.vm_size,
            "mounts": ", ".join(f"{one.source} at /{one.target}" for one in spec.mounts),
        }

    def _repr_html_(self) -> str:
        from cfa.cloudops.model import show  # for notebooks alone

        return show.table([self.columns()])


@frozen(kw_only=True)
class JobSpec:
    """Definition of a job. `max_task_retries` -1 means without limit; `timeout_s` counts from
    creation; the job ends when the task `manager_task_id` does. The logs of its tasks are saved in
    `log_container`, which lies below the URL `log_storage`; None: nowhere."""

    id: str
    pool_id: str
    max_task_retries: int = 0
    timeout_s: float | None = None
    auto_complete: bool = True
    integer_task_ids: bool = False
    log_container: str | None = None
    log_folder: str = "stdout_stderr"
    log_storage: str = ""
    manager_task_id: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()


#: How the problem of a job begins whose image is being pulled.
PULLS = "Pulling the image"


@frozen(kw_only=True)
class TaskCounts:
    """Tasks of a job by state. `active` includes tasks that wait for dependencies; `completed` is
    `succeeded` + `failed`."""

    active: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0

    @property
    def completed(self) -> int:
        return self.succeeded + self.failed

    @property
    def total(self) -> int:
        return self.active + self.running + self.completed

    def __str__(self) -> str:
        """`12: 10 succeeded, 1 failed, 1 running`, states without a task left out."""
        parts = [
            f"{count} {name}"
            for count, name in (
                (self.succeeded, "succeeded"),
                (self.failed, "failed"),
                (self.running, "running"),
                (self.active, "waiting"),
            )
            if count
        ]
        return f"{self.total}: {', '.join(parts)}" if parts else "none"


@frozen(kw_only=True)
class Job:
    """A job as the service holds it. `last_task_number` is the number of the newest numbered id,
    `logs_owed` the number of completed tasks whose logs are still to be saved. `problem`, for people:
    why nothing runs, or what could not be saved."""

    spec: JobSpec
    state: JobState
    created: datetime
    ended: datetime | None = None
    terminate_reason: str | None = None
    last_task_number: int = 0
    counts: TaskCounts = TaskCounts()
    problem: str | None = None
    logs_owed: int = 0

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def pool_id(self) -> str:
        return self.spec.pool_id

    @property
    def stuck(self) -> bool:
        """Whether something keeps its tasks from running, and not only the pull of their image."""
        return bool(self.problem) and not str(self.problem).startswith(PULLS)

    @property
    def settled(self) -> bool:
        """Whether nothing more comes from it by itself: it is completed; or, where it does not
        complete by itself, no task is active or running and all logs are saved or given up."""
        idle = self.counts.active + self.counts.running == 0 and not self.logs_owed
        completes = self.spec.auto_complete and self.counts.completed > 0
        return self.state is JobState.COMPLETED or (idle and not completes)

    def __repr__(self) -> str:
        return (
            f"Job(id={self.id!r}, pool_id={self.pool_id!r}, state={str(self.state)!r}, "
            f"tasks={self.counts.total}, failed={self.counts.failed})"
        )

    def columns(self) -> dict[str, Any]:
        """What a table of jobs shows of it."""
        counts = self.counts
        return {
            "job": self.id,
            "pool": self.pool_id,
            "state": self.state,
            "tasks": counts.total,
            "active": counts.active,
            "running": counts.running,
            "succeeded": counts.succeeded,
            "failed": counts.failed,
            "problem": self.problem,
        }

    def _repr_html_(self) -> str:
        from cfa.cloudops.model import show  # for notebooks alone

        return show.table([self.columns()])


@frozen(kw_only=True)
class JobScheduleSpec:
    """Definition of a job schedule: jobs with one task, which runs `command_line`.

    The first job is due at `do_not_run_until`, or at once, and the others each `recurrence_interval`
    later; without one there is one job. A job may start until `start_window` after it was due (None:
    until the next one is due), and not after `do_not_run_after`. Times are zone-aware.
    """

    id: str
    pool_id: str
    command_line: str
    display_name: str = ""
    start_window: timedelta | None = None
    recurrence_interval: timedelta | None = None
    do_not_run_until: datetime | None = None
    do_not_run_after: datetime | None = None
    metadata: tuple[tuple[str, str], ...] = ()


@frozen(kw_only=True)
class JobSchedule:
    """A job schedule as the service holds it.

    `next_run` is when its next job is due, which may have passed while one waits for the job before
    it or for an agent; None when there will be none. `recent_job` is the newest that it made.
    """

    spec: JobScheduleSpec
    state: JobScheduleState
    created: datetime
    ended: datetime | None = None
    next_run: datetime | None = None
    recent_job: str | None = None


@frozen(kw_only=True)
class TaskSpec:
    """A task to be added.

    `id` None asks for the next number of the job (`<job>-<suffix>-<n>`, or `<n>` for integer ids).
    `mounts` None means those of the pool. `depends_on_range` is inclusive at both ends.
    `depends_on_positions` are tasks of the same call, counted from 0: their ids are not known yet.
    `run_dependents_on_failure` is about the tasks that depend on this one. With an `upload`, the logs
    of this task are saved there and not where the job says.
    """

    command_line: str
    id: str | None = None
    name_suffix: str = ""
    image: str | None = None
    mounts: tuple[Mount, ...] | None = None
    timeout_s: float | None = None
    max_retries: int | None = None
    depends_on: tuple[str, ...] = ()
    depends_on_range: tuple[int, int] | None = None
    depends_on_positions: tuple[int, ...] = ()
    run_dependents_on_failure: bool = False
    upload: Upload | None = None


@frozen(kw_only=True)
class Failure:
    """Why a task failed, in the service's words: code (`FailureExitCode`, `TaskEnded`, ...)."""

    code: str
    message: str


@frozen(kw_only=True)
class Task:
    """A task as the service holds it. Times are zone-aware UTC; `started` is the latest start."""

    id: str
    job_id: str
    command_line: str
    state: TaskState
    result: TaskResult | None = None
    exit_code: int | None = None
    failure: Failure | None = None
    image: str | None = None
    created: datetime
    started: datetime | None = None
    ended: datetime | None = None
    node_id: str | None = None
    retry_count: int = 0
    requeue_count: int = 0
    waits_for: int = 0
    directory: str = ""

    @property
    def runtime(self) -> timedelta | None:
        """How long the latest try took; None before its end."""
        return self.ended - self.started if self.started and self.ended else None

    def __repr__(self) -> str:
        result = None if self.result is None else str(self.result)
        return (
            f"Task(id={self.id!r}, state={str(self.state)!r}, result={result!r}, "
            f"exit_code={self.exit_code})"
        )

    def columns(self) -> dict[str, Any]:
        """What a table of tasks shows of it."""
        return {
            "task": self.id,
            "state": self.state,
            "result": self.result,
            "exit code": self.exit_code,
            "runtime": None if self.runtime is None else duration(self.runtime.total_seconds()),
            "command": self.command_line,
            "why": self.failure.message if self.failure else None,
        }

    def _repr_html_(self) -> str:
        from cfa.cloudops.model import show  # for notebooks alone

        return show.table([self.columns()])


@frozen(kw_only=True)
class Usage:
    """What the last try of a task took. None: the backend cannot tell.

    `cpu_s`: processor seconds, user and system, of the processes that were waited for, to a hundredth.
    `peak_memory_bytes`: the highest memory of the task's own container, cached files included.
    """

    cpu_s: float | None = None
    peak_memory_bytes: int | None = None


@frozen(kw_only=True)
class Event:
    """One transition. `what`: created, running, retry, requeue, completed. `task_id` None: the job's."""

    number: int
    time: datetime
    task_id: str | None
    what: str
    detail: str
