"""A new folder, filled out of sight and shown by one rename.

It saves a rename for every file, which is a third of the cost of a small one, and a new folder
appears as a whole or not at all. A call that is repeated after it was killed or interrupted finds
the stage and goes on.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType

from cfa.cloudops.provider.blob import LocalFile
from cloudops_fsspec import _files, _resume
from cloudops_fsspec._tree import DIRECTORY


class Stage:
    """The hidden twin of `folder`, a path in a container, beside which it will appear.

    Args:
        parent: a descriptor of the folder that will hold it; closed with the stage.
        folder: the path in the container.
        sources: blob -> local file of all that is to be stored, some of it below `folder`.
    """

    def __init__(self, parent: int, folder: str, sources: Mapping[str, LocalFile]) -> None:
        self._parent = parent
        self.folder = folder
        self._sources = sources
        self._name = ""
        self._fd = -1
        #: Blob -> bytes of what an earlier call stored here.
        self.kept: dict[str, int] = {}

    def __enter__(self) -> Stage:
        try:
            if self._adopt():
                return self
            for _ in range(_files.ATTEMPTS):
                self._name = _files.temporary()
                os.mkdir(self._name, dir_fd=self._parent)
                try:
                    self._fd = os.open(self._name, DIRECTORY, dir_fd=self._parent)
                except FileNotFoundError:
                    continue
                # As with a file, a cleaner may come between making and locking.
                if _files.lock(self._fd) and os.fstat(self._fd).st_nlink:
                    return self
                os.close(self._fd)
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        except BaseException:
            os.close(self._parent)
            raise

    def _adopt(self) -> bool:
        """Take the stage that a dead call left, or make one that a later call will find."""
        self._name = _resume.folder_name(self.folder)
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._name, dir_fd=self._parent)
        try:
            self._fd = os.open(self._name, DIRECTORY, dir_fd=self._parent)
        except OSError:
            return False  # no folder, or removed by a cleaner
        try:
            if _resume.claim(self._fd, self._name, self._parent):
                self.kept = _resume.prune(self._fd, self.folder, self._source)
                return True
        except OSError:  # no locks here, or what was left cannot be removed
            with contextlib.suppress(OSError):
                os.rmdir(self._name, dir_fd=self._parent)
        os.close(self._fd)
        self._fd = -1
        return False  # another call is at work here

    def _source(self, blob: str) -> os.stat_result | None:
        try:
            return os.stat(self._sources[blob])
        except (KeyError, OSError):
            return None

    def note(self, files: Iterable[tuple[str, os.stat_result]]) -> None:
        """These blobs are complete; the status is that of their sources."""
        _resume.note(self._fd, ((blob, _resume.identity(status)) for blob, status in files))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            # What a user broke off may be asked for again; a fault may be that the disk is full.
            broken_off = kind is not None and not issubclass(kind, Exception)
            if self._name and not (broken_off and _resume.is_name(self._name)):
                with contextlib.suppress(OSError):
                    _files.remove_tree(self._name, self._parent)
        finally:
            os.close(self._fd)
            os.close(self._parent)

    def open_folder(self, folder: str) -> int:
        """A descriptor of the hidden twin of `self.folder` or one below it, made if missing."""
        fd = os.dup(self._fd)
        for part in filter(None, folder.removeprefix(self.folder).split("/")):
            try:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=fd)
                lower = os.open(part, DIRECTORY, dir_fd=fd)
            finally:
                os.close(fd)
            fd = lower
        return fd

    def publish(self, open_folder: Callable[[str], int]) -> None:
        """Show the folder. If another made it meanwhile, its files are added one by one.

        Args:
            open_folder: opens a folder of the container for writing, making it if missing.
        """
        base = self.folder.rpartition("/")[2]
        _resume.forget(self._fd)
        try:
            os.rename(self._name, base, src_dir_fd=self._parent, dst_dir_fd=self._parent)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            self._merge(open_folder)
        else:
            self._name = ""

    def _merge(self, open_folder: Callable[[str], int]) -> None:
        for path, _, files, source in os.fwalk(self._name, dir_fd=self._parent):
            below = path.removeprefix(self._name).strip("/")
            target = open_folder(f"{self.folder}/{below}".rstrip("/"))
            try:
                for name in files:
                    os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
            finally:
                os.close(target)
