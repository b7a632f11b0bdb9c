"""`cfa.cloudops.helpers` on this machine, and what scripts for the local client find here."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from cfa.cloudops.batch_helpers import get_args_from_yaml, get_tasks_from_yaml
from cfa.cloudops.blob import format_extensions
from cfa.cloudops.blob_helpers import walk_folder
from cfa.cloudops.client.handles import ContainerHandle
from cfa.cloudops.errors import InvalidInputError
from cfa.cloudops.faces import LOCAL
from cfa.cloudops.helpers import Images, format_rel_path, get_log_level
from cfa.cloudops.local.batch import Job
from cfa.cloudops.model import names

__all__ = [
    "add_job",
    "create_container",
    "download_file",
    "format_extensions",
    "format_rel_path",
    "get_args_from_yaml",
    "get_log_level",
    "get_tasks_from_yaml",
    "list_acr_tags",
    "package_and_upload_dockerfile",
    "upload_docker_image",
    "upload_folder",
    "upload_to_storage_container",
    "walk_folder",
]

_log = logging.getLogger(__name__)

_images = Images(LOCAL)
package_and_upload_dockerfile = _images.package_and_upload_dockerfile
upload_docker_image = _images.upload_docker_image
list_acr_tags = _images.list_acr_tags


def add_job(
    job_name: str, pool_name: str, task_retries: int = 0, mark_complete: bool = False
) -> Job:
    """See `CloudClient.create_job`. Returns a record of the job."""
    LOCAL.client().create_job(
        job_name,
        pool_name,
        task_retries=task_retries,
        mark_complete_after_tasks_run=mark_complete,
    )
    return Job(names.job_id(job_name), pool_name, task_retries, mark_complete)


def create_container(name: str) -> ContainerHandle:
    """See `CloudClient.create_blob_container`. Returns a handle of the container."""
    client = LOCAL.client()
    client.create_blob_container(name)
    return client.blob_service_client.get_container_client(name)


def upload_to_storage_container(
    filepath: str, location: str = ".", container_name: str = "", verbose: bool = False
) -> None:
    """Upload one file to `<location>/<name of the file>`. See `CloudClient.upload_files`.

    With `verbose`, the log says so.
    """
    folder, name = os.path.split(filepath)
    LOCAL.client().upload_files(
        files=name,
        container_name=container_name,
        local_root_dir=folder or ".",
        location_in_blob=location or ".",
    )
    if verbose:
        _log.info("Uploaded %s to %s of %s.", filepath, location, container_name)


def upload_folder(
    folder: str,
    container_name: str,
    include_extensions: str | Sequence[str] | None = None,
    exclude_extensions: str | Sequence[str] | None = None,
    exclude_patterns: str | Sequence[str] | None = None,
    location_in_blob: str = ".",
    force_upload: bool = True,
) -> list[str]:
    """See `CloudClient.upload_folders`."""
    return LOCAL.client().upload_folders(
        folder_names=[folder],
        container_name=container_name,
        include_extensions=include_extensions,
        exclude_extensions=exclude_extensions,
        exclude_patterns=exclude_patterns,
        location_in_blob=location_in_blob,
        force_upload=force_upload,
        create_new_folder=True,
    )


def download_file(
    c_client: ContainerHandle | str,
    src_path: str,
    dest_path: str | Path,
    do_check: bool = True,
    check_size: bool = False,
) -> None:
    """See `CloudClient.download_file`. It asks no question.

    Args:
        c_client: a handle of the container, or its name.
        src_path: name of the blob.
        dest_path: path of the file to write.
        do_check: means nothing: a missing blob is always an error.
        check_size: means nothing.

    Raises:
        InvalidInputError: no container is given.
    """
    del do_check, check_size
    name = c_client.container_name if isinstance(c_client, ContainerHandle) else c_client
    if not name:
        raise InvalidInputError(
            "No blob container is named.", "Pass its name, or a handle of it, as c_client."
        )
    LOCAL.client().download_file(src_path, dest_path, name, check_size=False)
