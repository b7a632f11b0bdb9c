"""The mounts of the host: one directory can be reached by several paths."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

from attrs import frozen


@frozen(kw_only=True)
class Mount:
    """The directory `root` of a file system is seen at `point`."""

    kind: str
    device: str
    root: str
    point: str


class Mounts:
    """The mounts that this process sees.

    Args:
        mounts: in the order of mounting: a later one covers an earlier one.
    """

    def __init__(self, mounts: Iterable[Mount]) -> None:
        self._at = {mount.point: mount for mount in mounts}
        self._of: dict[str, list[Mount]] = {}
        for mount in self._at.values():
            self._of.setdefault(mount.device, []).append(mount)

    @classmethod
    def of_this_host(cls) -> Mounts:
        try:
            return cls.parse(Path("/proc/self/mountinfo").read_bytes())
        except OSError:
            return cls(())  # no Linux, no bubblewrap

    @classmethod
    def parse(cls, text: bytes) -> Mounts:
        """Read lines of `/proc/<pid>/mountinfo`; see `proc(5)`."""
        found = []
        for line in text.splitlines():
            _, _, device, root, point, rest = line.split(b" ", 5)
            kind = rest.partition(b" - ")[2].partition(b" ")[0]
            found.append(
                Mount(
                    kind=os.fsdecode(kind),
                    device=os.fsdecode(device),
                    root=_unescaped(root),
                    point=_unescaped(point),
                )
            )
        return cls(found)

    def of_kind(self, kinds: Container[str]) -> Iterator[str]:
        """Where file systems of these types are mounted."""
        return (mount.point for mount in self._at.values() if mount.kind in kinds)

    def elsewhere(self, path: str, *, pieces: bool) -> list[str]:
        """Other paths under which a directory, given without links, is mounted.

        `pieces`: also where only something below it is.
        """
        here = self._mount_of(path)
        if here is None:
            return []
        inside = _join(here.root, _below(path, here.point) or "")
        found = []
        for mount in self._of[here.device]:
            rest = _below(inside, mount.root)
            if rest is not None:
                other = _join(mount.point, rest)
                if other != path and self._mount_of(other) is mount:
                    found.append(other)
            elif pieces and _below(mount.root, inside) and _below(mount.point, path) is None:
                found.append(mount.point)
        return found

    def _mount_of(self, path: str) -> Mount | None:
        """The mount in which a path is found."""
        while path not in self._at:
            above = os.path.dirname(path)
            if above == path:
                return None
            path = above
        return self._at[path]


def _unescaped(text: bytes) -> str:
    for number in (0o40, 0o11, 0o12, 0o134):  # the backslash last
        text = text.replace(b"\\%03o" % number, bytes([number]))
    return os.fsdecode(text)


def _below(path: str, directory: str) -> str | None:
    """The rest of a path below a directory; None when it is not there."""
    if path == directory:
        return ""
    directory = directory.rstrip("/") + "/"
    return path[len(directory) :] if path.startswith(directory) else None


def _join(directory: str, rest: str) -> str:
    return os.path.join(directory, rest) if rest else directory
