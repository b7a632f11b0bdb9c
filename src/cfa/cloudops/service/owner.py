"""Whose a workspace is: whom it is trusted from, who holds its lock, and whether it is a copy.

What lies in a workspace runs as whoever opens it. So one that somebody else made, or could have
changed, is refused before anything in it is opened (as git does with `safe.directory`), and what is
made here is for its owner alone, whatever the umask.

A workspace knows its place, the directory that it was made in, beside its id, by which its nodes are
found. A copy has the id of the original but another place: it becomes a workspace of its own, with an
id of its own, and what ran in the original is its own to run again. It touches nothing of the original.

A place is the inode of the directory and the id of the file system. Both outlast a reboot, as the
number of the device does not, and both are the same for everybody who shares the directory, such as a
container and its host. Some file systems have no id that lasts (XFS, NFS); there the machine stands in
for it. A directory that is renamed keeps its place. Not noticed: a whole disk that is cloned.

A living agent proves that the directory is what it was, because a copy has a lock file of its own: the
place is only looked at by who holds the lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import pwd
import shlex
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

from cfa.cloudops.errors import UntrustedWorkspaceError
from cfa.cloudops.service.ledger import Ledger
from cfa.cloudops.service.store import Store
from cfa.cloudops.settings import TRUST

_log = logging.getLogger(__name__)

#: Files of ours beside `root`, which nobody else reaches.
_FILES = (
    "store.db", "store.db-wal", "store.db-shm", "store.db-journal",
    "agent.lock", "agent.sock", "agent.log", "key",
)  # fmt: skip
#: And directories of ours; what tasks may write lies below them.
_DIRECTORIES = ("nodes", "accounts", "root")
#: Where systems keep what tells a machine from others.
_MACHINE = ("/etc/machine-id", "/var/lib/dbus/machine-id")


# --- trust


def check(home: Path) -> None:
    """Refuse a workspace that is not the caller's alone. Nothing is opened; none is no fault.

    Raises:
        UntrustedWorkspaceError: it, or a file of it, belongs to somebody else or can be written by
            others, and the caller did not say that it is trusted.
    """
    fault = _fault(home)
    if fault is not None and not _is_trusted(home):
        raise fault


def claim(home: Path) -> None:
    """Make a workspace's directory and its first files, or take what is there, for the caller alone.

    Raises:
        UntrustedWorkspaceError: as `check`. OSError: it could not be made.
    """
    try:
        home.mkdir(mode=0o700, parents=True)
        home.chmod(0o700)
    except FileExistsError:
        if not home.is_dir():
            raise
    fault = _fault(home)
    if fault is None:
        _close_to_others(home)
    elif not _is_trusted(home):
        raise fault
    with (
        contextlib.suppress(FileExistsError),
        open(home / ".gitignore", "x", opener=partial(os.open, mode=0o600)) as ignore,
    ):
        ignore.write("*\n")
    # SQLite gives its companions the mode of the database. Not opened: to close a database that this
    # process has open drops its locks.
    with contextlib.suppress(OSError):  # SQLite says better what is wrong
        os.mknod(home / "store.db", stat.S_IFREG | 0o600)


def _fault(home: Path) -> UntrustedWorkspaceError | None:
    """Why a workspace cannot be trusted."""
    writable = []
    for path in (home, *(home / name for name in (*_FILES, *_DIRECTORIES))):
        for follow in (False, True):  # a link is its owner's to turn elsewhere
            try:
                found = os.stat(path, follow_symlinks=follow)
            except OSError:  # it is not there, or whoever opens it will say
                break
            if found.st_uid != os.geteuid():
                return _foreign(home, path, found.st_uid)
            if stat.S_ISLNK(found.st_mode):
                continue
            if not _is_expected(path, home, found.st_mode):
                return _unexpected(home, path)
            # A socket has nothing in it that could have been changed, and nobody else reaches `root`.
            plain = stat.S_ISREG(found.st_mode) or path == home
            if plain and found.st_mode & 0o022:
                writable.append(path)
            break
    return _writable(home, writable) if writable else None


def _is_expected(path: Path, home: Path, mode: int) -> bool:
    """Whether it is of the type that we make: else to open it could wait for ever, or lead elsewhere."""
    if path == home or path.name in _DIRECTORIES:
        return stat.S_ISDIR(mode) and (path == home or not path.is_symlink())
    return stat.S_ISREG(mode) or (path.name == "agent.sock" and stat.S_ISSOCK(mode))


def _unexpected(home: Path, path: Path) -> UntrustedWorkspaceError:
    if path == home:
        return UntrustedWorkspaceError(
            f"The workspace {home} cannot be used: a file is in the place of the directory.",
            f"Move {home} away, or set CLOUDOPS_HOME to another directory.",
        )
    return UntrustedWorkspaceError(
        f"The workspace {home} is not trusted: {path} is a link, a pipe, or a directory in the "
        "place of a file.",
        "Remove it, or work in another directory.",
    )


def _foreign(home: Path, path: Path, owner: int) -> UntrustedWorkspaceError:
    return UntrustedWorkspaceError(
        f"The workspace {home} is not trusted: {path} belongs to {_user(owner)}, and you are "
        f"{_user(os.geteuid())}. Its contents would run as you.",
        f"If you trust it, type: {_trusting(home)}. Otherwise work in a directory of your own, or set "
        "CLOUDOPS_HOME to one.",
    )


def _writable(home: Path, paths: list[Path]) -> UntrustedWorkspaceError:
    listed = " ".join(shlex.quote(str(path)) for path in paths)
    return UntrustedWorkspaceError(
        f"The workspace {home} is not trusted: others may write to {listed}. Its contents would "
        "run as you.",
        f"If nobody else did, type: chmod go-w {listed}. If the file system does not keep permissions: "
        f"{_trusting(home)}.",
    )


def _trusting(home: Path) -> str:
    """What to type to trust a workspace, and those that are trusted already."""
    return f"export {TRUST}=" + shlex.quote(
        os.pathsep.join(filter(None, [os.environ.get(TRUST), str(home)]))
    )


def _is_trusted(home: Path) -> bool:
    named = os.environ.get(TRUST, "").split(os.pathsep)
    real = os.path.realpath(home)
    return "*" in named or any(os.path.realpath(one) == real for one in named if os.path.isabs(one))


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _close_to_others(home: Path) -> None:
    """Take from others what earlier versions let them: to read."""
    for path, mode in ((home, 0o700), *((home / name, 0o600) for name in _FILES)):
        if path.name == "agent.lock":
            continue  # others may have it open: `lock` replaces it
        with contextlib.suppress(OSError):  # not there, or a file system without permissions
            if os.stat(path).st_mode & 0o077:
                path.chmod(mode)


# --- the agent's lock


def lock(path: Path) -> int | None:
    """Take the agent's lock, as a descriptor to close; None when somebody has it. Does not wait.

    A file that others could open, of an earlier version, is replaced: to read is enough to hold it.

    Raises:
        OSError: it may not be opened.
    """
    replaced = False
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                if replaced or not replace_lock(path):
                    return descriptor
                replaced = True
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the file was removed in between: this lock keeps nobody out


def replace_lock(path: Path) -> bool:
    """Remove a lock file that others could open. Whether it was one."""
    try:
        if not os.stat(path).st_mode & 0o077:
            return False
        path.unlink()
    except FileNotFoundError:
        pass
    return True


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Keep agents out of a workspace. False: one is there, or the lock is not ours to take.

    An agent that starts meanwhile waits for the lock.
    """
    try:
        descriptor = lock(path)
    except OSError:
        descriptor = None
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


# --- the place


def settle(store: Store, home: Path) -> None:
    """Make a copy a workspace of its own. The caller holds the agent's lock."""
    here = _place(home)
    if store.meta("place") == here:
        return
    with store.transaction():
        known = store.meta("place")
        if known not in (None, here):
            _part(store, home)
        store.set_meta("place", here)


def settle_if_alone(store: Store, home: Path, lock_path: Path) -> None:
    """The same for a client, which leaves the workspace of a living agent as it is."""
    if store.meta("place") != _place(home):
        with alone(lock_path) as free:
            if free:
                settle(store, home)


def _part(store: Store, home: Path) -> None:
    """Part from the workspace that this one is a copy of."""
    why = "the workspace was copied"
    ledger = Ledger(store)
    running = ledger.running()
    for attempt in running:
        ledger.requeue(attempt, why)
    ledger.flush()
    store.execute("UPDATE node SET ended = ?, reason = ? WHERE ended IS NULL", (time.time(), why))
    store.set_meta("workspace", uuid4().hex[:12])
    _log.warning(
        "The workspace %s is a copy, and is now a workspace of its own. Tasks of the original that "
        "run again in the copy: %d",
        home,
        len(running),
    )


def _place(home: Path) -> str:
    found = os.stat(home)
    filesystem = os.statvfs(home).f_fsid
    # One that is the number of the device may be another one after the next reboot.
    lasting = filesystem not in (0, found.st_dev)
    return f"{found.st_ino} on {f'{filesystem:x}' if lasting else _machine()}"


def _machine() -> str:
    for path in _MACHINE:
        with contextlib.suppress(OSError):
            text = Path(path).read_text(errors="replace").strip()
            if text:
                return text
    return os.uname().nodename
