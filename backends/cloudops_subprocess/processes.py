"""Finds and ends the processes of a node, without any memory shared between processes.

Every process of a node carries the variable `CLOUDOPS_NODE=<workspace>.<node_id>` in its
environment, which the kernel shows in `/proc/<pid>/environ` to the same user. Processes that wiped
their environment are found as members of a marked process's session or as its descendants.

A pid alone never identifies a process (they wrap within seconds on a busy machine): here it goes
with the start time, and signals go through a pidfd that was opened before the start time was
compared.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import frozen

#: The environment variable that marks every process of a node.
MARK = "CLOUDOPS_NODE"

_PROC = Path("/proc")


@frozen(kw_only=True)
class Process:
    """One line of the process table. `start` is in clock ticks since boot (`proc(5)`, field 22)."""

    pid: int
    start: int
    parent: int
    session: int

    @property
    def engine_id(self) -> str:
        """A handle that is unique on this host until it boots again."""
        return f"{self.pid}:{self.start}"


def mark(workspace: str, node_id: str) -> str:
    """The value of the mark. A node id has no dot, so the last dot separates the two."""
    return f"{workspace}.{node_id}"


def find(pid: int) -> Process | None:
    """The process of this pid, or `None` when there is none or only a zombie."""
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The command name, in brackets, may itself hold brackets and blanks.
    fields = text[text.rindex(b")") + 2 :].split()
    # The first thread may end before the others: a zombie that has more than one thread is alive.
    if fields[0] in (b"Z", b"X", b"x") and int(fields[17]) < 2:
        return None
    return Process(pid=pid, parent=int(fields[1]), session=int(fields[3]), start=int(fields[19]))


def table() -> dict[int, Process]:
    """All processes that are alive, without this one."""
    try:
        names = os.listdir(_PROC)
    except OSError:
        return {}  # no /proc: not Linux
    pids = (int(name) for name in names if name.isdigit())
    found = (find(pid) for pid in pids if pid != os.getpid())
    return {process.pid: process for process in found if process is not None}


def _mark_of(pid: int) -> str | None:
    """The mark of a process, or `None`: it has none, is gone, or is another user's."""
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return None
    key = f"{MARK}=".encode()
    for entry in environment.split(b"\0"):
        if entry.startswith(key):
            return os.fsdecode(entry[len(key) :])
    return None


def marked(workspace: str) -> dict[str, list[Process]]:
    """The marked processes of a workspace by node id, the oldest first."""
    prefix = mark(workspace, "")
    nodes: dict[str, list[Process]] = {}
    for process in table().values():
        value = _mark_of(process.pid)
        if value is not None and value.rpartition(".")[0] + "." == prefix:
            nodes.setdefault(value.rpartition(".")[2], []).append(process)
    return {
        node_id: sorted(found, key=lambda process: (process.start, process.pid))
        for node_id, found in nodes.items()
    }


def members(value: str, leader: int | None = None, known: Iterable[Process] = ()) -> list[Process]:
    """Every process of the node with this mark.

    Args:
        value: the mark.
        leader: pid of the node's first process, if the caller is its parent and has not waited for
            it, so that the number still means that process and its session.
        known: processes that were found to belong to the node earlier.
    """
    running = table()
    inside = {pid for pid in running if _mark_of(pid) == value}
    inside |= {
        process.pid
        for process in known
        if process.pid in running and running[process.pid].start == process.start
    }
    # A node starts in a session of its own: whatever shares a session with one of its processes is
    # its own as well.
    sessions = {running[pid].session for pid in inside}
    if leader is not None:
        sessions.add(leader)
    inside |= {pid for pid, process in running.items() if process.session in sessions}
    return [running[pid] for pid in _with_descendants(inside, running)]


def _with_descendants(inside: Iterable[int], running: Mapping[int, Process]) -> set[int]:
    children: dict[int, list[int]] = {}
    for process in running.values():
        children.setdefault(process.parent, []).append(process.pid)
    result: set[int] = set()
    waiting = list(inside)
    while waiting:
        pid = waiting.pop()
        if pid not in result:
            result.add(pid)
            waiting.extend(children.get(pid, ()))
    return result


def open_pidfd(pid: int) -> int | None:
    """A pidfd, or `None` where the system has none or the process is gone."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def send(pidfd: int, number: int) -> None:
    """Send a signal. A process that is gone is no error."""
    if sys.platform == "linux":
        try:
            signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            return


def wait_for(pidfds: Iterable[int], timeout_s: float) -> bool:
    """Wait until all of these processes have ended. False when time ran out."""
    deadline = time.monotonic() + timeout_s
    waiting = set(pidfds)
    poll = select.poll()
    for pidfd in waiting:
        poll.register(pidfd, select.POLLIN)
    while waiting:
        left_ms = max(0.0, deadline - time.monotonic()) * 1000
        ready = poll.poll(left_ms)
        if not ready:
            return False
        for pidfd, _ in ready:
            poll.unregister(pidfd)
            waiting.discard(pidfd)
    return True


def kill_all(
    value: str,
    leader: int | None = None,
    known: Iterable[Process] = (),
    *,
    timeout_s: float = 10.0,
) -> bool:
    """Kill every process of a node, also those that are being started meanwhile.

    Returns True when none is left, False when some were still there after `timeout_s` (a process in
    an uninterruptible wait cannot be killed).
    """
    deadline = time.monotonic() + timeout_s
    known = list(known)
    while found := members(value, leader, known):
        # A shell that outlived its task would report the kill as the task's end.
        ordered = _parents_first(found)
        pidfds = [pidfd for process in ordered if (pidfd := _kill(process)) is not None]
        try:
            done = wait_for(pidfds, deadline - time.monotonic())
        finally:
            for pidfd in pidfds:
                os.close(pidfd)
        if not done or time.monotonic() > deadline:
            return False
    return True


def _parents_first(found: Iterable[Process]) -> list[Process]:
    """Every process after its parent. Neither its start, in ticks, nor its pid tells that."""
    known = {process.pid: process for process in found}

    def depth(process: Process) -> int:
        steps, seen = 0, {process.pid}
        while (parent := known.get(process.parent)) is not None and parent.pid not in seen:
            steps, process = steps + 1, parent
            seen.add(process.pid)
        return steps

    return sorted(known.values(), key=depth)


def _kill(process: Process) -> int | None:
    """Kill one process if it is still the same one. Returns its pidfd, to wait on."""
    pidfd = open_pidfd(process.pid)
    if pidfd is None:
        return None
    now = find(process.pid)
    if now is None or now.start != process.start:
        os.close(pidfd)
        return None
    send(pidfd, signal.SIGKILL)
    return pidfd
