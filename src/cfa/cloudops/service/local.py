"""`LocalBatch`: the client's side of the local Batch service.

It writes what the user wants into the store, in transactions, and wakes the agent, which does it. No
state is kept here that another process would need.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from attrs import evolve

from cfa.cloudops import backends
from cfa.cloudops.errors import (
    ConflictError,
    DependencyCycleError,
    InvalidInputError,
    InvalidNameError,
    JobCompletedError,
    JobExistsError,
    JobNotFoundError,
    PoolExistsError,
    PoolNotFoundError,
    TaskExistsError,
    TaskNotFoundError,
    WaitTimeoutError,
)
from cfa.cloudops.model import names
from cfa.cloudops.model.values import (
    Event,
    Job,
    JobSpec,
    Pool,
    PoolSpec,
    Task,
    TaskCounts,
    TaskSpec,
)
from cfa.cloudops.provider.batch import BatchProvider
from cfa.cloudops.provider.executor import Executor, ImageProgress
from cfa.cloudops.service import definitions as text
from cfa.cloudops.service.ledger import Ledger
from cfa.cloudops.service.link import Link
from cfa.cloudops.service.store import COMPLETED, DELETE, TERMINATE, Store
from cfa.cloudops.service.workspace import Workspace
from cfa.cloudops.settings import Settings

#: Reasons after which a job takes tasks again: it ended only because it had nothing left to do.
BY_ITSELF = "AllTasksComplete"

_MAX_DEPENDENCY_CHARACTERS = 64_000


class LocalBatch(BatchProvider):
    """The local Batch service of one workspace.

    Args:
        settings: its workspace directory (made when absent) and parallelism are used.

    Raises:
        StoreError: the workspace cannot be used.
    """

    name = "local"

    def __init__(self, settings: Settings) -> None:
        self.workspace = Workspace(settings.home)
        self.workspace.create()
        self._max_parallel = settings.max_parallel
        self._open()

    def _open(self) -> None:
        self._pid = os.getpid()
        self._own_store = Store(self.workspace.store)
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
                "Pass replace_existing_pool=True to redefine it, or choose another name.",
            )
        executor = self._executor(spec.backend)
        capabilities = executor.probe()
        spec = evolve(spec, needs_image=capabilities.images)
        if capabilities.images and spec.image is not None:
            executor.ensure_image(spec.image, progress)
        with self._store.transaction():
            if self._pool_row(spec.id) is not None and not replace:
                raise PoolExistsError(f"The pool {spec.id!r} exists.", "Choose another name.")
            self._store.execute(
                "INSERT INTO pool (id, state, definition, created) VALUES (?, 'active', ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET definition = excluded.definition, state = 'active'",
                (spec.id, text.definition(spec), time.time()),
            )
        self._wake_if_waiting(spec.id)
        return self.get_pool(spec.id)

    def get_pool(self, pool_id: str) -> Pool:
        row = self._pool_row(pool_id)
        if row is None:
            have = ", ".join(repr(pool.spec.id) for pool in self.list_pools()) or "none"
            raise PoolNotFoundError(
                f"There is no pool {pool_id!r} in {self.workspace.home}; there are: {have}.",
                "Make it with create_pool, or run in the directory where it was made.",
            )
        return text.pool_value(row)

    def list_pools(self) -> list[Pool]:
        rows = self._store.rows(f"SELECT {text.POOL_COLUMNS} FROM pool ORDER BY number")  # noqa: S608
        return [text.pool_value(row) for row in rows]

    def delete_pool(self, pool_id: str) -> None:
        pool = self.get_pool(pool_id)
        with self._store.transaction():
            busy = self._store.row(
                "SELECT 1 FROM job WHERE pool = ?1 AND state <> 'completed' AND active + running > 0 "
                "UNION ALL SELECT 1 FROM node JOIN job ON job.number = node.job "
                "WHERE job.pool = ?1 AND node.ended IS NULL",
                (pool.spec.id,),
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

    def _pool_row(self, pool_id: str) -> tuple[Any, ...] | None:
        return self._store.row(
            f"SELECT {text.POOL_COLUMNS} FROM pool WHERE id = ?",  # noqa: S608
            (pool_id,),
        )

    def _wake_if_waiting(self, pool_id: str) -> None:
        if self._store.row("SELECT 1 FROM job WHERE pool = ? AND active > 0", (pool_id,)):
            self._link.wake()

    def _executor(self, name: str) -> Executor:
        if name not in self._executors:
            self._executors[name] = backends.load_executor(name)
        return self._executors[name]

    # --- jobs

    def create_job(self, spec: JobSpec) -> Job:
        now = time.time()
        deadline = None if spec.timeout_s is None else now + spec.timeout_s
        with self._store.transaction():
            if self._store.row("SELECT 1 FROM job WHERE id = ?", (spec.id,)):
                raise JobExistsError(
                    f"The job {spec.id!r} exists.",
                    "Pass exist_ok=True to go on with it, delete it with delete_job, or choose "
                    "another name.",
                )
            number = self._store.insert(
                "INSERT INTO job (id, pool, state, definition, auto_complete, deadline, created) "
                "VALUES (?, ?, 'active', ?, ?, ?, ?)",
                (spec.id, spec.pool_id, text.definition(spec), spec.auto_complete, deadline, now),
            )
            self._store.execute(
                "INSERT INTO event (time, job, what, detail) VALUES (?, ?, 'created', ?)",
                (now, number, spec.pool_id),
            )
        self._link.wake()  # an agent takes a moment to come up: have it ready for the first task
        return self.get_job(spec.id)

    def get_job(self, job_id: str) -> Job:
        row = self._store.row(
            f"SELECT {text.JOB_COLUMNS} FROM job WHERE id = ?",  # noqa: S608
            (job_id,),
        )
        if row is None:
            raise self._no_job(job_id)
        return text.job_value(row)

    def _no_job(self, job_id: str) -> JobNotFoundError:
        return JobNotFoundError(
            f"There is no job {job_id!r} in {self.workspace.home}.",
            "Make it with create_job; 'cloudops job list' shows what is there.",
        )

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
        self._link.wake()

    def delete_job(self, job_id: str, *, timeout_s: float = 60) -> None:
        with self._store.transaction():
            number, _ = self._job_state(job_id)
            self._store.execute("UPDATE job SET state = 'deleting' WHERE number = ?", (number,))
        self._link.wake()
        self._wait_until(
            lambda: self._store.row("SELECT 1 FROM job WHERE number = ?", (number,)) is None,
            timeout_s,
            f"job {job_id!r} to be deleted",
        )

    def _job_state(self, job_id: str) -> tuple[int, str]:
        row = self._store.row("SELECT number, state FROM job WHERE id = ?", (job_id,))
        if row is None:
            raise self._no_job(job_id)
        return row[0], row[1]

    # --- tasks

    def add_tasks(self, job_id: str, specs: Sequence[TaskSpec]) -> list[str]:
        for spec in specs:
            text.split_command(spec.command_line)
        if not specs:
            self._job_state(job_id)
            return []
        ledger = Ledger(self._store)
        with self._store.transaction():
            job, number = self._open_job(job_id)
            self._check_image(job, specs)
            identifiers, last = _identifiers(job, specs)
            first = int(
                (self._store.row("SELECT COALESCE(MAX(number), 0) FROM task") or (0,))[0] + 1
            )
            edges, blocked = self._dependencies(number, specs, identifiers, first)
            # Who brings work says how much of it may run at once; who only looks does not.
            self._store.set_meta("max_parallel", str(self._max_parallel))
            self._insert(number, job, specs, identifiers, first, edges)
            self._store.execute(
                "UPDATE job SET active = active + ?, last_task_number = ?, state = 'active', "
                "ended = NULL, terminate_reason = NULL WHERE number = ?",
                (len(specs), last, number),
            )
            for child, parent in blocked:
                ledger.block(number, [child], parent)
            ledger.flush()
        self._link.wake()
        return identifiers

    def _open_job(self, job_id: str) -> tuple[Job, int]:
        """The job, if it takes tasks."""
        row = self._store.row(
            f"SELECT {text.JOB_COLUMNS}, number FROM job WHERE id = ?",  # noqa: S608
            (job_id,),
        )
        if row is None:
            raise self._no_job(job_id)
        job = text.job_value(row[:-1])
        by_itself = job.state == "completed" and job.terminate_reason == BY_ITSELF
        if job.state != "active" and not by_itself:
            raise JobCompletedError(
                f"The job {job_id!r} is {job.state} ({job.terminate_reason or 'by the user'}) "
                "and takes no further tasks.",
                "Make another job.",
            )
        return job, row[-1]

    def _check_image(self, job: Job, specs: Sequence[TaskSpec]) -> None:
        row = self._pool_row(job.spec.pool_id)
        if row is None:
            return  # the pool may come later
        pool = text.pool_value(row).spec
        if pool.needs_image and pool.image is None and any(spec.image is None for spec in specs):
            raise InvalidInputError(
                f"No image: the pool {pool.id!r} has none and the task names none.",
                "Pass container_image_name to create_pool or to add_task.",
            )

    def _insert(
        self,
        job_number: int,
        job: Job,
        specs: Sequence[TaskSpec],
        identifiers: Sequence[str],
        first: int,
        edges: dict[int, set[int]],
    ) -> None:
        self._refuse_duplicates(job_number, job.spec.id, specs, identifiers)
        now = time.time()
        self._store.execute_many(
            "INSERT INTO task (number, job, id, unmet, command, image, mounts, timeout, retries, "
            "release, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    first + index,
                    job_number,
                    identifier,
                    len(edges.get(first + index, ())),
                    spec.command_line,
                    spec.image,
                    text.mounts_text(spec.mounts),
                    spec.timeout_s,
                    job.spec.max_task_retries if spec.max_retries is None else spec.max_retries,
                    spec.run_dependents_on_failure,
                    now,
                )
                for index, (spec, identifier) in enumerate(zip(specs, identifiers, strict=True))
            ),
        )
        self._store.execute_many(
            "INSERT INTO edge VALUES (?, ?)",
            ((parent, child) for child, parents in edges.items() for parent in parents),
        )

    def _refuse_duplicates(
        self, number: int, job_id: str, specs: Sequence[TaskSpec], identifiers: Sequence[str]
    ) -> None:
        """Given ids must be new; numbered ones can only meet an id that was given earlier."""
        seen: set[str] = set()
        given = any(spec.id is not None for spec in specs)
        anything_given = given or self._store.row(
            "SELECT 1 FROM meta WHERE name = ?", (f"given-ids-{number}",)
        )
        if given:
            self._store.set_meta(f"given-ids-{number}", "1")
        if not anything_given:
            return
        for identifier in identifiers:
            key = names.key(identifier)
            if key in seen or self._store.row(
                "SELECT 1 FROM task WHERE job = ? AND id = ?", (number, identifier)
            ):
                raise TaskExistsError(
                    f"The job {job_id!r} has a task {identifier!r}.", "Choose another id."
                )
            seen.add(key)

    def _dependencies(
        self, job: int, specs: Sequence[TaskSpec], identifiers: Sequence[str], first: int
    ) -> tuple[dict[int, set[int]], list[tuple[int, str]]]:
        """Unsatisfied dependencies (child -> parents), and (child, parent id) of lost ones."""
        edges: dict[int, set[int]] = {}
        blocked: list[tuple[int, str]] = []
        new: dict[str, int] = {}
        if any(spec.depends_on or spec.depends_on_range for spec in specs):
            new = {names.key(identifier): first + i for i, identifier in enumerate(identifiers)}
        for index, spec in enumerate(specs):
            for parent_id in _parents(spec):
                parent = new.get(names.key(parent_id))
                if parent is None:
                    row = self._store.row(
                        "SELECT number, state, failure, release, id FROM task "
                        "WHERE job = ? AND id = ?",
                        (job, parent_id),
                    )
                    if row is None:
                        raise TaskNotFoundError(
                            f"The task {identifiers[index]!r} depends on {parent_id!r}, which the "
                            "job does not have.",
                            "Add that task first, or pass the id that add_task returned for it.",
                        )
                    parent, state, failure, release, name = row
                    if state == COMPLETED:
                        if failure is not None and not release:
                            blocked.append((first + index, name))
                        continue
                edges.setdefault(first + index, set()).add(parent)
        _refuse_cycles(edges, identifiers, first)
        return edges, blocked

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
            f"Use an id that add_task returned; 'cloudops task list {job_id}' shows them.",
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
        self._wait_until(
            lambda: self._store.row("SELECT 1 FROM task WHERE number = ?", (number,)) is None,
            timeout_s,
            f"task {task_id!r} to be deleted",
        )

    def _request(self, job_id: str, task_id: str, request: int) -> int:
        with self._store.transaction():
            job, _ = self._job_state(job_id)
            row = self._store.row(
                "SELECT number, state FROM task WHERE job = ? AND id = ?", (job, task_id)
            )
            if row is None:
                raise self._no_task(job_id, task_id)
            if request == TERMINATE and row[1] == COMPLETED:
                raise ConflictError(f"The task {task_id!r} is completed.", "Nothing is to be done.")
            self._store.execute("UPDATE task SET request = ? WHERE number = ?", (request, row[0]))
        self._link.wake()
        return int(row[0])

    def task_counts(self, job_id: str) -> TaskCounts:
        row = self._store.row(
            "SELECT active, running, succeeded, failed FROM job WHERE id = ?", (job_id,)
        )
        if row is None:
            raise self._no_job(job_id)
        return TaskCounts(active=row[0], running=row[1], succeeded=row[2], failed=row[3])

    def read_task_file(
        self, job_id: str, task_id: str, name: str, offset: int = 0, limit: int = 1 << 20
    ) -> bytes:
        directory = Path(self.get_task(job_id, task_id).directory)
        path = names.inside(directory, names.blob(name))
        try:
            # A task may have put a pipe or a device there: waiting for that would take for ever.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return b""
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return b""
            return os.pread(descriptor, limit, offset)
        finally:
            os.close(descriptor)

    # --- waiting

    def list_events(self, job_id: str, after: int = 0) -> list[Event]:
        number, _ = self._job_state(job_id)
        rows = self._store.rows(
            "SELECT event.number, time, task.id, what, detail FROM event "
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
                    "It goes on in the background; look again later.",
                )
            self._link.wait(min(left, 1.0))


def _identifiers(job: Job, specs: Sequence[TaskSpec]) -> tuple[list[str], int]:
    """Ids of new tasks and the last number used."""
    number = job.last_task_number
    found = []
    for spec in specs:
        if spec.id is not None:
            found.append(names.task_id(spec.id))
            continue
        number += 1
        found.append(
            str(number)
            if job.spec.integer_task_ids
            else f"{job.spec.id}-{names.name_suffix(spec.name_suffix)}-{number}"
        )
    longest = max(found, key=len)
    if len(longest) > 64:
        raise InvalidNameError(
            f"The task id {longest!r} would have {len(longest)} characters; 64 are allowed.",
            "Shorten the job name or the name suffix, or use task_id_ints=True.",
        )
    return found, number


def _parents(spec: TaskSpec) -> Iterator[str]:
    size = sum(map(len, spec.depends_on))
    if size > _MAX_DEPENDENCY_CHARACTERS:
        raise InvalidInputError(
            f"The ids in depends_on have {size} characters together; 64,000 are allowed.",
            "Use depends_on_range with integer ids (task_id_ints=True).",
        )
    yield from spec.depends_on
    if spec.depends_on_range is not None:
        low, high = spec.depends_on_range
        yield from map(str, range(low, high + 1))


def _refuse_cycles(edges: dict[int, set[int]], identifiers: Sequence[str], first: int) -> None:
    """Only tasks of one call can form a circle: earlier ones cannot depend on later ones."""
    inner = {
        child: [parent for parent in parents if parent >= first] for child, parents in edges.items()
    }
    if not any(inner.values()):
        return
    try:
        TopologicalSorter(inner).prepare()
    except CycleError as error:
        circle = " -> ".join(repr(identifiers[number - first]) for number in error.args[1])
        raise DependencyCycleError(
            f"The tasks depend on one another in a circle: {circle}.", "Remove one dependency."
        ) from error


def caller_ids() -> tuple[int, int]:
    """The user and group that must own what tasks write."""
    return os.getuid(), os.getgid()
