"""The client's calls about blob containers and blobs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cfa.cloudops.client import selection
from cfa.cloudops.client.async_copies import AsyncCopyMixin
from cfa.cloudops.client.pools import parse_mounts
from cfa.cloudops.errors import CloudOpsError, PoolNotFoundError, UnsafePathError
from cfa.cloudops.model import names
from cfa.cloudops.model.values import Mount

if TYPE_CHECKING:
    from cfa.cloudops.provider.batch import BatchProvider

_log = logging.getLogger(__name__)


class BlobMixin(AsyncCopyMixin):
    """Blob calls of `CloudClient`, which sets `_blobs` before any of them is used."""

    _batch: BatchProvider

    def create_blob_container(self, name: str) -> None:
        """Create a blob container. One that exists stays as it is.

        On this machine, it is a folder in `CLOUDOPS_STORAGE`, by default the current directory.

        Args:
            name: name of the container. Azure accepts only 3 to 63 lower-case letters, digits and
                single hyphens; the log warns of others.

        Raises:
            InvalidNameError: the name cannot be the name of a container.
            ConflictError: a file has this name.
        """
        if self.rehearsal is not None:
            self.rehearsal.container(name)
        container = names.blob_container(name)
        if self.rehearsal is None and not names.is_azure_container(container):
            _log.warning(
                "Azure refuses %r as the name of a blob container; this machine accepts it. Use 3 to 63 "
                "lower-case letters, digits and single hyphens, a letter or digit at both ends.",
                container,
            )
        self._blobs.create_container(container)

    def list_blob_files(self, blob_container: str | None = None) -> list[str]:
        """List the names of all blobs in a container, including those in folders, sorted.

        Args:
            blob_container: a container. Default: all containers that the client's latest task or
                its pool mounts, one after the other. If none are known, or if one no longer exists,
                the log says so.

        Raises:
            BlobContainerNotFoundError: the given container does not exist.
        """
        if blob_container is not None:
            checked = [self._container(blob_container)]
        else:
            checked = self._mounted()
        return [blob.name for name in checked for blob in self._blobs.list_blobs(name)]

    def update_blob_protection(
        self,
        files: str | Sequence[str],
        container_name: str,
        legal_hold: bool = False,
        read_only: bool = False,
    ) -> None:
        """Set or clear the legal hold of blobs. By default, it is cleared.

        A blob under a legal hold cannot be deleted or replaced. All blobs are looked up before the
        first is changed. No call ends a lock (`immutability_lock_days`) before its time.

        Args:
            files: names of one blob or several.
            container_name: an existing container.
            legal_hold: True sets the hold, and False clears it.
            read_only: also seal the blobs: they can be deleted, but never replaced. No call removes
                a seal.

        Raises:
            BlobContainerNotFoundError, BlobNotFoundError: the container or a blob does not exist.
                Nothing was changed.
            UnsafePathError: a name is absolute or has `..`.
            UnsupportedError: the storage does not support holds.
        """
        blobs = [names.blob(text) for text in selection.texts(files, "files")]
        container = self._container(container_name)
        for blob in blobs:
            self._blobs.properties(container, blob)
        self._blobs.protect_many(
            container, blobs, legal_hold=bool(legal_hold), seal=bool(read_only)
        )

    def delete_blob_file(self, blob_name: str, container_name: str) -> None:
        """Delete one blob.

        Args:
            blob_name: full name of the blob, including folders.
            container_name: an existing container.

        Raises:
            BlobContainerNotFoundError, BlobNotFoundError: the container or the blob does not exist.
            ProtectedBlobError: the blob is under a legal hold or a lock.
            UnsafePathError: the name is absolute or has `..`.
        """
        blob = names.blob(blob_name)
        self._blobs.delete(self._container(container_name), blob)

    def delete_blob_folder(self, folder_path: str, container_name: str) -> None:
        """Delete all blobs below a folder: `out` deletes `out/...`, never `out2/...`.

        If the folder does not exist, nothing happens.

        Args:
            folder_path: the folder, for example `results/run-1`.
            container_name: an existing container.

        Raises:
            BlobContainerNotFoundError: the container does not exist.
            ProtectedBlobError: a blob is under a legal hold or a lock. None was deleted.
            UnsafePathError: the path is absolute, has `..` or names no folder.
        """
        folder = names.folder(folder_path)
        if not folder:
            raise UnsafePathError(
                f"{folder_path!r} names no folder, and would delete the whole container.",
                "Name the folder, like 'results/run-1'.",
            )
        self._blobs.delete_folder(self._container(container_name), folder)

    def _mounted(self) -> list[str]:
        """The containers that tasks of this client see. What cannot be used is left out."""
        mounts: Any = getattr(self, "mounts", None)
        pool = getattr(self, "pool_name", None)
        if not mounts and pool is not None:
            try:
                mounts = self._batch.get_pool(pool).spec.mounts
            except PoolNotFoundError:
                _log.warning("the pool %s, whose mounts were to be listed, is gone", pool)
        found: list[str] = []
        for mount in mounts or ():
            try:
                source = (
                    mount.source if isinstance(mount, Mount) else parse_mounts([mount])[0].source
                )
                found.append(self._container(source))
            except CloudOpsError as error:
                _log.warning("blobs of the mount %r are left out: %s", mount, error)
        if not found:
            _log.warning(
                "list_blob_files() knows no mounts, so it lists nothing. Name a container, such as "
                "list_blob_files('input-test')"
            )
        return list(dict.fromkeys(found))
