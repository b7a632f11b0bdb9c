"""Whole runs from one TOML file: upload, make the job, add its tasks, wait."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from cfa.cloudops import plans
from cfa.cloudops.client import CloudClient
from cfa.cloudops.errors import (
    BlobContainerNotFoundError,
    CloudOpsError,
    JobExistsError,
    LocalFileNotFoundError,
    PoolNotFoundError,
)
from cfa.cloudops.model import names

__all__ = ["run_experiment", "run_tasks"]

_ABSENT = "does not exist"


def run_experiment(
    exp_config: str | os.PathLike[str], dotenv_path: str | None = None, **kwargs: Any
) -> None:
    """Run the experiment that a TOML file describes: one task per combination of its parameters.

    Args:
        exp_config: a file with `[job]`, `[experiment]` and optionally `[upload]`. Its paths are
            relative to the current directory.
        dotenv_path: as for `CloudClient`.
        **kwargs: for `CloudClient`.

    Raises:
        FileNotFoundError: the file, or one that it names, does not exist.
        KeyError: a table or key is missing.
        ValueError: a value can never work, or the pool does not exist. The message names the file,
            the table and the key. Nothing was uploaded or created.
        RuntimeError: the job exists, or as for the client's methods.
    """
    plan = plans.experiment(exp_config)
    run(plan, CloudClient(dotenv_path=dotenv_path, **kwargs))


def run_tasks(
    task_config: str | os.PathLike[str], dotenv_path: str | None = None, **kwargs: Any
) -> None:
    """Run the tasks that a TOML file lists.

    Args:
        task_config: a file with `[job]`, `[[task]]` and optionally `[upload]`. `depends_on` lists
            the `name` of one or several earlier tasks. In addition to the keys of the cloud, a task
            may have `timeout` (minutes), `container`, `mount_pairs` and `name_suffix`.
        dotenv_path: as for `CloudClient`.
        **kwargs: for `CloudClient`.

    Raises:
        FileNotFoundError: the file, or one that it names, does not exist.
        KeyError: a table or key is missing.
        ValueError: as for `run_experiment`, or no earlier task has a name in `depends_on`.
        RuntimeError: the job exists, or as for the client's methods.
    """
    plan = plans.tasks(task_config)
    run(plan, CloudClient(dotenv_path=dotenv_path, **kwargs))


def run(plan: plans.Plan, client: CloudClient) -> list[str]:
    """Carry out a plan; the ids of its tasks. The client stays open: its script may wait at its end.

    When the plan cannot be carried out, the client is closed.

    Raises:
        As `run_experiment`. What is checked is checked before anything is uploaded or made. A job
        whose tasks are refused is deleted again, unless the file says `exist_ok`.
    """
    try:
        new = _check(plan, client)
        if plan.upload is not None:
            _upload(plan.upload, client)
        client.create_job(**plan.job)
        try:
            ids = client.add_task_collection(plan.job["job_name"], plan.tasks)
        except CloudOpsError:
            if new and not plan.job.get("exist_ok"):  # else another run may be adding to it
                with contextlib.suppress(CloudOpsError):  # the first error is the one to tell
                    client.delete_job(plan.job["job_name"])
            raise
    except BaseException:
        client.close()
        raise
    if plan.monitor:
        client.monitor_job(plan.job["job_name"])
    return ids


def _check(plan: plans.Plan, client: CloudClient) -> bool:
    """Whether the job is going to be new. Raises what would stop the plan half way."""
    here = plan.place / "[job]"
    try:
        client._batch.get_pool(names.pool_id(plan.job["pool_name"]))
    except PoolNotFoundError as error:
        raise PoolNotFoundError(f"{here / 'pool_name'}{error.message}", error.hint) from None
    job_id = names.job_id(plan.job["job_name"])
    choice = client._existing_job(job_id, bool(plan.job.get("exist_ok")), None)
    new = client.check_job_status(job_id) == _ABSENT
    if not new and choice == "error":
        again = client._replacing(job_id, "replace")
        raise JobExistsError(
            f"{here / 'job_name'}the job {plan.job['job_name']!r} exists.",
            "Change job_name, or add exist_ok = true to continue with the job."
            + (f" To replace it and its results: {again}." if again else ""),
        )
    if not new and choice != "resume":
        client._check_replacement(job_id, choice)
        new = True
    if plan.upload is not None:
        _check_upload(plan.upload, client)
    return new


def _check_upload(upload: plans.Upload, client: CloudClient) -> None:
    if not client._blobs.container_exists(upload.container):
        raise BlobContainerNotFoundError(
            f"{upload.place / 'container_name'}there is no blob container {upload.container!r}.",
            f"To create it: create_blob_container({upload.container!r}).",
        )
    for key, paths in (("folders", upload.folders), ("files", upload.files)):
        for path in paths:
            if not (Path(path).is_dir() if key == "folders" else Path(path).is_file()):
                raise LocalFileNotFoundError(
                    f"{upload.place / key}there is no {key[:-1]} {path!r} in {Path.cwd()}.",
                    "Paths are relative to the current directory.",
                )


def _upload(upload: plans.Upload, client: CloudClient) -> None:
    """Folders, then files. Nothing is asked, and folders in the container are made."""
    if upload.folders:
        client.upload_folders(
            folder_names=list(upload.folders),
            container_name=upload.container,
            location_in_blob=upload.location,
            force_upload=True,
            create_new_folder=True,
        )
    if upload.files:
        client.upload_files(
            files=list(upload.files),
            container_name=upload.container,
            location_in_blob=upload.location,
        )
