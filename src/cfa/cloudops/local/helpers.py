"""`cfa.cloudops.helpers` on this machine, and what scripts for the local client find here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cfa.cloudops.batch_helpers import get_args_from_yaml, get_tasks_from_yaml
from cfa.cloudops.blob import format_extensions
from cfa.cloudops.blob_helpers import walk_folder
from cfa.cloudops.faces import LOCAL
from cfa.cloudops.helpers import Images, format_rel_path, get_log_level

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

_images = Images(LOCAL)
package_and_upload_dockerfile = _images.package_and_upload_dockerfile
upload_docker_image = _images.upload_docker_image
list_acr_tags = _images.list_acr_tags


def add_job(
    job_name: str, pool_name: str, task_retries: int = 0, mark_complete: bool = False
) -> None:
    """See `CloudClient.create_job`."""
    LOCAL.client().create_job(
        job_name,
        pool_name,
        task_retries=task_retries,
        mark_complete_after_tasks_run=mark_complete,
    )


def create_container(name: str) -> None:
    """See `CloudClient.create_blob_container`."""
    LOCAL.client().create_blob_container(name)


def upload_to_storage_container(
    file_paths: str | Sequence[str],
    blob_storage_container_name: str,
    local_root_dir: str = ".",
    remote_root_dir: str = ".",
) -> None:
    """See `CloudClient.upload_files`."""
    LOCAL.client().upload_files(
        files=file_paths,
        container_name=blob_storage_container_name,
        local_root_dir=local_root_dir,
        location_in_blob=remote_root_dir,
    )


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


def download_file(src_path: str, dest_path: str | Path, container_name: str) -> None:
    """See `CloudClient.download_file`; nobody is asked."""
    LOCAL.client().download_file(src_path, dest_path, container_name, check_size=False)
