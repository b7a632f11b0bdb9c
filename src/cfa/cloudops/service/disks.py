"""What a disk has no more of, and what its file system cannot do, in words."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from cfa.cloudops.errors import DiskFullError

#: With fewer bytes free a disk is full: SQLite's companion files alone take 64 KiB.
_LITTLE = 256 << 10
#: What file systems say that do not have what was asked for; EPERM is that of FAT.
_CANNOT = (
    errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO, errno.ENOTTY, errno.ENXIO,
)  # fmt: skip
_FREE_SOME = "Free some space; what was committed is safe."
LOCAL_DISK = "Set CLOUDOPS_HOME to a directory on a local disk, such as one with ext4 or xfs."


def no_space(directory: Path) -> bool:
    """Whether the disk of a directory is full."""
    return bool(fullness(directory))


def fullness(directory: Path) -> str:
    """What a full disk has no more of, as a sentence; '' when it is not full."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return ""
    ours = os.geteuid() != 0  # root may use the rest
    if found.f_files and not (found.f_favail if ours else found.f_ffree):
        return "The disk can hold no more files: it has no inodes left."
    if found.f_frsize * (found.f_bavail if ours else found.f_bfree) < _LITTLE:
        return "No space is left on the disk."
    return ""


def read_only(directory: Path) -> bool:
    """Whether the disk of a directory is mounted for reading only."""
    try:
        return bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def disk_full(tried: str, directory: Path) -> DiskFullError:
    """The error for something that was tried on a full disk."""
    return DiskFullError(f"{tried} {fullness(directory)}".strip(), _FREE_SOME)


#: What is short, by what the system says. It comes again without anybody's doing.
_SHORT = {
    errno.ENOSPC: "No space is left in the workspace.",
    errno.EDQUOT: "The disk quota of the workspace is used up.",
    errno.EMFILE: "The agent has as many files open as it may.",
    errno.ENFILE: "The machine has as many files open as it can.",
    errno.EAGAIN: "No further process can be started: a limit of processes is reached.",
    errno.ENOMEM: "No memory is left.",
}


def shortage(error: BaseException) -> str:
    """What is short, in a sentence, when an error says only that; else ''."""
    if isinstance(error, DiskFullError):
        return _SHORT[errno.ENOSPC]
    return _SHORT.get(error.errno or 0, "") if isinstance(error, OSError) else ""


@contextlib.contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn a full disk met while writing files of ours into `DiskFullError`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            place = Path(os.fsdecode(error.filename or "."))
            why = fullness(place if place.is_dir() else place.parent)
            raise DiskFullError(
                f"No space left while {what}: {error}. {why}".strip(),
                "Free some space and try again.",
            ) from None
        raise


def unfit(directory: Path) -> str:
    """Why a file system cannot hold a workspace, as a sentence, or ''.

    A workspace needs pipes with names, and a socket. FAT and exFAT have neither, nor have some network
    file systems.
    """
    import socket
    import tempfile  # slow to import, and few come here

    try:
        with tempfile.TemporaryDirectory(prefix=".cloudops-", dir=directory) as place:
            handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.mkfifo("pipe", dir_fd=handle)
                short = f"/proc/self/fd/{handle}" if os.path.isdir("/proc/self/fd") else place
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
                    one.bind(f"{short}/socket")
            finally:
                os.close(handle)
    except OSError as error:
        if error.errno in _CANNOT:
            return (
                f"The file system of {directory} cannot hold pipes and sockets: {error.strerror}."
            )
    return ""
