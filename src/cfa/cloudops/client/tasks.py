"""Tasks: add them, ask how they are."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Unpack, overload

from attrs import evolve

from cfa.cloudops.client.arguments import (
    TaskOptions,
    command_text,
    dependencies,
    id_range,
    positions,
)
from cfa.cloudops.client.jobs import keep_going, minutes
from cfa.cloudops.client.pools import parse_mounts
from cfa.cloudops.errors import (
    AmbiguousCallError,
    BlobContainerNotFoundError,
    CloudOpsError,
    InvalidInputError,
    JobNotFoundError,
    PoolNotFoundError,
)
from cfa.cloudops.model import names, references
from cfa.cloudops.model.values import Mount, PoolSpec, Task, TaskSpec

if TYPE_CHECKING:
    from cfa.cloudops.client.farewell import Farewell
    from cfa.cloudops.provider.batch import BatchProvider
    from cfa.cloudops.provider.blob import BlobProvider
    from cfa.cloudops.rehearsal import Rehearsal
    from cfa.cloudops.settings import Settings

P = ParamSpec("P")

_TASK_KEYS = frozenset(
    {
        "command_line", "full_container_name", "container_image_name", "mounts", "mount_pairs",
        "depends_on", "depends_on_range", "depends_on_positions", "run_dependent_tasks_on_fail",
        "timeout", "logs_folder", "name_suffix", "id",
    }
)  # fmt: skip


class TaskIds(list[str]):
    """The ids of an added collection: a list, which also answers like the cloud's result object."""

    @property
    def result_values(self) -> list[str]:
        """The ids, under the name that the cloud's result has."""
        return list(self)


def either_order(
    method: Callable[Concatenate[TaskMixin, P], str],
) -> Callable[..., str]:
    """Let a method with `job_name, command_line` first be called in the four ways users call it.

    `wraps` keeps the plain signature in `help()`; overloads tell type checkers the four ways.
    """

    @functools.wraps(method)
    def add_task(self: TaskMixin, *args: Any, **kwargs: Any) -> str:
        positional = list(args)
        if "job_name" in kwargs and "command_line" not in kwargs:
            if len(positional) != 1:
                raise AmbiguousCallError(
                    f"add_task got job_name and {len(positional)} positional arguments; with "
                    "job_name= exactly one is clear, the command.",
                    "Write add_task(command, job_name=...), and everything else by name.",
                )
            kwargs["command_line"] = positional.pop()
        elif "job_name" not in kwargs and "command_line" not in kwargs:
            if len(positional) == 1:
                kwargs["job_name"], kwargs["command_line"] = None, positional.pop()
            elif len(positional) >= 2:
                kwargs["job_name"], kwargs["command_line"] = positional[:2]
                positional = positional[2:]
            else:
                raise AmbiguousCallError(
                    "add_task got no command.", "Write add_task(job_name, command_line)."
                )
        elif "job_name" not in kwargs:
            kwargs["job_name"] = positional.pop(0) if positional else None
        elif positional:
            raise AmbiguousCallError(
                "add_task got job_name= and command_line=, and a positional argument beside them.",
                "Give everything else by name too.",
            )
        job, command = kwargs.pop("job_name"), kwargs.pop("command_line")
        job = self._resolve_job(job, command)
        return method(self, job, command, *positional, **kwargs)  # type: ignore[arg-type]  # checked by the call itself

    return add_task


class TaskMixin:
    """Methods of `CloudClient` about tasks."""

    _batch: BatchProvider
    _blobs: BlobProvider
    _settings: Settings
    _storage_url: str
    _farewell: Farewell
    _latest_job: str | None
    full_container_name: str | None
    mounts: list[dict[str, str]] | None
    task_id_max: int
    jobs: set[str]
    rehearsal: Rehearsal | None

    @overload
    def add_task(
        self,
        job_name: str | None,
        command_line: str | Sequence[str],
        mount_pairs: Sequence[Mapping[str, str]] | None = None,
        name_suffix: str = "",
        depends_on: str | Iterable[str] | None = None,
        depends_on_range: tuple[int, int] | None = None,
        run_dependent_tasks_on_fail: bool = False,
        container_image_name: str | None = None,
        timeout: float | timedelta | None = None,
    ) -> str: ...

    @overload
    def add_task(
        self,
        command_line: str | Sequence[str],
        /,
        *,
        job_name: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> str: ...

    @overload
    def add_task(
        self,
        *,
        command_line: str | Sequence[str],
        job_name: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> str: ...

    @either_order
    def add_task(
        self,
        job_name: str | None = None,
        command_line: str | Sequence[str] = "",
        mount_pairs: Sequence[Mapping[str, str]] | None = None,
        name_suffix: str = "",
        depends_on: str | Iterable[str] | None = None,
        depends_on_range: tuple[int, int] | None = None,
        run_dependent_tasks_on_fail: bool = False,
        container_image_name: str | None = None,
        timeout: float | timedelta | None = None,
    ) -> str:
        """Add one task and return its id at once. The task runs in the background.

        There are four forms: `add_task(job_name, command_line)`, the same with both names,
        `add_task(command_line, job_name=...)`, and `add_task(command_line)` for the latest job.

        Args:
            job_name: the job. Default: the client's latest job.
            command_line: program and arguments, as text or as a list with one element per argument.
                No shell runs the command. For pipes, variables and redirections, write `sh -c
                '...'`.
            mount_pairs: mounts of this task, in place of the pool's mounts. The source is a blob
                container, or the target of one of the pool's mounts.
            name_suffix: middle part of the id: `<job>-<suffix>-<n>`.
            depends_on: id or ids of tasks that must succeed first.
            depends_on_range: the first and the last of such tasks' integer ids, both included. It
                wins over `depends_on`.
            run_dependent_tasks_on_fail: tasks that depend on *this* task run even if it fails.
            container_image_name: image of this task, in place of the pool's image.
            timeout: minutes that one attempt may take.

        Returns:
            The id of the task, for example for `depends_on`.

        Raises:
            ValueError: the job, a dependency or a blob container does not exist, or an argument
                cannot work.
            RuntimeError: the job accepts no more tasks.
        """
        spec = TaskSpec(
            command_line=command_text(command_line),
            name_suffix=name_suffix or "",
            image=references.image(container_image_name) or self.full_container_name,
            mounts=None if mount_pairs is None else parse_mounts(mount_pairs),
            timeout_s=minutes("timeout", timeout),
            depends_on_range=id_range(depends_on_range),
            run_dependents_on_failure=bool(run_dependent_tasks_on_fail),
        )
        if depends_on_range is None:
            spec = _with_dependencies(spec, depends_on)
        if self.rehearsal is not None:
            self.rehearsal.command(command_line)
        return self._add(job_name or "", [spec])[0]

    def add_task_collection(
        self, job_name: str, tasks: Sequence[Mapping[str, Any]], name_suffix: str = ""
    ) -> TaskIds:
        """Add many tasks in one call, all or none.

        Args:
            job_name: the job.
            tasks: one mapping per task, with `command_line` and, as in `add_task`, `mount_pairs` (or
                `mounts`), `container_image_name` (or `full_container_name`), `depends_on`,
                `depends_on_range`, `run_dependent_tasks_on_fail`, `timeout`, `name_suffix`. The
                mappings are not changed. Tasks may name one another by the ids that they will have,
                or by `depends_on_positions`, which are positions in `tasks`, counted from 0.
            name_suffix: middle part of all ids.

        Returns:
            The ids, in order: a list with the attribute `result_values`.

        Raises:
            ValueError: as for `add_task`. No task was added.
            RuntimeError: the job accepts no more tasks. No task was added.
        """
        if isinstance(tasks, str | Mapping) or not isinstance(tasks, Iterable):
            raise InvalidInputError("tasks must be a list of mappings.", "Pass a list.")
        tasks = list(tasks)
        specs = [self._spec(index, task, name_suffix) for index, task in enumerate(tasks)]
        if self.rehearsal is not None:
            for task in tasks:
                self.rehearsal.command(task["command_line"])
            self.rehearsal.collection(specs)
        job = self._resolve_job(job_name, None)
        return TaskIds(self._add(job, specs))

    def get_task_status(self, job_name: str, task_id: str | None = None) -> str:
        """States of a job's tasks as JSON: an array of `{"id", "state", "exit_code"}`, or one object.

        Args:
            job_name: the job.
            task_id: one task. Default: all tasks, in the order in which they were added.

        Raises:
            ValueError: the job or the task does not exist.
        """
        job_id = names.job_id(job_name)
        found: dict[str, Any] | list[dict[str, Any]]
        if task_id is not None:
            found = _status(self._batch.get_task(job_id, str(task_id)))
        else:
            found = [_status(task) for task in self._batch.list_tasks(job_id)]
        keep_going(self._batch, self._batch.get_job(job_id))
        return json.dumps(found)

    # --- parts

    def _resolve_job(self, job: Any, command: Any) -> str:
        """The id of the job that a call means.

        Raises:
            AmbiguousCallError: job and command look exchanged, or one of them is missing.
        """
        if job is None:
            if command is not None and self._is_job(command):
                raise AmbiguousCallError(
                    f"add_task({command!r}) names a job, but no command.",
                    f"Write add_task({command!r}, command_line).",
                )
            if self._latest_job is None:
                raise AmbiguousCallError(
                    "add_task got a command but no job, and this client has made none.",
                    "Write add_task(job_name, command_line).",
                )
            return self._latest_job
        if not self._is_job(job) and self._is_job(command):
            raise AmbiguousCallError(
                f"add_task got {job!r} as the job and {command!r} as the command; they look "
                "exchanged.",
                f"Write add_task({command!r}, {job!r}).",
            )
        try:
            return names.job_id(job)
        except ValueError:
            raise JobNotFoundError(
                f"There is no job {job!r}: this cannot be the name of a job.",
                "Write add_task(job_name, command_line).",
            ) from None

    def _is_job(self, text: Any) -> bool:
        try:
            self._batch.task_counts(names.job_id(text))
        except ValueError:
            return False
        return True

    def _add(self, job_id: str, specs: Sequence[TaskSpec]) -> list[str]:
        try:
            return self._add_checked(job_id, specs)
        except CloudOpsError:
            self._farewell.refused(job_id)
            raise

    def _add_checked(self, job_id: str, specs: Sequence[TaskSpec]) -> list[str]:
        job = self._batch.get_job(job_id)
        pool = self._pool(job.spec.pool_id)
        specs = self._resolve_mounts(pool, specs)
        self._check_mounts(pool, specs)
        if any(spec.upload for spec in specs):
            from cfa.cloudops.client import output_files  # few tasks have some

            specs = output_files.resolved(specs, self._settings.storage, self._storage_url)
        if self.rehearsal is not None:
            self.rehearsal.addition(job)
            self.rehearsal.tasks(job.spec.id, pool, specs)
        ids = self._batch.add_tasks(job_id, specs)
        self.jobs.add(job.spec.id)
        self._latest_job = job.spec.id
        self.task_id_max = job.last_task_number + sum(spec.id is None for spec in specs)
        self._farewell.expect(job.spec.id, ids)
        return ids

    def _pool(self, pool_id: str) -> PoolSpec | None:
        try:
            return self._batch.get_pool(pool_id).spec
        except PoolNotFoundError:
            return None  # it may come later

    def _resolve_mounts(
        self, pool: PoolSpec | None, specs: Sequence[TaskSpec]
    ) -> Sequence[TaskSpec]:
        """Let a task's mount also name one of its pool by target: the cloud looks for that name."""
        sources = {mount.target: mount.source for mount in (pool.mounts if pool else ())}
        named = {mount.source for spec in specs for mount in spec.mounts or ()} & sources.keys()
        named = {name for name in named if not self._blobs.container_exists(name)}
        if not named:
            return specs

        def container(mount: Mount) -> Mount:
            return evolve(mount, source=sources[mount.source]) if mount.source in named else mount

        return [
            evolve(spec, mounts=tuple(map(container, spec.mounts))) if spec.mounts else spec
            for spec in specs
        ]

    def _check_mounts(self, pool: PoolSpec | None, specs: Sequence[TaskSpec]) -> None:
        mounts = () if pool is None else pool.mounts
        self.mounts = [{"source": mount.source, "target": mount.target} for mount in mounts]
        wanted: set[Mount] = set(mounts) if any(spec.mounts is None for spec in specs) else set()
        for spec in specs:
            wanted.update(spec.mounts or ())
        for source in sorted({mount.source for mount in wanted}):
            if not self._blobs.container_exists(source):
                raise BlobContainerNotFoundError(
                    f"The blob container {source!r}, which the task mounts, does not exist.",
                    f"To create it: create_blob_container({source!r}).",
                )

    def _spec(self, index: int, task: Any, suffix: str) -> TaskSpec:
        if not isinstance(task, Mapping) or "command_line" not in task:
            raise InvalidInputError(
                f"Task {index} of the collection has no command_line: {task!r}.",
                "Each task is a mapping with at least command_line.",
            )
        unknown = sorted(map(str, task.keys() - _TASK_KEYS))
        if unknown:
            raise InvalidInputError(
                f"Task {index} of the collection has unknown keys: {', '.join(unknown)}.",
                f"The known keys are: {', '.join(sorted(_TASK_KEYS))}.",
            )
        mounts = task.get("mount_pairs", task.get("mounts"))
        number_range = id_range(task.get("depends_on_range"))
        spec = TaskSpec(
            command_line=command_text(task["command_line"]),
            id=task.get("id"),
            name_suffix=task.get("name_suffix", suffix) or "",
            image=references.image(task.get("container_image_name"))
            or references.image(task.get("full_container_name"))
            or self.full_container_name,
            mounts=None if mounts is None else parse_mounts(mounts),
            timeout_s=minutes("timeout", task.get("timeout")),
            depends_on_range=number_range,
            depends_on_positions=positions(task.get("depends_on_positions")),
            run_dependents_on_failure=bool(task.get("run_dependent_tasks_on_fail", False)),
        )
        if number_range is not None:
            return spec
        return _with_dependencies(spec, task.get("depends_on"))


def _with_dependencies(spec: TaskSpec, given: Any) -> TaskSpec:
    """A task that depends on ids of tasks, or on what an object of the SDK says."""
    if isinstance(given, Mapping) or hasattr(given, "task_ids"):
        from cfa.cloudops.client import sdk  # most scripts have no such objects

        return sdk.with_dependencies(spec, given)
    return evolve(spec, depends_on=dependencies(given))


def _status(task: Task) -> dict[str, Any]:
    return {"id": task.id, "state": str(task.state), "exit_code": task.exit_code}
