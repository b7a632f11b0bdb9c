"""What forked children of a script add is told to the script, which stays with it when it ends.

Workers of `multiprocessing` and `concurrent.futures` end by `os._exit`, where nobody waits for tasks.
Each process has a file without a name, made at its first fork. Its children append to it, theirs as
well, and the process itself reads.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import threading
from collections.abc import Callable
from typing import NamedTuple

#: Bytes that are read at once.
_CHUNK = 1 << 16


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


class _Notes:
    """The file, in the process that made it and in all that were forked from there."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._descriptor = os.memfd_create("cloudops-forks")  # what is executed does not get it
        self._identity = self._identify()
        fcntl.fcntl(self._descriptor, fcntl.F_SETFL, os.O_APPEND)
        self._offset = 0
        self._rest = b""
        self._unread: list[Note] = []
        self._reading = threading.Lock()  # a child, where it may be held for ever, does not read

    @property
    def own(self) -> bool:
        """Whether this process made it."""
        return os.getpid() == self._owner

    def _identify(self) -> tuple[int, int]:
        found = os.fstat(self._descriptor)
        return found.st_dev, found.st_ino

    def _is_there(self) -> bool:
        """Whether nobody closed it: programs that become daemons close all that they do not know, and
        the number may then be that of another file."""
        try:
            return self._identify() == self._identity
        except OSError:
            return False

    def append(self, note: Note) -> None:
        if self._is_there():
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
        while self._is_there() and (data := os.pread(self._descriptor, _CHUNK, self._offset)):
            self._offset += len(data)
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                with contextlib.suppress(ValueError, TypeError):  # of a child killed while it wrote
                    self._unread.append(Note(*json.loads(line)))


_notes: _Notes | None = None


def _before_fork() -> None:
    global _notes
    if _notes is None:
        with contextlib.suppress(OSError):  # without it, workers are on their own
            _notes = _Notes()


os.register_at_fork(before=_before_fork)


def tell(note: Note) -> None:
    """In a forked child: let the process that it comes from know of tasks. Elsewhere nothing."""
    if _notes is not None and not _notes.own and note.task_ids:
        _notes.append(note)


def told(wanted: Callable[[Note], bool]) -> list[Note]:
    """What forked children told, as far as it is wanted and was not asked for before, oldest first."""
    return _notes.take(wanted) if _notes is not None and _notes.own else []


def senders() -> list[Note]:
    """One of the notes of each workspace from which nobody has taken them."""
    return _notes.senders() if _notes is not None and _notes.own else []


def join_workers() -> None:
    """Wait for processes that `multiprocessing` waits for at the end of a script, perhaps after us."""
    processes = sys.modules.get("multiprocessing.process")
    if _notes is None or not _notes.own or processes is None:
        return  # nothing was forked, or by somebody else
    if all(one.daemon for one in processes.active_children()):
        return
    from multiprocessing import util

    # Not `join`: it shuts managers down first, which would else serve for ever. It works once.
    util._exit_function()  # type: ignore[attr-defined]
