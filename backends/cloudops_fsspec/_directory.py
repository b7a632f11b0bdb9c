"""Blob containers as sub-directories of one directory. Plain calls of the operating system.

The root and the names in it are its owner's, and are opened by their paths. What is in a container is
not: tasks write there too. It is reached from the open directory of the container, see `_tree`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from cfa.cloudops.beneath import Place
from cfa.cloudops.errors import (
    BlobContainerNotFoundError,
    BlobNotFoundError,
    CloudOpsError,
    ConflictError,
    InvalidNameError,
)
from cfa.cloudops.model import names
from cfa.cloudops.provider.blob import BlobProperties, BlobProvider, LocalFile, Progress
from cloudops_fsspec import _batches, _files, _tree
from cloudops_fsspec._records import DirectoryRecords
from cloudops_fsspec._stage import Stage


class DirectoryBlobs(BlobProvider):
    """See `cloudops_fsspec.FsspecBlobs`."""

    name = "fsspec"

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        super().__init__(url, options)
        scheme, colon, rest = url.partition(":")
        path = rest.removeprefix("//") if colon and scheme in ("file", "local") else url
        self._root = Path(path or ".").expanduser().absolute()
        self._swept: set[tuple[str, str]] = set()

    # --- protection, see `_protection`

    def has_records(self) -> bool:
        return self.records().any()

    def records(self) -> DirectoryRecords:
        return DirectoryRecords(str(self._root))

    def canonical(self, container: str, folder: str) -> str:
        with self._open(container) as top:
            return _tree.canonical(top, folder)

    # --- containers

    def create_container(self, container: str) -> None:
        path = self._path(container)
        with _files.explained(f"Could not create the blob container {container!r}"):
            self._root.mkdir(parents=True, exist_ok=True)
            with Place.open(self._root) as root:
                if root.make(container):
                    return
            try:
                Place.open(path).close()
            except (FileNotFoundError, NotADirectoryError):
                raise ConflictError(
                    f"{str(path)!r} is a file, so there can be no blob container {container!r}.",
                    "Choose another name or move the file.",
                ) from None

    def list_containers(self) -> list[str]:
        with _files.explained(f"Could not list {str(self._root)!r}"):
            try:
                with Place.open(self._root) as root, os.scandir(root.fileno()) as entries:
                    found = [entry.name for entry in entries if entry.is_dir()]
            except FileNotFoundError:
                return []
        return sorted(filter(self._may_be_container, found))

    def _may_be_container(self, name: str) -> bool:
        try:
            self._path(names.blob_container(name))
        except InvalidNameError:
            return False
        return True

    def container_exists(self, container: str) -> bool:
        try:
            self._open(container).close()
        except BlobContainerNotFoundError:
            return False
        return True

    def delete_container(self, container: str) -> None:
        self._open(container).close()
        with (
            _files.explained(f"Could not delete the blob container {container!r}"),
            Place.open(self._root) as root,
        ):
            root.remove_tree(container, force=False)  # of a link, the link

    def local_path(self, container: str) -> Path:
        self._open(container).close()
        return self._path(container)

    def _path(self, container: str) -> Path:
        # It may be a link: the owner of the root has put it there, to a larger disk for instance.
        return self._root / names.blob_container(container)

    def _open(self, container: str) -> Place:
        """The directory of a container."""
        try:
            return Place.open(self._path(container))
        except OSError as error:
            # Also a pipe, a device, a circle of links.
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise _files.explain(error, f"Could not open {container!r}") from None
        raise BlobContainerNotFoundError(
            f"There is no blob container {container!r} in {str(self._root)!r}.",
            f"To create it: create_blob_container({container!r}).",
        )

    # --- looking

    def list_blobs(self, container: str, folder: str = "") -> Iterator[BlobProperties]:
        with self._open(container) as top, contextlib.suppress(BlobNotFoundError):
            yield from _tree.walk(top, names.folder(folder))

    def properties(self, container: str, blob: str) -> BlobProperties:
        with self._open(container) as top:
            fd, status = _tree.open_blob(top, _checked(blob))
        os.close(fd)
        return _tree.properties(blob, status)

    # --- writing

    def upload(self, source: LocalFile, container: str, blob: str) -> None:
        folder, _, base = _checked(blob).rpartition("/")
        with self._open(container) as top:
            self._upload_batch(top, folder, [(source, base)])

    def upload_many(
        self,
        container: str,
        sources: Mapping[str, LocalFile],
        *,
        progress: Progress | None = None,
    ) -> None:
        groups: dict[str, list[tuple[LocalFile, str]]] = {}
        for blob, source in sources.items():
            folder, _, base = _checked(blob).rpartition("/")
            groups.setdefault(folder, []).append((source, base))
        watch = _files.Watch(progress)
        work: list[Callable[[], None]] = []
        with self._open(container) as top, contextlib.ExitStack() as stack:
            stages: dict[str, Stage] = {}
            for folder, files in groups.items():
                stage = self._stage(top, folder, stages, stack, sources)
                if stage and stage.kept:
                    files = [item for item in files if f"{folder}/{item[1]}" not in stage.kept]
                for batch in _batches.cut(files):
                    if stage is None:
                        work.append(partial(self._upload_batch, top, folder, batch, watch))
                    else:
                        work.append(partial(_batches.fill, stage, folder, batch, watch))
            for stage in stages.values():
                watch.skipped(len(stage.kept), sum(stage.kept.values()))
            _batches.run(work, watch)
            for stage in stages.values():
                with _files.explained(f"Could not store {stage.folder!r} in {container!r}"):
                    stage.publish(partial(_tree.enter_to_write, top))

    def _stage(
        self,
        top: Place,
        folder: str,
        stages: dict[str, Stage],
        stack: contextlib.ExitStack,
        sources: Mapping[str, LocalFile],
    ) -> Stage | None:
        """Where to write a folder's files unseen; None when the folder exists."""
        parts = folder.split("/") if folder else []
        above = ""
        for depth, _ in enumerate(parts, 1):
            new = "/".join(parts[:depth])
            if new in stages:
                return stages[new]
            try:
                _tree.enter(top, new).close()
            except BlobNotFoundError:
                parent = _tree.enter(top, above)
                self._sweep(top.path, above, parent)
                with _files.explained(f"Could not write to {_tree.name(top)!r}"):
                    stages[new] = stack.enter_context(Stage(parent, new, sources))
                return stages[new]
            above = new
        return None

    def _upload_batch(
        self, top: Place, folder: str, files: _batches.Files, watch: _files.Watch | None = None
    ) -> None:
        """Store files in one folder, each replaced at once."""
        remaining = list(reversed(files))
        for _ in range(_files.ATTEMPTS):
            with _tree.enter_to_write(top, folder) as parent:
                self._sweep(top.path, folder, parent)
                try:
                    while remaining and not (watch and watch.stopped):
                        source, base = remaining[-1]
                        blob = f"{folder}/{base}" if folder else base
                        _batches.store(source, parent, base, blob, _files.place, watch)
                        remaining.pop()
                    return
                except _files.VanishedError:
                    continue  # its last blob was deleted, and the folder with it
        raise _tree.restless(folder)

    def _sweep(self, top: str, folder: str, parent: Place) -> None:
        # Once a folder and process: a listing of a large folder costs more than storing a file.
        key = (top, folder)
        if key not in self._swept:
            self._swept.add(key)
            with contextlib.suppress(OSError):
                _files.sweep(parent)

    def download(self, container: str, blob: str, target: LocalFile) -> None:
        with self._open(container) as top:
            self._download(top, _checked(blob), target)

    def download_many(
        self,
        container: str,
        targets: Mapping[str, LocalFile],
        *,
        progress: Progress | None = None,
    ) -> None:
        watch = _files.Watch(progress)
        pairs = list(targets.items())
        with self._open(container) as top:

            def some(batch: Sequence[tuple[str, LocalFile]]) -> None:
                for blob, target in batch:
                    if watch.stopped:
                        return
                    self._download(top, _checked(blob), target, watch)

            _batches.run([partial(some, batch) for batch in _batches.cut(pairs)], watch)

    def _download(
        self, top: Place, blob: str, target: LocalFile, watch: _files.Watch | None = None
    ) -> None:
        parent, base = _files.split_target(target)
        source, status = _tree.open_blob(top, blob)
        try:
            with _files.explained(f"Could not write {str(target)!r}"):
                for _ in range(_files.ATTEMPTS):
                    with _files.open_target_folder(target, parent) as folder:
                        self._sweep("", os.path.abspath(folder.path), folder)
                        try:
                            _files.place(source, status, folder, base, watch)
                        except _files.VanishedError:
                            continue
                        if watch:
                            watch.completed()
                        return
            raise _tree.restless(parent)
        finally:
            os.close(source)

    # --- deleting

    def delete(self, container: str, blob: str) -> None:
        folder, _, base = _checked(blob).rpartition("/")
        with self._open(container) as top:
            try:
                with _tree.enter(top, folder) as parent:
                    if stat.S_ISDIR(parent.status(base).st_mode):
                        raise FileNotFoundError
                    parent.unlink(base)  # of a link, the link
            except (BlobNotFoundError, FileNotFoundError):
                raise _tree.no_blob(top, blob) from None
            except CloudOpsError:
                raise
            except OSError as error:
                raise _files.explain(error, f"Could not delete the blob {blob!r}") from None
            _tree.remove_empty(top, folder)

    def delete_folder(self, container: str, folder: str) -> None:
        above, _, base = _checked(folder).rpartition("/")
        with self._open(container) as top, contextlib.suppress(BlobNotFoundError):
            _tree.enter(top, folder).close()
            with (
                _tree.enter(top, above) as parent,
                _files.explained(f"Could not delete the folder {folder!r}"),
            ):
                parent.remove_tree(base, force=False)  # of a link, the link
            _tree.remove_empty(top, above)


def _checked(blob: str) -> str:
    """Names arrive checked; this keeps a mistake of a caller inside, and our temporaries apart."""
    parts = blob.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\0" in blob:
        return names.blob(blob)
    if ".cloudops-" in blob and any(map(_files.is_temporary, parts)):
        raise InvalidNameError(
            f"{blob!r} has the form of a temporary name of this package.", "Choose another name."
        )
    return blob
