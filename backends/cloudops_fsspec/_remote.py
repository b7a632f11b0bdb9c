"""Blob containers on a filesystem reached through fsspec.

What cannot be promised for every filesystem: a blob is written under a temporary name and moved, so
its change is as atomic as the filesystem's own move. Object stores are atomic by themselves.
Temporaries have no locks here; those over a day old are taken for dead.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cfa.cloudops.errors import (
    BackendNotInstalledError,
    BackendUnavailableError,
    BlobContainerNotFoundError,
    BlobNotFoundError,
    CloudOpsError,
    ConflictError,
    InvalidNameError,
    UnknownBackendError,
)
from cfa.cloudops.model import names
from cfa.cloudops.provider.blob import (
    BlobProperties,
    BlobProvider,
    FileBeneath,
    LocalFile,
    Progress,
)
from cloudops_fsspec import _files
from cloudops_fsspec._records import RemoteRecords

_log = logging.getLogger(__name__)
#: Stores that show an object when its upload is complete, and not before.
_ATOMIC = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci"}
#: Extras of cfa-cloudops that bring what a scheme needs.
_EXTRAS = {
    "s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs",
    "abfs": "azure-storage", "abfss": "azure-storage", "az": "azure-storage", "adl": "azure-storage",
}  # fmt: skip
#: Keeps an empty container in being on stores that know no directories.
_MARK = ".cloudops-container.part"
_STALE = timedelta(days=1)


class RemoteBlobs(BlobProvider):
    """See `cloudops_fsspec.FsspecBlobs`."""

    name = "fsspec"

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        super().__init__(url, options)
        if "://" not in url and "::" not in url:  # fsspec would take it for a file of that name
            raise UnknownBackendError(
                f"The storage {url!r} is not a URL.", "Write it as protocol://path, or as a path."
            )
        try:
            from fsspec.core import url_to_fs

            # Instances shared by fsspec's own cache would carry settings of others, and its cached
            # listings would hide what other processes write.
            settings = {"skip_instance_cache": True, "use_listings_cache": False}
            filesystem, root = url_to_fs(url, **(settings | self.options))
        except ImportError as error:
            extra = _EXTRAS.get(url.partition(":")[0])
            raise BackendNotInstalledError(
                f"The storage {url!r} cannot be used: {str(error).rstrip('.')}.",
                f"Type: pip install 'cfa-cloudops[{extra}]'."
                if extra
                else "Install the package that the message names.",
            ) from None
        except (ValueError, TypeError) as error:  # also of a filesystem that needs more than a URL
            raise UnknownBackendError(
                f"The storage {url!r} cannot be used: {str(error).rstrip('.')}.",
                "Set CLOUDOPS_STORAGE to a directory, or to a URL that begins with s3:// (extra s3), "
                "gs:// (extra gcs), abfs:// (extra azure-storage) or another protocol of fsspec that "
                "needs no more than the URL.",
            ) from None
        except OSError as error:
            raise BackendUnavailableError(
                f"The storage {url!r} does not answer: {error.strerror or error}.",
                "Check the address, and whether this machine reaches it.",
            ) from None
        self._fs: Any = filesystem
        self._root = str(root).rstrip("/")
        protocols = filesystem.protocol
        protocols = {protocols} if isinstance(protocols, str) else set(protocols)
        # The memory filesystem hands out its own buffers, positions included: take and give whole
        # contents, which also makes a change one step.
        self._memory = "memory" in protocols
        self._atomic = self._memory or bool(protocols & _ATOMIC)

    def _at(self, container: str, blob: str = "") -> str:
        path = f"{self._root}/{names.blob_container(container)}"
        return f"{path}/{blob}" if blob else path

    # --- protection, see `_protection`

    def has_records(self) -> bool:
        return True  # to look is as dear as to ask for those of one container

    def records(self) -> RemoteRecords:
        return RemoteRecords(self._fs, self._root)

    def canonical(self, container: str, folder: str) -> str:
        del container
        return folder  # no links

    # --- containers

    def create_container(self, container: str) -> None:
        path = self._at(container)
        with _files.speaking(f"create the blob container {container!r}"):
            self._fs.makedirs(path, exist_ok=True)
            if not self._fs.isdir(path):
                self._fs.touch(f"{path}/{_MARK}")

    def list_containers(self) -> list[str]:
        with _files.speaking(f"list {self.url!r}"):
            try:
                entries = self._fs.ls(self._root, detail=True)
            except FileNotFoundError:
                return []
        found = set()
        for entry in entries:
            if entry["type"] == "directory":
                with contextlib.suppress(InvalidNameError):
                    found.add(names.blob_container(entry["name"].rstrip("/").rpartition("/")[2]))
        return sorted(found)

    def container_exists(self, container: str) -> bool:
        with _files.speaking(f"look for the blob container {container!r}"):
            return bool(self._fs.isdir(self._at(container)))

    def _existing(self, container: str) -> str:
        if not self.container_exists(container):
            raise BlobContainerNotFoundError(
                f"There is no blob container {container!r} in {self.url!r}.",
                f"To create it: create_blob_container({container!r}).",
            )
        return self._at(container)

    def delete_container(self, container: str) -> None:
        path = self._existing(container)
        with _files.speaking(f"delete the blob container {container!r}"):
            self._fs.rm(path, recursive=True)

    # --- looking

    def list_blobs(self, container: str, folder: str = "") -> Iterator[BlobProperties]:
        path = self._existing(container)
        start = f"{path}/{folder}" if folder else path
        with _files.speaking(f"list {container!r}"):
            if folder and not self._fs.isdir(start):
                return
            entries: dict[str, dict[str, Any]] = self._fs.find(start, detail=True)
        found = []
        for key, entry in entries.items():
            # Some filesystems give names with another leading part than they took.
            blob = key[key.index(f"{path.lstrip('/')}/") + len(path.lstrip("/")) + 1 :]
            if any(map(_files.is_temporary, blob.split("/"))):
                self._reap(key, entry)
            elif _safe(blob):
                found.append(self._properties(blob, entry))
            else:
                _log.warning("%r in %s cannot be the name of a blob; left out", blob, container)
        yield from sorted(found, key=lambda item: item.name)

    def _properties(self, blob: str, entry: Mapping[str, Any]) -> BlobProperties:
        return BlobProperties(name=blob, size=int(entry["size"] or 0), modified=_modified(entry))

    def _reap(self, path: str, entry: Mapping[str, Any]) -> None:
        """Remove a temporary whose writer must be dead by now."""
        if not path.endswith(_MARK) and datetime.now(UTC) - _modified(entry) > _STALE:
            with contextlib.suppress(OSError):
                self._fs.rm_file(path)

    def properties(self, container: str, blob: str) -> BlobProperties:
        return self._properties(blob, self._info(self._existing(container), container, blob))

    def _info(self, path: str, container: str, blob: str) -> Mapping[str, Any]:
        with _files.speaking(f"look for the blob {blob!r}"):
            try:
                info: Mapping[str, Any] = self._fs.info(f"{path}/{_checked(blob)}")
            except (FileNotFoundError, NotADirectoryError):
                info = {"type": "none"}
        if info["type"] != "file":
            raise BlobNotFoundError(
                f"There is no blob {blob!r} in {container!r}.",
                f"list_blob_files({container!r}) lists the blobs.",
            )
        return info

    # --- writing

    def upload(self, source: LocalFile, container: str, blob: str) -> None:
        self._upload(source, container, blob)

    def _upload(self, source: LocalFile, container: str, blob: str) -> int:
        """Returns the bytes of the source."""
        path = f"{self._existing(container)}/{_checked(blob)}"
        fd, status = _files.open_source(source)
        # By its own name where that is safe: some guess the type of the content from it.
        local = _opened(fd) if isinstance(source, FileBeneath) else os.fspath(source)
        with os.fdopen(fd, "rb") as file, _files.speaking(f"store the blob {blob!r}"):
            if not self._atomic or self._memory:
                if self._fs.isdir(path):
                    raise ConflictError(
                        f"{blob!r} in {container!r} is a folder, so there can be no blob of that "
                        "name.",
                        "Choose another name or delete the folder.",
                    )
                self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            if self._memory:
                self._fs.pipe_file(path, file.read())
            elif self._atomic:
                self._fs.put_file(local, path)
            else:
                self._move_in(local, path)
        return status.st_size

    def _move_in(self, source: str, path: str) -> None:
        temp = f"{path.rpartition('/')[0]}/{_files.temporary()}"
        try:
            self._fs.put_file(source, temp)
            self._fs.mv(temp, path)
        except BaseException:
            with contextlib.suppress(Exception):  # the first error is the one to tell
                self._fs.rm_file(temp)
            raise

    def download(self, container: str, blob: str, target: LocalFile) -> None:
        self._download(container, blob, target)

    def _download(self, container: str, blob: str, target: LocalFile) -> int:
        """Returns the bytes of the blob."""
        path = self._existing(container)
        self._info(path, container, blob)
        parent, name = _files.split_target(target)
        with (
            _files.speaking(f"fetch the blob {blob!r} to {str(target)!r}"),
            _files.open_target_folder(target, parent) as folder,
        ):
            temp = _files.temporary()
            fd = folder.file(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            try:
                with os.fdopen(fd, "wb") as file:
                    if self._memory:
                        file.write(self._fs.cat_file(f"{path}/{blob}"))
                        file.flush()
                    else:
                        self._fs.get_file(f"{path}/{blob}", _opened(fd))
                    size = os.fstat(fd).st_size
                folder.rename(temp, folder, name)
            except BaseException:
                with contextlib.suppress(OSError):  # the first error is the one to tell
                    folder.unlink(temp)
                raise
        return size

    def upload_many(
        self,
        container: str,
        sources: Mapping[str, LocalFile],
        *,
        progress: Progress | None = None,
    ) -> None:
        for blob, source in sources.items():
            size = self._upload(source, container, blob)
            if progress:
                progress(1, size)

    def download_many(
        self,
        container: str,
        targets: Mapping[str, LocalFile],
        *,
        progress: Progress | None = None,
    ) -> None:
        for blob, target in targets.items():
            size = self._download(container, blob, target)
            if progress:
                progress(1, size)

    # --- deleting

    def delete(self, container: str, blob: str) -> None:
        path = self._existing(container)
        self._info(path, container, blob)
        with _files.speaking(f"delete the blob {blob!r}"):
            self._fs.rm_file(f"{path}/{blob}")


def _checked(blob: str) -> str:
    """Names arrive checked; this keeps a mistake of a caller inside, and our temporaries apart."""
    blob = names.blob(blob)
    if any(map(_files.is_temporary, blob.split("/"))):
        raise InvalidNameError(
            f"{blob!r} has the form of a temporary name of this package.", "Choose another name."
        )
    return blob


def _opened(descriptor: int) -> str:
    """A path for fsspec to an open file, which no one can exchange."""
    return f"/dev/fd/{descriptor}"


def _safe(blob: str) -> bool:
    try:
        return names.blob(blob) == blob
    except CloudOpsError:
        return False


def _modified(entry: Mapping[str, Any]) -> datetime:
    """Filesystems have their own key and type for it; the oldest time when there is none."""
    for key in ("mtime", "LastModified", "last_modified", "updated", "modified", "created"):
        match entry.get(key):
            case datetime() as moment:
                return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            case int() | float() as seconds:
                return datetime.fromtimestamp(seconds, UTC)
            case str() as text:
                with contextlib.suppress(ValueError):
                    moment = datetime.fromisoformat(text)
                    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            case _:
                pass
    return datetime.fromtimestamp(0, UTC)
