"""Functions about blobs: names, presence, streams.

`c_client` and `container_client` are what `client.blob_service_client.get_container_client(name)`
gives. `account_name` is accepted and means nothing: there is one storage, `CLOUDOPS_STORAGE`.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from attrs import frozen

from cfa.cloudops.client import selection
from cfa.cloudops.client.handles import BlobHandle, ContainerHandle
from cfa.cloudops.errors import BlobNotFoundError, InvalidInputError
from cfa.cloudops.faces import CLOUD, Face, client_of
from cfa.cloudops.model import names

if TYPE_CHECKING:
    from cfa.cloudops.provider.blob import BlobProvider

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


@frozen
class BlobItem:
    """A blob, or, with a `/` at the end of `name`, a folder. `size` in bytes."""

    name: str
    size: int | None = None
    last_modified: datetime | None = None


class BlobStream:
    """A blob to be read. The blob is fetched anew by each method."""

    def __init__(self, provider: BlobProvider, container: str, name: str) -> None:
        self._provider = provider
        self.container = container
        self.name = name

    @property
    def size(self) -> int:
        """Bytes."""
        return self._provider.properties(self.container, self.name).size

    def readall(self) -> bytes:
        """The whole blob."""
        return b"".join(self.chunks())

    def content_as_text(self, encoding: str = "utf-8") -> str:
        """The whole blob as text."""
        return self.readall().decode(encoding)

    def readinto(self, stream: IO[bytes]) -> int:
        """Write the blob to a binary stream; how many bytes that were."""
        return sum(stream.write(chunk) for chunk in self.chunks())

    def chunks(self) -> Iterator[bytes]:
        """The blob in pieces of at most 1 MiB.

        Raises:
            BlobNotFoundError: it is not there any more.
        """
        with tempfile.TemporaryDirectory(prefix="cloudops-blob-") as directory:
            file = Path(directory, "blob")
            self._provider.download(self.container, self.name, file)
            with file.open("rb") as source:
                while chunk := source.read(1 << 20):
                    yield chunk


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


def list_blobs_in_container(
    container_name: str | None = None,
    name_starts_with: str | None = None,
    blob_service_client: Any = None,
    container_client: ContainerHandle | None = None,
    account_name: str | None = None,
) -> list[BlobItem]:
    """Blobs of a container, those in folders included, by name.

    Raises:
        BlobContainerNotFoundError: there is no such container.
    """
    del account_name
    if container_client is None:
        if blob_service_client is None or container_name is None:
            raise InvalidInputError(
                "No blob container is named.",
                "Pass container_client, or container_name and blob_service_client.",
            )
        container_client = blob_service_client.get_container_client(container_name)
    return _list(container_client, name_starts_with or "")


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
) -> list[str]:
    """`CloudClient.upload_folders` with one folder; the local paths uploaded."""
    return client_of(blob_service_client).upload_folders(
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


def download_file(
    c_client: ContainerHandle,
    src_path: str,
    dest_path: str,
    do_check: bool = True,
    check_size: bool = True,
) -> None:
    """Download one blob; nobody is asked.

    Raises:
        BlobNotFoundError (a ValueError): there is none.
    """
    del do_check, check_size
    c_client.blob_provider.download(c_client.container_name, names.blob(src_path), dest_path)


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
    """Delete a blob. There are no snapshots here."""
    client_of(blob_service_client).delete_blob_file(blob_name, container_name)


def delete_blob_folder(folder_path: str, container_name: str, blob_service_client: Any) -> None:
    """See `CloudClient.delete_blob_folder`."""
    client_of(blob_service_client).delete_blob_folder(folder_path, container_name)


# --- without a client


@frozen
class Streams:
    """Functions that may be called without a client; then the storage is that of the face."""

    face: Face

    def get_blob_service_client(self, account_name: str | None = None) -> BlobHandle:
        """What stands for the storage account's client."""
        del account_name
        return self.face.client().blob_service_client

    def get_container_client(
        self, account_name: str | None, container_name: str
    ) -> ContainerHandle:
        """A handle of a container, which need not exist."""
        del account_name
        return ContainerHandle(self.face.blobs(), names.blob_container(container_name))

    def instantiate_container_client(
        self,
        account_name: str | None = None,
        container_name: str | None = None,
        container_client: ContainerHandle | None = None,
    ) -> ContainerHandle:
        """The given handle, or one of the named container.

        Raises:
            InvalidInputError: neither is given.
        """
        if container_client is not None:
            return container_client
        if container_name is None:
            raise InvalidInputError(
                "No blob container is named.", "Pass container_name or container_client."
            )
        return self.get_container_client(account_name, container_name)

    def read_blob_stream(
        self,
        blob_url: str,
        account_name: str | None = None,
        container_name: str | None = None,
        container_client: ContainerHandle | None = None,
        do_check: bool = True,
    ) -> BlobStream:
        """A stream of a blob: `readall()`, `readinto(file)`, `chunks()`, `content_as_text()`.

        Args:
            blob_url: name of the blob in its container.
            account_name: means nothing here.
            container_name: the container, unless `container_client` says it.
            container_client: a handle of it.
            do_check: look for the blob now, not when the stream is read.

        Raises:
            BlobNotFoundError (a ValueError): there is no such blob.
        """
        found = self.instantiate_container_client(account_name, container_name, container_client)
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
    ) -> bool:
        """Write a blob, at once: readers see the old or the whole new one. Returns True.

        Args:
            data: text, bytes, a file, or an iterable of such pieces.
            blob_url: name of the blob in its container.
            account_name: means nothing here.
            container_name: the container, unless `container_client` says it.
            container_client: a handle of it.
            append_blob: add to a blob that is there.
        """
        found = self.instantiate_container_client(account_name, container_name, container_client)
        blob = names.blob(blob_url)
        with tempfile.TemporaryDirectory(prefix="cloudops-blob-") as directory:
            file = Path(directory, "blob")
            if append_blob and check_blob_existence(found, blob):
                found.blob_provider.download(found.container_name, blob, file)
            with file.open("ab") as target:
                for piece in _pieces(data):
                    target.write(piece)
            found.blob_provider.upload(file, found.container_name, blob)
        return True

    def walk_blobs_in_container(
        self,
        name_starts_with: str | None = None,
        account_name: str | None = None,
        container_name: str | None = None,
        container_client: ContainerHandle | None = None,
    ) -> Iterator[BlobItem]:
        """One level of a container: blobs, and folders with a `/` at the end of their names.

        Args:
            name_starts_with: only names that begin so; `"data/"` is what lies in that folder.
            account_name: means nothing here.
            container_name: the container, unless `container_client` says it.
            container_client: a handle of it.
        """
        found = self.instantiate_container_client(account_name, container_name, container_client)
        prefix = name_starts_with or ""
        items: dict[str, BlobItem] = {}
        for item in _list(found, prefix):
            head, slash, _ = item.name[len(prefix) :].partition("/")
            name = f"{prefix}{head}{slash}"
            items.setdefault(name, BlobItem(name) if slash else item)
        return iter(items.values())


def _pieces(data: Any) -> Iterable[bytes]:
    if isinstance(data, str):
        yield data.encode()
    elif isinstance(data, bytes | bytearray | memoryview):
        yield bytes(data)
    elif hasattr(data, "read"):
        while piece := data.read(1 << 20):
            yield piece.encode() if isinstance(piece, str) else piece
    elif isinstance(data, Iterable):
        for piece in data:
            yield from _pieces(piece)
    else:
        raise InvalidInputError(
            f"A {type(data).__name__} cannot be the content of a blob.",
            "Pass text, bytes, a file or an iterable of them.",
        )


_streams = Streams(CLOUD)
get_blob_service_client = _streams.get_blob_service_client
get_container_client = _streams.get_container_client
instantiate_container_client = _streams.instantiate_container_client
read_blob_stream = _streams.read_blob_stream
write_blob_stream = _streams.write_blob_stream
walk_blobs_in_container = _streams.walk_blobs_in_container
