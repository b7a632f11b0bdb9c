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
        """All jobs of the workspace, oldest first, those of other scripts included.

        Each has `id`, `pool_id`, `state`, `created`, `ended`, `problem` and `counts` (`active`,
        `running`, `succeeded`, `failed`, `completed`, `total`). They say how it is at this moment;
        call again to see what has changed.
        """
        return Listing(self._batch.list_jobs(), "jobs")

    def list_pools(self) -> list[Pool]:
        """All pools of the workspace, oldest first.

        Each has `id`, `nodes`, `created` and `spec`, its definition: `backend`, `image`, `mounts`,
        `slots_per_node`, `vm_size`.
        """
        return Listing(self._batch.list_pools(), "pools")

    def list_tasks(self, job_name: str) -> list[Task]:
        """Tasks of a job, in the order they were added.

        Each has `id`, `command_line`, `state`, `result` (`success` or `failure`; None before its
        end), `exit_code`, `failure` (`code`, `message`), `started`, `ended` (zone-aware UTC) and
        `runtime`.

        Args:
            job_name: the job; blanks are removed.

        Raises:
            ValueError: there is no such job.
        """
        job_id = names.job_id(job_name)
        found = Listing(self._batch.list_tasks(job_id), "tasks in this job")
        keep_going(self._batch, self._batch.get_job(job_id))
        return found

    def read_task_output(
        self, job_name: str, task_id: str, stream: Literal["stdout", "stderr"] = "stdout"
    ) -> str:
        """What a task has written so far: of a running one what is there, of others all of it.

        Of a task that was tried more than once, it is the latest try.

        Args:
            job_name: the job; blanks are removed.
            task_id: what `add_task` returned.
            stream: `stdout` or `stderr`.

        Returns:
            The text, as UTF-8; bytes that are no text are replaced.

        Raises:
            ValueError: there is no such job, task or stream.
        """
        if stream not in ("stdout", "stderr"):
            raise InvalidInputError(
                f"stream={stream!r} is no output of a task.", "Pass 'stdout' or 'stderr'."
            )
        job_id, parts, size = names.job_id(job_name), [], 0
        while part := self._batch.read_task_file(job_id, str(task_id), f"{stream}.txt", size):
            parts.append(part)
            size += len(part)
        return b"".join(parts).decode(errors="replace")
