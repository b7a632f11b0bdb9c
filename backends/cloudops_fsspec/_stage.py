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

from cfa.cloudops.beneath import Place
from cfa.cloudops.provider.blob import LocalFile
from cloudops_fsspec import _files, _folders, _resume


class Stage:
    """The hidden twin of `folder`, a path in a container, beside which it will appear.

    Args:
        parent: the open folder that will hold it; closed with the stage.
        folder: the path in the container.
        sources: blob -> local file of all that is to be stored, some of it below `folder`.
    """

    def __init__(self, parent: Place, folder: str, sources: Mapping[str, LocalFile]) -> None:
        self._parent = parent
        self.folder = folder
        self._sources = sources
        self._name = ""
        self._place = Place(-1)
        #: Blob -> bytes of what an earlier call stored here.
        self.kept: dict[str, int] = {}

    def __enter__(self) -> Stage:
        try:
            if self._adopt():
                return self
            for _ in range(_files.ATTEMPTS):
                self._name = _files.temporary()
                if not self._parent.make(self._name):
                    continue
                try:
                    self._place = self._parent.enter(self._name)
                except FileNotFoundError:
                    continue
                # As with a file, a cleaner may come between making and locking.
                descriptor = self._place.fileno()
                if _files.lock(descriptor) and os.fstat(descriptor).st_nlink:
                    return self
                self._place.close()
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        except BaseException:
            self._place.close()
            self._parent.close()
            raise

    def _adopt(self) -> bool:
        """Take the stage that a dead call left, or make one that a later call will find."""
        self._name = _resume.folder_name(self.folder)
        self._parent.make(self._name)
        try:
            self._place = self._parent.enter(self._name)
        except OSError:
            return False  # no folder, or removed by a cleaner
        try:
            if _resume.claim(self._place.fileno(), self._name, self._parent):
                self.kept = _resume.prune(self._place, self.folder, self._source)
                return True
        except OSError:  # no locks here, or what was left cannot be removed
            with contextlib.suppress(OSError):
                self._parent.remove_directory(self._name)
        self._place.close()
        return False  # another call is at work here

    def _source(self, blob: str) -> os.stat_result | None:
        try:
            return _files.source_status(self._sources[blob])
        except (KeyError, OSError):
            return None

    def note(self, files: Iterable[tuple[str, os.stat_result]]) -> None:
        """These blobs are complete; the status is that of their sources."""
        _resume.note(self._place, ((blob, _resume.identity(status)) for blob, status in files))

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
                    self._parent.remove_tree(self._name)
        finally:
            self._place.close()
            self._parent.close()

    def open_folder(self, folder: str) -> Place:
        """The hidden twin of `self.folder` or of one below it, made if missing."""
        return self._place.enter(folder.removeprefix(self.folder).strip("/"), make=True)

    def publish(self, open_folder: Callable[[str], Place]) -> None:
        """Show the folder. If another made it meanwhile, its files are added one by one.

        Args:
            open_folder: opens a folder of the container for writing, making it if missing.
        """
        base = self.folder.rpartition("/")[2]
        _resume.forget(self._place)
        try:
            self._parent.rename(self._name, self._parent, base)
        except OSError as error:
            # ENOTDIR: a link to a folder, or a blob, for which `open_folder` has the words.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            self._merge(open_folder)
        else:
            self._name = ""

    def _merge(self, open_folder: Callable[[str], Place]) -> None:
        for way, place, files in _folders.below(self._place):
            with open_folder(f"{self.folder}/{way}".rstrip("/")) as target:
                for name in files:
                    place.rename(name, target, name)
