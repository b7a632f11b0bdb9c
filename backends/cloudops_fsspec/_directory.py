"""Blob containers as sub-directories of one directory. Plain calls of the operating system.

Blobs are reached through descriptors of their directories, opened one step at a time without
following links, so that a link planted meanwhile leads nowhere. A link that is met is allowed when
it stays inside its container.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from cfa.cloudops.errors import (
    BlobContainerNotFoundError,
    BlobNotFoundError,
    ConflictError,
    InvalidNameError,
    UnsafePathError,
)
from cfa.cloudops.model import names
from cfa.cloudops.provider.blob import BlobProperties, BlobProvider, LocalFile, Progress
from cfa.cloudops.provider.protection import PROTECTION_FOLDER
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
        return os.path.isdir(f"{self._root}/{PROTECTION_FOLDER}")

    def records(self) -> DirectoryRecords:
        return DirectoryRecords(str(self._root))

    def canonical(self, container: str, folder: str) -> str:
        top = os.path.realpath(self._path(container))
        way = os.path.realpath(f"{top}/{folder}")
        if way == top:
            return ""
        inside = way.removeprefix(f"{top}/")
        return folder if inside == way else inside  # the way out is refused when it is taken

    # --- containers

    def create_container(self, container: str) -> None:
        path = self._path(container)
        with _files.explained(f"Could not make the blob container {container!r}"):
            self._root.mkdir(parents=True, exist_ok=True)
            try:
                path.mkdir()
            except FileExistsError:
                if not path.is_dir():
                    raise ConflictError(
                        f"{str(path)!r} is a file, so there can be no blob container "
                        f"{container!r}.",
                        "Choose another name or move the file.",
                    ) from None

    def list_containers(self) -> list[str]:
        with _files.explained(f"Could not list {str(self._root)!r}"):
            try:
                with os.scandir(self._root) as entries:
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
        return self._path(container).is_dir()

    def delete_container(self, container: str) -> None:
        path = self._existing(container)
        with _files.explained(f"Could not delete the blob container {container!r}"):
            if path.is_symlink():
                path.unlink()
            else:
                _files.remove_tree(str(path))

    def local_path(self, container: str) -> Path:
        return self._existing(container)

    def _path(self, container: str) -> Path:
        # It may be a link: the owner of the root has put it there, to a larger disk for instance.
        return self._root / names.blob_container(container)

    def _existing(self, container: str) -> Path:
        path = self._path(container)
        if not path.is_dir():
            raise BlobContainerNotFoundError(
                f"There is no blob container {container!r} in {str(self._root)!r}.",
                f"Make it with create_blob_container({container!r}).",
            )
        return path

    # --- looking

    def list_blobs(self, container: str, folder: str = "") -> Iterator[BlobProperties]:
        top = self._existing(container)
        folder = names.folder(folder)
        try:
            os.close(self._open_folder(top, folder))  # refuses a way out
        except BlobNotFoundError:
            return
        yield from _tree.walk(top.resolve(), names.inside(top, folder), folder)

    def properties(self, container: str, blob: str) -> BlobProperties:
        fd, status = self._open_blob(self._existing(container), _checked(blob))
        os.close(fd)
        return _tree.properties(blob, status)

    def _open_blob(self, top: Path, blob: str) -> tuple[int, os.stat_result]:
        parent, base = self._open_folder_of(top, blob)
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            try:
                fd = os.open(base, flags | os.O_NOFOLLOW, dir_fd=parent)
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                fd = os.open(names.inside(top, blob).resolve(), flags)  # a link, allowed inside
        except UnsafePathError:
            raise
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENXIO):  # not there, or a socket
                raise _tree.no_blob(top, blob) from None
            raise _files.explain(error, f"Could not read the blob {blob!r}") from None
        finally:
            os.close(parent)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise _tree.no_blob(top, blob)
        return fd, status

    def _open_folder_of(self, top: Path, blob: str) -> tuple[int, str]:
        """A descriptor of the folder that has a blob, and the blob's own name. Raises as it."""
        folder, _, base = blob.rpartition("/")
        try:
            return self._open_folder(top, folder), base
        except BlobNotFoundError:
            raise _tree.no_blob(top, blob) from None  # it is the blob that was asked for

    def _open_folder(self, top: Path, folder: str, *, create: bool = False) -> int:
        """A descriptor of a folder of a container.

        Raises:
            BlobNotFoundError: there is none. ConflictError: a file is in the way.
            UnsafePathError: a link leads out.
        """
        try:
            fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # deleted since we looked
            raise BlobContainerNotFoundError(
                f"There is no blob container {top.name!r}.", "Another process deleted it."
            ) from None
        done = ""
        try:
            for part in folder.split("/") if folder else ():
                done = f"{done}/{part}" if done else part
                lower = _tree.step(top, done, fd, part, create=create)
                os.close(fd)
                fd = lower
        except BaseException:
            os.close(fd)
            raise
        return fd

    # --- writing

    def upload(self, source: LocalFile, container: str, blob: str) -> None:
        folder, _, base = _checked(blob).rpartition("/")
        self._upload_batch(self._existing(container), folder, [(source, base)])

    def upload_many(
        self,
        container: str,
        sources: Mapping[str, LocalFile],
        *,
        progress: Progress | None = None,
    ) -> None:
        top = self._existing(container)
        groups: dict[str, list[tuple[LocalFile, str]]] = {}
        for blob, source in sources.items():
            folder, _, base = _checked(blob).rpartition("/")
            groups.setdefault(folder, []).append((source, base))
        watch = _files.Watch(progress)
        work: list[Callable[[], None]] = []
        with contextlib.ExitStack() as stack:
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
                with _files.explained(f"Could not store {stage.folder!r} in {top.name!r}"):
                    stage.publish(partial(self._open_for_writing, top))

    def _stage(
        self,
        top: Path,
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
                os.close(self._open_folder(top, new))
            except BlobNotFoundError:
                parent = self._open_folder(top, above)
                self._sweep(str(top), above, parent)
                with _files.explained(f"Could not write to {top.name!r}"):
                    stages[new] = stack.enter_context(Stage(parent, new, sources))
                return stages[new]
            above = new
        return None

    def _upload_batch(
        self, top: Path, folder: str, files: _batches.Files, watch: _files.Watch | None = None
    ) -> None:
        """Store files in one folder, each replaced at once."""
        remaining = list(reversed(files))
        for _ in range(_files.ATTEMPTS):
            parent = self._open_for_writing(top, folder)
            try:
                self._sweep(str(top), folder, parent)
                while remaining and not (watch and watch.stopped):
                    source, base = remaining[-1]
                    blob = f"{folder}/{base}" if folder else base
                    _batches.store(source, parent, base, blob, _files.place, watch)
                    remaining.pop()
                return
            except _files.VanishedError:
                continue  # its last blob was deleted, and the folder with it
            finally:
                os.close(parent)
        raise _restless(folder)

    def _open_for_writing(self, top: Path, folder: str) -> int:
        for _ in range(_files.ATTEMPTS):
            with contextlib.suppress(_files.VanishedError):
                return self._open_folder(top, folder, create=True)
        raise _restless(folder)

    def _sweep(self, top: str, folder: str, parent: int) -> None:
        # Once a folder and process: a listing of a large folder costs more than storing a file.
        key = (top, folder)
        if key not in self._swept:
            self._swept.add(key)
            with contextlib.suppress(OSError):
                _files.sweep(parent)

    def download(self, container: str, blob: str, target: LocalFile) -> None:
        self._download(self._existing(container), _checked(blob), target)

    def download_many(
        self,
        container: str,
        targets: Mapping[str, LocalFile],
        *,
        progress: Progress | None = None,
    ) -> None:
        top = self._existing(container)
        watch = _files.Watch(progress)
        pairs = list(targets.items())

        def some(batch: Sequence[tuple[str, LocalFile]]) -> None:
            for blob, target in batch:
                if watch.stopped:
                    return
                self._download(top, _checked(blob), target, watch)

        _batches.run([partial(some, batch) for batch in _batches.cut(pairs)], watch)

    def _download(
        self, top: Path, blob: str, target: LocalFile, watch: _files.Watch | None = None
    ) -> None:
        parent, base = _files.split_target(target)
        source, status = self._open_blob(top, blob)
        try:
            with _files.explained(f"Could not write {os.fspath(target)!r}"):
                for _ in range(_files.ATTEMPTS):
                    os.makedirs(parent, exist_ok=True)
                    directory = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                    try:
                        self._sweep("", os.path.abspath(parent), directory)
                        _files.place(source, status, directory, base, watch)
                        if watch:
                            watch.completed()
                        return
                    except _files.VanishedError:
                        continue
                    finally:
                        os.close(directory)
            raise _restless(parent)
        finally:
            os.close(source)

    # --- deleting

    def delete(self, container: str, blob: str) -> None:
        top = self._existing(container)
        parent, base = self._open_folder_of(top, _checked(blob))
        try:
            if stat.S_ISDIR(os.stat(base, dir_fd=parent, follow_symlinks=False).st_mode):
                raise _tree.no_blob(top, blob)
            os.unlink(base, dir_fd=parent)  # of a link, the link
        except BlobNotFoundError:
            raise
        except FileNotFoundError:
            raise _tree.no_blob(top, blob) from None
        except OSError as error:
            raise _files.explain(error, f"Could not delete the blob {blob!r}") from None
        finally:
            os.close(parent)
        _tree.remove_empty(top, blob.rpartition("/")[0])

    def delete_folder(self, container: str, folder: str) -> None:
        top = self._existing(container)
        above, _, base = _checked(folder).rpartition("/")
        with contextlib.suppress(BlobNotFoundError):
            parent = self._open_folder(top, above)
            try:
                os.close(self._open_folder(top, folder))
                with _files.explained(f"Could not delete the folder {folder!r}"):
                    if stat.S_ISLNK(os.stat(base, dir_fd=parent, follow_symlinks=False).st_mode):
                        os.unlink(base, dir_fd=parent)
                    else:
                        _files.remove_tree(base, parent)
            finally:
                os.close(parent)
            _tree.remove_empty(top, above)


def _checked(blob: str) -> str:
    """Names arrive checked; this keeps a mistake of a caller inside, and our temporaries apart."""
    parts = blob.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\0" in blob:
        return names.blob(blob)
    if ".cloudops-" in blob and any(map(_files.is_temporary, parts)):
        raise InvalidNameError(
            f"{blob!r} has the form of our temporary names.", "Choose another name."
        )
    return blob


def _restless(folder: str) -> ConflictError:
    return ConflictError(
        f"The folder {folder!r} is deleted again and again while it is written to.",
        "Do not delete and write it at the same time.",
    )
