"""The line between clients and the agent."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cfa.cloudops.errors import AgentError, StoreError
from cfa.cloudops.service import link as module
from cfa.cloudops.service.link import LEAVE, NOTIFY, WAKE, Link, greeting, short_path, version
from cfa.cloudops.service.workspace import Workspace


class FakeAgent:
    """The agent's end, answering as told."""

    def __init__(self, workspace: Workspace, greeting: bytes) -> None:
        self.heard: list[bytes] = []
        self.lines: list[socket.socket] = []
        self._greeting = greeting
        self._listener = socket.socket(socket.AF_UNIX)
        with short_path(workspace.socket) as path:
            self._listener.bind(path)
        self._listener.listen()
        self._stop, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._stop, selectors.EVENT_READ)
            selector.register(self._listener, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj == self._stop:
                        return
                    if key.fileobj is self._listener:
                        line, _ = self._listener.accept()
                        self.lines.append(line)
                        with contextlib.suppress(BrokenPipeError):
                            line.sendall(self._greeting)
                        selector.register(line, selectors.EVENT_READ)
                        continue
                    line = key.fileobj  # type: ignore[assignment]
                    try:
                        data = line.recv(100)
                    except ConnectionError:
                        data = b""
                    if data:
                        self.heard.append(data)
                    else:
                        selector.unregister(line)

    def close(self) -> None:
        os.write(self._wake, b"!")
        self._thread.join()
        for line in (*self.lines, self._listener):
            line.close()
        os.close(self._stop)
        os.close(self._wake)

    def all_heard(self) -> bytes:
        return b"".join(self.heard)


Start = Callable[..., FakeAgent]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace without an agent."""
    made = Workspace(tmp_path / "home")
    made.create()
    return made


@pytest.fixture
def start(workspace: Workspace) -> Iterator[Start]:
    """Starts agents that do nothing but listen."""
    with contextlib.ExitStack() as stack:

        def begin(greeting: bytes = f"cloudops {version()} 1\n".encode()) -> FakeAgent:
            agent = FakeAgent(workspace, greeting)
            stack.callback(agent.close)
            return agent

        yield begin


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Times at which an agent would have been started; each is a process that fails at once."""
    times: list[int] = []

    def spawn(_: Workspace) -> int:
        times.append(1)
        return os.posix_spawn("/bin/sh", ["sh", "-c", "exit 6"], {})

    monkeypatch.setattr(module, "spawn", spawn)
    return times


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def test_greeting(workspace: Workspace, start: Start, spawned: list[int]) -> None:
    """The words of an agent's greeting are those that it sent; where none is, there are none."""
    assert greeting(workspace) == []
    start(b"cloudops 1 2 stays\n")
    assert greeting(workspace) == ["cloudops", "1", "2", "stays"]
    assert spawned == []


def test_wake_and_notify(workspace: Workspace, start: Start, spawned: list[int]) -> None:
    """A client wakes the agent and is told of a change once for each time that it asked."""
    agent = start()
    link = Link(workspace)
    link.wake()
    until(lambda: WAKE in agent.all_heard())
    assert link.wait(0.1)  # the first time it asks, something may have changed before
    until(lambda: NOTIFY in agent.all_heard())
    assert not link.wait(0.05)
    agent.lines[0].send(b"!")
    assert link.wait(5)
    assert not link.wait(0.05)
    link.close()
    assert spawned == []


def test_agent_of_another_version_is_asked_to_leave(
    workspace: Workspace, start: Start, spawned: list[int]
) -> None:
    """A greeting with another version is answered with the request to leave."""
    agent = start(b"cloudops 0.0.0-other 1\n")
    link = Link(workspace)
    deadline = time.monotonic() + 10
    while LEAVE not in agent.all_heard():
        assert time.monotonic() < deadline
        link.wait(0.05)
    link.close()


def test_agent_that_dies_is_noticed(workspace: Workspace, start: Start, spawned: list[int]) -> None:
    """The end of the connection ends a wait, and the next one starts an agent."""
    agent = start()
    link = Link(workspace)
    link.wait(0.1)
    until(lambda: agent.lines)
    agent.lines[0].shutdown(socket.SHUT_RDWR)
    while link.wait(0.2):
        if link._socket is None:
            break
    workspace.socket.unlink()
    with pytest.raises(AgentError, match="failed 5 times"):
        link.wait(0.5)
    assert len(spawned) == 5
    link.close()


def test_agent_that_cannot_start(workspace: Workspace, spawned: list[int]) -> None:
    """Agents that fail one after the other end in an error with their last words."""
    workspace.log.write_text("first\nthe reason\n")
    link = Link(workspace)
    for _ in range(2):  # and again: each call has its own tries
        with pytest.raises(AgentError, match="the reason") as caught:
            link.wait(0.1)
        assert isinstance(caught.value, StoreError)
        assert caught.value.transient
    link.close()


def test_agents_that_were_killed_do_not_count(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, start: Start
) -> None:
    """An agent that somebody killed is replaced as often as it takes."""
    started = []

    def spawn(_: Workspace) -> int:
        started.append(1)
        if len(started) == 20:
            start()
        return os.posix_spawn("/bin/sh", ["sh", "-c", "kill -9 $$"], {})

    monkeypatch.setattr(module, "spawn", spawn)
    link = Link(workspace)
    assert link.wait(5)
    assert len(started) >= 20
    link.close()


def test_socket_in_a_deep_place(tmp_path: Path) -> None:
    """A path longer than a socket's name may be still has one."""
    deep = tmp_path.joinpath(*["x" * 50] * 5)
    deep.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        with short_path(deep / "agent.sock") as name:
            assert len(name) < 108
            listener.bind(name)
        listener.listen()
        with short_path(deep / "agent.sock") as name:
            client.connect(name)
    assert (deep / "agent.sock").exists()
