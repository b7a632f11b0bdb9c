"""Jobs: create, watch, delete."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfa.cloudops.client.pools import is_same_storage, owner_metadata
from cfa.cloudops.client.rerun import (
    begin_of_script,
    is_interactive,
    replacing,
    run_metadata,
    runs_script,
)
from cfa.cloudops.errors import (
    AmbiguousCallError,
    BlobContainerNotFoundError,
    InvalidInputError,
    JobExistsError,
    JobNotFoundError,
)
from cfa.cloudops.model import names
from cfa.cloudops.model.plain import command_line, counted
from cfa.cloudops.model.values import Job, JobSpec, JobState
from cfa.cloudops.settings import EXISTING_JOB, ExistingJob

if TYPE_CHECKING:
    from cfa.cloudops.client.farewell import Farewell
    from cfa.cloudops.provider.batch import BatchProvider
    from cfa.cloudops.provider.blob import BlobProvider
    from cfa.cloudops.rehearsal import Rehearsal
    from cfa.cloudops.settings import Settings

_log = logging.getLogger(__name__)

#: Jobs that clients of this process made or went on with: workspace and key of the name.
_of_this_process: set[tuple[Path, str]] = set()


class JobMixin:
    """Methods of `CloudClient` about jobs."""

    _batch: BatchProvider
    _blobs: BlobProvider
    _settings: Settings
    _storage_url: str
    _farewell: Farewell
    _latest_job: str | None
    pool_name: str | None
    save_logs_to_blob: str | None
    logs_folder: str
    task_id_ints: bool
    task_id_max: int
    jobs: set[str]
    rehearsal: Rehearsal | None

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
        existing_job: ExistingJob | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Create a job: a named set of tasks on a pool.

        Args:
            job_name: name of the job; blanks are removed.
            pool_name: the pool on which the tasks run. Default: the client's latest pool.
            save_logs_to_blob: an existing blob container, to which the output of each task is saved
                when the task completes, whether it succeeded or failed. The blobs are
                `<logs_folder>/<day of adding>/<task id>/stdout.txt` and `stderr.txt`. The job
                completes after they are saved.
            logs_folder: folder in that container. Default: `stdout_stderr`.
            task_retries: number of retries of a task with an exit code other than 0; -1 means no
                limit.
            mark_complete_after_tasks_run: the job completes when all of its tasks have completed. A
                job without tasks stays active. A new task opens the job again.
            task_id_ints: the ids of tasks are "1", "2", ... instead of `<job>-<suffix>-<n>`.
            timeout: minutes from now until the job is terminated, with its running tasks.
            exist_ok: continue with a job of this name, unchanged.
            verify_pool: refuse a pool that does not exist. If False, the tasks wait for the pool.
            verbose: print what was done.
            existing_job: what to do if a job of this name exists. `error`: raise an error.
                `resume`: the same as `exist_ok`. `replace`: delete the job with its tasks and their
                files, and create it again; raise an error if tasks run or are about to run.
                `force-replace`: the same, but end such tasks. Blobs that the tasks wrote stay. Without
                this argument, `exist_ok` decides, then the client's `existing_job`, then
                CLOUDOPS_EXISTING_JOB, whose default is `error`. The last two replace only jobs that
                existed before the run. A run is the script's process with its worker processes, or all
                that one `cloudops run` starts; to create a job twice in one run is an error.
                `cloudops run --fresh` replaces every job that existed before, whatever the script says.
            metadata: names and values to keep with the job, such as `model_version`.

        Raises:
            ValueError: the pool or the blob container does not exist, or an argument can never
                work. An existing job was not changed.
            RuntimeError: a job of this name exists, or it cannot be replaced because its tasks run.
        """
        job_id = names.new_job_id(job_name)
        pool = names.pool_id(pool_name) if pool_name else self.pool_name
        if not pool:
            raise InvalidInputError(
                f"The job {job_id!r} has no pool.", "Pass pool_name, or call create_pool first."
            )
        if verify_pool:
            found = self._batch.get_pool(pool).spec
            pool = found.id
            if found.mounts and not is_same_storage(found.storage, self._storage_url):
                _log.warning(
                    "The pool %s mounts containers of %s, and this client uploads to %s. To have it "
                    "mount the latter, call create_pool.",
                    pool,
                    found.storage,
                    self._storage_url,
                )
        folder = names.folder(_stripped(logs_folder)) if logs_folder else "stdout_stderr"
        container = names.blob_container(save_logs_to_blob) if save_logs_to_blob else None
        choice = self._existing_job(job_id, exist_ok, existing_job)
        if container is not None and not (choice == "resume" and self._has_job(job_id)):
            check_log_container(self._blobs, container)
        spec = JobSpec(
            id=job_id,
            pool_id=pool,
            max_task_retries=retries("task_retries", task_retries),
            timeout_s=minutes("timeout", timeout),
            auto_complete=mark_complete_after_tasks_run,
            integer_task_ids=task_id_ints,
            log_container=container,
            log_folder=folder,
            log_storage=self._storage_url if container else "",
            metadata=(
                ("mark_complete", str(mark_complete_after_tasks_run)),
                *owner_metadata(),
                *run_metadata(),
                *((str(name), str(value)) for name, value in (metadata or {}).items()),
            ),
        )
        if self.rehearsal is not None:
            self.rehearsal.job(spec)
        if choice in ("replace", "force-replace"):
            self._replace(job_id, choice, existing_job)
        try:
            job = self._batch.create_job(spec)
            said = f"Created job {job_id}."
        except JobExistsError as error:
            if choice != "resume":
                raise JobExistsError(
                    error.message, self._exists_advice(job_id, existing_job)
                ) from None
            job = self._batch.get_job(job_id)
            said = f"Job {job_id} exists."
        else:
            if choice != "resume":  # else others may go on with it, and it is in nobody's way
                self._farewell.made(job_id)
        if verbose:
            print(said)  # noqa: T201  asked for
        self._adopt(job)

    def _existing_job(
        self, job_id: str, exist_ok: bool, existing_job: ExistingJob | None
    ) -> ExistingJob:
        """What to do when the job exists. What the call says wins over the setting, and `cloudops run
        --fresh` over both; but neither of the latter replaces a job of this run.

        Raises:
            InvalidInputError: the call says something else. AmbiguousCallError: it says two things.
        """
        if existing_job is not None and existing_job not in EXISTING_JOB:
            raise InvalidInputError(
                f"existing_job={existing_job!r} is not one of {', '.join(EXISTING_JOB)}.",
                "Use one of them.",
            )
        if exist_ok and existing_job not in (None, "resume"):
            raise AmbiguousCallError(
                f"exist_ok=True and existing_job={existing_job!r} exclude each other.",
                "Leave one of them out.",
            )
        said: ExistingJob | None = "resume" if exist_ok else existing_job
        setting = self._settings.existing_job
        if setting in ("error", "resume") or (said is not None and not self._settings.fresh):
            return said or setting
        if self._is_of_this_run(job_id):
            return said or "error"
        return "force-replace" if "force-replace" in (said, setting) else "replace"

    def _is_of_this_run(self, job_id: str) -> bool:
        """Whether this run made a job, or went on with it. A cell of a notebook may well run again."""
        key = names.key(job_id)
        if key in map(names.key, self.jobs):
            return not is_interactive()
        try:
            job = self._batch.get_job(job_id)
        except JobNotFoundError:
            return False
        if any(one in job.spec.metadata for one in run_metadata()):
            return True
        here = (self._settings.home, key) in _of_this_process
        # In a worker: the script has made it, or another worker.
        here |= job.created.timestamp() >= begin_of_script()
        return here and runs_script()

    def _replacing(self, job_id: str, choice: str, said: ExistingJob | None = None) -> str:
        """How to run again so that a job is replaced; empty where only an edit helps.

        Args:
            job_id: the job.
            choice: `replace` or `force-replace`.
            said: what the call says, which wins over a variable.
        """
        if self._is_of_this_run(job_id):
            return ""
        return replacing(choice, by_variable=said is None and self._takes_variable)

    @property
    def _takes_variable(self) -> bool:
        """Whether CLOUDOPS_EXISTING_JOB counts, because nothing that wins over it is given."""
        origin = self._settings.origins["CLOUDOPS_EXISTING_JOB"]
        typed = is_interactive()  # where a variable would need another client
        return origin != "argument" and not self._settings.fresh and not typed

    def _exists_advice(self, job_id: str, said: ExistingJob | None) -> str:
        if self._is_of_this_run(job_id):
            return (
                "This run has created it or continued with it, and replaces only what existed before. "
                "Choose another name. In the script: exist_ok=True or existing_job='replace' in this "
                "call."
            )
        again = self._replacing(job_id, "replace", said)
        ways = [f"To replace it and its results: {again}."] if again else []
        if said is None and self._takes_variable:
            ways.append("To continue with it: CLOUDOPS_EXISTING_JOB=resume.")
        resume = "exist_ok=True" if said is None else "existing_job='resume'"
        return " ".join((*ways, f"{_place()}: existing_job='replace' or {resume}."))

    def _replace(self, job_id: str, choice: str, said: ExistingJob | None) -> None:
        """Delete a job if it exists. Raises: JobExistsError: its tasks run."""
        with contextlib.suppress(JobNotFoundError):
            self._check_replacement(job_id, choice, said)
            self.delete_job(job_id)

    def _check_replacement(self, job_id: str, choice: str, said: ExistingJob | None = None) -> None:
        """Raises: JobExistsError: the job's tasks run or are about to. JobNotFoundError: no job."""
        job = self._batch.get_job(job_id)
        counts = job.counts
        goes_on = counts.running or (counts.active and not job.stuck)
        if choice == "replace" and goes_on and job.state is JobState.ACTIVE:
            again = self._replacing(job_id, "force-replace", said)
            raise JobExistsError(
                f"The job {job_id!r} was not replaced: it has {counts.running} running and "
                f"{counted(counts.active, 'waiting task')}.",
                f"To wait for them: {command_line('job monitor', job_id)}   "
                f"To terminate them: {command_line('job terminate', job_id)}   "
                + (f"To replace the job all the same: {again}. " if again else "")
                + f"{_place()}: existing_job='force-replace'.",
            )

    def _has_job(self, job_id: str) -> bool:
        try:
            self._batch.task_counts(job_id)
        except JobNotFoundError:
            return False
        return True

    def _adopt(self, job: Job) -> None:
        """Make a job the client's latest, and show its settings in the attributes scripts read."""
        self.pool_name = job.spec.pool_id
        self.save_logs_to_blob = job.spec.log_container
        self.logs_folder = job.spec.log_folder
        self.task_id_ints = job.spec.integer_task_ids
        self.task_id_max = job.last_task_number
        self.jobs.add(job.spec.id)
        _of_this_process.add((self._settings.home, names.key(job.spec.id)))
        self._latest_job = job.spec.id

    def delete_job(self, job_name: str) -> None:
        """Delete a job with its tasks and their files, and return when they are gone.

        Blobs that the tasks wrote stay.

        Args:
            job_name: name of the job; blanks are removed.

        Raises:
            ValueError: the job does not exist.
        """
        job_id = names.job_id(job_name)
        self._batch.delete_job(job_id)
        self._farewell.forget(job_id)
        self.jobs.discard(job_id)
        _of_this_process.discard((self._settings.home, names.key(job_id)))
        if self._latest_job == job_id:
            self._latest_job = None

    def check_job_status(self, job_name: str) -> str:
        """Tell the state of a job.

        Args:
            job_name: name of the job; blanks are removed.

        Returns:
            `does not exist`, `complete`, or another state of the job, such as `active` or
            `terminating`.

        Raises:
            ValueError: the name cannot be the name of a job.
        """
        try:
            job = self._batch.get_job(names.job_id(job_name))
        except JobNotFoundError:
            return "does not exist"
        _log.info(
            "%s",
            {"completed tasks": job.counts.completed, "total tasks": job.counts.total},
        )
        keep_going(self._batch, job)
        return "complete" if job.state is JobState.COMPLETED else str(job.state)


def check_log_container(blobs: BlobProvider, container: str, account: str = "") -> None:
    """Raises: BlobContainerNotFoundError: the storage account has no such container."""
    if not blobs.container_exists(container):
        where = f" of the storage account {account!r}" if account else ""
        client = f"CloudClient(azure_blob_storage_account={account!r})." if account else ""
        raise BlobContainerNotFoundError(
            f"The blob container {container!r}{where}, which is to hold logs, does not exist.",
            f"To create it: {client}create_blob_container({container!r}).",
        )


def keep_going(batch: BatchProvider, job: Job) -> None:
    """See that the service lives while a job has work: a script that only asks how far it is would
    otherwise ask for ever after an agent was killed."""
    counts = job.counts
    unfinished = counts.completed < counts.total or (job.spec.auto_complete and counts.total > 0)
    if unfinished and job.state is not JobState.COMPLETED:
        batch.wait_for_change(0)


def retries(name: str, value: Any) -> int:
    """A number of retries given by a user; -1 means no limit."""
    if not isinstance(value, int) or isinstance(value, bool) or not -1 <= value < 2**31:
        raise InvalidInputError(
            f"{name}={value!r} is not a whole number of at least -1 and below 2147483648.",
            "Use 0 for no retries, -1 for no limit.",
        )
    return value


def _stripped(folder: Any) -> Any:
    return folder.strip("/") if isinstance(folder, str) else folder  # `names` refuses the rest


def minutes(name: str, value: Any) -> float | None:
    """Minutes given by a user, in seconds; None and 0 mean no limit."""
    if value is None or value == 0:
        return None
    if isinstance(value, timedelta):
        return minutes(name, value / timedelta(minutes=1))
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise InvalidInputError(
            f"{name}={value!r} is not a number of minutes above 0 and below a billion.",
            f"Correct {name}.",
        )
    return float(value) * 60


def _place() -> str:
    """Where the arguments of a call are to be changed."""
    return "In the call" if is_interactive() else "In the script"
