"""Where the protection of blobs is kept: files beside the containers, here or behind fsspec."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from typing import Any

from cfa.cloudops.beneath import Place
from cfa.cloudops.errors import BackendUnavailableError
from cfa.cloudops.provider.protection import PROTECTION_FOLDER
from cloudops_fsspec import _files, _folders

_SUFFIX = ".json"
#: Which directory the records of a container belong to, so that they follow it to another name.
_IDENTITY = "container"
#: A record is far smaller; what is not is damaged.
_MOST_BYTES = 1 << 20
_LOCK_TIMEOUT_S = 30


class DirectoryRecords:
    """Files of `root/.cloudops-protection/<container>/`. A container that is a link to another one
    has the records of that one."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._folder = f"{root}/{PROTECTION_FOLDER}"

    def any(self) -> bool:
        """Whether any container has some."""
        try:
            Place.open(self._folder).close()
        except OSError:
            return False
        return True

    def _open(self, container: str) -> Place:
        with Place.open(self._folder) as folder:
            return folder.enter(container)

    def _named(self, container: str) -> str:
        """The name of the directory in the root that a container is."""
        try:
            with Place.open(self._root) as root:
                if not stat.S_ISLNK(root.status(container).st_mode):
                    return container
                with Place.open(f"{self._root}/{container}") as place:
                    above, name = os.path.split(_folders.path(place))
                return name if above == _folders.path(root) else container
        except OSError:
            return container

    def exist(self, container: str) -> bool:
        if not self.any():
            return False
        container = self._named(container)
        here = self._identity(container)
        known = self._known(container)
        if known == here:
            return True
        # The container was renamed, or another was: bring records back to their containers.
        if known is not None:
            self._hand_over(container, known)
        with contextlib.suppress(FileNotFoundError), Place.open(self._folder) as folder:
            for former in folder.names() if here else ():
                if self._known(former) == here != self._identity(former):
                    self._rename(former, container)
            return stat.S_ISDIR(folder.status(container).st_mode)
        return False

    def _hand_over(self, container: str, identity: str) -> None:
        """Give the records under a container's name to another one, if they are of that."""
        with Place.open(self._root) as root:
            others = root.names()
        for other in others:
            if self._identity(other) == identity:
                self._rename(container, other)
                return

    def _rename(self, former: str, container: str) -> None:
        # Not possible when another process did it.
        with contextlib.suppress(OSError), Place.open(self._folder) as folder:
            folder.rename(former, folder, container)

    def _identity(self, container: str) -> str:
        """Of the directory that is the container now; '' when there is none."""
        try:
            with Place.open(f"{self._root}/{container}") as place:
                status = os.fstat(place.fileno())
        except OSError:
            return ""
        return f"{status.st_dev} {status.st_ino}"

    def _known(self, container: str) -> str | None:
        """Of the directory that the records of this name are about; None when there are none."""
        try:
            with self._open(container) as place:
                return place.read(_IDENTITY, _MOST_BYTES).decode(errors="replace")
        except OSError:
            return None

    def read(self, container: str, key: str) -> bytes | None:
        return self._read(self._named(container), key)

    def _read(self, container: str, key: str) -> bytes | None:
        with _files.explained(f"Could not read the protection of {container!r}"):
            try:
                with self._open(container) as place:
                    return place.read(f"{key}{_SUFFIX}", _MOST_BYTES)
            except FileNotFoundError:
                return None

    def read_all(self, container: str) -> Iterator[bytes]:
        container = self._named(container)
        with _files.explained(f"Could not read the protection of {container!r}"):
            try:
                place = self._open(container)
            except FileNotFoundError:
                return
        with place:
            for name in _records_in(place):
                with (
                    _files.explained(f"Could not read the protection of {container!r}"),
                    contextlib.suppress(FileNotFoundError),  # just lifted
                ):
                    yield place.read(name, _MOST_BYTES)

    def write(self, container: str, key: str, data: bytes) -> None:
        container = self._named(container)
        with (
            _files.explained(f"Could not protect a blob of {container!r}"),
            self._open(container) as place,
        ):
            _replace(place, f"{key}{_SUFFIX}", data)

    def remove(self, container: str, keys: Iterable[str]) -> None:
        container = self._named(container)
        with _files.explained(f"Could not lift the protection of a blob of {container!r}"):
            try:
                place = self._open(container)
            except FileNotFoundError:
                return
            with place:
                for key in keys:
                    with contextlib.suppress(FileNotFoundError):
                        place.unlink(f"{key}{_SUFFIX}")
                if _records_in(place):
                    return
        self.remove_all(container)

    def remove_all(self, container: str) -> None:
        with contextlib.suppress(OSError):  # what is left protects nothing
            with Place.open(self._folder) as folder:
                folder.remove_tree(container)
            with Place.open(self._root) as root:
                root.remove_directory(PROTECTION_FOLDER)

    @contextlib.contextmanager
    def changing(self, container: str) -> Iterator[None]:
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        container = self._named(container)
        while True:
            with _files.explained(f"Could not protect blobs of {container!r}"):
                try:
                    with Place.open(self._root) as root:
                        place = root.enter(f"{PROTECTION_FOLDER}/{container}", make=True)
                except FileNotFoundError:
                    continue  # its last record was removed just now
            with place:
                if _files.lock(place.fileno()) and self._is(place, container):
                    if self._known(container) is None:
                        self._write_identity(container, place)
                    yield
                    return
            if time.monotonic() > deadline:
                raise BackendUnavailableError(
                    f"Another process has been changing the protection of {container!r} for "
                    f"{_LOCK_TIMEOUT_S} s.",
                    "Try again when it has ended.",
                )
            time.sleep(0.005)

    def _is(self, place: Place, container: str) -> bool:
        """Whether an open directory is still the one of its name."""
        try:
            with self._open(container) as now:
                return os.path.samestat(os.fstat(now.fileno()), os.fstat(place.fileno()))
        except FileNotFoundError:
            return False

    def _write_identity(self, container: str, place: Place) -> None:
        with _files.explained(f"Could not protect a blob of {container!r}"):
            _replace(place, _IDENTITY, self._identity(container).encode())


def _records_in(place: Place) -> list[str]:
    return [name for name in place.names() if name.endswith(_SUFFIX)]


def _replace(place: Place, name: str, data: bytes) -> None:
    """Write a file of an open directory, at once."""
    temp = _files.temporary()
    try:
        place.write(temp, data)
        place.rename(temp, place, name)
    except BaseException:
        with contextlib.suppress(OSError):
            place.unlink(temp)
        raise


class RemoteRecords:
    """Files of an fsspec filesystem. Without locks: of two changes of one blob at once, one wins."""

    def __init__(self, filesystem: Any, root: str) -> None:
        self._fs = filesystem
        self._folder = f"{root}/{PROTECTION_FOLDER}"

    def _at(self, container: str, key: str = "") -> str:
        path = f"{self._folder}/{container}"
        return f"{path}/{key}{_SUFFIX}" if key else path

    def exist(self, container: str) -> bool:
        with _files.speaking(f"look for the protection of {container!r}"):
            return bool(self._fs.isdir(self._at(container)))

    def read(self, container: str, key: str) -> bytes | None:
        with _files.speaking(f"read the protection of {container!r}"):
            try:
                data: bytes = self._fs.cat_file(self._at(container, key))
            except FileNotFoundError:
                return None
        return data

    def read_all(self, container: str) -> Iterator[bytes]:
        with _files.speaking(f"read the protection of {container!r}"):
            if not self._fs.isdir(self._at(container)):
                return
            found: dict[str, bytes] = self._fs.cat(
                self._fs.find(self._at(container)) or [], on_error="omit"
            )
        yield from found.values()

    def write(self, container: str, key: str, data: bytes) -> None:
        with _files.speaking(f"protect a blob of {container!r}"):
            self._fs.makedirs(self._at(container), exist_ok=True)
            self._fs.pipe_file(self._at(container, key), data)

    def remove(self, container: str, keys: Iterable[str]) -> None:
        with _files.speaking(f"lift the protection of a blob of {container!r}"):
            for key in keys:
                with contextlib.suppress(FileNotFoundError):
                    self._fs.rm_file(self._at(container, key))
        with contextlib.suppress(Exception):  # not empty, or nothing that can be removed
            self._fs.rmdir(self._at(container))
            self._fs.rmdir(self._folder)

    def remove_all(self, container: str) -> None:
        with _files.speaking(f"lift the protection of {container!r}"):
            if self._fs.isdir(self._at(container)):
                self._fs.rm(self._at(container), recursive=True)

    def changing(self, container: str) -> contextlib.AbstractContextManager[None]:
        del container
        return contextlib.nullcontext()
