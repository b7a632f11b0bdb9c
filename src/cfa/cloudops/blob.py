"""Blob containers: make, fill, fetch, protect. `blob_service_client` is that of a `CloudClient`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen

from cfa.cloudops.azure_only import azure_only
from cfa.cloudops.client import accounts
from cfa.cloudops.client.handles import ContainerHandle
from cfa.cloudops.client.progress import tqdm
from cfa.cloudops.errors import InvalidInputError
from cfa.cloudops.faces import CLOUD, Face, client_of
from cfa.cloudops.util import ensure_listlike

__all__ = [
    "async_download_blob_folder",
    "async_upload_folder",
    "create_storage_container_if_not_exists",
    "download_from_storage_container",
    "format_extensions",
    "get_node_mount_config",
    "tqdm",
    "update_blob_protection",
    "upload_to_storage_container",
]


def format_extensions(extension: str | Sequence[str]) -> list[str]:
    """Extensions with a dot at their beginning.

    Raises:
        InvalidInputError: one is no text.
    """
    found = list(ensure_listlike(list(extension) if isinstance(extension, tuple) else extension))
    for one in found:
        if not isinstance(one, str):
            raise InvalidInputError(f"{one!r} is not a file extension.", "Use text like '.csv'.")
    return [one if one.startswith(".") else f".{one}" for one in found]


def create_storage_container_if_not_exists(
    blob_storage_container_name: str, blob_service_client: Any
) -> ContainerHandle:
    """Create a blob container, and return its handle. One that exists stays as it is."""
    client = client_of(blob_service_client)
    client.create_blob_container(blob_storage_container_name)
    return client.blob_service_client.get_container_client(blob_storage_container_name)


def upload_to_storage_container(
    file_paths: str | Sequence[str],
    blob_storage_container_name: str,
    blob_service_client: Any,
    local_root_dir: str = ".",
    remote_root_dir: str = ".",
    legal_hold: bool = False,
    immutability_lock_days: int = 0,
) -> None:
    """See `CloudClient.upload_files`."""
    client_of(blob_service_client).upload_files(
        files=file_paths,
        container_name=blob_storage_container_name,
        local_root_dir=local_root_dir,
        location_in_blob=remote_root_dir,
        legal_hold=legal_hold,
        immutability_lock_days=immutability_lock_days,
    )


def download_from_storage_container(
    file_paths: str | Sequence[str],
    blob_storage_container_name: str,
    blob_service_client: Any,
    local_root_dir: str = ".",
    remote_root_dir: str = ".",
) -> None:
    """Download blobs: `remote_root_dir/a/b.csv` becomes `local_root_dir/a/b.csv`.

    Raises:
        BlobNotFoundError (a ValueError): one is not there; those before it were fetched.
    """
    client = client_of(blob_service_client)
    for path in ensure_listlike(file_paths):
        client.download_file(
            f"{remote_root_dir}/{path}",
            f"{local_root_dir}/{path}",
            blob_storage_container_name,
            check_size=False,
        )


@frozen
class Transfers:
    """Functions that are called without a client; the storage is that of the face."""

    face: Face

    def async_download_blob_folder(
        self,
        container_name: str,
        local_folder: str,
        storage_account_url: str | None = None,
        name_starts_with: str = ".",
        include_extensions: str | Sequence[str] | None = None,
        exclude_extensions: str | Sequence[str] | None = None,
        check_size: bool = True,
        max_concurrent_downloads: int = 20,
        credential: Any = None,
    ) -> None:
        """See `CloudClient.async_download_folder`.

        The arguments are the same, except for `storage_account_url`, which names the account, and
        `credential`, which has no effect on this machine.
        """
        del credential
        account = accounts.of_url(storage_account_url)
        self.face.client(azure_blob_storage_account=account).async_download_folder(
            src_path=name_starts_with,
            dest_path=local_folder,
            container_name=container_name,
            include_extensions=include_extensions,
            exclude_extensions=exclude_extensions,
            check_size=check_size,
            max_concurrent_downloads=max_concurrent_downloads,
        )

    def async_upload_folder(
        self,
        folder: str,
        container_name: str,
        storage_account_url: str | None = None,
        include_extensions: str | Sequence[str] | None = None,
        exclude_extensions: str | Sequence[str] | None = None,
        location_in_blob: str = ".",
        max_concurrent_uploads: int = 20,
        credential: Any = None,
        legal_hold: bool = False,
        immutability_lock_days: int = 0,
    ) -> None:
        """See `CloudClient.async_upload_folder`.

        The arguments are the same, except for `storage_account_url`, which names the account, and
        `credential`, which has no effect on this machine.
        """
        del credential
        account = accounts.of_url(storage_account_url)
        self.face.client(azure_blob_storage_account=account).async_upload_folder(
            folders=[folder],
            container_name=container_name,
            include_extensions=include_extensions,
            exclude_extensions=exclude_extensions,
            location_in_blob=location_in_blob,
            max_concurrent_uploads=max_concurrent_uploads,
            legal_hold=legal_hold,
            immutability_lock_days=immutability_lock_days,
        )


def update_blob_protection(
    files: str | Sequence[str] | None = None,
    container_name: str | None = None,
    blob_service_client: Any = None,
    legal_hold: bool = False,
    read_only: bool = False,
    *,
    file_paths: str | Sequence[str] | None = None,
    blob_storage_container_name: str | None = None,
) -> None:
    """See `CloudClient.update_blob_protection`.

    Args:
        files: names of the blobs; `file_paths` is the same.
        container_name: the container; `blob_storage_container_name` is the same.
        blob_service_client: that of a `CloudClient`.
        legal_hold: set the hold, or clear it.
        read_only: seal the blobs as well.
        file_paths: see `files`.
        blob_storage_container_name: see `container_name`.

    Raises:
        TypeError: no blobs or no container are named.
    """
    blobs = files if files is not None else file_paths
    container = container_name if container_name is not None else blob_storage_container_name
    if blobs is None or container is None:
        raise TypeError("update_blob_protection() needs files and container_name")
    client_of(blob_service_client).update_blob_protection(
        blobs, container, legal_hold=legal_hold, read_only=read_only
    )


_transfers = Transfers(CLOUD)
async_download_blob_folder = _transfers.async_download_blob_folder
async_upload_folder = _transfers.async_upload_folder
get_node_mount_config = azure_only(
    "blob.get_node_mount_config", "Pass mounts to client.create_pool."
)
