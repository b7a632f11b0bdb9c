"""An open node: a process with its pipes, perhaps with a sandbox around it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time

from cfa.cloudops.errors import BackendUnavailableError, NodeError
from cfa.cloudops.provider.executor import Node, NodeEnd
from cloudops_subprocess import processes

_CHUNK = 1 << 16
#: How long a write may wait for a node that does not read, in seconds.
_WRITE_LIMIT_S = 60.0
#: How long killed processes may take to disappear, in seconds.
_KILL_LIMIT_S = 10.0
#: Between the end of its output and its end a process does nothing but exit.
_EXIT_S = 0.2


class ProcessNode(Node):
    """A node made of processes of this host.

    Args:
        mark: the value of `CLOUDOPS_NODE` that all of its processes carry.
        process: the first process, leader of its own session, started by this process with both
            standard streams as pipes. The object takes it over.
        inner: pid of the sandbox's first process, if there is a sandbox.
    """

    def __init__(
        self, mark: str, process: subprocess.Popen[bytes], inner: int | None = None
    ) -> None:
        assert process.stdin is not None  # noqa: S101  for the type checker: both are pipes
        assert process.stdout is not None  # noqa: S101
        self._mark = mark
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        os.set_blocking(self._stdin.fileno(), False)
        os.set_blocking(self._stdout.fileno(), False)
        # Until `close` nobody waits for the process, so its pid keeps its meaning even as a zombie.
        found = processes.find(process.pid)
        self.engine_id = found.engine_id if found is not None else f"{process.pid}:0"
        self._sandboxed = inner is not None
        self._pidfd = processes.open_pidfd(process.pid)
        self._inner = _open_child(inner, process.pid)
        self._epoll = self._watch()
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        self._closing = threading.Lock()
        self._released = False
        self._silent = False  # the end of its output was seen
        self._end: NodeEnd | None = None

    def _watch(self) -> select.epoll | None:
        """Output or the process's end: a task that went to the background may hold the output
        open for ever, so the end of the process must be an end of the stream as well."""
        if self._pidfd is None:
            return None
        epoll = select.epoll()
        epoll.register(self._stdout.fileno(), select.EPOLLIN)
        epoll.register(self._pidfd, select.EPOLLIN)
        return epoll

    def fileno(self) -> int:
        return self._stdout.fileno() if self._epoll is None else self._epoll.fileno()

    def read(self) -> bytes | None:
        with self._reading:
            if self._released:
                return b""
            data = self._read_now()
            if data is None and self._ended():
                # What was written between the two looks must not be lost.
                data = self._read_now() or b""
            self._silent = data == b""
            return data

    def _read_now(self) -> bytes | None:
        try:
            return os.read(self._stdout.fileno(), _CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _ended(self) -> bool:
        return self._pidfd is not None and processes.wait_for([self._pidfd], 0)

    def write(self, data: bytes) -> None:
        with self._writing:
            if self._released or self._stdin.closed:
                raise NodeError(
                    f"Nothing can be written to node {self._mark}: it was closed or is draining."
                )
            deadline = time.monotonic() + _WRITE_LIMIT_S
            left = memoryview(data)
            while left:
                if self._ended():
                    raise NodeError(f"Writing to node {self._mark} failed: it has ended.")
                try:
                    left = left[os.write(self._stdin.fileno(), left) :]
                except BlockingIOError:
                    self._wait_for_space(deadline)
                except OSError as error:
                    raise NodeError(
                        f"Writing to node {self._mark} failed: {error.strerror}."
                    ) from None

    def _wait_for_space(self, deadline: float) -> None:
        poll = select.poll()
        poll.register(self._stdin.fileno(), select.POLLOUT)
        if self._pidfd is not None:
            poll.register(self._pidfd, select.POLLIN)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise NodeError(
                f"Writing to node {self._mark} failed: it did not read for {_WRITE_LIMIT_S:.0f} s."
            )

    def drain(self) -> None:
        with self._writing:
            self._stdin.close()

    def close(self, grace_s: float) -> NodeEnd:
        with self._closing:
            if self._end is None:
                self._end = self._stop(grace_s)
                self._release()
            return self._end

    def _stop(self, grace_s: float) -> NodeEnd:
        asked = not self._wait(_EXIT_S if self._silent else 0)
        known: list[processes.Process] = []
        if asked and grace_s > 0:
            if not self._sandboxed:
                # A child that wiped its environment is lost once TERM has taken its parent.
                known = processes.members(self._mark, self._process.pid)
            self._terminate()
            self._wait(grace_s)
        if not self._kill(known):
            raise BackendUnavailableError(
                f"Node {self._mark} was killed, but its processes did not end within "
                f"{_KILL_LIMIT_S:.0f} s; they wait for the system (a file server, a disk).",
                "Try again when it answers.",
            )
        return _describe(self._process.wait(_KILL_LIMIT_S), asked=asked)

    def _wait(self, timeout_s: float) -> bool:
        """True when the first process, and with it a sandbox, has ended within `timeout_s`."""
        if self._pidfd is not None:
            waiting = [pidfd for pidfd in (self._pidfd, self._inner) if pidfd is not None]
            return processes.wait_for(waiting, timeout_s)
        try:  # no pidfd on this system: this reaps the process
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _terminate(self) -> None:
        if self._inner is not None:
            processes.send(self._inner, signal.SIGTERM)
        elif not self._sandboxed:
            self._signal_group(signal.SIGTERM)

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _kill(self, known: list[processes.Process]) -> bool:
        """Kill what is left. True when nothing is."""
        if self._pidfd is None:
            self._signal_group(signal.SIGKILL)
            return self._wait(_KILL_LIMIT_S)
        if self._inner is not None:
            # The kernel kills all of a pid namespace with its first process, and lets that one end
            # only after all others; bubblewrap, outside, follows.
            processes.send(self._inner, signal.SIGKILL)
            return self._wait(_KILL_LIMIT_S)
        return processes.kill_all(self._mark, self._process.pid, known, timeout_s=_KILL_LIMIT_S)

    def _release(self) -> None:
        with self._reading, self._writing:
            self._released = True
            self._stdin.close()
            if self._epoll is not None:
                self._epoll.close()
            self._stdout.close()
            for pidfd in (self._pidfd, self._inner):
                if pidfd is not None:
                    os.close(pidfd)


def _open_child(pid: int | None, parent: int) -> int | None:
    """A pidfd of `pid` if that is still the child of `parent`."""
    if pid is None:
        return None
    pidfd = processes.open_pidfd(pid)
    if pidfd is None:
        return None
    found = processes.find(pid)
    if found is None or found.parent != parent:
        os.close(pidfd)
        return None
    return pidfd


def _describe(status: int, *, asked: bool) -> NodeEnd:
    """The end of a node from `Popen`'s status. A signal N becomes the exit code 128 + N, which is
    also how bubblewrap tells it. `asked`: it was still running when it was closed."""
    code = 128 - status if status < 0 else status
    if code == 0:
        return NodeEnd(exit_code=code)
    if asked and code in (128 + signal.SIGTERM, 128 + signal.SIGKILL):
        return NodeEnd(exit_code=code, reason="The node was ended by closing it.")
    if code > 128:
        with contextlib.suppress(ValueError):
            name = signal.Signals(code - 128).name
            return NodeEnd(exit_code=code, reason=f"The node was ended by {name}.")
    return NodeEnd(exit_code=code, reason=f"The node's program ended with exit code {code}.")
