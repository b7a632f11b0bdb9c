"""Functions about pools, jobs and tasks, for a client that the caller has.

`batch_client` is `client.batch_service_client`, `batch_mgmt_client` the attribute of that name. Names
of a resource group and of an account are accepted and have no effect on this machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cfa.cloudops import task_parts
from cfa.cloudops.client.handles import Handle
from cfa.cloudops.client.jobs import keep_going
from cfa.cloudops.client.tasks import TaskIds
from cfa.cloudops.dag import Task
from cfa.cloudops.defaults import AZ_MOUNT_DIR
from cfa.cloudops.errors import JobNotFoundError
from cfa.cloudops.faces import client_of
from cfa.cloudops.model import names
from cfa.cloudops.model.values import Job, JobState
from cfa.cloudops.pool_helpers import (
    DonePoller,
    PoolInfo,
    check_if_pool_vm_deprecated,
    check_mount_format,
    check_pool_exists,
    construct_vm_name,
    delete_pool,
    find_similar_vm_families,
    get_all_vm_quotas,
    get_full_container_image_name,
    get_pool_full_info,
    get_pool_mounts,
    get_rel_mnt_path,
    get_vm_components,
    get_vm_name,
    get_vm_series_quotas,
    get_vm_size,
    vm_name_to_family,
)

__all__ = [
    "AZ_MOUNT_DIR",
    "DonePoller",
    "PoolInfo",
    "Task",
    "add_task",
    "add_task_collection",
    "check_if_pool_vm_deprecated",
    "check_job_complete",
    "check_job_exists",
    "check_mount_format",
    "check_pool_exists",
    "construct_vm_name",
    "delete_pool",
    "download_job_stats",
    "find_similar_vm_families",
    "get_all_vm_quotas",
    "get_args_from_yaml",
    "get_completed_tasks",
    "get_full_container_image_name",
    "get_job_state",
    "get_pool_full_info",
    "get_pool_mounts",
    "get_rel_mnt_path",
    "get_task_status",
    "get_tasks_from_yaml",
    "get_vm_components",
    "get_vm_name",
    "get_vm_series_quotas",
    "get_vm_size",
    "monitor_tasks",
    "vm_name_to_family",
]

# Parts of tasks under the names by which public programs call them.
_generate_exit_conditions = task_parts.exit_conditions
_generate_mount_string = task_parts.mount_string
_generate_command_for_saving_logs = task_parts.command_for_saving_logs

# --- jobs


def check_job_exists(job_name: str, batch_client: Any) -> bool:
    """Whether there is a job of this name."""
    try:
        _job(job_name, batch_client)
    except JobNotFoundError:
        return False
    return True


def get_completed_tasks(job_name: str, batch_client: Any) -> dict[str, int]:
    """`{"completed tasks": n, "total tasks": m}`.

    Raises:
        JobNotFoundError (a ValueError): there is no such job. So do the next functions.
    """
    counts = _job(job_name, batch_client).counts
    return {"completed tasks": counts.completed, "total tasks": counts.total}


def check_job_complete(job_name: str, batch_client: Any) -> bool:
    """Whether the job is in the state `completed`."""
    return _job(job_name, batch_client).state is JobState.COMPLETED


def get_job_state(job_name: str, batch_client: Any) -> str:
    """The job's state: `active`, `completed`, ..."""
    return str(_job(job_name, batch_client).state)


def monitor_tasks(
    job_name: str,
    timeout: float | None,
    batch_client: Any,
    download_task_output: bool = False,
) -> dict[str, Any]:
    """Wait until the job's tasks have completed. Returns what `CloudClient.monitor_job` returns.

    `timeout` is in minutes. `download_task_output` writes the output to files, as in `monitor_job`.
    """
    return client_of(batch_client).monitor_job(
        job_name, timeout=timeout, download_task_output=download_task_output
    )


def download_job_stats(
    job_name: str, batch_service_client: Any, file_name: str | None = None
) -> None:
    """See `CloudClient.download_job_stats`."""
    client_of(batch_service_client).download_job_stats(job_name, file_name)


def _job(job_name: str, batch_client: Any) -> Job:
    batch = client_of(batch_client)._batch
    job = batch.get_job(names.job_id(job_name))
    keep_going(batch, job)
    return job


# --- tasks


def add_task(
    job_name: str,
    task_id_base: str | None = None,
    command_line: str | Sequence[str] = "",
    save_logs_rel_path: str | None = None,
    logs_folder: str | None = None,
    name_suffix: str = "",
    mounts: Sequence[Mapping[str, str]] | None = None,
    depends_on: str | Sequence[str] | None = None,
    depends_on_range: tuple[int, int] | None = None,
    run_dependent_tasks_on_fail: bool = False,
    batch_client: Any = None,
    full_container_name: str | None = None,
    task_id_max: int = 0,
    task_id_ints: bool | None = None,
    timeout: float | None = None,
) -> str:
    """Add one task and return its id. See `CloudClient.add_task`.

    Args:
        job_name: the job.
        task_id_base: first part of the id. Default: the job's name.
        command_line: program and arguments.
        save_logs_rel_path: has no effect on this machine: the job knows where its logs are saved.
        logs_folder: the same.
        name_suffix: middle part of the id.
        mounts: `mount_pairs` of `CloudClient.add_task`.
        depends_on: ids of tasks that must succeed first.
        depends_on_range: first and last integer id of such tasks.
        run_dependent_tasks_on_fail: tasks that depend on this one run even if it fails.
        batch_client: `client.batch_service_client`.
        full_container_name: image of this task.
        task_id_max: if `task_id_base` is not the job's name, the number before that of the id;
            otherwise the job counts.
        task_id_ints: has no effect on this machine: the job knows whether its ids are numbers.
        timeout: minutes that one attempt may take.

    Raises:
        TypeError: `batch_client` is missing.
    """
    del save_logs_rel_path, logs_folder, task_id_ints
    if batch_client is None:
        raise TypeError("add_task() needs batch_client=client.batch_service_client")
    task: dict[str, Any] = {
        "command_line": command_line,
        "mount_pairs": mounts,
        "depends_on": depends_on,
        "depends_on_range": depends_on_range,
        "run_dependent_tasks_on_fail": run_dependent_tasks_on_fail,
        "container_image_name": full_container_name,
        "timeout": timeout,
    }
    client = client_of(batch_client)
    if task_id_base in (None, job_name, names.job_id(job_name)):
        return client.add_task(job_name=job_name, name_suffix=name_suffix, **task)
    task["id"] = f"{task_id_base}-{name_suffix}-{task_id_max + 1}"
    [task_id] = client.add_task_collection(job_name, [task])
    return task_id


def add_task_collection(
    job_name: str,
    task_id_base: str | None = None,
    tasks: Sequence[Mapping[str, Any]] = (),
    *,
    batch_client: Any,
    name_suffix: str = "",
    **settings_of_the_job: Any,
) -> TaskIds:
    """Add many tasks, all or none. See `CloudClient.add_task_collection` and `add_task` above."""
    del task_id_base
    _known("add_task_collection", settings_of_the_job)
    return client_of(batch_client).add_task_collection(job_name, tasks, name_suffix)


def _known(function: str, keywords: Mapping[str, Any]) -> None:
    kept = {"save_logs_rel_path", "save_logs_to_blob", "logs_folder", "task_id_max", "task_id_ints"}
    unknown = keywords.keys() - kept
    if unknown:
        raise TypeError(f"{function}() does not know {', '.join(sorted(unknown))}")


def get_task_status(job_name: str, task_id: str | None = None, batch_client: Any = None) -> str:
    """See `CloudClient.get_task_status`; the client may be the second argument."""
    if isinstance(task_id, Handle):
        task_id, batch_client = batch_client, task_id
    return client_of(batch_client).get_task_status(job_name, task_id)


def get_args_from_yaml(file_path: str) -> list[str]:
    """Arguments of the command of each parameter set in a file, in the file's order."""
    from cfa.cloudops import parameters

    sets = parameters.parameter_sets(file_path)
    return [parameters.command_line("", values).strip() for values in sets]


def get_tasks_from_yaml(base_cmd: str, file_path: str) -> list[str]:
    """Commands of the parameter sets in a file: `base_cmd` and the arguments of each."""
    from cfa.cloudops import parameters

    return parameters.command_lines(base_cmd, file_path)
