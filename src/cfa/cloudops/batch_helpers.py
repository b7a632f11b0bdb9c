"""Functions about pools, jobs and tasks, for a client that the caller has.

`batch_client` is `client.batch_service_client`, `batch_mgmt_client` the attribute of that name. Names
of a resource group and of an account are accepted and mean nothing here.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from attrs import evolve

from cfa.cloudops.client.handles import Handle
from cfa.cloudops.client.jobs import keep_going
from cfa.cloudops.client.tasks import TaskIds
from cfa.cloudops.dag import Task
from cfa.cloudops.defaults import AZ_MOUNT_DIR, default_azure_container_registry_domain
from cfa.cloudops.errors import (
    InvalidInputError,
    JobNotFoundError,
    PoolNotFoundError,
)
from cfa.cloudops.faces import client_of
from cfa.cloudops.model import names, sizes
from cfa.cloudops.model.records import Record
from cfa.cloudops.model.values import Job, JobState, Pool

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

_log = logging.getLogger(__name__)


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
    """Block until the job's tasks are completed, as `CloudClient.monitor_job`; `timeout` in minutes.

    Returns:
        `completed`, `elapsed time` (a timedelta), `tasks complete`, `tasks remaining`, `success`,
        `fail`, `terminate_reason`.
    """
    start = time.monotonic()
    client_of(batch_client).monitor_job(
        job_name, timeout=timeout, download_task_output=download_task_output
    )
    elapsed = timedelta(seconds=int(time.monotonic() - start))
    job = _job(job_name, batch_client)
    counts = job.counts
    return {
        "completed": True,
        "elapsed time": elapsed,
        "terminate_reason": job.terminate_reason,
        "tasks complete": counts.completed,
        "tasks remaining": counts.active + counts.running,
        "success": counts.succeeded,
        "fail": counts.failed,
    }


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
        task_id_base: first part of the id; the job's name when not given.
        command_line: program and arguments.
        save_logs_rel_path: means nothing here: the job knows where its logs are saved.
        logs_folder: the same.
        name_suffix: middle part of the id.
        mounts: `mount_pairs` of `CloudClient.add_task`.
        depends_on: ids of tasks that must succeed first.
        depends_on_range: first and last integer id of such tasks.
        run_dependent_tasks_on_fail: tasks that depend on this one run even if it fails.
        batch_client: `client.batch_service_client`.
        full_container_name: image of this task.
        task_id_max: the number before that of the id, where `task_id_base` is not the job's name;
            else the job counts.
        task_id_ints: means nothing here: the job knows whether its ids are numbers.
        timeout: minutes that one try may take.

    Raises:
        TypeError: no client is given.
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


# --- pools


class PoolInfo(Record):
    """What there is to know of a pool, under the names of the cloud's object.

    `vm_size`, `task_slots_per_node`, `deployment_configuration`, `scale_settings`,
    `mount_configuration` and so on, as attributes and as items; `as_dict()` gives plain dictionaries.
    `mounts` are `{"source", "target"}`. Resource group and account do not exist here.
    """


def check_pool_exists(*args: Any, **kwargs: Any) -> bool:
    """Whether there is a pool: `(resource_group_name, account_name, pool_name, batch_mgmt_client)`."""
    try:
        _pool(args, kwargs)
    except PoolNotFoundError:
        return False
    return True


def get_pool_full_info(*args: Any, **kwargs: Any) -> PoolInfo:
    """All of a pool: `(resource_group_name, account_name, pool_name, batch_mgmt_client)`.

    Raises:
        PoolNotFoundError (a ValueError): there is no such pool. So do the next functions, which take
            the same arguments.
    """
    pool = _pool(args, kwargs)
    spec = pool.spec
    images = [spec.image] if spec.image else []
    scale = Record(
        auto_scale=None,
        fixed_scale=Record(
            target_dedicated_nodes=pool.dedicated_nodes,
            target_low_priority_nodes=pool.low_priority_nodes,
        ),
    )
    if spec.autoscale_formula:
        interval = timedelta(seconds=spec.autoscale_interval_s)
        formula = Record(formula=spec.autoscale_formula, evaluation_interval=interval)
        scale = Record(auto_scale=formula, fixed_scale=None)
    return PoolInfo(
        name=spec.id,
        id=spec.id,
        vm_size=spec.vm_size,
        allocation_state="steady",
        current_dedicated_nodes=pool.dedicated_nodes,
        current_low_priority_nodes=pool.low_priority_nodes,
        task_slots_per_node=spec.slots_per_node,
        container_image_names=images,
        autoscale_formula=spec.autoscale_formula,
        mounts=[{"source": one.source, "target": one.target} for one in spec.mounts],
        metadata=dict(spec.metadata),
        creation_time=pool.created,
        deployment_configuration=Record(
            virtual_machine_configuration=Record(
                container_configuration=Record(container_image_names=images)
            )
        ),
        scale_settings=scale,
        mount_configuration=[
            Record(
                azure_blob_file_system_configuration=Record(
                    container_name=one.source, relative_mount_path=one.target
                )
            )
            for one in spec.mounts
        ],
    )


def get_vm_size(size: str) -> str:
    """The name of a VM size by a word: `small` is `Standard_D4ads_v5`. Capitals do not matter.

    Raises:
        InvalidInputError (a ValueError): it is no such word.
    """
    found = sizes.TSHIRT.get(str(size).lower().removesuffix("_amd"))
    if found is None:
        raise InvalidInputError(
            f"Invalid size descriptor {size!r}.", f"Use one of {', '.join(sizes.TSHIRT)}."
        )
    return found


def get_pool_mounts(*args: Any, **kwargs: Any) -> list[dict[str, str]]:
    """Mounts of a pool: `{"source", "target"}`."""
    return list(get_pool_full_info(*args, **kwargs).mounts)


def get_full_container_image_name(
    container_name: str,
    registry: str = "azure",
    acr_name: str | None = None,
    github_org: str | None = None,
) -> str:
    """The full name of an image in a registry.

    Args:
        container_name: name and tag, such as `model:latest`.
        registry: `azure`, `docker` (Docker Hub) or `github`.
        acr_name: name of the registry, for `azure`.
        github_org: name of the organisation, for `github`.

    Raises:
        InvalidInputError (a ValueError): the name that the registry needs is missing, or there is no
            such registry.
    """
    match registry:
        case "docker":
            return container_name
        case "azure" if acr_name:
            return f"{acr_name}.{default_azure_container_registry_domain}/{container_name}"
        case "github" if github_org:
            return f"ghcr.io/{github_org}/{container_name}"
        case "azure" | "github":
            needed = "acr_name" if registry == "azure" else "github_org"
            raise InvalidInputError(f"The registry {registry!r} needs {needed}.", f"Pass {needed}.")
        case _:
            raise InvalidInputError(
                f"registry={registry!r} is not known.", "Use 'azure', 'docker' or 'github'."
            )


def get_rel_mnt_path(blob_name: str, *args: Any, **kwargs: Any) -> str:
    """Where a blob container is mounted in a pool, below `/`; the rest as `check_pool_exists`.

    `ERROR!` when the pool does not mount it or there is no such pool; the log says which.
    """
    try:
        found = get_pool_full_info(*args, **kwargs)
    except PoolNotFoundError as error:
        _log.error("%s", error)
        return "ERROR!"
    for mount in found.mounts:
        if mount["source"] == blob_name:
            return str(mount["target"])
    _log.error("The pool %s does not mount %r. Pass mounts to create_pool.", found.name, blob_name)
    return "ERROR!"


class DonePoller:
    """What is left to wait for after a call that is done: nothing."""

    def result(self, timeout: float | None = None) -> None:
        """None, at once."""

    def wait(self, timeout: float | None = None) -> None:
        """Return at once."""

    def done(self) -> bool:
        """True."""
        return True

    def status(self) -> str:
        """`Succeeded`."""
        return "Succeeded"


def delete_pool(*args: Any, **kwargs: Any) -> DonePoller:
    """Delete a pool. See `CloudClient.delete_pool`. It is gone when this returns."""
    client = _client(args, kwargs)
    client.delete_pool(_pool(args, kwargs).spec.id)
    return DonePoller()


def _client(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    handles = [one for one in (*args, *kwargs.values()) if isinstance(one, Handle)]
    return client_of(handles[0] if handles else None)


def _pool(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Pool:
    """The pool that a call means.

    The cloud's functions take its name beside those of the resource group and the account, not all in
    the same order. Without a keyword it is the one text that is the name of a pool.
    """
    batch = _client(args, kwargs)._batch
    if "pool_name" in kwargs:
        return _get_pool(batch, kwargs["pool_name"])
    texts = [one for one in args if isinstance(one, str)]
    for text in texts:
        try:
            return _get_pool(batch, text)
        except (PoolNotFoundError, InvalidInputError):
            continue
    raise PoolNotFoundError(
        f"None of {', '.join(map(repr, texts)) or 'the arguments'} is the name of a pool.",
        "Make it with client.create_pool, or pass pool_name=...",
    )


def _get_pool(batch: Any, name: str) -> Pool:
    found: Pool = batch.get_pool(names.pool_id(name))
    return found


def check_mount_format(mount: str) -> str:
    """The name of a mount without slashes at its ends.

    Raises:
        InvalidInputError (a ValueError): a slash is inside.
    """
    text = mount.strip("/")
    if "/" in text:
        raise InvalidInputError(
            f"{mount!r} cannot be the name of a mount: it has a slash inside.",
            "Use a name like 'data'.",
        )
    return text


# --- VM sizes and quotas


def construct_vm_name(family: str, cores: int) -> str:
    """The name of a VM size: `standardDADSv5Family` with 4 cores is `standard_D4ads_v5`.

    Raises:
        InvalidInputError (a ValueError): the family is not known.
    """
    found = sizes.family_components(family)
    if found is None:
        raise InvalidInputError(
            f"{family!r} is not the family of a VM size.", "Use one like 'standardDADSv5Family'."
        )
    return evolve(found, cores=cores).name


def get_vm_name(
    series: str = "D",
    cores: int = 4,
    amd: bool = False,
    temp_disk: bool = True,
    ssd: bool = False,
    version: int = 5,
    verify: bool = True,
    *_: Any,
    **__: Any,
) -> str:
    """See `CloudClient.get_vm_name`; clients and places that follow mean nothing here."""
    make = sizes.verified_vm_name if verify else sizes.construct_vm_name
    return make(series, cores, amd, temp_disk, ssd, version)


def get_vm_components(vm_name: str) -> sizes.Components:
    """The parts of the name of a VM size: `series`, `cores`, `amd`, `temp_disk`, `ssd`, `version`.

    Raises:
        InvalidInputError: it is no name of the form `standard_D4ads_v5`.
    """
    found = sizes.vm_components(sizes.vm_name(vm_name))
    if found is None:
        raise InvalidInputError(
            f"{vm_name!r} is not the name of a VM size.", "Use one like 'standard_d4ads_v5'."
        )
    return found


def vm_name_to_family(vm_name: str) -> str:
    """The family of a VM size: `standard_d4ads_v5` is of `standardDADSv5Family`."""
    return get_vm_components(vm_name).family


def find_similar_vm_families(vm_name: str, *_: Any, **__: Any) -> list[str]:
    """Up to four families whose names are like that of a VM size, most alike first."""
    return [vm_name_to_family(name) for name in sizes.similar_vm_names(sizes.vm_name(vm_name))]


def check_if_pool_vm_deprecated(*args: Any, **kwargs: Any) -> bool:
    """Whether the version of a VM size is below 4, which the cloud phases out; then a warning.

    Takes a pool, as `check_pool_exists` does, or the name of a size alone.

    Raises:
        PoolNotFoundError (a ValueError): there is no such pool.
    """
    if any(isinstance(one, Handle) for one in (*args, *kwargs.values())):
        size = _pool(args, kwargs).spec.vm_size
    else:
        size = sizes.vm_name(args[0] if args else kwargs["vm_size"])
    version = re.search(r"_v(\d+)\Z", size, re.IGNORECASE)
    if version and int(version[1]) < 4:
        _log.warning("VM sizes of version %s are phased out; use version 5.", version[1])
        return True
    return False


def get_all_vm_quotas(*args: Any, **kwargs: Any) -> list[dict[str, Any]]:
    """See `CloudClient.get_all_vm_quotas`; the client is among the arguments."""
    return list(_client(args, kwargs).get_all_vm_quotas())


def get_vm_series_quotas(
    series: str | Sequence[str], *args: Any, **kwargs: Any
) -> list[dict[str, Any]]:
    """See `CloudClient.get_vm_series_quotas`; the client is among the arguments."""
    return list(_client(args, kwargs).get_vm_series_quotas(series))
