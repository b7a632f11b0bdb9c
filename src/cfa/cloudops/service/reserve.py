"""A reserve of disk space, so that a full disk does not take away the means to do something about it.

Whatever fills the disk takes every block that comes free. So the reserve lies where nobody else gets
it: behind the end of the store's write-ahead log, as blocks that are allocated and not written, and
inside the store, as free pages. With it jobs can be ended, and their ends written down, on a full disk.
The files that SQLite makes beside the store go when nobody has it open, and their blocks with them: some
more of each wait in `reserve` to take their places, one of each for whoever comes then.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from functools import partial
from pathlib import Path

from cfa.cloudops.errors import DiskFullError, StoreError
from cfa.cloudops.service.disks import no_space
from cfa.cloudops.service.link import relieve
from cfa.cloudops.service.store import Store, is_open
from cfa.cloudops.service.workspace import Workspace

_log = logging.getLogger(__name__)

#: Some thousand changes of tasks, in bytes.
_LOG_BYTES = 4 << 20
_STORE_BYTES = 1 << 20
#: SQLite's own companions of the store, and what they take to begin with.
_COMPANIONS = {"shm": 32 << 10, "wal": 512 << 10}
#: A client and then the agent that it starts need one of each.
_SPARES = 4
#: What SQLite locks of a database that it has open; see its `os.h`.
_SHARED_FIRST, _SHARED_SIZE = 0x40000002, 510
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
        directory = home / "reserve"
        directory.mkdir(mode=0o700, exist_ok=True)
        for number in range(_SPARES):
            for kind, size in _COMPANIONS.items():
                with open(directory / f"{number}.{kind}", "ab", opener=_private) as file:
                    _allocate(file.fileno(), size)
    except (OSError, StoreError) as error:
        _log.info("no reserve of disk space: %s", error)


def open_store(workspace: Workspace) -> Store:
    """Open a workspace's store, at the price of the reserve if need be. Raises as `Store`."""
    if no_space(workspace.home):
        _lend(workspace)
    # An agent of an earlier version, which knows the earlier tables only, finishes first.
    relieved = partial(relieve, workspace)
    try:
        return Store(workspace.store, relieved)
    except DiskFullError:
        _lend(workspace)
        return Store(workspace.store, relieved)


def _lend(workspace: Workspace) -> None:
    """Put spare files into the places of SQLite's own, where nobody has the store open.

    The first to open it cuts the file that is there, and would have to get its blocks again.
    """
    if is_open(workspace.store):  # by this process, whose locks would go with ours
        return
    try:
        with open(workspace.store, "rb+") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, _SHARED_SIZE, _SHARED_FIRST)
            for kind in _COMPANIONS:
                place = _companion(workspace.store, kind)
                spares = sorted((workspace.home / "reserve").glob(f"*.{kind}"))
                if spares and (kind == "shm" or not place.exists() or not place.stat().st_size):
                    spares[0].rename(place)
    except OSError:  # somebody has it open, and has what it takes; or there is no store
        pass


def _companion(store: Path, kind: str) -> Path:
    return store.with_name(f"{store.name}-{kind}")


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
