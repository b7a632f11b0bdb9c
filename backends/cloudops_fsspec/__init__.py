"""Blob containers on any filesystem that fsspec knows; directories of this machine by default.

fsspec itself is imported only for a root that needs it: it costs more than a whole short script. So
is what protects blobs, which most roots never use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cfa.cloudops.provider.blob import BlobProperties, BlobProvider, LocalFile, Progress
from cfa.cloudops.provider.protection import Protection

if TYPE_CHECKING:
    from cloudops_fsspec._directory import DirectoryBlobs
    from cloudops_fsspec._protection import Guard
    from cloudops_fsspec._remote import RemoteBlobs

__all__ = ["FsspecBlobs"]


class FsspecBlobs(BlobProvider):
    """Blob containers below the root `url`.

    `file://` and plain paths: a container is a sub-directory, a blob a file in it; `local_path`
    names the directory. Any other URL is handed to fsspec (`memory://x`, and what is installed),
    with `options` as its storage options.

    Protection is kept in `.cloudops-protection` beside the containers. It holds for every call of
    this package, from any process; a program that writes to the directory itself is not stopped.

    Raises:
        UnknownBackendError: fsspec knows no such protocol, or it needs more than a URL.
        BackendNotInstalledError: it does, but a package is missing.
        BackendUnavailableError: its server does not answer.
    """

    name = "fsspec"
    protects: ClassVar[bool] = True
    reports_progress: ClassVar[bool] = True

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        super().__init__(url, options)
        scheme, colon, _ = url.partition(":")
        self._blobs: DirectoryBlobs | RemoteBlobs
        self._guard: Guard | None = None
        if not colon or "/" in scheme or scheme in ("file", "local"):
            from cloudops_fsspec._directory import DirectoryBlobs

            self._blobs = DirectoryBlobs(url, options)
        else:
            from cloudops_fsspec._remote import RemoteBlobs

            self._blobs = RemoteBlobs(url, options)

    # --- containers

    def create_container(self, container: str) -> None:
        self._blobs.create_container(container)

    def list_containers(self) -> list[str]:
        return self._blobs.list_containers()

    def container_exists(self, container: str) -> bool:
        return self._blobs.container_exists(container)

    def delete_container(self, container: str) -> None:
        guard = self._guard_of(container)
        if guard:
            guard.deletable_folder(container, "")
        self._blobs.delete_container(container)
        if guard:
            guard.forget_all(container)

    def local_path(self, container: str) -> Path | None:
        return self._blobs.local_path(container)

    # --- blobs

    def list_blobs(self, container: str, folder: str = "") -> Iterator[BlobProperties]:
        return self._blobs.list_blobs(container, folder)

    def properties(self, container: str, blob: str) -> BlobProperties:
        return self._blobs.properties(container, blob)

    def upload(self, source: LocalFile, container: str, blob: str) -> None:
        self._make_way(container, [blob])
        self._blobs.upload(source, container, blob)

    def upload_many(
        self,
        container: str,
        sources: Mapping[str, LocalFile],
        *,
        progress: Progress | None = None,
    ) -> None:
        self._make_way(container, sources)
        self._blobs.upload_many(container, sources, progress=progress)

    def download(self, container: str, blob: str, target: LocalFile) -> None:
        self._blobs.download(container, blob, target)

    def download_many(
        self,
        container: str,
        targets: Mapping[str, LocalFile],
        *,
        progress: Progress | None = None,
    ) -> None:
        self._blobs.download_many(container, targets, progress=progress)

    def delete(self, container: str, blob: str) -> None:
        guard = self._guard_of(container)
        over = guard.deletable(container, [blob]) if guard else []
        self._blobs.delete(container, blob)
        if guard:
            guard.forget(container, over)

    def delete_folder(self, container: str, folder: str) -> None:
        guard = self._guard_of(container)
        over = guard.deletable_folder(container, folder) if guard else []
        self._blobs.delete_folder(container, folder)
        if guard:
            guard.forget(container, over)

    # --- protection

    def protect(
        self,
        container: str,
        blob: str,
        *,
        legal_hold: bool | None = None,
        lock_until: datetime | None = None,
        seal: bool = False,
    ) -> None:
        self.protect_many(
            container, [blob], legal_hold=legal_hold, lock_until=lock_until, seal=seal
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
        self._make_guard().change(
            container, blobs, legal_hold=legal_hold, lock_until=lock_until, seal=seal
        )

    def protection(self, container: str, blob: str) -> Protection:
        guard = self._guard_of(container)
        return guard.get(container, blob) if guard else Protection()

    def check_replaceable(self, container: str, blobs: Iterable[str]) -> None:
        guard = self._guard_of(container)
        if guard:
            guard.replaceable(container, blobs)

    def _make_way(self, container: str, blobs: Iterable[str]) -> None:
        """Refuse to replace what is protected; forget protection that is over."""
        guard = self._guard_of(container)
        if guard:
            guard.forget(container, guard.replaceable(container, blobs))

    def _guard_of(self, container: str) -> Guard | None:
        """Who knows what is protected; None when nothing in the container is."""
        if self._guard is None and not self._blobs.has_records():
            return None
        guard = self._make_guard()
        return guard if guard.active(container) else None

    def _make_guard(self) -> Guard:
        if self._guard is None:
            from cloudops_fsspec._protection import Guard

            self._guard = Guard(self._blobs, self._blobs.records(), self._blobs.canonical)
        return self._guard

    def close(self) -> None:
        self._blobs.close()
