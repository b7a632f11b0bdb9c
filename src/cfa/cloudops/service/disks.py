"""What a disk has no more of, and what its file system cannot do, in words."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from cfa.cloudops.errors import CloudOpsError, DiskFullError

#: With fewer bytes free a disk is full: SQLite's companion files alone take 64 KiB.
_LITTLE = 256 << 10
#: What a write takes that has to fit: a transaction of some changes.
_SOME_SPACE = b"\0" * (64 << 10)
#: What file systems say that do not have what was asked for; EPERM is that of FAT.
_CANNOT = (
    errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO, errno.ENOTTY, errno.ENXIO,
)  # fmt: skip
_FREE_SOME = "Free some space. Saved jobs and tasks are safe."
LOCAL_DISK = "Set CLOUDOPS_HOME to a directory on a local disk, such as one with ext4 or xfs."


def no_space(directory: Path) -> bool:
    """Whether nothing more can be written in a directory: no blocks, no inodes, or the quota is used up.

    Tried with a file that has no name. What a file system says of itself is of no use: ext4 keeps some
    blocks to itself that it calls free, and others do not count their inodes.
    """
    try:
        descriptor = os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            left = len(_SOME_SPACE)
            while left:
                left -= os.write(descriptor, _SOME_SPACE[:left])
        finally:
            os.close(descriptor)
    except (OSError, AttributeError) as error:
        if getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT):
            return True
        return bool(fullness(directory))
    return False


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


#: Why something waits that cannot be started.
NO_PROCESS = "No more processes can be started: the limit of processes is reached."
#: What is short, by what the system says. It comes again without anybody's doing.
_SHORT = {
    errno.ENOSPC: "No space is left in the workspace.",
    errno.EDQUOT: "The disk quota of the workspace is used up.",
    errno.EMFILE: "The agent has reached its limit of open files.",
    errno.ENFILE: "The machine has reached its limit of open files.",
    errno.EAGAIN: NO_PROCESS,
    errno.ENOMEM: "No memory is left.",
}


def shortage(error: BaseException | None) -> str:
    """What is short, when that is all that an error says, or what it was made of; else an empty text."""
    while error is not None:
        if isinstance(error, DiskFullError):
            return _SHORT[errno.ENOSPC]
        if isinstance(error, OSError) and error.errno in _SHORT:
            return _SHORT[error.errno]
        error = error.__context__ if isinstance(error, CloudOpsError) else None
    return ""


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
