"""The agent: the one process that runs a workspace's tasks.

One thread and one selector: node streams, clients, finished work of the worker threads, deadlines.
Each turn of the loop takes all that has come in, writes it into the store in one transaction together
with the tasks that start next, and only then acts. Whatever is killed whenever: the store and
the journals of its nodes say the rest (see `recovery`).
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import os
import selectors
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import inf
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

from attrs import define

from cfa.cloudops.errors import CloudOpsError, ConflictError, DiskFullError, StoreError
from cfa.cloudops.service import link, owner, reserve
from cfa.cloudops.service.disks import no_space, shortage
from cfa.cloudops.service.scheduler import Scheduler
from cfa.cloudops.service.workspace import Workspace
from cfa.cloudops.settings import IDLE_S, agent_idle_s

_log = logging.getLogger(__name__)

#: Seconds between two notifications of one client, so that a monitor does not slow the work down.
_NOTIFY_S = 0.02
_WORKERS = 8
#: Seconds until the reserve of disk space is looked after, as the first tasks should not wait for it,
#: and until it is looked at again while nodes live.
_RESERVE_S, _RESERVE_AGAIN_S = 1.0, 60.0
#: Seconds between two looks at a full disk, and between two tries to get what is short.
_STARVING_S, _RETRY_S = 0.5, 0.5
#: Seconds between two looks at the lock file while nodes live.
_GLANCE_S = 2.0
#: Seconds for the agent before to leave.
_PATIENCE_S = 10.0


class Superseded(Exception):
    """Another agent serves this workspace now."""


@define(eq=False)
class _Client:
    line: socket.socket
    armed: bool = False
    told: float = 0.0


class Agent:
    """The loop. What is to be done with tasks is the `Scheduler`'s. Whoever makes one has the lock."""

    def __init__(self, workspace: Workspace, idle_s: float = IDLE_S) -> None:
        self.workspace = workspace
        self._idle_s = idle_s
        self._selector = selectors.DefaultSelector()
        self._clients: dict[int, _Client] = {}
        #: A heap of (monotonic time, order of arrival, action).
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_count = 0
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._bell, self._rope = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="worker")
        self._leaving = False
        self._listener: socket.socket | None = None
        self._selector.register(self._bell, selectors.EVENT_READ, self._hear)
        self.store = reserve.open_store(workspace)
        owner.settle(self.store, workspace.home)
        # Whoever wrote this last is the agent, whatever became of the lock file: see `still_ours`.
        self._epoch = uuid4().hex
        self.store.set_meta("agent", self._epoch)
        self._lock_file = _identity(workspace.lock)
        self._glancing = False
        self._reserve_due = time.monotonic() + _RESERVE_S
        self._served = _identity(workspace.store)
        self._address: tuple[int, int] | None = None
        self.scheduler = Scheduler(self)

    # --- services for the scheduler

    @property
    def clients(self) -> int:
        """How many clients are there."""
        return len(self._clients)

    def watch(self, descriptor: int, action: Callable[[], None]) -> None:
        """Call `action` when a descriptor is readable."""
        self._selector.register(descriptor, selectors.EVENT_READ, action)

    def unwatch(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)

    def at(self, monotonic: float, action: Callable[[], None]) -> None:
        """Call `action` in the loop at a time. An action that came too late must find that out."""
        self._timer_count += 1
        heapq.heappush(self._timers, (monotonic, self._timer_count, action))

    def work(
        self,
        task: Callable[[], Any],
        done: Callable[[Any, BaseException | None], None],
    ) -> None:
        """Run slow `task` in a worker thread, then `done(result, error)` in the loop."""

        def run() -> None:
            result: Any = None
            error: BaseException | None = None
            try:
                result = task()
            except BaseException as caught:  # noqa: BLE001  handed to the loop, which looks at it
                error = caught
            self.post(lambda: done(result, error))

        try:
            self._workers.submit(run)
        except RuntimeError:  # no thread can be started now; the task waits in the queue for one
            _log.warning("no further thread can be started: the limit of processes is reached")
            self.at(time.monotonic() + _RETRY_S, lambda: self.work(_nothing, _done))

    def post(self, action: Callable[[], None]) -> None:
        """Call `action` in the loop. May be called by a worker thread."""
        self._inbox.put(action)
        self._ring()

    def changed(self) -> None:
        """Tell the clients that wait for it that the store changed."""
        now = time.monotonic()
        for client in list(self._clients.values()):
            if not client.armed:
                continue
            client.armed = False
            if now - client.told >= _NOTIFY_S:
                self._tell(client)
            else:
                self.at(client.told + _NOTIFY_S, lambda client=client: self._tell(client))  # type: ignore[misc]

    def still_ours(self) -> None:
        """Call first in every transaction: two agents must not both count.

        Raises:
            Superseded: another one has begun, after the lock file was removed.
        """
        if self.store.meta("agent") != self._epoch:
            raise Superseded

    # --- the loop

    def run(self) -> None:
        """Serve until there was nothing to do for a while, or a client of another version came."""
        self._listen()
        self.scheduler.recover()
        idle_since = time.monotonic()
        self.at(self._reserve_due, self._keep_reserve)
        while True:
            busy = self._turn()
            now = time.monotonic()
            if busy:
                idle_since = now
            if self._leaving or (not busy and now - idle_since >= self._idle_s):
                self._stop_listening()
                if self._leaving or self._removed() or not self.scheduler.turn(look=True):
                    break
                self._listen()  # somebody was faster than we were
                continue
            self._watch()
            self._once(None if busy or self._idle_s == inf else idle_since + self._idle_s)
        self.scheduler.leave()
        self._workers.shutdown(wait=True, cancel_futures=True)
        self.store.close()

    def _turn(self) -> bool:
        """A turn of the scheduler. On a full disk the last one, but not before there is space."""
        try:
            return self.scheduler.turn()
        except DiskFullError as error:
            _log.error("the store cannot be written: %s", error)
            # What runs goes on, and what is past its time is ended: that needs no disk.
            while no_space(self.workspace.home):
                self.scheduler.heed()
                self._once(time.monotonic() + _STARVING_S)
            raise

    def _once(self, until: float | None) -> None:
        """Wait for the next thing to happen, and take all that has."""
        due = [at for at, _, _ in self._timers[:1]]
        if until is not None:
            due.append(until)
        timeout = max(0.0, min(due) - time.monotonic()) if due else None
        for key, _ in self._selector.select(timeout):
            key.data()
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()

    def _watch(self) -> None:
        """Look at the lock file and the reserve from time to time, but let an idle agent sleep."""
        if self.scheduler.crew.nodes and not self._glancing:
            self._glancing = True
            self.at(time.monotonic() + _GLANCE_S, self._glance)

    def _glance(self) -> None:
        self._glancing = False
        self._keep_reserve()
        if (_identity(self.workspace.lock), _identity(self.workspace.socket)) != (
            self._lock_file,
            self._address,
        ):
            _log.warning("the lock file or the socket was removed: the next agent continues")
            self._leaving = True

    def _keep_reserve(self) -> None:
        now = time.monotonic()
        if now >= self._reserve_due:
            self._reserve_due = now + _RESERVE_AGAIN_S
            self.work(partial(reserve.keep, self.store, self.workspace.home), _done)

    def _ring(self) -> None:
        try:
            os.write(self._rope, b"!")
        except BlockingIOError:
            pass  # it is ringing already

    def _hear(self) -> None:
        os.read(self._bell, 4096)
        while True:
            try:
                self._inbox.get_nowait()()
            except Empty:
                return

    # --- clients

    def _listen(self) -> None:
        self.workspace.socket.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        os.fchmod(listener.fileno(), 0o600)  # that of the file, too
        with link.short_path(self.workspace.socket) as path:
            listener.bind(path)
        listener.listen(64)
        self._listener = listener
        self._address = _identity(self.workspace.socket)
        self._selector.register(listener, selectors.EVENT_READ, self._accept)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            if _identity(self.workspace.socket) == self._address:
                self.workspace.socket.unlink(missing_ok=True)
            with contextlib.suppress(KeyError):  # it hears nobody for a while
                self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None
        for client in list(self._clients.values()):
            self._drop(client)

    def _removed(self) -> bool:
        """Whether the workspace was removed, and perhaps made anew: that has an agent of its own."""
        return _identity(self.workspace.store) != self._served

    def _accept(self) -> None:
        assert self._listener is not None  # noqa: S101  it is what woke us
        try:
            line, _ = self._listener.accept()
        except OSError as error:
            if shortage(error):  # it stays readable: look again when there may be room
                self._deafen(self._listener)
            return  # else it is gone again
        if _identity(self.workspace.lock) != self._lock_file:
            _log.warning(
                "the workspace was moved, or its lock file removed: the next agent continues"
            )
            self._leaving = True
            line.close()
            return
        line.setblocking(False)
        client = _Client(line)
        self._clients[line.fileno()] = client
        self._selector.register(line, selectors.EVENT_READ, lambda: self._hear_client(client))
        self.scheduler.look()
        stays = " stays" if self._idle_s == inf else ""
        try:
            line.send(f"cloudops {link.version()} {os.getpid()}{stays}\n".encode())
        except OSError:
            self._drop(client)  # killed since; what it wrote into the store counts

    def _deafen(self, listener: socket.socket) -> None:
        """Hear no new clients for a while."""
        self._selector.unregister(listener)

        def again() -> None:
            if self._listener is listener:
                self._selector.register(listener, selectors.EVENT_READ, self._accept)

        self.at(time.monotonic() + _RETRY_S, again)

    def _hear_client(self, client: _Client) -> None:
        try:
            data = client.line.recv(4096)
        except OSError:
            data = b""
        if not data:
            self._drop(client)
            return
        if link.WAKE in data:
            self.scheduler.look()
        if link.NOTIFY in data:
            client.armed = True
        if link.LEAVE in data:
            self._leaving = True

    def _tell(self, client: _Client) -> None:
        client.told = time.monotonic()
        try:
            client.line.send(b"!")
        except BlockingIOError:
            pass  # it has not read the last one yet
        except OSError:
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        if client.line.fileno() < 0:
            return
        del self._clients[client.line.fileno()]
        self._selector.unregister(client.line)
        client.line.close()


def _nothing() -> None:
    pass


def _done(_: object, __: BaseException | None) -> None:
    pass


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file a path leads to now, or None."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _lock(workspace: Workspace) -> int | None:
    """The workspace's agent lock, or None when a living agent has it."""
    deadline = time.monotonic() + _PATIENCE_S
    while (descriptor := owner.lock(workspace.lock)) is None:
        if _answers(workspace):
            return None
        if time.monotonic() > deadline:
            # Somebody may hold it who once could read it. Were it an agent after all, its next
            # transaction would end it.
            if not owner.replace_lock(workspace.lock):
                return None
            deadline += _PATIENCE_S
        time.sleep(0.02)  # the one before is leaving
    return descriptor


def _answers(workspace: Workspace) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        try:
            with link.short_path(workspace.socket) as path:
                line.connect(path)
        except OSError:
            return False
        return True


def main(home: str, *, stay: bool = False) -> int:
    """Run the agent of a workspace until it leaves. 0 also when another one serves already.

    `stay`: it does not leave for lack of work; another one is a conflict then.
    """
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    workspace = Workspace(Path(home))
    try:
        workspace.create()
        lock = _lock(workspace)
        if lock is None and stay:
            _log.error("another agent came first: try again")
            return ConflictError.exit_status
        if lock is None:
            return 0
        os.chdir(workspace.home)
        idle_s = inf if stay else agent_idle_s()
        Agent(workspace, idle_s).run()
    except KeyboardInterrupt:
        _log.info("interrupted: running tasks finish, all others wait for the next agent")
        logging.shutdown()
        os._exit(130)
    except Superseded:
        _log.warning("another agent started: running tasks finish, and it collects their results")
        logging.shutdown()
        os._exit(0)
    except BaseException as error:  # noqa: BLE001  the top of the process
        _log.error("%s", error, exc_info=not isinstance(error, StoreError))
        logging.shutdown()
        # At once: worker threads may be in the middle of a pull, and nodes drain when we are gone.
        os._exit(error.exit_status if isinstance(error, CloudOpsError) else 1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
