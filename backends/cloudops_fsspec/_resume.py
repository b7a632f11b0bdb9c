"""What a killed or interrupted copy leaves for the next call, which continues there.

Two kinds, both temporaries of which the writer is dead: the beginning of a large file, and a new
folder with some of its files and a journal of those that are complete. Nothing of them is used
unless the source is the same file, unchanged: device, number, size, and both times to the
nanosecond. Names hold the boot of the machine: after a crash of the whole machine a file may be
longer than what was written to it, so nothing is continued.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
import zlib
from collections.abc import Callable, Iterable

from cfa.cloudops.beneath import Place
from cloudops_fsspec import _folders

#: A file from this size on is continued in its middle.
FROM_BYTES = 64 << 20
#: How long what was left waits for its call to be repeated.
KEEP_S = 24 * 3600
_PREFIX, _SUFFIX = ".cloudops-resume-", ".part"
#: The names of complete files in a new folder that is not shown yet.
JOURNAL = ".cloudops-journal.part"
#: Bytes of a journal that are read: of what a million files need.
_MOST_NOTED = 1 << 28


def is_name(name: str) -> bool:
    """Whether a temporary is of this kind."""
    return name.startswith(_PREFIX)


def is_fresh(status: os.stat_result) -> bool:
    """Whether something left may still be asked for."""
    return time.time() - status.st_mtime < KEEP_S


def folder_name(folder: str) -> str:
    """The temporary for a new folder. If two have the same one, the journal tells them apart."""
    return f"{_PREFIX}{_boot()}-{zlib.crc32(os.fsencode(folder)):x}{_SUFFIX}"


def identity(status: os.stat_result) -> str:
    """Of a file and its content. A file that was changed, or replaced, has another."""
    numbers = (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
    return "-".join(f"{number:x}" for number in numbers)


def open_part(
    status: os.stat_result, folder: Place, permissions: int
) -> tuple[str, int, int] | None:
    """A temporary with the beginning of a file, or an empty one; None when another writes it, or
    something else has its name.

    Returns:
        Its name, a locked descriptor, and how many bytes it has.
    """
    name = f"{_PREFIX}{_boot()}-{identity(status)}{_SUFFIX}"
    try:
        fd = folder.file(name, os.O_WRONLY | os.O_CREAT, permissions)
    except OSError:
        return None
    try:
        if claim(fd, name, folder):
            found = os.fstat(fd)
            # A link to it would be a blob that grows with it.
            if found.st_nlink == 1:
                done = found.st_size if found.st_size <= status.st_size else 0
                os.ftruncate(fd, done)
                return name, fd, done
    except OSError:  # no locks here
        with contextlib.suppress(OSError):
            folder.unlink(name)
    os.close(fd)
    return None


def claim(fd: int, name: str, folder: Place) -> bool:
    """Lock an open temporary for certain. False: another has it, or it is not ours or not it.

    Raises:
        OSError: there are no locks here, or it is gone.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    mine = os.fstat(fd)
    return os.path.samestat(folder.status(name), mine) and mine.st_uid == os.geteuid()


def note(folder: Place, files: Iterable[tuple[str, str]]) -> None:
    """Add complete files, blobs with the identities of their sources, to an open folder's journal."""
    text = "".join(f"{known}/{blob}\0" for blob, known in files)
    if text:
        with contextlib.suppress(OSError):  # then they are copied again
            fd = folder.file(JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(fd, os.fsencode(text))
            finally:
                os.close(fd)


def forget(folder: Place) -> None:
    """Remove the journal of a folder that is complete."""
    folder.remove_tree(JOURNAL)


def prune(
    top: Place, folder: str, wanted: Callable[[str], os.stat_result | None]
) -> dict[str, int]:
    """Remove all from an open folder that an earlier call left but complete files still wanted.

    Args:
        top: the temporary.
        folder: the folder of the container that it will be.
        wanted: gives the status of a blob's source, None for one that is not to be stored.

    Returns:
        Blob -> bytes of what is complete.
    """
    noted = _noted(top)
    kept: dict[str, int] = {}
    met: list[str] = []
    for way, place, files in _folders.below(top):
        met.append(way)
        prefix = f"{folder}/{way}/" if way else f"{folder}/"
        for name in files:
            blob = prefix + name
            if is_name(name) or (name == JOURNAL and not way):
                continue
            status = wanted(blob) if blob in noted else None
            if (
                status is not None
                and identity(status) == noted[blob]
                and _size(place, name) == status.st_size
            ):
                kept[blob] = status.st_size
            else:
                place.unlink(name)
    for way in reversed(met[1:]):
        with contextlib.suppress(OSError):  # not empty
            top.remove_directory(way)
    forget(top)  # an entry of a file just removed would vouch for its next, partial copy
    note(top, ((blob, noted[blob]) for blob in kept))
    return kept


def _size(place: Place, name: str) -> int:
    """Of an ordinary file; -1 of anything else."""
    status = place.status(name)
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def _noted(top: Place) -> dict[str, str]:
    """Blob -> identity of its source, from the journal. A torn last entry names no blob."""
    try:
        entries = os.fsdecode(top.read(JOURNAL, _MOST_NOTED)).split("\0")[:-1]
    except OSError:
        return {}
    return {blob: known for known, _, blob in (entry.partition("/") for entry in entries)}


def _boot() -> str:
    """Which run of the machine this is."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read(8)
    except OSError:
        return "0"
