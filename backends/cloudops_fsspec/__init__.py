"""Blob containers on any filesystem that fsspec knows; directories of this machine by default.

fsspec itself is imported only for a root that needs it: it costs more than a whole short script.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from cfa.cloudops.provider.blob import BlobProperties, BlobProvider, LocalFile

__all__ = ["FsspecBlobs"]


class FsspecBlobs(BlobProvider):
    """Blob containers below the root `url`.

    `file://` and plain paths: a container is a sub-directory, a blob a file in it; `local_path`
    names the directory. Any other URL is handed to fsspec (`memory://x`, and what is installed),
    with `options` as its storage options.

    Raises:
        UnknownBackendError: fsspec knows no such protocol.
        BackendNotInstalledError: it does, but a package is missing.
    """

    name = "fsspec"

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        super().__init__(url, options)
        scheme, colon, _ = url.partition(":")
        self._blobs: BlobProvider
        if not colon or "/" in scheme or scheme in ("file", "local"):
            from cloudops_fsspec._directory import DirectoryBlobs

            self._blobs = DirectoryBlobs(url, options)
        else:
            from cloudops_fsspec._remote import RemoteBlobs

            self._blobs = RemoteBlobs(url, options)

    def create_container(self, container: str) -> None:
        self._blobs.create_container(container)

    def list_containers(self) -> list[str]:
        return self._blobs.list_containers()

    def container_exists(self, container: str) -> bool:
        return self._blobs.container_exists(container)

    def delete_container(self, container: str) -> None:
        self._blobs.delete_container(container)

    def list_blobs(self, container: str, folder: str = "") -> Iterator[BlobProperties]:
        return self._blobs.list_blobs(container, folder)

    def upload(self, source: LocalFile, container: str, blob: str) -> None:
        self._blobs.upload(source, container, blob)

    def download(self, container: str, blob: str, target: LocalFile) -> None:
        self._blobs.download(container, blob, target)

    def delete(self, container: str, blob: str) -> None:
        self._blobs.delete(container, blob)

    def properties(self, container: str, blob: str) -> BlobProperties:
        return self._blobs.properties(container, blob)

    def upload_many(self, container: str, sources: Mapping[str, LocalFile]) -> None:
        self._blobs.upload_many(container, sources)

    def download_many(self, container: str, targets: Mapping[str, LocalFile]) -> None:
        self._blobs.download_many(container, targets)

    def delete_folder(self, container: str, folder: str) -> None:
        self._blobs.delete_folder(container, folder)

    def local_path(self, container: str) -> Path | None:
        return self._blobs.local_path(container)

    def close(self) -> None:
        self._blobs.close()
