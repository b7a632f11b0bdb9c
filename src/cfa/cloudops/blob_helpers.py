"""Functions about blobs: names, presence, streams.

`c_client` and `container_client` are what `client.blob_service_client.get_container_client(name)`
gives. `account_name` is the storage account: the containers of another one than that in
AZURE_BLOB_STORAGE_ACCOUNT lie in the folder `@<account_name>` of the storage root.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from cfa.cloudops.client import accounts, parts, selection
from cfa.cloudops.client.handles import BlobHandle, ContainerHandle
from cfa.cloudops.client.streams import BlobItem, BlobStream, pieces
from cfa.cloudops.errors import (
    BlobNotFoundError,
    ConflictError,
    InvalidInputError,
    UnsupportedError,
)
from cfa.cloudops.faces import CLOUD, Face, client_of
from cfa.cloudops.model import names

__all__ = [
    "BlobItem",
    "BlobStream",
    "check_blob_existence",
    "check_virtual_directory_existence",
    "delete_blob_folder",
    "delete_blob_snapshots",
    "download_file",
    "download_folder",
    "get_blob_service_client",
    "get_container_client",
    "instantiate_container_client",
    "list_blobs_flat",
    "list_blobs_in_container",
    "read_blob_stream",
    "upload_files_in_folder",
    "walk_blobs_in_container",
    "walk_folder",
    "write_blob_stream",
]

_log = logging.getLogger(__name__)


# --- what is there


def check_blob_existence(c_client: ContainerHandle, blob_name: str) -> bool:
    """Whether a container has a blob."""
    try:
        c_client.blob_provider.properties(c_client.container_name, names.blob(blob_name))
    except BlobNotFoundError:
        return False
    return True


def check_virtual_directory_existence(c_client: ContainerHandle, vdir_path: str) -> bool:
    """Whether a container has a blob below a folder."""
    blobs = c_client.blob_provider.list_blobs(c_client.container_name, names.folder(vdir_path))
    return next(iter(blobs), None) is not None


def list_blobs_flat(
    container_name: str, blob_service_client: Any, verbose: bool = True
) -> list[str]:
    """Names of all blobs of a container; logged too when `verbose`."""
    found = client_of(blob_service_client).list_blob_files(container_name)
    if verbose:
        for name in found:
            _log.info("%s", name)
    return found


def _list(container: ContainerHandle, prefix: str) -> list[BlobItem]:
    blobs = container.blob_provider.list_blobs(container.container_name)
    return [
        BlobItem(blob.name, blob.size, blob.modified)
        for blob in blobs
        if blob.name.startswith(prefix)
    ]


def walk_folder(folder: str) -> list[str]:
    """Paths of all files below a local folder, sorted."""
    selection.check_folder(folder)
    return sorted(path for path, _ in selection.walk(folder))


# --- between here and the storage


def upload_files_in_folder(
    folder: str,
    container_name: str,
    include_extensions: str | Sequence[str] | None = None,
    exclude_extensions: str | Sequence[str] | None = None,
    exclude_patterns: str | Sequence[str] | None = None,
    location_in_blob: str = ".",
    blob_service_client: Any = None,
    force_upload: bool = True,
    create_new_folder: bool = True,
    legal_hold: bool = False,
    immutability_lock_days: int = 0,
    tags: Mapping[str, str] | None = None,
    verbose: bool = False,
) -> list[str]:
    """`CloudClient.upload_folders` with one folder; the local paths uploaded.

    `tags` are not kept, and the log says so. With `verbose`, the log names the files.
    """
    _warn_of_tags(tags)
    uploaded = client_of(blob_service_client).upload_folders(
        folder_names=[folder],
        container_name=container_name,
        include_extensions=include_extensions,
        exclude_extensions=exclude_extensions,
        exclude_patterns=exclude_patterns,
        location_in_blob=location_in_blob,
        force_upload=force_upload,
        create_new_folder=create_new_folder,
        legal_hold=legal_hold,
        immutability_lock_days=immutability_lock_days,
    )
    if verbose:
        for path in uploaded:
            _log.info("Uploaded %s.", path)
    return uploaded


def download_file(
    c_client: ContainerHandle,
    src_path: str,
    dest_path: str,
    do_check: bool = True,
    check_size: bool = True,
    verbose: bool = False,
) -> None:
    """Download one blob, without a question. With `verbose`, the log says so.

    Raises:
        BlobNotFoundError (a ValueError): there is none.
    """
    del do_check, check_size
    c_client.blob_provider.download(c_client.container_name, names.blob(src_path), dest_path)
    if verbose:
        _log.info("Downloaded %s to %s.", src_path, dest_path)


def download_folder(
    container_name: str,
    src_path: str,
    dest_path: str,
    blob_service_client: Any,
    include_extensions: str | Sequence[str] | None = None,
    exclude_extensions: str | Sequence[str] | None = None,
    verbose: bool = True,
    check_size: bool = True,
) -> None:
    """See `CloudClient.download_folder`."""
    client_of(blob_service_client).download_folder(
        src_path,
        dest_path,
        container_name,
        include_extensions=include_extensions,
        exclude_extensions=exclude_extensions,
        verbose=verbose,
        check_size=check_size,
    )


def delete_blob_snapshots(blob_name: str, container_name: str, blob_service_client: Any) -> None:
    """Delete a blob. On this machine, blobs have no snapshots."""
    client_of(blob_service_client).delete_blob_file(blob_name, container_name)


def delete_blob_folder(folder_path: str, container_name: str, blob_service_client: Any) -> None:
    """See `CloudClient.delete_blob_folder`."""
    client_of(blob_service_client).delete_blob_folder(folder_path, container_name)


# --- without a client


@frozen
class Streams:
    """Functions that may be called without a client; then the storage is that of the face."""

    face: Face

    def get_blob_service_client(self, config: Any = None, credential: Any = None) -> BlobHandle:
        """Return a handle of a storage account.

        Args:
            config: `config["Storage"]["storage_account_url"]` names the account. Default: the
                default account.
            credential: has no effect on this machine.
        """
        del credential
        storage = parts.value(config, "Storage")
        account = accounts.of_url(parts.value(storage, "storage_account_url"))
        return self.face.client(azure_blob_storage_account=account).blob_service_client

    def get_container_client(
        self, account_name: str | None, container_name: str
    ) -> ContainerHandle:
        """A handle of a container, which need not exist; of the default account when none is named."""
        blobs = self.face.blobs(account_name)
        return ContainerHandle(blobs, names.blob_container(container_name))

    def instantiate_container_client(
        self,
        container_name: str | None = None,
        account_name: str | None = None,
        blob_service_client: Any = None,
        container_client: ContainerHandle | None = None,
    ) -> ContainerHandle:
        """The given handle, or one of the named container.

        Args:
            container_name: the container, unless `container_client` says it.
            account_name: the storage account, unless `blob_service_client` names it.
            blob_service_client: the client whose storage it is; that of the face when not given.
            container_client: a handle of it.

        Raises:
            InvalidInputError: neither a container nor a handle is given.
        """
        if container_client is not None:
            return container_client
        if container_name is None:
            raise InvalidInputError(
                "No blob container is named.", "Pass container_name or container_client."
            )
        if blob_service_client is not None:
            service = client_of(blob_service_client).blob_service_client
            return service.get_container_client(container_name)
        return self.get_container_client(account_name, container_name)

    def read_blob_stream(
        self,
        blob_url: str,
        account_name: str | None = None,
        container_name: str | None = None,
        container_client: ContainerHandle | None = None,
        do_check: bool = True,
        blob_service_client: Any = None,
    ) -> BlobStream:
        """A stream of a blob: `readall()`, `read(size)`, `readinto(file)`, `chunks()`.

        Args:
            blob_url: name of the blob in its container.
            account_name: the storage account, unless a client or a handle names it.
            container_name: the container, unless `container_client` says it.
            container_client: a handle of it.
            do_check: look for the blob now, not when the stream is read.
            blob_service_client: the client whose storage it is.

        Raises:
            BlobNotFoundError (a ValueError): there is no such blob.
        """
        found = self.instantiate_container_client(
            container_name, account_name, blob_service_client, container_client
        )
        blob = names.blob(blob_url)
        if do_check:
            found.blob_provider.properties(found.container_name, blob)
        return BlobStream(found.blob_provider, found.container_name, blob)

    def write_blob_stream(
        self,
        data: Any,
        blob_url: str,
        account_name: str | None = None,
        container_name: str | None = None,
        container_client: ContainerHandle | None = None,
        append_blob: bool = False,
        overwrite: bool = True,
        tags: Mapping[str, str] | None = None,
        blob_service_client: Any = None,
    ) -> bool:
        """Write a blob in one step: a reader sees the old or the new blob. Returns True.

        Args:
            data: text, bytes, a file, or an iterable of such pieces.
            blob_url: name of the blob in its container.
            account_name: the storage account, unless a client or a handle names it.
            container_name: the container, unless `container_client` says it.
            container_client: a handle of it.
            append_blob: add to a blob that is there.
            overwrite: replace a blob that is there.
            tags: not kept, and the log says so.
            blob_service_client: the client whose storage it is.

        Raises:
            ConflictError (a RuntimeError): the blob exists, and neither `overwrite` nor
                `append_blob` allows for it.
        """
        found = self.instantiate_container_client(
            container_name, account_name, blob_service_client, container_client
        )
        blob = names.blob(blob_url)
        exists = (append_blob or not overwrite) and check_blob_existence(found, blob)
        if exists and not append_blob:
            raise ConflictError(
                f"The blob {blob!r} of {found.container_name!r} exists.",
                "Pass overwrite=True to replace it, or write to another name.",
            )
        _warn_of_tags(tags)
        with tempfile.TemporaryDirectory(prefix="cloudops-blob-") as directory:
            file = Path(directory, "blob")
            if exists:
                found.blob_provider.download(found.container_name, blob, file)
            with file.open("ab") as target:
                for piece in pieces(data):
                    target.write(piece)
            found.blob_provider.upload(file, found.container_name, blob)
        return True

    def list_blobs_in_container(
        self,
        container_name: str | None = None,
        account_name: str | None = None,
        name_starts_with: str | None = None,
        blob_service_client: Any = None,
        container_client: ContainerHandle | None = None,
        tag_filter: str | None = None,
    ) -> list[BlobItem]:
        """Blobs of a container, those in folders included, by name.

        Args:
            container_name: the container, unless `container_client` says it.
            account_name: the storage account, unless a client or a handle names it.
            name_starts_with: only names that begin so.
            blob_service_client: the client whose storage it is.
            container_client: a handle of it.
            tag_filter: must be left out: no tags are kept here.

        Raises:
            BlobContainerNotFoundError: there is no such container.
            UnsupportedError: `tag_filter` is given.
        """
        _refuse_tag_filter(tag_filter)
        found = self.instantiate_container_client(
            container_name, account_name, blob_service_client, container_client
        )
        return _list(found, name_starts_with or "")

    def walk_blobs_in_container(
        self,
        container_name: str | None = None,
        account_name: str | None = None,
        name_starts_with: str | None = None,
        blob_service_client: Any = None,
        container_client: ContainerHandle | None = None,
        tag_filter: str | None = None,
    ) -> Iterator[BlobItem]:
        """One level of a container: blobs, and folders with a `/` at the end of their names.

        Arguments and errors as `list_blobs_in_container`; with `name_starts_with="data/"` it is what
        lies in that folder.
        """
        prefix = name_starts_with or ""
        items: dict[str, BlobItem] = {}
        for item in self.list_blobs_in_container(
            container_name, account_name, prefix, blob_service_client, container_client, tag_filter
        ):
            head, slash, _ = item.name[len(prefix) :].partition("/")
            name = f"{prefix}{head}{slash}"
            items.setdefault(name, BlobItem(name) if slash else item)
        return iter(items.values())


def _warn_of_tags(tags: Mapping[str, str] | None) -> None:
    if tags:
        _log.warning(
            "The tags %s are not kept: blobs on this machine have no tags.",
            ", ".join(map(str, tags)),
        )


def _refuse_tag_filter(tag_filter: str | None) -> None:
    if tag_filter:
        raise UnsupportedError(
            f"Blobs on this machine have no tags, so tag_filter={tag_filter!r} cannot choose "
            "among them.",
            "Choose by name: name_starts_with='folder/'.",
        )


_streams = Streams(CLOUD)
get_blob_service_client = _streams.get_blob_service_client
get_container_client = _streams.get_container_client
instantiate_container_client = _streams.instantiate_container_client
read_blob_stream = _streams.read_blob_stream
write_blob_stream = _streams.write_blob_stream
list_blobs_in_container = _streams.list_blobs_in_container
walk_blobs_in_container = _streams.walk_blobs_in_container
