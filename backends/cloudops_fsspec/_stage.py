"""A new folder, filled out of sight and shown by one rename.

It saves a rename for every file, which is a third of the cost of a small one, and a new folder
appears as a whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from types import TracebackType

from cloudops_fsspec import _files
from cloudops_fsspec._tree import DIRECTORY


class Stage:
    """The hidden twin of `folder`, a path in a container, beside which it will appear.

    Args:
        parent: a descriptor of the folder that will hold it; closed with the stage.
        folder: the path in the container.
    """

    def __init__(self, parent: int, folder: str) -> None:
        self._parent = parent
        self.folder = folder
        self._name = ""
        self._fd = -1

    def __enter__(self) -> Stage:
        try:
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._name:
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
