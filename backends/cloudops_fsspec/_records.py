"""Where the protection of blobs is kept: files beside the containers, here or behind fsspec."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

from cfa.cloudops.errors import BackendUnavailableError
from cfa.cloudops.provider.protection import PROTECTION_FOLDER
from cloudops_fsspec import _files

_SUFFIX = ".json"
#: Which directory the records of a container belong to, so that they follow it to another name.
_IDENTITY = "container"
_LOCK_TIMEOUT_S = 30


class DirectoryRecords:
    """Files of `root/.cloudops-protection/<container>/`. A container that is a link to another one
    has the records of that one."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._folder = f"{root}/{PROTECTION_FOLDER}"

    def _at(self, container: str, key: str = "") -> str:
        path = f"{self._folder}/{container}"
        return f"{path}/{key}{_SUFFIX}" if key else path

    def _named(self, container: str) -> str:
        """The name of the directory in the root that a container is."""
        path = f"{self._root}/{container}"
        if os.path.islink(path):
            above, name = os.path.split(os.path.realpath(path))
            if above == os.path.realpath(self._root):
                return name
        return container

    def exist(self, container: str) -> bool:
        if not os.path.isdir(self._folder):
            return False
        container = self._named(container)
        here = self._identity(container)
        known = self._known(container)
        if known == here:
            return True
        # The container was renamed, or another was: bring records back to their containers.
        if known is not None:
            self._hand_over(container, known)
        if here:
            for former in os.listdir(self._folder):
                if self._known(former) == here != self._identity(former):
                    self._rename(former, container)
        return os.path.isdir(self._at(container))

    def _hand_over(self, container: str, identity: str) -> None:
        """Give the records under a container's name to another one, if they are of that."""
        for other in os.listdir(self._root):
            if self._identity(other) == identity:
                self._rename(container, other)
                return

    def _rename(self, former: str, container: str) -> None:
        with contextlib.suppress(OSError):  # another process did it
            os.rename(self._at(former), self._at(container))

    def _identity(self, container: str) -> str:
        """Of the directory that is the container now; '' when there is none."""
        try:
            status = os.stat(f"{self._root}/{container}")
        except OSError:
            return ""
        return f"{status.st_dev} {status.st_ino}"

    def _known(self, container: str) -> str | None:
        """Of the directory that the records of this name are about; None when there are none."""
        try:
            with open(f"{self._at(container)}/{_IDENTITY}") as file:
                return file.read()
        except OSError:
            return None

    def read(self, container: str, key: str) -> bytes | None:
        return self._read(self._named(container), key)

    def _read(self, container: str, key: str) -> bytes | None:
        with _files.explained(f"Could not read the protection of {container!r}"):
            try:
                with open(self._at(container, key), "rb") as file:
                    return file.read()
            except FileNotFoundError:
                return None

    def read_all(self, container: str) -> Iterator[bytes]:
        container = self._named(container)
        for key in self._keys(container):
            data = self._read(container, key)
            if data is not None:
                yield data

    def _keys(self, container: str) -> list[str]:
        with _files.explained(f"Could not read the protection of {container!r}"):
            try:
                found = os.listdir(self._at(container))
            except FileNotFoundError:
                return []
        return [name.removesuffix(_SUFFIX) for name in found if name.endswith(_SUFFIX)]

    def write(self, container: str, key: str, data: bytes) -> None:
        with _files.explained(f"Could not protect a blob of {container!r}"):
            self._replace(self._at(self._named(container), key), data)

    def _write_identity(self, container: str) -> None:
        with _files.explained(f"Could not protect a blob of {container!r}"):
            path = f"{self._at(container)}/{_IDENTITY}"
            self._replace(path, self._identity(container).encode())

    def _replace(self, path: str, data: bytes) -> None:
        temp = f"{os.path.dirname(path)}/{_files.temporary()}"
        try:
            with open(temp, "wb") as file:
                file.write(data)
            os.rename(temp, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temp)
            raise

    def remove(self, container: str, keys: Iterable[str]) -> None:
        container = self._named(container)
        with _files.explained(f"Could not lift the protection of a blob of {container!r}"):
            for key in keys:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._at(container, key))
        with contextlib.suppress(FileNotFoundError), os.scandir(self._at(container)) as entries:
            if any(entry.name.endswith(_SUFFIX) for entry in entries):
                return
        self.remove_all(container)

    def remove_all(self, container: str) -> None:
        with contextlib.suppress(OSError):  # what is left protects nothing
            _files.remove_tree(self._at(container))
            os.rmdir(self._folder)

    @contextlib.contextmanager
    def changing(self, container: str) -> Iterator[None]:
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        container = self._named(container)
        path = self._at(container)
        while True:
            with _files.explained(f"Could not protect blobs of {container!r}"):
                os.makedirs(path, exist_ok=True)
                try:
                    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                except FileNotFoundError:
                    continue  # its last record was removed just now
            try:
                if _files.lock(fd) and _is(path, fd):
                    if self._known(container) is None:
                        self._write_identity(container)
                    yield
                    return
            finally:
                os.close(fd)
            if time.monotonic() > deadline:
                raise BackendUnavailableError(
                    f"Another process has been changing the protection of {container!r} for "
                    f"{_LOCK_TIMEOUT_S} s.",
                    "Try again when it has ended.",
                )
            time.sleep(0.005)


def _is(path: str, fd: int) -> bool:
    """Whether an open directory is still the one of its name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


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
