"""Outputs: the logs of completed tasks on their way into blob containers.

Logs go into the container and folder that the job names, by the day of adding, or where the task says
itself: see the table `upload`. The transaction that completes a task makes its row fulfil `OWED`, so
what is owed is known to any agent, also to the one after a crash. Worker threads save it, a batch at a
time, never on the way of a task. A job completes, and loses its files, only when nothing of it is
owed any more: what cannot be saved is tried again a few times and then given up, with a sentence in the
job.
"""

from __future__ import annotations

import contextlib
import logging
import stat
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from cfa.cloudops import backends
from cfa.cloudops.beneath import Place
from cfa.cloudops.errors import CloudOpsError
from cfa.cloudops.model.uploads import Upload
from cfa.cloudops.model.values import JobSpec
from cfa.cloudops.provider.blob import BlobProvider, FileBeneath
from cfa.cloudops.service.definitions import job_spec
from cfa.cloudops.service.store import OWED
from cfa.cloudops.service.sums import sound
from cfa.cloudops.service.workspace import STREAMS

if TYPE_CHECKING:
    from cfa.cloudops.service.scheduler import Scheduler

_log = logging.getLogger(__name__)

#: Tasks whose logs are saved in one go. While that is under way others gather.
_BATCH = 256
#: Bytes of a log that were never written, at most: a copy would fill them.
_MOST_HOLES = 64 << 20
#: Seconds before each further try to save logs of a job. After the last one they are given up.
PAUSES_S = (0.5, 1.0, 2.0, 4.0)
#: Seconds for finding out which tasks of a batch cannot be saved, one by one.
_ONE_BY_ONE_S = 10.0


@frozen
class Owed:
    """A task whose logs are to be saved: its number and id, the day of adding, whether it failed, and
    where its logs go, if not where the job says."""

    number: int
    task_id: str
    day: str
    failed: bool = False
    upload: Upload | None = None

    @property
    def container(self) -> tuple[str, str] | None:
        """The storage and the container of its own upload."""
        return (self.upload.storage, self.upload.container) if self.upload else None


@frozen
class Result:
    """What became of a batch. Tasks that are neither saved nor failed were not tried.

    `hopeless` says why the container cannot be used at all, when it cannot. `own`: the storage and
    container, when they are not the job's.
    """

    job: int
    saved: Sequence[int] = ()
    failed: Mapping[int, str] = field(factory=dict)
    hopeless: str = ""
    own: tuple[str, str] | None = None


class Outputs:
    """Saves what is owed, in the agent's worker threads, one batch after the other."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._store = scheduler.store
        self._agent = scheduler.agent
        self._workspace = scheduler.workspace
        #: There may be something in the store; an agent before this one may have left it.
        self.due = True
        self._sending = False
        self._results: list[Result] = []
        #: Failures in a row, by job and its own or another container; and jobs that are not tried for
        #: the moment.
        self._failures: dict[tuple[int, tuple[str, str] | None], int] = {}
        self._pausing: set[int] = set()
        self._storages: dict[str, BlobProvider] = {}  # touched by one worker at a time

    @property
    def news(self) -> bool:
        """Whether the next turn has something to do here."""
        return bool(self._results) or (self.due and not self._sending)

    @property
    def busy(self) -> bool:
        """Whether the agent must stay."""
        return self.due or self._sending or bool(self._results or self._pausing)

    def owes(self, job: int) -> bool:
        """Whether logs of a job are not saved yet."""
        found = self._store.row(f"SELECT 1 FROM task WHERE job = ? AND {OWED} LIMIT 1", (job,))  # noqa: S608
        self.due |= found is not None
        return found is not None

    # --- in a turn: `settle` inside its transaction, `send` after the commit

    def settle(self) -> None:
        """Write down what became of the last batch."""
        results, self._results = self._results, []
        for result in results:
            self._mark(result.saved)
            if result.hopeless or result.failed:
                self._take_failure(result)
            else:
                self._failures.pop((result.job, result.own), None)

    def _mark(self, numbers: Sequence[int]) -> None:
        self._store.execute_many(
            "UPDATE task SET log_day = NULL WHERE number = ?", ((number,) for number in numbers)
        )

    def _take_failure(self, result: Result) -> None:
        key = result.job, result.own
        failures = self._failures.get(key, 0)
        reason = result.hopeless or next(iter(result.failed.values()))
        if failures < len(PAUSES_S):
            _log.warning("saving logs of job number %d: %s", result.job, reason)
            self._failures[key] = failures + 1
            self._pausing.add(result.job)
            again = partial(self._resume, result.job)
            self._agent.at(time.monotonic() + PAUSES_S[failures], again)
            return
        if result.hopeless:
            self._store.execute(
                f"UPDATE task SET log_day = NULL WHERE job = ? AND {OWED} "  # noqa: S608
                "AND number NOT IN (SELECT task FROM upload)",
                (result.job,),
            )
        else:
            self._mark(list(result.failed))
        self._give_up(result.job, reason)

    def _give_up(self, job: int, reason: str) -> None:
        row = self._store.row("SELECT id FROM job WHERE number = ?", (job,))
        if row is None:
            return
        text = (
            f"Logs could not be saved: {reason} They are still in "
            f"{self._workspace.job_directory(row[0])}."
        )
        _log.error("job %s: %s", row[0], text)
        self._store.execute("UPDATE job SET log_problem = ? WHERE number = ?", (text, job))

    def _resume(self, job: int) -> None:
        self._pausing.discard(job)
        self.due = True

    def send(self) -> None:
        """Hand the next batch to a worker, if something is owed and none is under way."""
        if not self.due or self._sending:
            return
        self.due = False
        pausing = ",".join(map(str, self._pausing))
        rows = self._store.rows(
            "SELECT job, number, id, log_day, failure IS NOT NULL, "  # noqa: S608
            f"{sound('upload.definition')} FROM task LEFT JOIN upload ON upload.task = number "
            f"WHERE {OWED} AND job NOT IN ({pausing}) ORDER BY job, number LIMIT {_BATCH}"
        )
        batches = []
        for job, group in groupby(rows, key=lambda row: row[0]):
            found = self._store.row(
                f"SELECT {sound('job.definition')} FROM job WHERE number = ?",  # noqa: S608
                (job,),
            )
            if found is None:
                continue
            spec = job_spec(found[0])
            tasks: dict[tuple[str, str] | None, list[Owed]] = {}
            for _, number, task_id, day, failed, upload in group:
                task = Owed(
                    number, task_id, day, bool(failed), Upload.of(upload) if upload else None
                )
                tasks.setdefault(task.container, []).append(task)
            batches += [(job, spec, part) for part in tasks.values()]
        if batches:
            self._sending = True
            self._agent.work(partial(self._save_all, batches), self._sent)

    def _sent(self, results: list[Result] | None, error: BaseException | None) -> None:
        self._sending = False
        self.due = True  # there may be more
        if results is None:
            _log.error("saving logs", exc_info=error)
            return
        self._results += results
        if self._store.row("SELECT 1 FROM task WHERE request > 0 LIMIT 1"):
            self._scheduler.look()  # it may have waited for this

    # --- in a worker thread

    def _save_all(self, batches: Sequence[tuple[int, JobSpec, list[Owed]]]) -> list[Result]:
        return [self._save_part(job, spec, tasks) for job, spec, tasks in batches]

    def _save_part(self, job: int, spec: JobSpec, tasks: list[Owed]) -> Result:
        own = tasks[0].container
        found = self._save(job, spec, tasks)
        if own and found.hopeless:  # of these tasks, not of the job's others
            failed = dict.fromkeys((task.number for task in tasks), found.hopeless)
            return Result(job, failed=failed, own=own)
        return evolve(found, own=own)

    def _save(self, job: int, spec: JobSpec, tasks: list[Owed]) -> Result:
        try:
            url, _ = tasks[0].container or (spec.log_storage, "")
            storage = self._storages.get(url)
            if storage is None:
                storage = backends.load_storage(self._workspace.storage_url(url))
                self._storages[url] = storage
            try:
                directory = self._workspace.open_job(spec.id)
            except OSError as error:
                where = self._workspace.job_directory(spec.id)
                return Result(job, hopeless=f"{where} cannot be opened: {error.strerror}.")
            with directory:
                return save(storage, job, spec, directory, tasks)
        except Exception as error:  # noqa: BLE001  a plugin's fault must not end the agent
            known = isinstance(error, CloudOpsError)
            _log.warning("saving logs of job %s: %s", spec.id, error, exc_info=not known)
            return Result(job, hopeless=_sentence(error))


def save(
    storage: BlobProvider, job: int, spec: JobSpec, directory: Place, tasks: Sequence[Owed]
) -> Result:
    """Save the logs of some tasks of a job; what cannot be saved does not hinder the others.

    Args:
        directory: the job's.
        tasks: all of them go to the same container.
    """
    _, container = tasks[0].container or ("", spec.log_container or "")
    if not storage.container_exists(container):
        return Result(job, hopeless=f"There is no blob container {container!r}.")
    files = {task.number: _files(spec.log_folder, directory, task) for task in tasks}
    try:
        storage.upload_many(
            container, {blob: source for part in files.values() for blob, source in part}
        )
    except (CloudOpsError, OSError) as error:
        _log.debug("saving logs of job %s one by one: %s", spec.id, error)
    else:
        return Result(job, saved=list(files))
    saved: list[int] = []
    failed: dict[int, str] = {}
    deadline = time.monotonic() + _ONE_BY_ONE_S
    for number, part in files.items():
        if (saved or failed) and time.monotonic() > deadline:
            break
        try:
            storage.upload_many(container, dict(part))
        except (CloudOpsError, OSError) as error:
            failed[number] = _sentence(error)
        else:
            saved.append(number)
    if not saved and len(failed) < len(files):  # too slow to find out about each of them
        return Result(job, hopeless=next(iter(failed.values())))
    return Result(job, saved, failed)


def _files(folder: str, directory: Place, task: Owed) -> list[tuple[str, FileBeneath]]:
    """Blob names and sources of a task's streams, those that are there.

    A task can do what it likes in its directory: only ordinary files count, now and when they are read.
    """
    found = []
    for name, blob in _blobs(folder, task).items():
        way = f"{task.task_id}/{name}"
        with contextlib.suppress(OSError):
            status = directory.status(way)
            if status.st_size - 512 * status.st_blocks > _MOST_HOLES:
                _log.warning("%s of %s is not saved: it is mostly holes", name, task.task_id)
            elif stat.S_ISREG(status.st_mode):
                found.append((blob, FileBeneath(directory, way)))
    return found


def _blobs(folder: str, task: Owed) -> Mapping[str, str]:
    """Names of a task's streams and of the blobs that they become."""
    upload = task.upload
    if upload is not None:
        return dict(upload.blobs) if upload.wants(task.failed) else {}
    place = f"{folder}/{task.day}" if folder else task.day
    return {name: f"{place}/{task.task_id}/{name}" for name in STREAMS}


def _sentence(error: BaseException) -> str:
    text = error.message if isinstance(error, CloudOpsError) else str(error)
    text = text or type(error).__name__
    return text if text.endswith(".") else f"{text}."
