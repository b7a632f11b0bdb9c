"""Descriptions of tasks, to be added with `client.batch_service_client.create_task`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from attrs import frozen

from cfa.cloudops.client import output_files, parts, run_options, sdk
from cfa.cloudops.client.jobs import minutes, retries
from cfa.cloudops.client.pools import parse_mounts
from cfa.cloudops.endpoints import construct_blob_container_endpoint
from cfa.cloudops.errors import InvalidInputError
from cfa.cloudops.model import names
from cfa.cloudops.model.records import Record
from cfa.cloudops.model.uploads import Upload
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


@frozen(kw_only=True)
class ContainerSettings:
    """Image and options of a task's container.

    On this machine, only mounts have an effect. Their sources are in `az_mount_dir`."""

    image_name: str
    container_run_options: str = ""
    working_directory: str | None = None
    az_mount_dir: str = run_options.MOUNTS_DIRECTORY

    def mounts(self) -> tuple[Mount, ...] | None:
        """The mounts among the options; None, so those of the pool, when there are none.

        Raises:
            NotImplementedError: an option without which the task would do something else, such as
                `--env`.
        """
        return run_options.mounts(self.container_run_options, self.az_mount_dir)


@frozen(kw_only=True)
class TaskConfig:
    """A task to be added; `timeout` is the time that one attempt may take."""

    id: str
    command_line: str
    container_settings: ContainerSettings | None = None
    depends_on: tuple[str, ...] = ()
    depends_on_range: tuple[int, int] | None = None
    timeout: timedelta | None = None
    max_task_retry_count: int | None = None
    run_dependent_tasks_on_fail: bool = False
    upload: Upload | None = None

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
            upload=self.upload,
        )


def create_bind_mount_string(az_mount_dir: str, source_path: str, target_path: str) -> str:
    """The container option that mounts `<az_mount_dir>/<source>` at `<target>`."""
    mount = f"type=bind,source={az_mount_dir}/{source_path},target={target_path}"
    return f"--mount {mount if mount.split() == [mount] else shlex.quote(mount)}"


def get_container_settings(
    container_image_name: str,
    az_mount_dir: str = run_options.MOUNTS_DIRECTORY,
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
        working_directory: kept; on this machine, a task starts in the image's own, and the log says
            so.
        mount_pairs: `{"source", "target"}` of blob containers; None means those of the pool.
        additional_options: `--mount` and `-v` of blob containers count. The log names options that
            have no effect on this machine, such as `--memory`.
        registry: has no effect, and the log says so: the engine's own login counts.
        **keywords: more settings of the SDK. The log names those that have no effect on this
            machine.

    Raises:
        InvalidInputError (a ValueError): no image, or options or mounts that cannot work.
        UnsupportedError (a NotImplementedError): an option without which the task would do something
            else, such as `--env`.
    """
    given: Any = container_image_name
    if not isinstance(given, str) or not given:
        raise InvalidInputError(
            f"container_image_name={container_image_name!r} is not the name of an image.",
            "Pass its name as a string.",
        )
    pairs = parse_mounts(mount_pairs)
    run_options.check(additional_options)
    options = [
        create_bind_mount_string(az_mount_dir, one.source, f"/{one.target}") for one in pairs
    ]
    given = {"registry": registry, "working_directory": working_directory, **keywords}
    sdk.check_container(given)
    found = ContainerSettings(
        image_name=container_image_name.partition("://")[2] or container_image_name,
        container_run_options=" ".join(filter(None, [*options, additional_options])),
        working_directory=None if working_directory is None else str(working_directory),
        az_mount_dir=az_mount_dir,
    )
    found.mounts()  # what cannot work is said here, where it was written
    return found


def get_task_config(
    task_id: str,
    base_call: str,
    container_settings: ContainerSettings | Any = None,
    user_identity: Any = None,
    log_blob_container: str | None = None,
    log_blob_account: str | None = None,
    log_subdir: str | None = None,
    log_file_pattern: str = output_files.LOGS,
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
        user_identity: has no effect on this machine, and the log says so.
        log_blob_container: an existing blob container, to which the output of this task is saved
            when it completes, as `<log_subdir>/<task id>/stdout.txt` and `stderr.txt`. It replaces
            the container of the job. Without it, the other `log_...` have no effect.
        log_blob_account: the storage account of that container. Default: the client's.
        log_subdir: folder in that container. Default: none.
        log_file_pattern: selects one or both of the two files, as seen from the task's working
            directory. Other files are not saved, and the log says so.
        log_upload_condition: `taskCompletion`, `taskSuccess` or `taskFailure`.
        log_compute_node_identity_reference: has no effect on this machine: nodes need no identity.
        depends_on: ids of tasks that must succeed first, or the SDK's object.
        timeout: time that one attempt may take.
        max_task_retry_count: number of retries, in place of the job's.
        **keywords: more fields of the SDK's object. `constraints`, `exit_conditions` and
            `output_files` count. The log names those that have no effect on this machine.

    Raises:
        ValueError: an id, a dependency or a limit can never work.
        NotImplementedError: a field that is not available on this machine would change what runs,
            such as `environment_settings`.
    """
    del log_compute_node_identity_reference
    spec = TaskSpec(command_line=base_call, id=names.task_id(task_id))
    spec = sdk.with_dependencies(
        sdk.with_parts(spec, {**keywords, "user_identity": user_identity}), depends_on
    )
    upload = spec.upload
    if log_blob_container is not None:
        upload = output_files.upload(
            log_file_pattern,
            log_blob_container,
            log_blob_account,
            f"{log_subdir or ''}/{task_id}",
            log_upload_condition,
        )
        if spec.upload is not None:
            parts.tell_parts(["output_files"])
        if upload is None:
            parts.tell_parts([f"log_file_pattern={log_file_pattern!r}"])
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
        upload=upload,
    )


def _settings(given: Any) -> ContainerSettings | None:
    """Settings of a container, whether ours or the SDK's."""
    if given is None or isinstance(given, ContainerSettings):
        return given
    sdk.check_container(given)
    return get_container_settings(
        parts.value(given, "image_name"),
        working_directory=parts.value(given, "working_directory"),
        additional_options=parts.value(given, "container_run_options") or "",
    )


def output_task_files_to_blob(
    file_pattern: str,
    blob_container: str,
    blob_account: str,
    *,
    path: str | None = None,
    upload_condition: Any = "taskCompletion",
    compute_node_identity_reference: Any = None,
) -> Record:
    """The counterpart of the SDK's `OutputFile`, for `get_task_config(output_files=[...])`.

    Args:
        file_pattern: files, as seen from the task's working directory. Here `stdout.txt` and
            `stderr.txt` in the directory above it are saved; the log names what is not.
        blob_container: the blob container.
        blob_account: its storage account.
        path: folder of the blobs, or, without `*` in the pattern, the blob's name.
        upload_condition: `taskCompletion`, `taskSuccess` or `taskFailure`.
        compute_node_identity_reference: kept; nodes need no identity here.
    """
    return Record(
        file_pattern=file_pattern,
        destination=Record(
            container=Record(
                container_url=construct_blob_container_endpoint(blob_container, blob_account),
                path=path,
                identity_reference=compute_node_identity_reference,
            )
        ),
        upload_options=Record(upload_condition=upload_condition),
    )


def get_batch_compute_id(compute_node_identity_reference: Any) -> Record:
    """A record with the `resource_id` of the nodes' identity, which nothing on this machine reads."""
    return Record(resource_id=parts.value(compute_node_identity_reference, "resource_id"))
