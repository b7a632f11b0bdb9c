"""What children of a script add is told to the script, which stays with it when it ends.

Children are those that were forked, and all workers of `multiprocessing` and `concurrent.futures`,
which are killed or end by `os._exit`, where nobody waits for tasks. A script has a file in memory. Its
children append to it, theirs as well, and the script itself reads. Forked ones inherit it; workers that
are spawned, or come from a fork server, take it from the process that started them.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

#: Bytes that are read at once.
_CHUNK = 1 << 16
#: The name of the file, and where a process shows it that has it open.
_NAME = "cloudops-forks"
_SHOWN = f"/memfd:{_NAME} (deleted)"


class Note(NamedTuple):
    """What a child tells of tasks: it added them, or it is done with them."""

    #: The client in the child, maybe one that its parent had made; and how it would end: where,
    #: whether without waiting, and its `on_failure`.
    client: str
    workspace: str
    detach: bool
    on_failure: str
    job_id: str
    task_ids: list[str]
    #: Whether nobody has to wait for them any more.
    done: bool


#: Of the parts of a note.
_TYPES = [str, str, bool, str, str, list, bool]


class _Notes:
    """The file, in the process that made it and in its children.

    Args:
        descriptor: of the file; the object takes it over.
        owner: id of the process that made it, and alone reads it.
    """

    def __init__(self, descriptor: int, owner: int | None) -> None:
        self._owner = owner
        self._descriptor = descriptor
        self._identity = self._identify()
        self._offset = 0
        self._rest = b""
        self._unread: list[Note] = []
        self._reading = threading.Lock()  # a child, where it may be held for ever, does not read

    @classmethod
    def make(cls) -> _Notes | None:
        """That of a script. None: workers are on their own."""
        try:
            descriptor = os.memfd_create(_NAME)  # what is executed does not get it
        except (OSError, AttributeError):  # no system has it but Linux
            return None
        fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_APPEND)
        return cls(descriptor, os.getpid())

    @classmethod
    def of(cls, process_id: int) -> _Notes | None:
        """The one that another process has open, if it has any."""
        place = f"/proc/{process_id}/fd"
        with contextlib.suppress(OSError):  # it has ended, or hides what is its own
            for name in os.listdir(place):
                with contextlib.suppress(OSError):  # it has closed this one meanwhile
                    if os.readlink(f"{place}/{name}") == _SHOWN:
                        flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
                        return cls(os.open(f"{place}/{name}", flags), None)
        return None

    def close(self) -> None:
        """In this process alone."""
        if self.is_there():
            os.close(self._descriptor)

    def is_same(self, other: _Notes) -> bool:
        return self._identity == other._identity

    @property
    def own(self) -> bool:
        """Whether this process made it."""
        return os.getpid() == self._owner

    def _identify(self) -> tuple[int, int]:
        found = os.fstat(self._descriptor)
        return found.st_dev, found.st_ino

    def is_there(self) -> bool:
        """Whether nobody closed it: programs that become daemons close all that they do not know, and
        the number may then be that of another file."""
        try:
            return self._identify() == self._identity
        except OSError:
            return False

    def append(self, note: Note) -> None:
        if self.is_there():
            os.write(self._descriptor, f"{json.dumps(note)}\n".encode())

    def senders(self) -> list[Note]:
        """A note of each workspace of which there are some."""
        with self._reading:
            self._read()
            return list({note.workspace: note for note in self._unread}.values())

    def take(self, wanted: Callable[[Note], bool]) -> list[Note]:
        """The notes that are wanted and were not taken before, oldest first."""
        with self._reading:
            self._read()
            found = [note for note in self._unread if wanted(note)]
            self._unread = [note for note in self._unread if not wanted(note)]
        return found

    def _read(self) -> None:
        while self.is_there() and (data := os.pread(self._descriptor, _CHUNK, self._offset)):
            self._offset += len(data)
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._unread += filter(None, map(_parsed, lines))


def _parsed(line: bytes) -> Note | None:
    """A note; None for what a child was killed while it wrote, or somebody else wrote."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, list) or [type(one) for one in values] != _TYPES:
        return None
    note = Note(*values)
    return note if all(isinstance(one, str) for one in note.task_ids) else None


_notes: _Notes | None = None


def _process() -> Any:
    """The module `multiprocessing.process`, if anything has loaded it."""
    return sys.modules.get("multiprocessing.process")


def _begin() -> None:
    """Make the file, unless this process is, or is to be, a worker of a script that has one."""
    global _notes
    module = _process()
    if module is not None:
        from multiprocessing import util

        # Called when a worker begins that is not spawned.
        util.register_after_fork(_Notes, lambda _: _join())
        if module.parent_process() is not None:
            _join()
        elif getattr(module.current_process(), "_inheriting", False):
            # It loads the script before it begins, and is a child of the one that spawned it.
            _notes = _Notes.of(os.getppid())
    _make()


def _make() -> None:
    global _notes
    if _notes is None:
        _notes = _Notes.make()


def _join() -> None:
    """In a worker of `multiprocessing`: take the file of the process that started it."""
    global _notes
    found = _of_parent()
    if found is None:
        return
    if _notes is not None and _notes.is_same(found):
        found.close()  # it was inherited
        return
    if _notes is not None:
        _notes.close()  # that of a fork server, or made before this worker began
    _notes = found


def _of_parent() -> _Notes | None:
    """The file that the living process has open that started this worker of `multiprocessing`."""
    module = _process()
    parent = module.parent_process() if module is not None else None
    return _Notes.of(parent.pid) if parent is not None else None


_begin()
os.register_at_fork(before=_make)


def heard() -> bool:
    """Whether this is a worker of `multiprocessing`, and what it tells is read by a living script."""
    if _notes is None or _notes.own or not _notes.is_there():
        return False
    found = _of_parent()
    if found is None:
        return False
    found.close()
    return _notes.is_same(found)


def tell(note: Note) -> None:
    """In a child: let the script that it comes from know of tasks. Elsewhere nothing."""
    if _notes is not None and not _notes.own and note.task_ids:
        _notes.append(note)


def told(wanted: Callable[[Note], bool]) -> list[Note]:
    """What children told, as far as it is wanted and was not asked for before, oldest first."""
    return _notes.take(wanted) if _notes is not None and _notes.own else []


def senders() -> list[Note]:
    """One of the notes of each workspace from which nobody has taken them."""
    return _notes.senders() if _notes is not None and _notes.own else []


def join_workers() -> None:
    """Wait for processes that `multiprocessing` waits for at the end of a script, perhaps after us."""
    processes = _process()
    if _notes is None or not _notes.own or processes is None:
        return  # nothing was started, or by somebody else
    if all(one.daemon for one in processes.active_children()):
        return
    from multiprocessing import util

    # Not `join`: it shuts managers down first, which would else serve for ever. It works once.
    util._exit_function()  # type: ignore[attr-defined]
