"""The line between clients and the agent: a wake-up, nothing more. All facts are in the store.

A Unix socket in the workspace. The agent greets with `cloudops <version> <pid>\\n`, ` stays` before
the end of the line when it does not leave for lack of work. A client then sends single bytes: `w` wake
up, there is something new in the store; `n` tell me once when something changed; `q` leave, I am of
another version or will stay. The agent answers `n` with one byte. The connection itself tells both
sides that the other one lives.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from cfa.cloudops.errors import AgentError, DiskFullError, StoreError, StoreUnreadableError
from cfa.cloudops.service.disks import LOCAL_DISK, disk_errors, disk_full, no_space, unfit
from cfa.cloudops.service.workspace import Workspace
from cfa.cloudops.settings import own_environment

_log = logging.getLogger(__name__)

WAKE, NOTIFY, LEAVE = b"w", b"n", b"q"

_ANSWER_S = 2.0
_LEAVING_S = 30.0
_START_S = 15.0
_FAILURES = 5  # of our own agents within _FAILURES_S, before we say that something is wrong
_FAILURES_S = 10.0


def version() -> str:
    """The version that an agent and its clients must share."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("cfa-cloudops")
    except PackageNotFoundError:
        return "source"


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A name for a socket's path that fits into 107 bytes, however deep the workspace lies."""
    if len(os.fsencode(path)) < 100 or not os.path.isdir("/proc/self/fd"):
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def greeting(workspace: Workspace) -> list[str]:
    """The words with which the agent of a workspace greets; none when there is none.

    Starts none; blocks for two seconds at most.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(_ANSWER_S)
        data = b""
        with contextlib.suppress(OSError):
            with short_path(workspace.socket) as path:
                line.connect(path)
            while not data.endswith(b"\n") and (more := line.recv(256)):
                data += more
    return data.decode(errors="replace").split()


def relieve(workspace: Workspace) -> None:
    """Ask an agent to leave, and wait until it does not answer any more, at most half a minute."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(_LEAVING_S)
        with contextlib.suppress(OSError):
            with short_path(workspace.socket) as path:
                line.connect(path)
            line.sendall(LEAVE)
            while line.recv(256):
                pass


class Link:
    """A client's end. Starts an agent when there is none. Threads may share it."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._socket: socket.socket | None = None
        self._child: int | None = None
        self._failures: deque[float] = deque()
        self._greeted = False
        self._asked = False
        self._told_of_stop = False
        self._turn = threading.RLock()

    def wake(self) -> None:
        """Tell the agent to look at the store; start one when there is none. Does not wait."""
        with self._turn:
            if self._socket is None and not self._connect():
                self._start()  # a new agent looks at the store by itself
                return
            self._send(WAKE)
            if self._socket is None:
                self._start()

    def wait(self, timeout_s: float) -> bool:
        """Block until something may have changed since the last call, at most `timeout_s`.

        Longer only while an agent starts.

        Raises:
            AgentError: no agent can be kept running. DiskFullError: for lack of space.
        """
        deadline = time.monotonic() + timeout_s
        with self._turn:
            line = self._socket
            if line is None and not self._connect():
                self._start()
                self._await_agent(_START_S)  # a busy machine may need seconds
            if not self._asked:  # this connection is new, perhaps made by `wake`
                self._asked = True
                self._send(NOTIFY)
                return True
            assert line is not None  # noqa: S101  a connection that was asked before was there
        while True:
            try:
                heard, _, _ = select.select([line], [], [], max(0.0, deadline - time.monotonic()))
            except (OSError, ValueError):  # hung up by another thread
                return True
            if not heard:
                self._look_for_stopped(line)
                return False
            with self._turn:
                if self._socket is not line:  # the agent left or died: have another one
                    return True
                if self._receive():
                    self._send(NOTIFY)
                    return True
                if self._socket is None:
                    return True

    def close(self) -> None:
        """Hang up. The agent goes on as long as there is work."""
        with self._turn:
            self._hang_up()
            self._reap()

    # --- parts

    def _connect(self) -> bool:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with short_path(self._workspace.socket) as path:
                line.connect(path)
        except OSError as error:
            line.close()
            if error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN, errno.ENOTDIR):
                return False
            raise AgentError(
                f"Cannot reach the agent at {self._workspace.socket}: {error.strerror}.",
                "Check the owner and permissions of the workspace.",
            ) from None
        line.setblocking(False)
        self._socket = line
        self._greeted = self._asked = False
        return True

    def _send(self, message: bytes) -> None:
        if self._socket is None:
            return
        try:
            self._socket.send(message)
        except BlockingIOError:
            pass  # a wake-up is waiting there already
        except OSError:
            self._hang_up()

    def _receive(self) -> bool:
        """Read what is there. True: a notification was among it."""
        if self._socket is None:
            return False
        try:
            data = self._socket.recv(4096)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._hang_up()
            return False
        if not self._greeted:
            greeting, newline, data = data.partition(b"\n")
            self._greeted = bool(newline)
            words = greeting.decode(errors="replace").split()
            if len(words) < 2 or words[1] != version():
                self._send(LEAVE)
                self._hang_up()
                return False
        return bool(data)

    def _look_for_stopped(self, line: socket.socket) -> None:
        """Say once that the agent was stopped (`kill -STOP`, a debugger): it would be waited for
        in silence."""
        if self._told_of_stop:
            return
        try:
            peer = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            pid, _, _ = struct.unpack("3i", peer)
            state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except (OSError, AttributeError):  # it is gone, or this is no Linux
            return
        if state[:1] in (["T"], ["t"]):
            self._told_of_stop = True
            _log.warning(
                "The agent (process %d) is stopped and does nothing. Continue it with: kill -CONT %d",
                pid,
                pid,
            )

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _start(self) -> None:
        """Start an agent, unless the one we started is still coming up."""
        self._reap()
        if self._child is not None:
            return
        now = time.monotonic()
        while self._failures and now - self._failures[0] > _FAILURES_S:
            self._failures.popleft()
        if len(self._failures) >= _FAILURES:
            self._failures.clear()  # the next call, after something was done about it, tries again
            raise self._no_agent(
                f"The agent of {self._workspace.home} failed {_FAILURES} times within "
                f"{_FAILURES_S:.0f} seconds."
            )
        self._child = spawn(self._workspace)
        _log.debug("started the agent of %s, process %d", self._workspace.home, self._child)

    def _await_agent(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not self._connect():
            self._start()
            if time.monotonic() > deadline:
                raise self._no_agent(
                    f"No agent answered within {timeout_s:.0f} seconds in {self._workspace.home}."
                )
            select.select([], [], [], 0.01)  # only while one starts: it cannot tell us earlier

    def _reap(self) -> None:
        if self._child is None:
            return
        try:
            ended, status = os.waitpid(self._child, os.WNOHANG)
        except ChildProcessError:
            ended, status = self._child, 0
        if ended:
            self._child = None
            # One that was killed says nothing about the next.
            if os.waitstatus_to_exitcode(status) not in (0, -signal.SIGKILL):
                self._failures.append(time.monotonic())

    def _no_agent(self, what: str) -> StoreError:
        """The error for a workspace in which no agent stays."""
        home, words = self._workspace.home, self._last_words()
        if no_space(home) or os.strerror(errno.ENOSPC) in words or "DiskFullError" in words:
            return disk_full(what, home)
        if cannot := unfit(home):
            return StoreUnreadableError(f"{what} {cannot}", LOCAL_DISK)
        return AgentError(
            f"{what} Its last lines: {words}",
            f"Read {self._workspace.log}; jobs and tasks are safe.",
        )

    def _last_words(self) -> str:
        try:
            text = self._workspace.log.read_text(errors="replace").strip()
        except OSError:
            return "none."
        return text.splitlines()[-1] if text else "none."


def spawn(workspace: Workspace) -> int:
    """Start an agent of this workspace in a session of its own; its process id.

    Raises:
        AgentError: it cannot be started now. DiskFullError: for lack of space.
    """
    if not sys.executable:
        raise AgentError(
            "Cannot start an agent: this Python does not know its own path.",
            "Run the script with python3, or start one with: cloudops agent.",
        )
    opened: list[int] = []
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with disk_errors(f"starting an agent in {workspace.home}"):
            log = os.open(workspace.log, flags, 0o600)
        opened.append(log)
        null = os.open(os.devnull, os.O_RDWR)
        opened.append(null)
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", "cfa.cloudops.service.agent", str(workspace.home)],
            own_environment(),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, null, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
            ],
            setsid=True,
        )
    except DiskFullError:
        raise
    except OSError as error:
        raise AgentError(
            f"Cannot start an agent in {workspace.home}: {error.strerror}.",
            "Jobs and tasks are safe. They continue when a later call can start an agent.",
        ) from None
    finally:
        for descriptor in opened:
            os.close(descriptor)
