"""Descriptions of tasks, to be added with `client.batch_service_client.create_task`."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from attrs import frozen

from cfa.cloudops.azure_only import azure_only
from cfa.cloudops.client import sdk
from cfa.cloudops.client.jobs import minutes, retries
from cfa.cloudops.client.pools import parse_mounts
from cfa.cloudops.errors import InvalidInputError
from cfa.cloudops.model import names
from cfa.cloudops.model.records import Record
from cfa.cloudops.model.values import Mount, TaskSpec

__all__ = [
    "ContainerSettings",
    "TaskConfig",
    "create_bind_mount_string",
    "get_batch_compute_id",
    "get_container_settings",
    "get_task_config",
    "output_task_files_to_blob",
]

_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class ContainerSettings:
    """Image and options of a task's container. On this machine, only mounts have an effect."""

    image_name: str
    container_run_options: str = ""
    working_directory: str | None = None

    def mounts(self) -> tuple[Mount, ...] | None:
        """The mounts among the options; None, so those of the pool, when there are none."""
        return sdk.bind_mounts(self.container_run_options)


@frozen(kw_only=True)
class TaskConfig:
    """A task to be added; `timeout` is the time that one try may take."""

    id: str
    command_line: str
    container_settings: ContainerSettings | None = None
    depends_on: tuple[str, ...] = ()
    depends_on_range: tuple[int, int] | None = None
    timeout: timedelta | None = None
    max_task_retry_count: int | None = None
    run_dependent_tasks_on_fail: bool = False

    def spec(self) -> TaskSpec:
        """The task as the service takes it."""
        container = self.container_settings
        return TaskSpec(
            command_line=self.command_line,
            id=names.task_id(self.id),
            image=container.image_name if container else None,
            mounts=container.mounts() if container else None,
            depends_on=self.depends_on,
            depends_on_range=self.depends_on_range,
            timeout_s=minutes("timeout", self.timeout),
            max_retries=self.max_task_retry_count,
            run_dependents_on_failure=self.run_dependent_tasks_on_fail,
        )


def create_bind_mount_string(az_mount_dir: str, source_path: str, target_path: str) -> str:
    """The container option that mounts `<az_mount_dir>/<source>` at `<target>`."""
    return f"--mount type=bind,source={az_mount_dir}/{source_path},target={target_path}"


def get_container_settings(
    container_image_name: str,
    az_mount_dir: str = "$AZ_BATCH_NODE_MOUNTS_DIR",
    working_directory: Any = None,
    mount_pairs: Sequence[Mapping[str, str]] | None = None,
    additional_options: str = "",
    registry: Any = None,
    **keywords: Any,
) -> ContainerSettings:
    """Settings of a task's container.

    Args:
        container_image_name: the image, with or without a scheme.
        az_mount_dir: where the cloud's nodes have the blob containers.
        working_directory: kept; on this machine, a task starts in the image's own.
        mount_pairs: `{"source", "target"}` of blob containers; None means those of the pool.
        additional_options: kept; they have no effect on this machine.
        registry: means nothing: the engine's own login counts.
        **keywords: further settings of the SDK, which have no effect on this machine.

    Raises:
        InvalidInputError: no image, or mounts that cannot work.
    """
    del registry, keywords
    given: Any = container_image_name
    if not isinstance(given, str) or not given:
        raise InvalidInputError(
            f"container_image_name={container_image_name!r} is not the name of an image.",
            "Pass its name as a string.",
        )
    pairs = parse_mounts(mount_pairs)
    options = [
        create_bind_mount_string(az_mount_dir, one.source, f"/{one.target}") for one in pairs
    ]
    return ContainerSettings(
        image_name=container_image_name.partition("://")[2] or container_image_name,
        container_run_options=" ".join(filter(None, [*options, additional_options])),
        working_directory=None if working_directory is None else str(working_directory),
    )


def get_task_config(
    task_id: str,
    base_call: str,
    container_settings: ContainerSettings | Any = None,
    user_identity: Any = None,
    log_blob_container: str | None = None,
    log_blob_account: str | None = None,
    log_subdir: str | None = None,
    log_file_pattern: str = "**/*.txt",
    log_upload_condition: str = "taskCompletion",
    log_compute_node_identity_reference: Any = None,
    *,
    depends_on: Any = (),
    timeout: timedelta | None = None,
    max_task_retry_count: int | None = None,
    **keywords: Any,
) -> TaskConfig:
    """A task, to be added with `client.batch_service_client.create_task(job_id, task)`.

    Args:
        task_id: id of the task.
        base_call: program and arguments.
        container_settings: of `get_container_settings`, or the SDK's object; the pool's image and
            mounts when None.
        user_identity: has no effect on this machine.
        log_blob_container: like the other `log_...`, has no effect on this machine, and a warning
            says so. `create_job(save_logs_to_blob=...)` saves the logs of all tasks.
        depends_on: ids of tasks that must succeed first, or the SDK's object.
        timeout: time that one attempt may take.
        max_task_retry_count: number of retries, in place of the job's.
        **keywords: more fields of the SDK's object. `constraints` and `exit_conditions` count. The
            log names those that have no effect on this machine.

    Raises:
        ValueError: an id, a dependency or a limit can never work.
        NotImplementedError: a field that is not available on this machine would change what runs,
            such as `environment_settings`.
    """
    del user_identity, log_file_pattern, log_upload_condition
    logs = {
        "log_blob_container": log_blob_container,
        "log_blob_account": log_blob_account,
        "log_subdir": log_subdir,
        "log_compute_node_identity_reference": log_compute_node_identity_reference,
    }
    given = [name for name, value in logs.items() if value is not None]
    if given:
        _warn_of_logs(", ".join(given))
    spec = TaskSpec(command_line=base_call, id=names.task_id(task_id))
    spec = sdk.with_dependencies(sdk.with_parts(spec, keywords), depends_on)
    limit = timedelta(seconds=spec.timeout_s) if spec.timeout_s else None
    return TaskConfig(
        id=names.task_id(task_id),
        command_line=base_call,
        container_settings=_settings(container_settings),
        depends_on=spec.depends_on,
        depends_on_range=spec.depends_on_range,
        timeout=limit if timeout is None else timeout,
        max_task_retry_count=spec.max_retries
        if max_task_retry_count is None
        else retries("max_task_retry_count", max_task_retry_count),
        run_dependent_tasks_on_fail=spec.run_dependents_on_failure,
    )


def _settings(given: Any) -> ContainerSettings | None:
    """Settings of a container, whether ours or the SDK's."""
    if given is None or isinstance(given, ContainerSettings):
        return given
    return get_container_settings(
        sdk.value(given, "image_name"),
        working_directory=sdk.value(given, "working_directory"),
        additional_options=sdk.value(given, "container_run_options") or "",
    )


@functools.cache
def _warn_of_logs(given: str) -> None:
    """Once in a process: a script that adds a thousand tasks gets one line."""
    _log.warning(
        "The logs of a task are not saved by %s. Save those of all tasks of its job with "
        "create_job(save_logs_to_blob=..., logs_folder=...).",
        given,
    )


output_task_files_to_blob = azure_only(
    "task.output_task_files_to_blob", "Pass save_logs_to_blob to client.create_job."
)


def get_batch_compute_id(compute_node_identity_reference: Any) -> Record:
    """A record with the `resource_id` of the nodes' identity, which nothing on this machine reads."""
    return Record(resource_id=sdk.value(compute_node_identity_reference, "resource_id"))
