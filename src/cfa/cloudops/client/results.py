"""Watch a job to its end, and fetch what is left of it: output, statistics, blobs."""

from __future__ import annotations

import codecs
import contextlib
import errno
import inspect
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from cfa.cloudops.client import selection
from cfa.cloudops.client.blobs import BlobMixin
from cfa.cloudops.client.ending import OneInterrupt, end_quietly
from cfa.cloudops.client.jobs import minutes
from cfa.cloudops.client.outcome import JobResult
from cfa.cloudops.client.remarks import going_on
from cfa.cloudops.errors import (
    BlobNotFoundError,
    CloudOpsError,
    ConflictError,
    DiskFullError,
    FileAccessError,
    LocalFileNotFoundError,
    TaskNotFoundError,
    WaitTimeoutError,
)
from cfa.cloudops.model import names
from cfa.cloudops.model.values import Job, Task, TaskState, Usage

if TYPE_CHECKING:
    from cfa.cloudops.client.farewell import Farewell
    from cfa.cloudops.provider.batch import BatchProvider
    from cfa.cloudops.rehearsal import Rehearsal
    from cfa.cloudops.settings import Settings

_STATS = (
    "task_id", "command", "creation", "start", "end", "runtime", "exit_code", "pool", "node_id",
    "cpu_seconds", "peak_memory_bytes", "command_line",
)  # fmt: skip
_UNKNOWN = Usage()
_DEFAULT_TIMEOUT_MIN = 480

_log = logging.getLogger(__name__)


class ResultMixin(BlobMixin):
    """Methods of `CloudClient` about the end of a job and its results."""

    _batch: BatchProvider
    _farewell: Farewell
    _settings: Settings
    rehearsal: Rehearsal | None

    def monitor_job(
        self,
        job_name: str,
        timeout: float | None = None,
        download_job_stats: bool = False,
        download_task_output: bool = False,
        raise_on_failure: bool = False,
    ) -> JobResult:
        """Wait until all tasks of a job have completed and its logs are saved.

        Meanwhile, show the progress of the job and each failure; then print a summary.

        Args:
            job_name: the job.
            timeout: minutes to wait at most. Default: 480.
            download_job_stats: then write `<job>-stats.csv`.
            download_task_output: write `<job>_output/<task>_stdout.txt` and `_stderr.txt` when a
                task completes.
            raise_on_failure: raise an error at the end if a task failed or never ran.

        Returns:
            The dictionary of the cloud's client, which also has the failed tasks.

        Raises:
            ValueError: there is no such job.
            RuntimeError: the time ran out, and the job continues; or a file is in the place of the
                folder for the output. `TasksFailedError`: see `raise_on_failure`.
            OSError: a file cannot be written.
            KeyboardInterrupt: Ctrl-C. The job continues, and a message says how to follow and stop
                it. Another Ctrl-C within a second has no effect.
            SystemExit: tasks failed or never ran, and CLOUDOPS_ON_FAILURE is `exit`. The status is
                1.
        """
        job_id = names.job_id(job_name)
        start = time.monotonic()
        job = self._wait_for_job(job_id, timeout, save_output=download_task_output)
        if self.rehearsal is not None:
            self.rehearsal.awaited(job)
        result = JobResult(job, self._batch.list_tasks(job_id), time.monotonic() - start)
        with going_on("The summary is"):
            print(result)  # noqa: T201  as the cloud's client does
        if job.problem:
            _log.warning("%s: %s", job_id, job.problem)
        if download_job_stats:
            self.download_job_stats(job_id)
        if raise_on_failure:
            result.raise_for_failures()
        if self._settings.on_failure == "exit" and not result.succeeded:
            raise SystemExit(1)
        return result

    def _wait_for_job(
        self, job_id: str, timeout: float | None = None, *, save_output: bool = False
    ) -> Job:
        """Show a job's progress until nothing more comes from it."""
        from cfa.cloudops.client.watch import Watch  # only for a script that waits

        limit_s = minutes("timeout", timeout) or _DEFAULT_TIMEOUT_MIN * 60.0
        start = time.monotonic()
        seen = 0
        with OneInterrupt():
            try:
                with Watch(self._batch, output=False) as watch:
                    while True:
                        job = self._batch.get_job(job_id)
                        if save_output:
                            seen = self._save_output(job_id, seen)
                        watch.look(job)
                        if job.settled:
                            watch.conclude(job)
                            break
                        left = limit_s - (time.monotonic() - start)
                        if left <= 0:
                            self._farewell.detach(job_id)
                            self._farewell.forget(job_id)  # the end of the script waits neither
                            raise _too_late(job, limit_s)
                        self._batch.wait_for_change(min(left, watch.pause_s))
            except KeyboardInterrupt as error:
                end_quietly(error, f"KeyboardInterrupt: detached from the job {job_id}")
                self._farewell.detach(job_id)
                raise
        self._farewell.forget(job.spec.id)
        return job

    def _save_output(self, job_id: str, after: int) -> int:
        """Write the output of tasks that completed since event `after`; the newest event."""
        for event in self._batch.list_events(job_id, after):
            after = event.number
            if event.what != "completed" or event.task_id is None:
                continue
            directory = Path(f"{job_id}_output")
            with _writing(directory):
                directory.mkdir(exist_ok=True)
            for stream in ("stdout", "stderr"):
                target = directory / f"{event.task_id}_{stream}.txt"
                with contextlib.suppress(TaskNotFoundError), _replacing(target) as file:
                    self._copy_output(job_id, event.task_id, f"{stream}.txt", file)
        return after

    def _copy_output(self, job_id: str, task_id: str, name: str, target: TextIO) -> None:
        """Write a stream of a task as UTF-8, a piece at a time; what is no text is replaced."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        size = 0
        while part := self._batch.read_task_file(job_id, task_id, name, size):
            target.write(decoder.decode(part))
            size += len(part)
        target.write(decoder.decode(b"", final=True))

    def download_job_stats(self, job_name: str, file_name: str | None = None) -> None:
        """Write a table of a job's tasks to `<file_name>.csv` or `<job>-stats.csv`.

        A folder in `file_name` must exist.

        The columns, separated by `|`, are task_id, command (up to its first option), creation,
        start, end, runtime, exit_code, pool, node_id, cpu_seconds and peak_memory_bytes (both of
        the last attempt), and command_line (the whole command). Unknown values are empty. Memory is
        known if the task has a container to itself. Processor time includes only processes that
        were waited for.

        Args:
            job_name: the job.
            file_name: path of the table without `.csv`. A file that exists is replaced.

        Raises:
            ValueError: there is no such job.
            RuntimeError: a folder has this name.
            OSError: the file cannot be written.
        """
        import csv

        job = self._batch.get_job(names.job_id(job_name))
        usage = self._batch.task_usage(job.spec.id)
        path = Path(f"{file_name or job.spec.id + '-stats'}.csv")
        with _replacing(path) as file:
            writer = csv.writer(file, delimiter="|")
            writer.writerow(_STATS)
            for task in self._batch.list_tasks(job.spec.id):
                writer.writerow(_row(task, job.spec.pool_id, usage.get(task.id, _UNKNOWN)))

    def download_after_job(
        self,
        job_name: str,
        blob_paths: str | Sequence[str],
        target: str | Path,
        container_name: str,
        **kwargs: Any,
    ) -> None:
        """Wait for a job, at most 480 minutes, then download its files and folders.

        The files keep the full names of the blobs: `results/a.csv` into `out` gives
        `out/results/a.csv`. A path that ends with `/` is a folder; for other paths, the container
        decides. The files are downloaded even if tasks failed.

        Args:
            job_name: the job.
            blob_paths: blobs and folders in the container, one or several.
            target: local folder; created if missing.
            container_name: an existing blob container.
            **kwargs: arguments of `download_folder`, for the folders.

        Raises:
            ValueError: the job or the container does not exist, or filters exclude each other; this
                is raised before the wait. Or a path is neither a blob nor a folder; this is raised
                after all other paths were downloaded.
            TypeError: `download_folder` does not have an argument; raised before the wait.
            RuntimeError: a file is in the place of the target, which is raised before the wait; or
                the time ran out, and the job continues.
        """
        job_id = names.job_id(job_name)
        paths = selection.texts(blob_paths, "blob_paths")
        for path in paths:
            names.folder(path)
        folder = selection.local(target, "target")
        _check_options(self.download_folder, folder, container_name, kwargs)
        container = self._container(container_name)
        self._batch.get_job(job_id)
        with _writing(folder):
            os.makedirs(folder, exist_ok=True)
        self._wait_for_job(job_id)
        missing = [path for path in paths if not self._fetch(path, folder, container, kwargs)]
        if missing:
            raise BlobNotFoundError(
                f"{', '.join(map(repr, missing))} of {container!r} is neither a blob nor a folder; "
                "everything else was downloaded.",
                f"list_blob_files({container!r}) lists the blobs.",
            )

    def _fetch(self, path: str, target: str, container: str, options: dict[str, Any]) -> bool:
        """Download a blob or a folder; False: there is none."""
        prefix = names.folder(path)
        if prefix and not path.endswith("/"):
            try:
                self.download_file(
                    prefix,
                    os.path.join(target, prefix),
                    container,
                    check_size=bool(options.get("check_size", True)),
                )
            except BlobNotFoundError:
                pass
            else:
                return True
        if next(iter(self._blobs.list_blobs(container, prefix)), None) is None:
            return False
        self.download_folder(prefix or ".", target, container, **options)
        return True


def _check_options(
    method: Callable[..., None], target: str, container: str, options: Mapping[str, Any]
) -> None:
    """Raise now what `download_folder` would raise for its options after a long wait."""
    try:
        inspect.signature(method).bind("", target, container, **options)
    except TypeError as error:
        raise TypeError(f"download_folder, which gets them, {error}") from None
    selection.Filter.of(options.get("include_extensions"), options.get("exclude_extensions"), None)


@contextlib.contextmanager
def _writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what the operating system says of a local file into a typed error."""
    try:
        yield
    except CloudOpsError:
        raise  # some of ours are OSErrors as well
    except OSError as error:
        said = f"Could not write {os.fspath(path)!r}: {error.strerror or error}."
        match error:
            case FileExistsError() | IsADirectoryError() | NotADirectoryError():
                raise ConflictError(
                    said, "A file and a folder cannot have the same name; rename one."
                ) from None
            case FileNotFoundError():
                raise LocalFileNotFoundError(said, "Make the folder above it first.") from None
            case PermissionError():
                raise FileAccessError(said, "Check who owns it and its permissions.") from None
            case _ if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise DiskFullError(said, "Free some space and try again.") from None
            case _:
                raise


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[TextIO]:
    """Write a text file that takes the place of an older one when it is whole, else not at all.

    A link, and what is no ordinary file, stays what it is and is written into.
    """
    import secrets

    with _writing(path):
        if path.is_symlink() or (path.exists() and not path.is_file()):
            with path.open("w", encoding="utf-8", newline="") as file:
                yield file
            return
        part = path.with_name(f".cloudops-{os.getpid()}-{secrets.token_hex(4)}.part")
        try:
            with part.open("x", encoding="utf-8", newline="") as file:
                yield file
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def _row(task: Task, pool: str, usage: Usage) -> list[Any]:
    runtime = ""
    if task.state is TaskState.COMPLETED and task.started and task.ended:
        runtime = str(timedelta(seconds=int((task.ended - task.started).total_seconds())))
    return [
        task.id,
        task.command_line.partition(" -")[0],
        str(task.created),
        _stamp(task.started),
        _stamp(task.ended),
        runtime,
        _known(task.exit_code),
        pool,
        task.node_id or "",
        _known(usage.cpu_s),
        _known(usage.peak_memory_bytes),
        task.command_line,
    ]


def _known(value: float | None) -> float | str:
    return "" if value is None else value


def _stamp(at: datetime | None) -> str:
    return "" if at is None else at.strftime("%Y-%m-%d %H:%M:%S")


def _too_late(job: Job, limit_s: float) -> WaitTimeoutError:
    return WaitTimeoutError(
        f"The job {job.spec.id!r} did not complete within {limit_s / 60:g} minutes: "
        f"{job.counts.total - job.counts.completed} of {job.counts.total} tasks remain. "
        f"{job.problem or ''}".strip(),
        "The job continues. Call monitor_job again, or delete the job with delete_job.",
    )
