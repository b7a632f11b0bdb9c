"""Copying one file into a directory: whole or not at all, and nothing left behind.

A file is written under a temporary name beside its final one and renamed. While it is written its
writer holds a lock on it; whoever meets a temporary without a lock knows that the writer is dead
and removes it. Locks, unlike process numbers in a name, are right across containers and wrapped
numbers.

What a dead writer left of much work, see `_resume`, waits a day for its call to be repeated.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterator

from cfa.cloudops.beneath import Place, WrongTypeError
from cfa.cloudops.errors import (
    BackendError,
    CloudOpsError,
    ConflictError,
    DiskFullError,
    FileAccessError,
    InvalidInputError,
    InvalidNameError,
    LocalFileNotFoundError,
)
from cfa.cloudops.provider.blob import FileBeneath, LocalFile
from cloudops_fsspec import _resume

#: How often a file is copied anew because its directory or temporary was removed meanwhile.
ATTEMPTS = 8
#: Bytes asked of the kernel at once: large, but short enough for Ctrl-C to be heard in between.
_CHUNK = 1 << 28
_log = logging.getLogger(__name__)
_READ = os.O_RDONLY | os.O_CLOEXEC
#: What exists, a link or a pipe that somebody put there as well, is not opened at all.
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_PREFIX, _SUFFIX = ".cloudops-", ".part"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_CONFLICT = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY}
_CONFLICT_TYPES = (NotADirectoryError, IsADirectoryError, FileExistsError)
# What the kernel says where it cannot copy: old ones, two file systems, odd ones, sandboxes.
_NO_OFFLOAD = {
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.EBADF,
    errno.ETXTBSY,
}


class StoppedError(Exception):
    """Another worker failed, or the user pressed Ctrl-C; what is half done is removed."""


class VanishedError(Exception):
    """The directory or the temporary was removed while a file was written; copy it again."""


class Watch:
    """What the threads of one call share: whether to go on, and whom to tell how far they are.

    Args:
        progress: told of files and bytes done, as `cfa.cloudops.provider.blob.Progress`.
    """

    def __init__(self, progress: Callable[[int, int], None] | None = None) -> None:
        self._progress = progress
        self.stopped = False
        #: Whether what is half done may be of use: the user broke off, nothing failed.
        self.keep = False

    def stop(self, *, keep: bool) -> None:
        """Let every thread end at its next step."""
        self.keep = keep
        self.stopped = True

    def copied(self, size: int) -> None:
        """Some bytes of a file are done.

        Raises:
            StoppedError: another thread failed.
        """
        if self.stopped:
            raise StoppedError
        if self._progress:
            self._progress(0, size)

    def completed(self) -> None:
        """A file is done."""
        if self._progress:
            self._progress(1, 0)

    def skipped(self, files: int, size: int) -> None:
        """Files that were copied by an earlier call."""
        if self._progress and files:
            self._progress(files, size)


def temporary() -> str:
    """A new name that no blob can have, and that nobody can guess."""
    return f"{_PREFIX}{os.getpid()}-{os.urandom(8).hex()}{_SUFFIX}"


def is_temporary(name: str) -> bool:
    """Whether a file's or folder's own name is one of `temporary`'s."""
    return name.startswith(_PREFIX) and name.endswith(_SUFFIX)


def explain(error: OSError, tried: str) -> CloudOpsError:
    """The typed error for what the operating system said. `tried` starts the message."""
    said = f"{tried}: {error.strerror or error}."
    if error.errno is None and isinstance(error, _CONFLICT_TYPES):  # as fsspec raises them
        return ConflictError(said, "A file and a folder cannot have the same name; rename one.")
    if error.errno in _FULL:
        return DiskFullError(said, "Free some space, or raise the limit, and try again.")
    if error.errno in _DENIED:
        return FileAccessError(said, "Check who owns it and its permissions.")
    if error.errno in _CONFLICT:
        return ConflictError(said, "A file and a folder cannot have the same name; rename one.")
    if error.errno == errno.ENAMETOOLONG:
        return InvalidNameError(said, "Use shorter names.")
    return BackendError(said, "Check whether the disk is in order.")


@contextlib.contextmanager
def explained(tried: str) -> Iterator[None]:
    """Turn what the operating system says into a typed error."""
    try:
        yield
    except CloudOpsError:
        raise  # some of ours are OSErrors as well
    except OSError as error:
        raise explain(error, tried) from None


@contextlib.contextmanager
def speaking(what: str) -> Iterator[None]:
    """The border to fsspec and what is behind it: whatever comes out becomes a typed error."""
    try:
        yield
    except CloudOpsError:
        raise
    except OSError as error:
        raise explain(error, f"Could not {what}") from None
    except Exception as error:
        _log.debug("could not %s", what, exc_info=True)
        raise BackendError(
            f"Could not {what}: {type(error).__name__}: {error}.",
            "Try again, or read the logs of the storage.",
        ) from error


def open_source(path: LocalFile) -> tuple[int, os.stat_result]:
    """An open file of the caller, who may have linked it from anywhere.

    Raises:
        LocalFileNotFoundError, InvalidInputError, FileAccessError.
    """
    try:
        if isinstance(path, FileBeneath):
            fd = path.place.file(path.way)
        else:
            fd = os.open(path, _READ | os.O_NONBLOCK)  # a pipe must not block us
    except (FileNotFoundError, NotADirectoryError):
        raise LocalFileNotFoundError(
            f"The file {str(path)!r} does not exist.", "Check the path and local_root_dir."
        ) from None
    except ValueError as error:  # NUL in the path, or text that no file name can be
        raise InvalidInputError(f"{str(path)!r} cannot be a path: {error}.") from None
    except OSError as error:
        # A socket; a link, on the way or at its end.
        if isinstance(error, WrongTypeError) or error.errno in (errno.ENXIO, errno.EXDEV):
            raise _not_a_file(path) from None
        raise explain(error, f"Could not read {str(path)!r}") from None
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise _not_a_file(path)
    return fd, status


def source_status(path: LocalFile) -> os.stat_result:
    """What `open_source` would say now. Raises: OSError."""
    return path.place.status(path.way) if isinstance(path, FileBeneath) else os.stat(path)


def split_target(path: LocalFile) -> tuple[str, str]:
    """The folder and the own name of a file that is to be written.

    Raises:
        InvalidInputError: the path can only be a folder's, or nothing's, or is a device's or pipe's
            of the caller, such as `/dev/null`, in whose place the file would be put.
    """
    text = path.way if isinstance(path, FileBeneath) else os.fspath(path)
    folder, name = os.path.split(text)
    if name in ("", ".", "..") or "\0" in text:
        raise InvalidInputError(f"{text!r} does not name a file.", "Name the file to write.")
    if isinstance(path, FileBeneath):
        return folder, name
    with contextlib.suppress(OSError):  # mostly there is none
        mode = os.stat(text).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise InvalidInputError(
                f"{text!r} is a device, a pipe or a socket.", "Name an ordinary file to write."
            )
    return folder or ".", name


def open_target_folder(path: LocalFile, folder: str) -> Place:
    """The folder of a file that is to be written, as `split_target` says, made if missing.

    Raises:
        OSError: not possible. FileNotFoundError: it is deleted again and again.
    """
    if isinstance(path, FileBeneath):
        return path.place.enter(folder, make=True)
    os.makedirs(folder, exist_ok=True)
    return Place.open(folder)


def _not_a_file(path: LocalFile) -> InvalidInputError:
    return InvalidInputError(
        f"{str(path)!r} is not an ordinary file.", "To upload a folder, call upload_folders."
    )


def copy(source: int, target: int, size: int, watch: Watch | None = None) -> None:
    """Copy all of an open file, of which `size` bytes are expected, in the kernel where that works.

    The fast ways may do nothing (`/proc` answers 0 bytes) or refuse half-way; the next one goes on
    where they stopped.
    """
    copied = 0
    for way in (_copy_file_range, _sendfile):
        try:
            while step := way(target, source):
                copied += step
                if watch:
                    watch.copied(step)
                if copied == size:
                    return
        except OSError as error:
            if error.errno not in _NO_OFFLOAD:
                raise
        if copied:
            break
    while data := os.read(source, 1 << 16 if size < 1 << 20 else 1 << 20):
        if watch:
            watch.copied(len(data))
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(target, rest) :]


def _copy_file_range(target: int, source: int) -> int:
    return os.copy_file_range(source, target, _CHUNK) if hasattr(os, "copy_file_range") else 0


def _sendfile(target: int, source: int) -> int:
    return os.sendfile(target, source, None, _CHUNK) if sys.platform == "linux" else 0


def place(
    source: int,
    status: os.stat_result,
    folder: Place,
    name: str,
    watch: Watch | None = None,
) -> None:
    """Copy an open file to `name` in an open folder, replacing what is there, at once.

    Raises:
        VanishedError: the folder was removed; open it again and repeat.
        OSError: nothing changed, nothing is left.
    """
    directory = folder.fileno()
    for _ in range(ATTEMPTS):
        try:
            temp, target, done = _open_part(status, folder)
        except FileNotFoundError:
            raise VanishedError from None
        try:
            try:
                if not lock(target):
                    continue  # a cleaner was between our two steps; it removes the file
                if done:
                    os.lseek(source, done, os.SEEK_SET)
                    os.lseek(target, done, os.SEEK_SET)
                    if watch:
                        watch.copied(done)
                copy(source, target, status.st_size - done, watch)
            finally:
                os.close(target)
            os.rename(temp, name, src_dir_fd=directory, dst_dir_fd=directory)
        except FileNotFoundError:
            os.lseek(source, 0, os.SEEK_SET)
            continue  # a cleaner took the temporary for a dead one: only between close and rename
        except BaseException as error:
            if not (_resume.is_name(temp) and _broken_off(error, watch)):
                with contextlib.suppress(OSError):
                    os.unlink(temp, dir_fd=directory)
            raise
        return
    raise VanishedError


def _open_part(status: os.stat_result, folder: Place) -> tuple[str, int, int]:
    """A temporary to copy a file to: its name, its descriptor, and how much of the file it has."""
    if status.st_size >= _resume.FROM_BYTES:
        found = _resume.open_part(status, folder, _permissions(status))
        if found:
            return found
    temp = temporary()
    return temp, os.open(temp, _NEW, _permissions(status), dir_fd=folder.fileno()), 0


def _broken_off(error: BaseException, watch: Watch | None) -> bool:
    """Whether the user ended the call, rather than a fault, which may be that the disk is full."""
    if isinstance(error, StoppedError):
        return watch is not None and watch.keep
    return not isinstance(error, Exception)


def create(
    source: int,
    status: os.stat_result,
    folder: Place,
    name: str,
    watch: Watch | None = None,
) -> None:
    """Copy an open file to a new name in a folder that is not shown yet."""
    if status.st_size >= _resume.FROM_BYTES:
        place(source, status, folder, name, watch)
        return
    target = os.open(name, _NEW, _permissions(status), dir_fd=folder.fileno())
    try:
        copy(source, target, status.st_size, watch)
    finally:
        os.close(target)


def _permissions(status: os.stat_result) -> int:
    # As `cp`: what is private stays private, a program stays one; the owner can always replace it.
    return status.st_mode & 0o777 | 0o600


def lock(fd: int) -> bool:
    """Mark an open temporary as being written. False: a cleaner is about to remove it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # no locks on this file system: then cleaners cannot lock either, and keep off
    return True


def reap(folder: Place, name: str) -> bool:
    """Remove a temporary, file or folder, if its writer is dead. True when this removed it."""
    try:
        fd = os.open(name, _READ | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder.fileno())
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _resume.is_name(name) and _resume.is_fresh(os.fstat(fd)):
            return False
        folder.remove_tree(name)
    except OSError:
        return False  # its writer lives, or it is not ours to remove
    finally:
        os.close(fd)
    return True


def sweep(folder: Place) -> None:
    """Remove what dead writers left in an open folder."""
    with os.scandir(folder.fileno()) as entries:
        found = [entry.name for entry in entries if is_temporary(entry.name)]
    for name in found:
        reap(folder, name)
