"""The interface of a storage provider: a plugin that keeps blob containers."""

from __future__ import annotations

import abc
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from attrs import frozen

from cfa.cloudops.beneath import Place
from cfa.cloudops.errors import BlobNotFoundError, UnsupportedError
from cfa.cloudops.provider.executor import PROVIDER_API
from cfa.cloudops.provider.protection import Protection


@frozen
class FileBeneath:
    """A local file below an open directory in which others, a task for instance, may change anything
    at any moment. It is reached from there without following a link, and only when it is its turn:
    many of them need one descriptor.

    It is no `os.PathLike` on purpose: nothing shall open it by a path.

    Attributes:
        place: the directory, which the caller opens and closes.
        way: the file's relative path in it.
    """

    place: Place
    way: str

    def __str__(self) -> str:
        return f"{self.place.path}/{self.way}"


#: A local file as callers give it. A path is the caller's own, and links in it are followed. Text is
#: taken in bulk calls, where building `Path`s would cost more than copying a small file.
LocalFile = str | os.PathLike[str] | FileBeneath

#: Told of work done: files completed, bytes copied, since the last call. From any thread.
Progress = Callable[[int, int], None]


@frozen(kw_only=True)
class BlobProperties:
    """What is known of a blob. `size` in bytes; `modified` zone-aware UTC."""

    name: str
    size: int
    modified: datetime


class BlobProvider(abc.ABC):
    """Keeps blob containers: flat key spaces in which `/` marks virtual folders.

    Names of containers and blobs arrive checked by `cfa.cloudops.model.names`; a provider still
    refuses what leads out of its own root (links). Calls may come from several threads at once.

    Args:
        url: root of the storage, for instance `file:///data` or `memory://x`.
        options: what the storage needs besides. A subclass takes the same two.
    """

    #: The name under which the provider is registered.
    name: ClassVar[str]
    #: The version of this interface that the provider was written for.
    api: ClassVar[int] = PROVIDER_API
    #: Whether `protect` works, and every call that deletes or replaces honours it.
    protects: ClassVar[bool] = False
    #: Whether `upload_many` and `download_many` take `progress`.
    reports_progress: ClassVar[bool] = False

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        self.url = url
        self.options = dict(options or {})

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, in another process for instance, is opened anew for the same root."""
        return type(self), (self.url, self.options)

    @abc.abstractmethod
    def create_container(self, container: str) -> None:
        """Create a container. One that exists stays as it is."""

    @abc.abstractmethod
    def list_containers(self) -> list[str]:
        """Names of all containers, sorted. For a directory root: its sub-directories, but those
        whose name cannot be that of a container."""

    @abc.abstractmethod
    def container_exists(self, container: str) -> bool:
        """Whether the container exists."""

    @abc.abstractmethod
    def delete_container(self, container: str) -> None:
        """Delete a container with all its blobs.

        Raises:
            BlobContainerNotFoundError: there is none.
        """

    @abc.abstractmethod
    def list_blobs(self, container: str, folder: str = "") -> Iterator[BlobProperties]:
        """Blobs below `folder` (all for `''`), sorted by name, nothing that is still being written.

        Raises:
            BlobContainerNotFoundError: there is no such container (at the first step).
        """

    @abc.abstractmethod
    def upload(self, source: LocalFile, container: str, blob: str) -> None:
        """Store a local file. Readers see the old blob or the whole new one, never a part; a killed
        upload leaves the old one.

        Raises:
            BlobContainerNotFoundError: there is no such container.
            ProtectedBlobError: the blob is protected, where the provider `protects`.
            LocalFileNotFoundError: there is no such file.
            InvalidInputError: the source is no ordinary file, or with `FileBeneath` is reached
                through a link. FileAccessError: it may not be read.
            ConflictError: a folder has this name, or a blob has the name of a folder on the way.
            DiskFullError: no space; the old blob is as it was.
        """

    @abc.abstractmethod
    def download(self, container: str, blob: str, target: LocalFile) -> None:
        """Fetch a blob into a local file, making parent directories; atomic as `upload`. With
        `FileBeneath` none of these is a link, and what has the file's name is replaced.

        Raises:
            BlobContainerNotFoundError, BlobNotFoundError: there is none.
            ConflictError: the target is a folder. FileAccessError: it may not be written.
            DiskFullError: no space; the old file is as it was.
        """

    @abc.abstractmethod
    def delete(self, container: str, blob: str) -> None:
        """Delete one blob. Folders that become empty may go with it.

        Raises:
            BlobContainerNotFoundError, BlobNotFoundError: there is none.
        """

    @abc.abstractmethod
    def properties(self, container: str, blob: str) -> BlobProperties:
        """The size and the time of one blob.

        Raises:
            BlobContainerNotFoundError, BlobNotFoundError: there is none.
        """

    def upload_many(
        self,
        container: str,
        sources: Mapping[str, LocalFile],
        *,
        progress: Progress | None = None,
    ) -> None:
        """Store many local files, blob name -> file. Each blob is atomic as in `upload`; when this
        raises, some of them may be stored. A provider overrides it when it can do better than one
        after the other, and sets `reports_progress` when it calls `progress`, which is not passed
        to others.

        Raises as `upload`.
        """
        del progress
        for blob, source in sources.items():
            self.upload(source, container, blob)

    def download_many(
        self,
        container: str,
        targets: Mapping[str, LocalFile],
        *,
        progress: Progress | None = None,
    ) -> None:
        """Fetch many blobs, blob name -> local file; the counterpart of `upload_many`.

        Raises as `download`.
        """
        del progress
        for blob, target in targets.items():
            self.download(container, blob, target)

    def delete_folder(self, container: str, folder: str) -> None:
        """Delete every blob below `folder`; one that has none is no error. `''` is refused by the
        callers of this: to empty a container, delete it.

        Raises:
            BlobContainerNotFoundError: there is no such container.
        """
        for blob in list(self.list_blobs(container, folder)):
            with contextlib.suppress(BlobNotFoundError):  # deleted by another in the meantime
                self.delete(container, blob.name)

    def local_path(self, container: str) -> Path | None:
        """The directory of this host that *is* the container, to be bound into nodes; None when
        there is none, and mounts must be staged."""
        del container
        return None

    def protect(
        self,
        container: str,
        blob: str,
        *,
        legal_hold: bool | None = None,
        lock_until: datetime | None = None,
        seal: bool = False,
    ) -> None:
        """Optional, see `protects`: protect a blob from deletion and replacement, or lift its hold.

        From then on `delete`, `delete_folder`, `delete_container`, `upload` and `upload_many` raise
        `ProtectedBlobError` for it, before they change anything.

        Args:
            container: the container of the blob.
            blob: its name.
            legal_hold: set or clear the hold; None leaves it.
            lock_until: lock until this time, zone-aware UTC; None leaves it.
            seal: never replace the blob again; a deletion is not affected.

        Raises:
            BlobContainerNotFoundError, BlobNotFoundError: there is none.
            ProtectedBlobError: a lock in force would end earlier.
            UnsupportedError: this storage protects nothing.
        """
        del container, blob, legal_hold, lock_until, seal
        raise UnsupportedError(
            f"The {self.name} storage does not support legal holds, locks and seals; nothing was "
            "changed.",
            "Leave them out, or choose another storage.",
        )

    def protect_many(
        self,
        container: str,
        blobs: Iterable[str],
        *,
        legal_hold: bool | None = None,
        lock_until: datetime | None = None,
        seal: bool = False,
    ) -> None:
        """`protect` for many blobs, each alike. A provider overrides it when it can do better than
        one after the other; when this one raises, some of them may be changed."""
        for blob in blobs:
            self.protect(container, blob, legal_hold=legal_hold, lock_until=lock_until, seal=seal)

    def protection(self, container: str, blob: str) -> Protection:
        """The protection of a blob; empty if the blob does not exist."""
        del container, blob
        return Protection()

    def check_replaceable(self, container: str, blobs: Iterable[str]) -> None:
        """Raise the errors that an upload to these names would raise because of their protection.

        Raises:
            ProtectedBlobError: one of them cannot be replaced.
        """
        if self.protects:
            for blob in blobs:
                self.protection(container, blob).check_replacement(container, blob)

    def close(self) -> None:  # noqa: B027  most providers hold nothing
        """Release connections. May be called twice."""
