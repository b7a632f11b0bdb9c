"""Takes from files that tasks left what would give their privileges to whoever runs them.

A task can mark its own files set-user-id. In its node that gives nothing; on the host, in a mount,
such a file is the caller for anybody who may run it.
"""

from __future__ import annotations

import contextlib
import os
import stat

from attrs import define

from cfa.cloudops.beneath import Place, grip, open_up, set_mode

_PRIVILEGED = stat.S_ISUID | stat.S_ISGID
_LOOK = stat.S_IRUSR | stat.S_IXUSR
#: Seconds by which stamps of files may lag behind the clock: some file systems count whole ones.
_GRAIN_S = 1.0
#: Directories that are kept open on the way down; those below are found again by `..`.
_HELD = 64
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def strip_privileges(place: Place, since: float) -> tuple[int, list[str]]:
    """Remove the set-user-id and set-group-id bits of files that were changed lately.

    Goes through everything below a directory, links neither followed nor changed. Directories keep
    their bits: set-group-id means something else there. Whoever changes the tree meanwhile may hide
    files from it, but leads it nowhere else.

    Args:
        place: where.
        since: a time in seconds since the epoch; of a file's status, which no task can set.

    Returns:
        How many files were changed, and the ways of those that could not be, and of directories that
        could not be looked into: they belong to somebody else. Never raises for one of them.
    """
    walk = _Walk(since - _GRAIN_S)
    walk.through(place)
    return walk.changed, walk.refused


@define
class _Level:
    """A directory on the way down.

    `descriptor` -1: not open now. `identity`: what it must be when it is opened again. `mode`: the
    permissions to give back. `left`: names of the directories in it that are still to be seen.
    """

    name: str
    descriptor: int
    identity: tuple[int, int]
    mode: int | None
    left: list[str]


class _Walk:
    def __init__(self, since: float) -> None:
        self.changed = 0
        self.refused: list[str] = []
        self._since = since
        self._levels: list[_Level] = []

    def through(self, place: Place) -> None:
        levels = self._levels
        try:
            self._down(place.fileno(), ".", "")
            while levels:
                if levels[-1].left:
                    name = levels[-1].left.pop()
                    self._down(levels[-1].descriptor, name, name)
                else:
                    self._up()
        finally:
            while levels:
                self._leave(levels.pop())

    def _down(self, above: int, name: str, shown: str) -> None:
        """Enter a directory and see to the files in it."""
        try:
            descriptor, mode = open_up(above, name, _LOOK)
        except FileNotFoundError:
            return
        except OSError:
            self.refused.append(self._way(shown) or ".")
            return
        level = _Level(shown, descriptor, _identity(descriptor), mode, [])
        if len(self._levels) > _HELD:
            os.close(self._levels[-1].descriptor)
            self._levels[-1].descriptor = -1
        self._levels.append(level)
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    self._look(level, entry)
        except OSError:
            self.refused.append(self._way("") or ".")

    def _up(self) -> None:
        """Leave a directory, and open the one above again if it is not."""
        level = self._levels.pop()
        try:
            if self._levels and self._levels[-1].descriptor < 0:
                self._levels[-1].descriptor = self._again(level.descriptor)
        finally:
            self._leave(level)

    def _again(self, below: int) -> int:
        """The directory above; -1 with nothing left to see in it when it is not that any more."""
        level = self._levels[-1]
        with contextlib.suppress(OSError):
            found = os.open("..", _DIRECTORY, dir_fd=below)
            if _identity(found) == level.identity:
                return found
            os.close(found)
        self.refused += [self._way(name) for name in level.left]
        level.left.clear()
        return -1

    def _leave(self, level: _Level) -> None:
        if level.descriptor < 0:
            return
        if level.mode is not None:
            with contextlib.suppress(OSError):
                os.fchmod(level.descriptor, level.mode)
        os.close(level.descriptor)

    def _look(self, level: _Level, entry: os.DirEntry[str]) -> None:
        try:
            if entry.is_dir(follow_symlinks=False):
                level.left.append(entry.name)
                return
            # A look before it is opened: of many files few are changed.
            if not self._concerns(entry.stat(follow_symlinks=False)):
                return
            with grip(level.descriptor, entry.name) as descriptor:
                status = os.fstat(descriptor)
                if self._concerns(status):
                    set_mode(descriptor, stat.S_IMODE(status.st_mode) & ~_PRIVILEGED)
                    self.changed += 1
        except FileNotFoundError:
            return
        except OSError:
            self.refused.append(self._way(entry.name))

    def _concerns(self, status: os.stat_result) -> bool:
        mode = status.st_mode
        return stat.S_ISREG(mode) and bool(mode & _PRIVILEGED) and status.st_ctime >= self._since

    def _way(self, name: str) -> str:
        return "/".join(filter(None, [*(level.name for level in self._levels), name]))


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino
