"""`LocalBatch`: the client's side of the local Batch service.

It writes what the user wants into the store, in transactions, and wakes the agent, which does it. No
state is kept here that another process would need.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from attrs import evolve

from cfa.cloudops import backends
from cfa.cloudops.beneath import WrongTypeError
from cfa.cloudops.errors import (
    ConflictError,
    FileAccessError,
    JobExistsError,
    PoolExistsError,
    PoolNotFoundError,
    TaskNotFoundError,
    WaitTimeoutError,
)
from cfa.cloudops.model import names
from cfa.cloudops.model.plain import command_line, some
from cfa.cloudops.model.values import (
    Event,
    Job,
    JobSpec,
    Pool,
    PoolSpec,
    Task,
    TaskCounts,
    TaskSpec,
    Usage,
)
from cfa.cloudops.provider.executor import Executor, ImageProgress
from cfa.cloudops.service import additions, owner, reserve
from cfa.cloudops.service import definitions as text
from cfa.cloudops.service.additions import no_job
from cfa.cloudops.service.disks import fullness
from cfa.cloudops.service.ledger import insert_job
from cfa.cloudops.service.link import Link
from cfa.cloudops.service.local_schedules import LocalSchedules
from cfa.cloudops.service.store import COMPLETED, DELETE, NOTHING, TERMINATE, Store
from cfa.cloudops.service.sums import sound
from cfa.cloudops.service.workspace import Workspace
from cfa.cloudops.settings import Settings

_log = logging.getLogger(__name__)


class LocalBatch(LocalSchedules):
    """The local Batch service of one workspace.

    Args:
        settings: its workspace directory (made when absent) and parallelism are used.

    Raises:
        UntrustedWorkspaceError: the workspace is not the caller's alone. StoreError: it cannot be used.
    """

    name = "local"

    def __init__(self, settings: Settings) -> None:
        self.workspace = Workspace(settings.home)
        self.workspace.create()
        self._max_parallel = settings.max_parallel
        self._storage_moves = settings.storage_moves
        self._open()
        owner.settle_if_alone(self._own_store, self.workspace.home, self.workspace.lock)

    def _open(self) -> None:
        self._pid = os.getpid()
        self._own_store = reserve.open_store(self.workspace)
        self._own_link = Link(self.workspace)
        self._executors: dict[str, Executor] = {}

    @property
    def _store(self) -> Store:
        self._notice_fork()
        return self._own_store

    @property
    def _link(self) -> Link:
        self._notice_fork()
        return self._own_link

    def _notice_fork(self) -> None:
        """A forked child must not touch what its parent has open: it opens its own."""
        if os.getpid() != self._pid:
            self._parents = (self._own_store, self._own_link, self._executors)  # never closed here
            self._open()

    def close(self) -> None:
        self._link.close()
        for executor in self._executors.values():
            executor.close()
        self._executors.clear()
        self._store.close()

    # --- pools

    def create_pool(
        self,
        spec: PoolSpec,
        *,
        replace: bool = False,
        progress: Callable[[ImageProgress], None] | None = None,
    ) -> Pool:
        if not replace and self._pool_row(spec.id) is not None:
            raise PoolExistsError(
                f"The pool {spec.id!r} exists.",
                "Pass replace_existing_pool=True to replace it, or choose another name.",
            )
        executor = self._executor(spec.backend)
        capabilities = backends.probe(spec.backend, executor)
        spec = evolve(
            spec,
            needs_image=capabilities.images,
            storage=self._kept_url(spec.storage),
        )
        if capabilities.images and spec.image is not None:
            executor.ensure_image(spec.image, progress)
        with self._store.transaction():
            if self._pool_row(spec.id) is not None and not replace:
                raise PoolExistsError(f"The pool {spec.id!r} exists.", "Choose another name.")
            self._store.execute(
                "INSERT INTO pool (id, state, definition, created) VALUES (?, 'active', ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET definition = excluded.definition, state = 'active', "
                "scaling = NULL",
                (spec.id, text.definition(spec), time.time()),
            )
        self._wake_if_waiting(spec.id)
        _log.debug(
            "created pool %s: backend %s, image %s", spec.id, spec.backend, spec.image or "none"
        )
        return self.get_pool(spec.id)

    def get_pool(self, pool_id: str) -> Pool:
        row = self._pool_row(pool_id)
        if row is None:
            have = some([repr(pool.spec.id) for pool in self.list_pools()]) or "none"
            raise PoolNotFoundError(
                f"There is no pool {pool_id!r} in {self.workspace.home}. Its pools are: {have}.",
                "Create it with create_pool, or run in the directory where it was created.",
            )
        return self._pool(row)

    def list_pools(self) -> list[Pool]:
        rows = self._store.rows(f"SELECT {text.POOL_COLUMNS} FROM pool ORDER BY number")  # noqa: S608
        return [self._pool(row) for row in rows]

    def delete_pool(self, pool_id: str) -> None:
        pool = self.get_pool(pool_id)
        with self._store.transaction():
            busy = self._store.row(
                "SELECT 1 FROM job WHERE pool = ? AND state <> 'completed' AND active + running > 0 "
                "UNION ALL SELECT 1 FROM node JOIN job ON job.number = node.job "
                "WHERE job.pool = ? AND node.ended IS NULL",
                (pool.spec.id, pool.spec.id),
            )
            if busy:
                self._store.execute(
                    "UPDATE pool SET state = 'deleting' WHERE id = ?", (pool.spec.id,)
                )
            else:
                self._store.execute("DELETE FROM pool WHERE id = ?", (pool.spec.id,))
        if busy:
            self._link.wake()
            self._wait_until(
                lambda: self._pool_row(pool.spec.id) is None, 60, f"pool {pool_id!r} to be deleted"
            )
        _log.debug("deleted pool %s", pool.spec.id)

    def _pool_row(self, pool_id: str) -> tuple[Any, ...] | None:
        return self._store.row(
            f"SELECT {text.POOL_COLUMNS} FROM pool WHERE id = ?",  # noqa: S608
            (pool_id,),
        )

    def _pool(self, row: tuple[Any, ...]) -> Pool:
        pool = text.pool_value(row)
        storage = self.workspace.storage_url(pool.spec.storage)
        return evolve(pool, spec=evolve(pool.spec, storage=storage))

    def _kept_url(self, url: str) -> str:
        """A path that the user wrote in full stays what it is, wherever the workspace goes."""
        return self.workspace.kept_url(url) if self._storage_moves else url

    def _wake_if_waiting(self, pool_id: str) -> None:
        if self._store.row("SELECT 1 FROM job WHERE pool = ? AND active > 0", (pool_id,)):
            self._link.wake()

    def _executor(self, name: str) -> Executor:
        if name not in self._executors:
            self._executors[name] = backends.load_executor(name)
        return self._executors[name]

    # --- jobs

    def create_job(self, spec: JobSpec) -> Job:
        spec = evolve(spec, log_storage=self._kept_url(spec.log_storage))
        with self._store.transaction():
            if self._store.row("SELECT 1 FROM job WHERE id = ?", (spec.id,)):
                raise JobExistsError(
                    f"The job {spec.id!r} exists.",
                    "Delete it with delete_job, or choose another name.",
                )
            self._refuse_schedule(spec.id)
            insert_job(self._store, spec, time.time())
        _log.debug("created job %s on pool %s", spec.id, spec.pool_id)
        self._link.wake()  # an agent takes a moment to come up: have it ready for the first task
        return self.get_job(spec.id)

    def _refuse_schedule(self, job_id: str) -> None:
        """A job and a schedule of one id would have their files in the same directories."""
        if self._store.row(
            "SELECT id FROM schedule WHERE id = ? UNION ALL "
            "SELECT id FROM job WHERE id > ? AND id < ?",
            (job_id, f"{job_id}:", f"{job_id};"),
        ):
            raise ConflictError(
                f"Could not create the job {job_id!r}: a job schedule, or a job of one, has this id.",
                "Choose another name, or delete the schedule and its jobs.",
            )

    def get_job(self, job_id: str) -> Job:
        row = self._store.row(
            f"SELECT {text.JOB_COLUMNS} FROM job WHERE id = ?",  # noqa: S608
            (job_id,),
        )
        if row is None:
            raise no_job(self._store, job_id)
        job = text.job_value(row)
        if (
            job.state != "completed"
            and job.problem is None
            and (full := fullness(self.workspace.home))
        ):
            return evolve(job, problem=f"{full} Tasks wait for some.")  # nobody can write that down
        return job

    def list_jobs(self) -> list[Job]:
        rows = self._store.rows(f"SELECT {text.JOB_COLUMNS} FROM job ORDER BY number")  # noqa: S608
        return [text.job_value(row) for row in rows]

    def terminate_job(self, job_id: str, reason: str = "UserTerminate") -> None:
        with self._store.transaction():
            number, state = self._job_state(job_id)
            if state in ("completed", "terminating", "deleting"):
                return
            self._store.execute(
                "UPDATE job SET state = 'terminating', terminate_reason = ? WHERE number = ?",
                (reason, number),
            )
        _log.debug("terminating job %s: %s", job_id, reason)
        self._link.wake()

    def delete_job(self, job_id: str, *, timeout_s: float = 60) -> None:
        with self._store.transaction():
            number, _ = self._job_state(job_id)
            self._store.execute("UPDATE job SET state = 'deleting' WHERE number = ?", (number,))
        self._link.wake()
        found: list[tuple[Any, ...] | None] = [None]

        def ended() -> bool:
            found[0] = self._store.row("SELECT state, problem FROM job WHERE number = ?", (number,))
            return found[0] is None or found[0][0] != "deleting"

        self._wait_until(ended, timeout_s, f"job {job_id!r} to be deleted")
        if found[0] is not None:
            raise FileAccessError(
                f"The job {job_id!r} could not be deleted. {found[0][1] or ''}".strip(),
                "Try again when that is done.",
            )
        _log.debug("deleted job %s", job_id)

    def _job_state(self, job_id: str) -> tuple[int, str]:
        row = self._store.row(
            f"SELECT number, {sound('job.state')} FROM job WHERE id = ?",  # noqa: S608
            (job_id,),
        )
        if row is None:
            raise no_job(self._store, job_id)
        return row[0], row[1]

    # --- tasks

    def _kept(self, spec: TaskSpec) -> TaskSpec:
        """A task as the store keeps it."""
        if spec.upload is None:
            return spec
        storage = self._kept_url(spec.upload.storage)
        return evolve(spec, upload=evolve(spec.upload, storage=storage))

    def add_tasks(self, job_id: str, specs: Sequence[TaskSpec]) -> list[str]:
        for spec in specs:
            text.check_command(spec.command_line)
        if not specs:
            self._job_state(job_id)
            return []
        with self._store.transaction():
            # Who brings work says how much of it may run at once; who only looks does not.
            self._store.set_meta("max_parallel", str(self._max_parallel))
            identifiers = additions.add(self._store, job_id, [self._kept(spec) for spec in specs])
        # Ids alone: a command may hold a secret.
        _log.debug("added to job %s: %s", job_id, some(identifiers))
        self._link.wake()
        return identifiers

    def get_task(self, job_id: str, task_id: str) -> Task:
        row = self._store.row(
            f"SELECT {text.TASK_COLUMNS}, job.id FROM task JOIN job ON job.number = task.job "  # noqa: S608
            "WHERE job.id = ? AND task.id = ?",
            (job_id, task_id),
        )
        if row is None:
            self._job_state(job_id)
            raise self._no_task(job_id, task_id)
        return text.task_value(row[:-1], row[-1], str(self.workspace.job_directory(row[-1])))

    def _no_task(self, job_id: str, task_id: str) -> TaskNotFoundError:
        return TaskNotFoundError(
            f"The job {job_id!r} has no task {task_id!r}.",
            f"Use an id that add_task returned; {command_line('task list', job_id)!r} shows them.",
        )

    def list_tasks(self, job_id: str) -> Iterator[Task]:
        job = self.get_job(job_id)
        number, _ = self._job_state(job_id)
        directory = str(self.workspace.job_directory(job.spec.id))
        rows = self._store.stream(
            f"SELECT {text.TASK_COLUMNS} FROM task WHERE job = ? ORDER BY number",  # noqa: S608
            (number,),
        )
        return (text.task_value(row, job.spec.id, directory) for row in rows)

    def terminate_task(self, job_id: str, task_id: str) -> None:
        self._request(job_id, task_id, TERMINATE)

    def delete_task(self, job_id: str, task_id: str, *, timeout_s: float = 60) -> None:
        number = self._request(job_id, task_id, DELETE)

        def done() -> bool:
            row = self._store.row("SELECT request FROM task WHERE number = ?", (number,))
            if row is not None and row[0] == NOTHING:
                what, why = f"the task {task_id!r}", "the agent's log says why"
                raise self.workspace.not_removed(what, job_id, why)
            return row is None

        self._wait_until(done, timeout_s, f"task {task_id!r} to be deleted")

    def _request(self, job_id: str, task_id: str, request: int) -> int:
        with self._store.transaction():
            job, _ = self._job_state(job_id)
            row = self._store.row(
                f"SELECT number, {sound('task.state')} FROM task WHERE job = ? AND id = ?",  # noqa: S608
                (job, task_id),
            )
            if row is None:
                raise self._no_task(job_id, task_id)
            if request == TERMINATE and row[1] == COMPLETED:
                raise ConflictError(
                    f"The task {task_id!r} has completed.", "Nothing needs to be done."
                )
            self._store.execute("UPDATE task SET request = ? WHERE number = ?", (request, row[0]))
        what = "terminating" if request == TERMINATE else "deleting"
        _log.debug("%s task %s of job %s", what, task_id, job_id)
        self._link.wake()
        return int(row[0])

    def task_counts(self, job_id: str) -> TaskCounts:
        row = self._store.row(
            f"SELECT {sound('job.active')}, running, succeeded, failed FROM job WHERE id = ?",  # noqa: S608
            (job_id,),
        )
        if row is None:
            raise no_job(self._store, job_id)
        return TaskCounts(active=row[0], running=row[1], succeeded=row[2], failed=row[3])

    def read_task_file(
        self, job_id: str, task_id: str, name: str, offset: int = 0, limit: int = 1 << 20
    ) -> bytes:
        task = self.get_task(job_id, task_id)
        way = names.blob(name)
        try:
            with self.workspace.open_task(task.job_id, task.id) as directory:
                return directory.read(way, limit, offset, links=True)
        except (FileNotFoundError, NotADirectoryError, WrongTypeError):
            return b""  # whatever a task put there, it is no output
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EXDEV):  # a way out
                return b""
            raise FileAccessError(
                f"Could not read {name!r} of the task {task_id!r}: {error.strerror}.",
                f"Check who owns it, in {task.directory}.",
            ) from None

    def task_usage(self, job_id: str) -> Mapping[str, Usage]:
        from cfa.cloudops.service import usage  # slow to import, and few scripts ask

        number, _ = self._job_state(job_id)
        return usage.of_job(self._store, self.workspace, number)

    # --- waiting

    def list_events(self, job_id: str, after: int = 0) -> list[Event]:
        number, _ = self._job_state(job_id)
        rows = self._store.rows(
            f"SELECT event.number, {sound('event.time')}, task.id, what, detail FROM event "  # noqa: S608
            "LEFT JOIN task ON task.number = event.task "
            "WHERE event.job = ? AND event.number > ? ORDER BY event.number",
            (number, after),
        )
        return [text.event_value(row) for row in rows]

    def wait_for_change(self, timeout_s: float) -> bool:
        return self._link.wait(timeout_s)

    def wake(self) -> None:
        """Have an agent look at the store."""
        self._link.wake()

    def _wait_until(self, done: Callable[[], bool], timeout_s: float, what: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                raise WaitTimeoutError(
                    f"Waited {timeout_s:.0f} seconds for the {what}.",
                    "It continues in the background; check again later.",
                )
            self._link.wait(min(left, 1.0))


def caller_ids() -> tuple[int, int]:
    """The user and group that must own what tasks write."""
    return os.getuid(), os.getgid()
