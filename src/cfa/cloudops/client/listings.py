"""What there is: jobs, pools, tasks and what tasks wrote, as values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from cfa.cloudops.client.jobs import keep_going
from cfa.cloudops.errors import InvalidInputError
from cfa.cloudops.model import names

if TYPE_CHECKING:
    from cfa.cloudops.model.values import Job, Pool, Task
    from cfa.cloudops.provider.batch import BatchProvider


class Shown(Protocol):
    """A value that a table can show in a row."""

    def columns(self) -> Mapping[str, Any]: ...


T = TypeVar("T", bound=Shown)


class Listing(list[T]):
    """A list that a notebook shows as a table."""

    def __init__(self, items: Iterable[T], kind: str) -> None:
        super().__init__(items)
        self._kind = kind

    def _repr_html_(self) -> str:
        from cfa.cloudops.model import show  # for notebooks alone

        return show.table([item.columns() for item in self], f"There are no {self._kind}.")


class ListingMixin:
    """Methods of `CloudClient` that say what there is. The cloud's client has none of them."""

    _batch: BatchProvider

    def list_jobs(self) -> list[Job]:
        """List all jobs of the workspace, oldest first, including those of other scripts.

        Each job has `id`, `pool_id`, `state`, `created`, `ended`, `problem` and `counts` (`active`,
        `running`, `succeeded`, `failed`, `completed`, `total`). The values do not change; call
        again to see later ones.
        """
        return Listing(self._batch.list_jobs(), "jobs")

    def list_pools(self) -> list[Pool]:
        """List all pools of the workspace, oldest first.

        Each pool has `id`, `nodes`, `created` and `spec`, its definition: `backend`, `image`, `mounts`,
        `slots_per_node`, `vm_size`.
        """
        return Listing(self._batch.list_pools(), "pools")

    def list_tasks(self, job_name: str) -> list[Task]:
        """List the tasks of a job, in the order in which they were added.

        Each task has `id`, `command_line`, `state`, `result` (`success` or `failure`; None before its
        end), `exit_code`, `failure` (`code`, `message`), `started`, `ended` (zone-aware UTC) and
        `runtime`.

        Args:
            job_name: name of the job; blanks are removed.

        Raises:
            ValueError: the job does not exist.
        """
        job_id = names.job_id(job_name)
        found = Listing(self._batch.list_tasks(job_id), "tasks in this job")
        keep_going(self._batch, self._batch.get_job(job_id))
        return found

    def read_task_output(
        self, job_name: str, task_id: str, stream: Literal["stdout", "stderr"] = "stdout"
    ) -> str:
        """Read the output of a task. The output of a running task is what it has written so far.

        If a task had several attempts, the output is that of the latest one.

        Args:
            job_name: name of the job; blanks are removed.
            task_id: what `add_task` returned.
            stream: `stdout` or `stderr`.

        Returns:
            The output, decoded as UTF-8. Invalid bytes are replaced.

        Raises:
            ValueError: the job, the task or the stream does not exist.
        """
        if stream not in ("stdout", "stderr"):
            raise InvalidInputError(
                f"stream={stream!r} is not an output of a task.", "Pass 'stdout' or 'stderr'."
            )
        job_id, parts, size = names.job_id(job_name), [], 0
        while part := self._batch.read_task_file(job_id, str(task_id), f"{stream}.txt", size):
            parts.append(part)
            size += len(part)
        return b"".join(parts).decode(errors="replace")
