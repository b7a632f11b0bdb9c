"""A reserve of disk space, so that a full disk does not take away the means to do something about it.

Whatever fills the disk takes every block that comes free. So the reserve lies where nobody else gets
it: behind the end of the store's write-ahead log, as blocks that are allocated and not written, and
inside the store, as free pages. With it jobs can be ended, and their ends written down, on a full disk.
The files that SQLite makes beside the store go when nobody has it open, and their blocks with them. Two
more files wait to take their places.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from cfa.cloudops.errors import DiskFullError, StoreError
from cfa.cloudops.service.store import Store
from cfa.cloudops.service.workspace import Workspace

_log = logging.getLogger(__name__)

#: Some thousand changes of tasks, in bytes.
_LOG_BYTES = 4 << 20
_STORE_BYTES = 1 << 20
#: SQLite's own companions of the store, and what they take to begin with.
_COMPANIONS = {"wal": 1 << 20, "shm": 64 << 10}
#: Allocate behind the end of a file; see `fallocate(2)`.
_KEEP_SIZE = 1


def keep(store: Store, home: Path) -> None:
    """See that there is a reserve. Where the file system cannot give one, there is none.

    Takes some milliseconds, and longer where a client writes meanwhile.
    """
    try:
        if store.free_bytes() < _STORE_BYTES:
            store.make_free(_STORE_BYTES)
        _allocate_open(_companion(store.path, "wal"), _LOG_BYTES)
        # SQLite writes a byte a page there, and then by memory: without a block that is a SIGBUS.
        _allocate_open(_companion(store.path, "shm"), _companion(store.path, "shm").stat().st_size)
        for kind, size in _COMPANIONS.items():
            if not _is_unused(_spare(home, kind)):
                _spare(home, kind).unlink(missing_ok=True)
            with open(_spare(home, kind), "ab", opener=_private) as file:
                _allocate(file.fileno(), size)
    except (OSError, StoreError) as error:
        _log.info("no reserve of disk space: %s", error)


def open_store(workspace: Workspace) -> Store:
    """Open a workspace's store, at the price of the reserve if need be. Raises as `Store`."""
    try:
        return Store(workspace.store)
    except DiskFullError as full:
        try:
            for kind in _COMPANIONS:
                spare = _spare(workspace.home, kind)
                # By link, because one that is there may be in use.
                with contextlib.suppress(FileExistsError):
                    if _is_unused(spare):
                        os.link(spare, _companion(workspace.store, kind))
                spare.unlink()
        except OSError:
            raise full from None
        return Store(workspace.store)


def _companion(store: Path, kind: str) -> Path:
    return store.with_name(f"{store.name}-{kind}")


def _spare(home: Path, kind: str) -> Path:
    return home / f"reserve.{kind}"


def _is_unused(spare: Path) -> bool:
    """Whether it never was what SQLite has open, or had: whoever took it may have been killed midway."""
    try:
        status = spare.stat()
    except OSError:
        return False
    return status.st_nlink == 1 and status.st_size == 0


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _allocate_open(path: Path, size: int) -> None:
    """Allocate for a file that SQLite has open, by its own descriptor: to close another of ours would
    drop its locks. Does nothing where that is not found."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(f"/proc/self/fd/{name}") == str(path):
                _allocate(int(name), size)
                return


def _allocate(descriptor: int, size: int) -> None:
    import ctypes  # slow to import

    # Python's own function writes zeros where the file system cannot allocate, and sets the size.
    allocate = ctypes.CDLL(None, use_errno=True).fallocate
    if allocate(descriptor, _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(size)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
