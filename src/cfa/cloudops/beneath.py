"""Files below a directory in which somebody else may change anything at any moment.

A task can put a link, a pipe or a device in the place of any name that it may write, also between two
steps of ours. So nothing below such a directory is reached by its path: a `Place` is an open
directory, and every name below it is resolved from its descriptor, without following links (or only
those that stay below it), in one call of the kernel where that has `openat2`. What is opened is
looked at before it is read: only ordinary files are, up to a bound, and nothing ever waits for the
other end of a pipe.

The path of the `Place` itself is the caller's: it must lead through directories that only the caller
may change.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
from collections.abc import Callable, Iterator
from types import TracebackType

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: For every file: no link, no wait for a pipe, no terminal of ours.
_CAREFUL = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
#: As many as the kernel follows itself.
_MOST_LINKS = 40
#: Links that lead up again and again may take us back through so many directories.
_MOST_STEPS = 20_000
#: `openat2` has this number on every machine but Alpha.
_OPENAT2 = 437
_BENEATH, _NO_SYMLINKS, _NO_MAGICLINKS = 0x08, 0x04, 0x02
#: What a kernel, or a filter around us, says that has no `openat2`.
_NO_OPENAT2 = {errno.ENOSYS, errno.EPERM, errno.EINVAL}
#: Directories deeper than this are brought up before they are emptied: descriptors are few.
_DEPTH = 48
#: Who fills a directory faster than we empty it is given up after so many rounds.
_ROUNDS = 1000
#: So often a directory is opened that somebody else closes again and again.
_TRIES = 1000
_CHUNK = 1 << 20


class WrongTypeError(OSError):
    """Something else stands where an ordinary file, or a directory, is expected."""


class Place:
    """An open directory, from which everything below it is reached.

    Ways are relative, with `/` between names; `..` and absolute ones are refused with `OSError`, as
    is every way that a link leads out of. Errors are those of the operating system.

    Args:
        descriptor: of a directory; the object takes it over.
        path: what it was opened by, for messages and for absolute links that stay inside.
    """

    def __init__(self, descriptor: int, path: str = "") -> None:
        self._descriptor = descriptor
        self.path = path

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Place:
        """Open a directory by a path of the caller's, links in it followed."""
        text = os.fspath(path)
        return cls(os.open(text, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), text)

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        """May be called twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- directories

    def enter(
        self, way: str, *, make: bool = False, mode: int = 0o777, links: bool = False
    ) -> Place:
        """Open a directory below this one; '' opens this one again.

        Args:
            make: make what is missing on the way.
            mode: permissions of what is made.
            links: follow links that stay below this directory.
        """
        found = _open(self, way, _DIRECTORY, mode, make=make, links=links)
        return Place(found, f"{self.path}/{way}" if way else self.path)

    def make(self, name: str, mode: int = 0o777) -> bool:
        """Make a directory. False when something of that name is there."""
        try:
            os.mkdir(name, mode, dir_fd=self._descriptor)
        except FileExistsError:
            return False
        return True

    def regain(self, name: str) -> Place:
        """A directory in it; its owner is let in again if somebody has taken the permissions away.

        Raises:
            OSError: it is another's, or no directory.
        """
        return Place(open_up(self._descriptor, name)[0], f"{self.path}/{name}")

    def names(self) -> list[str]:
        """Names of what is in it now."""
        return os.listdir(self._descriptor)

    # --- files

    def file(
        self, way: str, flags: int = os.O_RDONLY, mode: int = 0o666, *, links: bool = False
    ) -> int:
        """A descriptor of an ordinary file. Never waits.

        Raises:
            WrongTypeError: it is a link, a directory, a pipe, a device or a socket.
        """
        try:
            found = _open(self, way, flags | _CAREFUL, mode, links=links)
        except OSError as error:
            # A link; a directory opened for writing; a socket, or a pipe without a reader.
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise _wrong(way) from None
            raise
        if stat.S_ISREG(os.fstat(found).st_mode):
            return found
        os.close(found)
        raise _wrong(way)

    def read(self, way: str, limit: int, offset: int = 0, *, links: bool = False) -> bytes:
        """At most `limit` bytes of an ordinary file. Raises as `file`."""
        descriptor = self.file(way, links=links)
        try:
            parts = []
            while limit > 0 and (part := os.pread(descriptor, min(limit, _CHUNK), offset)):
                parts.append(part)
                limit, offset = limit - len(part), offset + len(part)
            return b"".join(parts)
        finally:
            os.close(descriptor)

    def write(self, name: str, data: bytes, mode: int = 0o666) -> None:
        """Put a new file in the place of whatever file, link or pipe has that name.

        Not at once: whoever looks meanwhile may find none, or a part.
        """
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._descriptor)
        descriptor = self.file(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            while data:  # the last block of a disk takes a part
                data = data[os.write(descriptor, data) :]
        finally:
            os.close(descriptor)

    def status(self, way: str) -> os.stat_result:
        """What is there now, of a link the link itself."""
        with self._above(way) as (directory, name):
            return os.stat(name, dir_fd=directory, follow_symlinks=False)

    def exists(self, way: str) -> bool:
        """Whether anything is there, a link included."""
        try:
            self.status(way)
        except OSError:
            return False
        return True

    # --- moving and removing

    def rename(self, name: str, target: Place, new_name: str) -> None:
        """Move something in this directory to another one, over what has that name there."""
        os.rename(name, new_name, src_dir_fd=self._descriptor, dst_dir_fd=target.fileno())

    def link_to(self, target: str, name: str) -> None:
        """Make a symbolic link called `name`."""
        os.symlink(target, name, dir_fd=self._descriptor)

    def unlink(self, way: str) -> None:
        """Remove what is no directory; of a link the link."""
        with self._above(way) as (directory, name):
            os.unlink(name, dir_fd=directory)

    def remove_directory(self, way: str) -> None:
        """Remove an empty directory."""
        with self._above(way) as (directory, name):
            os.rmdir(name, dir_fd=directory)

    def remove_tree(self, way: str, *, force: bool = True) -> None:
        """Remove whatever is there with all below it; what is gone is no error.

        Goes on past what cannot be removed, and then raises the first `OSError`.

        Args:
            way: what to remove.
            force: give ourselves the permissions on directories that it needs.
        """
        try:
            with self._above(way) as (directory, name):
                _remove(directory, name, force)
        except FileNotFoundError:
            return

    @contextlib.contextmanager
    def _above(self, way: str) -> Iterator[tuple[int, str]]:
        """The directory of the last name of a way, and that name."""
        above, _, name = way.rpartition("/")
        if name in ("", ".", ".."):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), way)
        if not above:
            yield self._descriptor, name
            return
        descriptor = _open(self, above, _DIRECTORY, 0)
        try:
            yield descriptor, name
        finally:
            os.close(descriptor)


def _wrong(way: str) -> WrongTypeError:
    return WrongTypeError(errno.EINVAL, "Not an ordinary file", way)


# --- opening


def _open(
    top: Place, way: str, flags: int, mode: int, *, make: bool = False, links: bool = False
) -> int:
    """Open what a way below a directory leads to."""
    if "/" not in way and way not in ("", ".", "..") and not make and not links:
        return os.open(way, flags | os.O_NOFOLLOW, mode, dir_fd=top.fileno())
    if way and not make:
        found = _at_once(top.fileno(), way, flags, mode, links=links)
        if found is not None:
            return found
    return _Walk(top, make, links).to(way, flags, mode)


def _at_once(top: int, way: str, flags: int, mode: int, *, links: bool) -> int | None:
    """In one call of the kernel; None where it cannot say, and the way has to be walked."""
    call = _openat2()
    if call is None:
        return None
    how = _BENEATH | _NO_MAGICLINKS | (0 if links else _NO_SYMLINKS)
    # Of files that are made on the way to the end of a link nobody would know.
    if links and flags & os.O_CREAT:
        return None
    try:
        # A link at the end is followed when links are.
        return call(top, os.fsencode(way), flags & ~os.O_NOFOLLOW if links else flags, mode, how)
    except OSError as error:
        # Links that leave and come back, absolute ones, and races have to be looked at step by step.
        if error.errno in (errno.EXDEV, errno.EAGAIN) or error.errno in _NO_OPENAT2:
            return None
        raise


class _Walk:
    """A way, taken one name after the other. However long it is, it takes two descriptors."""

    def __init__(self, top: Place, make: bool, links: bool) -> None:
        self._top = top
        self._make = make
        self._links = links
        self._here = -1
        self._steps = _MOST_STEPS

    def to(self, way: str, flags: int, mode: int) -> int:
        if way.startswith("/"):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), way)
        left = list(reversed(way.split("/")))
        inside: list[str] = []  # the directories that we are in, below the top
        astray = False  # we are in others yet
        followed = 0
        self._here = os.dup(self._top.fileno())
        try:
            while left:
                name = left.pop()
                if name in ("", "."):
                    continue
                if name == "..":
                    if not (self._links and followed and inside):
                        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), way)
                    inside.pop()
                    astray = True
                    continue
                if astray:
                    self._go(inside, way)
                    astray = False
                try:
                    found = self._step(name, _DIRECTORY if left else flags, mode)
                except OSError as error:
                    if not self._links or error.errno not in (errno.ELOOP, errno.ENOTDIR):
                        raise
                    target = _link(self._here, name)
                    if target is None:
                        raise
                    followed += 1
                    if followed > _MOST_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), way) from None
                    if target.startswith("/"):
                        target = self._inside(target, way)
                        inside.clear()
                        astray = True
                    left.extend(reversed(target.split("/")))
                    continue
                if not left:
                    return found
                self._move(found)
                inside.append(name)
            if astray:
                self._go(inside, way)
            # The way ended in the directory where we are.
            return os.open(".", flags, mode, dir_fd=self._here)
        finally:
            os.close(self._here)

    def _go(self, inside: list[str], way: str) -> None:
        """Go to the directories of these names once more: back, and not by `..`, which leads out of a
        directory that was moved."""
        self._steps -= len(inside)
        if self._steps < 0:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), way)
        self._move(os.dup(self._top.fileno()))
        for name in inside:
            self._move(os.open(name, _DIRECTORY, dir_fd=self._here))

    def _move(self, descriptor: int) -> None:
        os.close(self._here)
        self._here = descriptor

    def _step(self, name: str, flags: int, mode: int) -> int:
        flags |= os.O_NOFOLLOW
        directory = flags & os.O_DIRECTORY
        try:
            return os.open(name, flags, mode, dir_fd=self._here)
        except FileNotFoundError:
            if not (self._make and directory):
                raise
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode or 0o777, dir_fd=self._here)
        return os.open(name, flags, mode, dir_fd=self._here)

    def _inside(self, target: str, way: str) -> str:
        """What of an absolute link lies below the top."""
        real = os.path.realpath(self._top.path) if self._top.path else ""
        for base in (self._top.path.rstrip("/"), real):
            if base and (target == base or target.startswith(f"{base}/")):
                return target[len(base) :].lstrip("/") or "."
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), way)


def _link(directory: int, name: str) -> str | None:
    """Where a link leads; None when it is none."""
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError:
        return None


Opener = Callable[[int, bytes, int, int, int], int]


@functools.cache
def _openat2() -> Opener | None:
    """The system call, where there is one: Python has no function for it."""
    import ctypes  # slow to import, and few processes come here

    try:
        syscall = ctypes.CDLL(None, use_errno=True).syscall
    except (OSError, AttributeError):
        return None
    syscall.restype = ctypes.c_long

    def call(directory: int, way: bytes, flags: int, mode: int, resolve: int) -> int:
        mode = mode if flags & os.O_CREAT else 0
        how = (ctypes.c_uint64 * 3)(flags, mode, resolve)
        found = int(
            syscall(
                ctypes.c_long(_OPENAT2),
                ctypes.c_long(directory),
                ctypes.c_char_p(way),
                how,
                ctypes.c_size_t(ctypes.sizeof(how)),
            )
        )
        if found < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), os.fsdecode(way))
        return found

    return call


# --- removing


def _remove(directory: int, name: str, force: bool) -> None:
    """See `Place.remove_tree`."""
    try:
        os.unlink(name, dir_fd=directory)
        return
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.EPERM):
            raise
        refused = error
    top = _open_to_empty(directory, name, force)
    if top is None:  # no directory, and it cannot be removed
        raise refused
    problems: list[OSError] = []
    try:
        for _ in range(_ROUNDS):
            problems.clear()
            brought = _empty(top, top, 0, force, problems)
            if problems or not brought:
                break
    finally:
        os.close(top)
    try:
        os.rmdir(name, dir_fd=directory)
    except FileNotFoundError:
        return
    except OSError as error:
        raise (problems or [error])[0] from None


def _open_to_empty(directory: int, name: str, force: bool = True) -> int | None:
    """A descriptor of a directory, with the permissions that emptying needs; None for a file."""
    try:
        return open_up(directory, name)[0] if force else os.open(name, _DIRECTORY, dir_fd=directory)
    except (FileNotFoundError, NotADirectoryError):
        return None


def open_up(directory: int, name: str, wanted: int = stat.S_IRWXU) -> tuple[int, int | None]:
    """Open a directory, and give its owner permissions that are not there.

    Args:
        directory: the descriptor of the one that it is in.
        name: a single name.
        wanted: these, as bits of a mode.

    Returns:
        Its descriptor, and the permissions that it had if they had to be changed.

    Raises:
        NotADirectoryError: it is something else.
        OSError: it is another's and closed.
    """
    mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    if stat.S_ISDIR(mode) and mode & wanted == wanted:
        with contextlib.suppress(PermissionError):
            return os.open(name, _DIRECTORY, dir_fd=directory), None
    # By a descriptor that needs no permission: it cannot be swapped between looking and changing.
    with grip(directory, name) as held:
        mode = os.fstat(held).st_mode
        if not stat.S_ISDIR(mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
        return _open_held(held, stat.S_IMODE(mode), wanted), stat.S_IMODE(mode)


def _open_held(held: int, mode: int, wanted: int) -> int:
    """Open what `grip` has; whoever closed it may do so again meanwhile."""
    tries = _TRIES
    while True:
        try:
            set_mode(held, mode | wanted)
        except OSError:  # another's: then as it is
            tries = 0
        try:
            return os.open(".", _DIRECTORY, dir_fd=held)
        except PermissionError:
            tries -= 1
            if tries <= 0:
                with contextlib.suppress(OSError):
                    set_mode(held, mode)
                raise


@contextlib.contextmanager
def grip(directory: int, name: str) -> Iterator[int]:
    """A descriptor that can be looked at and changed, and needs no permission: a task's file may
    have none. It opens neither what a link leads to nor a pipe nor a device."""
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def set_mode(descriptor: int, mode: int) -> None:
    """Change what a descriptor of `grip` stands for, wherever its name leads by now."""
    os.chmod(f"/proc/self/fd/{descriptor}", mode)


def _empty(directory: int, top: int, depth: int, force: bool, problems: list[OSError]) -> bool:
    """Remove what is in an open directory. True when something deep was brought up to the top."""
    brought = False
    for name in os.listdir(directory):
        try:
            try:
                os.unlink(name, dir_fd=directory)
                continue
            except OSError as error:
                if error.errno not in (errno.EISDIR, errno.EPERM):
                    raise
                refused = error
            below = _open_to_empty(directory, name, force)
            if below is None:
                raise refused
            try:
                if depth < _DEPTH:
                    brought |= _empty(below, top, depth + 1, force, problems)
                else:
                    for deeper in os.listdir(below):
                        # A directory that its owner may not write cannot be moved.
                        opened = _open_to_empty(below, deeper)
                        if opened is not None:
                            os.close(opened)
                        free = f".cloudops-{os.urandom(8).hex()}"
                        os.rename(deeper, free, src_dir_fd=below, dst_dir_fd=top)
                        brought = True
            finally:
                os.close(below)
            os.rmdir(name, dir_fd=directory)
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append(error)
    return brought
