"""A reserve of disk space, so that a full disk does not take away the means to do something about it.

Whatever fills the disk takes every block that comes free. So the reserve lies where nobody else gets
it: behind the end of the store's write-ahead log, as blocks that are allocated and not written, and
inside the store, as free pages. With it jobs can be ended, and their ends written down, on a full disk.
A small file besides is given up when not even the store can be opened.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from cfa.cloudops.errors import DiskFullError
from cfa.cloudops.service.store import Store
from cfa.cloudops.service.workspace import Workspace

_log = logging.getLogger(__name__)

#: Some thousand changes of tasks, in bytes.
_LOG_BYTES = 4 << 20
_STORE_BYTES = 1 << 20
_FILE_BYTES = 256 << 10
#: Allocate behind the end of a file; see `fallocate(2)`.
_KEEP_SIZE = 1


def keep(store: Store, home: Path) -> None:
    """See that there is a reserve. Where the file system cannot give one, there is none."""
    try:
        if store.free_bytes() < _STORE_BYTES:
            store.make_free(_STORE_BYTES)
        # Not the store itself: to close a second descriptor of it would drop SQLite's locks.
        _allocate(store.path.with_name(store.path.name + "-wal"), _LOG_BYTES, os.O_WRONLY)
        _allocate(home / "reserve", _FILE_BYTES, os.O_WRONLY | os.O_CREAT)
    except OSError as error:  # StoreError and DiskFullError as well
        _log.info("no reserve of disk space: %s", error)


def open_store(workspace: Workspace) -> Store:
    """Open a workspace's store, at the price of the reserve if need be. Raises as `Store`."""
    try:
        return Store(workspace.store)
    except DiskFullError as full:
        try:
            (workspace.home / "reserve").unlink()
        except OSError:
            raise full from None
        return Store(workspace.store)


def _allocate(path: Path, size: int, flags: int) -> None:
    import ctypes  # slow to import, and clients do not come here

    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        # Python's own function writes zeros where the file system cannot allocate, and sets the size.
        allocate = ctypes.CDLL(None, use_errno=True).fallocate
        if allocate(descriptor, _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(size)):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)
