"""Jobs: create, watch, delete."""

from __future__ import annotations

import csv
import logging
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfa.cloudops.client.pools import owner_metadata
from cfa.cloudops.errors import (
    BlobContainerNotFoundError,
    InvalidInputError,
    JobExistsError,
    JobNotFoundError,
    WaitTimeoutError,
)
from cfa.cloudops.model import names
from cfa.cloudops.model.values import Job, JobSpec, JobState, Task, TaskState

if TYPE_CHECKING:
    from cfa.cloudops.client.view import Farewell
    from cfa.cloudops.provider.batch import BatchProvider
    from cfa.cloudops.provider.blob import BlobProvider
    from cfa.cloudops.settings import Settings

_log = logging.getLogger(__name__)

_DEFAULT_TIMEOUT_MIN = 480
_STATS = (
    "task_id", "command", "creation", "start", "end", "runtime", "exit_code", "pool", "node_id",
)  # fmt: skip


class JobMixin:
    """Methods of `CloudClient` about jobs."""

    _batch: BatchProvider
    _blobs: BlobProvider
    _settings: Settings
    _farewell: Farewell
    _latest_job: str | None
    pool_name: str | None
    save_logs_to_blob: str | None
    logs_folder: str
    task_id_ints: bool
    task_id_max: int
    jobs: set[str]

    def create_job(
        self,
        job_name: str,
        pool_name: str | None = None,
        save_logs_to_blob: str | None = None,
        logs_folder: str | None = None,
        task_retries: int = 0,
        mark_complete_after_tasks_run: bool = True,
        task_id_ints: bool = False,
        timeout: float | None = None,
        exist_ok: bool = False,
        verify_pool: bool = True,
        verbose: bool = False,
    ) -> None:
        """Make a job: a named set of tasks on a pool.

        Args:
            job_name: blanks are removed.
            pool_name: the pool of its tasks; the client's latest pool when not given.
            save_logs_to_blob: an existing blob container. The output of each task is saved in it
                when the task completes, successful or not, as
                `<logs_folder>/<day of adding>/<task id>/stdout.txt` and `stderr.txt`. The job is
                complete when that is done.
            logs_folder: folder in it; `stdout_stderr` when not given.
            task_retries: how often a task with a non-zero exit code is tried again; -1: for ever.
            mark_complete_after_tasks_run: the job completes when all of its tasks have. It needs at
                least one, and opens again when another is added.
            task_id_ints: ids are "1", "2", ... instead of `<job>-<suffix>-<n>`.
            timeout: minutes from now until the job is ended, with what runs in it.
            exist_ok: go on with a job of this name, which is left as it is.
            verify_pool: refuse a pool that does not exist; else tasks wait for it.
            verbose: print what was done.

        Raises:
            ValueError: no such pool or blob container, or an argument that can never work.
            RuntimeError: a job of this name exists.
        """
        job_id = names.new_job_id(job_name)
        pool = names.pool_id(pool_name) if pool_name else self.pool_name
        if not pool:
            raise InvalidInputError(
                f"The job {job_id!r} has no pool.", "Pass pool_name, or call create_pool first."
            )
        if verify_pool:
            pool = self._batch.get_pool(pool).spec.id
        folder = names.folder(logs_folder.strip("/")) if logs_folder else "stdout_stderr"
        container = names.blob_container(save_logs_to_blob) if save_logs_to_blob else None
        if container is not None and not (exist_ok and self._has_job(job_id)):
            self._check_log_container(container)
        spec = JobSpec(
            id=job_id,
            pool_id=pool,
            max_task_retries=_retries(task_retries),
            timeout_s=minutes("timeout", timeout),
            auto_complete=mark_complete_after_tasks_run,
            integer_task_ids=task_id_ints,
            log_container=container,
            log_folder=folder,
            log_storage=self._settings.storage if container else "",
            metadata=(("mark_complete", str(mark_complete_after_tasks_run)), *owner_metadata()),
        )
        try:
            job = self._batch.create_job(spec)
            said = f"Created job {job_id}."
        except JobExistsError:
            if not exist_ok:
                raise
            job = self._batch.get_job(job_id)
            said = f"Job {job_id} exists."
        if verbose:
            print(said)  # noqa: T201  asked for
        self._adopt(job)

    def _has_job(self, job_id: str) -> bool:
        try:
            self._batch.task_counts(job_id)
        except JobNotFoundError:
            return False
        return True

    def _check_log_container(self, container: str) -> None:
        if not self._blobs.container_exists(container):
            raise BlobContainerNotFoundError(
                f"The blob container {container!r}, in which the job's logs are to be saved, does "
                "not exist.",
                f"Make it with create_blob_container({container!r}).",
            )

    def _adopt(self, job: Job) -> None:
        """Make a job the client's latest, and show its settings in the attributes scripts read."""
        self.pool_name = job.spec.pool_id
        self.save_logs_to_blob = job.spec.log_container
        self.logs_folder = job.spec.log_folder
        self.task_id_ints = job.spec.integer_task_ids
        self.task_id_max = job.last_task_number
        self.jobs.add(job.spec.id)
        self._latest_job = job.spec.id

    def delete_job(self, job_name: str) -> None:
        """Delete a job with its tasks and their files; returns when they are gone.

        Raises:
            ValueError: there is no such job.
        """
        job_id = names.job_id(job_name)
        self._batch.delete_job(job_id)
        self._farewell.forget(job_id)
        self.jobs.discard(job_id)
        if self._latest_job == job_id:
            self._latest_job = None

    def check_job_status(self, job_name: str) -> str:
        """`does not exist`, `complete`, or the state of the job (`active`, `terminating`, ...)."""
        try:
            job = self._batch.get_job(names.job_id(job_name))
        except JobNotFoundError:
            return "does not exist"
        _log.info(
            "%s",
            {"completed tasks": job.counts.completed, "total tasks": job.counts.total},
        )
        return "complete" if job.state is JobState.COMPLETED else str(job.state)

    def monitor_job(
        self,
        job_name: str,
        timeout: float | None = None,
        download_job_stats: bool = False,
        download_task_output: bool = False,
    ) -> None:
        """Block until all tasks of a job are completed and its logs saved, showing counts; then
        print a summary.

        Args:
            job_name: the job.
            timeout: minutes to wait at most; 480 when not given.
            download_job_stats: write `<job>-stats.csv` afterwards.
            download_task_output: write `<job>_output/<task>_stdout.txt` and `_stderr.txt`, each when
                its task completes.

        Raises:
            ValueError: there is no such job.
            RuntimeError: the time passed; the job goes on.
        """
        job_id = names.job_id(job_name)
        limit_s = minutes("timeout", timeout) or _DEFAULT_TIMEOUT_MIN * 60.0
        start = time.monotonic()
        line = _Line()
        seen = 0
        try:
            while True:
                job = self._batch.get_job(job_id)
                if download_task_output:
                    seen = self._save_output(job_id, seen)
                elapsed = time.monotonic() - start
                line.show(_progress(job, elapsed))
                if job.settled:
                    break
                if elapsed >= limit_s:
                    raise WaitTimeoutError(
                        f"The job {job_id!r} did not complete within {limit_s / 60:g} minutes: "
                        f"{job.counts.total - job.counts.completed} of {job.counts.total} tasks "
                        f"remain. {job.problem or ''}".strip(),
                        "It goes on; call monitor_job again, or end it with delete_job.",
                    )
                self._batch.wait_for_change(min(limit_s - elapsed, 1.0))
        finally:
            line.end()
        self._farewell.forget(job.spec.id)
        print(_summary(job, time.monotonic() - start))  # noqa: T201  the method's purpose
        if job.problem:
            _log.warning("%s: %s", job_id, job.problem)
        if download_job_stats:
            self.download_job_stats(job_id)

    def _save_output(self, job_id: str, after: int) -> int:
        """Write the output of tasks that completed since event `after`; the newest event."""
        for event in self._batch.list_events(job_id, after):
            after = event.number
            if event.what != "completed" or event.task_id is None:
                continue
            directory = Path(f"{job_id}_output")
            directory.mkdir(exist_ok=True)
            for stream in ("stdout", "stderr"):
                data = self._read_all(job_id, event.task_id, f"{stream}.txt")
                target = directory / f"{event.task_id}_{stream}.txt"
                target.write_text(data.decode(errors="replace"))
        return after

    def _read_all(self, job_id: str, task_id: str, name: str) -> bytes:
        parts: list[bytes] = []
        size = 0
        while part := self._batch.read_task_file(job_id, task_id, name, size):
            parts.append(part)
            size += len(part)
        return b"".join(parts)

    def download_job_stats(self, job_name: str, file_name: str | None = None) -> None:
        """Write a table of a job's tasks to `<file_name>.csv`, or `<job>-stats.csv`, here.

        Columns, separated by `|`: task_id, command, creation, start, end, runtime, exit_code, pool,
        node_id. What is not known yet is left empty.

        Raises:
            ValueError: there is no such job.
        """
        job = self._batch.get_job(names.job_id(job_name))
        path = Path(f"{file_name or job.spec.id + '-stats'}.csv")
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="|")
            writer.writerow(_STATS)
            for task in self._batch.list_tasks(job.spec.id):
                writer.writerow(_statistics(task, job.spec.pool_id))


def _retries(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < -1:
        raise InvalidInputError(
            f"task_retries={value!r} is not a whole number of at least -1.",
            "Use 0 for no retries, -1 for no limit.",
        )
    return value


def minutes(name: str, value: Any) -> float | None:
    """Minutes given by a user, in seconds; None and 0 mean no limit."""
    if value is None or value == 0:
        return None
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise InvalidInputError(
            f"{name}={value!r} is not a number of minutes above 0.", f"Correct {name}."
        )
    return float(value) * 60


def _progress(job: Job, elapsed_s: float) -> str:
    counts = job.counts
    text = (
        f"monitor runtime: {timedelta(seconds=int(elapsed_s))} ... {counts.completed} completed; "
        f"{counts.running} running; {counts.active + counts.running} remaining; "
        f"{counts.succeeded} successes; {counts.failed} failures"
    )
    if job.logs_owed and not counts.active + counts.running:
        text += f"; logs of {job.logs_owed} are being saved"
    return f"{text} ({job.problem})" if job.problem else text


def _summary(job: Job, elapsed_s: float) -> dict[str, Any]:
    counts = job.counts
    return {
        "completed": True,
        "elapsed time": timedelta(seconds=int(elapsed_s)),
        "terminate_reason": job.terminate_reason,
        "tasks complete": counts.completed,
        "tasks remaining": counts.active + counts.running,
        "success": counts.succeeded,
        "fail": counts.failed,
    }


def _statistics(task: Task, pool: str) -> list[Any]:
    def stamp(time: Any) -> str:
        return "" if time is None else time.strftime("%Y-%m-%d %H:%M:%S")

    done = task.state is TaskState.COMPLETED and task.started and task.ended
    runtime = timedelta(seconds=int((task.ended - task.started).total_seconds())) if done else ""  # type: ignore[operator]
    return [
        task.id,
        task.command_line.partition(" -")[0],
        str(task.created),
        stamp(task.started),
        stamp(task.ended),
        str(runtime),
        "" if task.exit_code is None else task.exit_code,
        pool,
        task.node_id or "",
    ]


class _Line:
    """A line of progress: rewritten on a terminal, elsewhere printed when it says something new."""

    def __init__(self) -> None:
        self._last = ""
        self._terminal = sys.stdout.isatty()
        self._printed = -10.0

    def show(self, text: str) -> None:
        counts = text.partition(" ... ")[2]
        if self._terminal:
            sys.stdout.write(f"\r\x1b[K{text}")
            sys.stdout.flush()
        elif counts != self._last and time.monotonic() - self._printed >= 5:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()
            self._printed = time.monotonic()
        else:
            return
        self._last = counts

    def end(self) -> None:
        if self._terminal and self._last:
            sys.stdout.write("\n")
