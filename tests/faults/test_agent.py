"""The agent comes, goes, is replaced and is missed; the clock may jump."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.faults.driver import commands, parent

from cfa.cloudops.local import CloudClient
from cfa.cloudops.service import agent as agent_module
from cfa.cloudops.service import ledger, link, recovery, scheduler, schedules
from cfa.cloudops.service.agent import Agent
from cfa.cloudops.service.workspace import Workspace

pytestmark = pytest.mark.parametrize("backend", ["subprocess-nosandbox"], indirect=True)


@pytest.fixture
def client(backend, workdir: Path) -> Iterator[CloudClient]:
    """A client with the job `j`, kept open, and a folder `d` that its tasks see."""
    Path("d").mkdir()
    made = CloudClient(at_exit="detach", max_parallel=2)
    made.create_pool("p", mounts=["d"], task_slots_per_node=2)
    made.create_job("j", "p", mark_complete_after_tasks_run=False)
    yield made
    made.close()


def agent_pid() -> int | None:
    """Who answers at the workspace's socket."""
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(".cloudops/agent.sock")
            return int(line.recv(100).split()[-1])
        except (OSError, IndexError):
            return None


def until(condition: Callable[[], object], limit_s: float = 30.0):
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
    return found


def finished(client: CloudClient) -> list[str]:
    """Results of all tasks, once none is active or running."""
    deadline = time.monotonic() + 30
    while (counts := client._batch.task_counts("j")).completed < counts.total:
        assert time.monotonic() < deadline, Path(".cloudops/agent.log").read_text()
        client._batch.wait_for_change(1)
    return [str(task.result) for task in client._batch.list_tasks("j")]


WAIT = "sh -c 'echo up; until [ -e /d/gate ]; do sleep 0.05; done'"


def test_dead_agent_is_replaced(client):
    """A client that waits notices a dead agent at once and starts another; nothing is lost."""
    client.add_task(WAIT)
    until(lambda: client._batch.read_task_file("j", "j--1", "stdout.txt"))
    first = until(agent_pid)
    client._batch.wait_for_change(0.1)
    os.kill(first, signal.SIGKILL)
    Path("d/gate").touch()
    began = time.monotonic()
    assert finished(client) == ["success"]
    assert time.monotonic() - began < 10
    assert agent_pid() not in (None, first)
    assert client._batch.get_task("j", "j--1").requeue_count == 0


@pytest.mark.parametrize("victim", ["shell", "guard", "both"])
def test_slot_that_dies_idle(client, workdir, victim):
    """A slot of which somebody kills a part while nothing runs in it keeps no later task waiting."""
    client.add_task("true")
    assert finished(client) == ["success"]
    (shell,) = [
        pid
        for pid, words in commands()
        if b"slot" in words and any(word.startswith(os.fsencode(workdir)) for word in words)
    ]
    guard = parent(shell)
    for pid in {"shell": [shell], "guard": [guard], "both": [guard, shell]}[victim]:
        os.kill(pid, signal.SIGKILL)
    for _ in range(3):
        client.add_task("true")
    assert finished(client) == ["success"] * 4


def test_slots_that_nobody_can_end(client, workdir):
    """An agent that dies after guards of its node leaves no slot that waits for ever."""
    client.add_task("true")
    client.add_task(WAIT)
    until(lambda: client._batch.read_task_file("j", "j--2", "stdout.txt"))
    until(lambda: client._batch.task_counts("j").completed)
    agent = until(agent_pid)
    os.kill(agent, signal.SIGSTOP)
    ours = [
        (pid, words)
        for pid, words in commands()
        if any(word.startswith(os.fsencode(workdir)) for word in words)
    ]
    shells = [pid for pid, words in ours if b"slot" in words]
    assert len(shells) == 2
    [busy] = [pid for pid in shells if any(parent(other) == pid for other, _ in commands())]
    for pid in [*map(parent, shells), busy]:
        os.kill(pid, signal.SIGKILL)
    for pid, words in ours:
        if b"echo up" in b" ".join(words):
            os.kill(pid, signal.SIGKILL)
    os.kill(agent, signal.SIGKILL)
    Path("d/gate").touch()
    assert finished(client) == ["success", "success"]


def test_stopped_agent_does_not_stop_adding(client):
    """An agent that hangs does not keep a client from adding tasks."""
    pid = until(agent_pid)
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        client.add_task_collection("j", [{"command_line": "true"}] * 20)
        assert time.monotonic() - began < 5
    finally:
        os.kill(pid, signal.SIGCONT)
    assert finished(client) == ["success"] * 20


def test_idle_agent_leaves_and_comes_back(client, monkeypatch):
    """An agent without work leaves; the next task brings another, in the same job."""
    client.add_task("true")
    assert finished(client) == ["success"]
    first = until(agent_pid)
    until(lambda: not Path(".cloudops/agent.sock").exists())
    with open(".cloudops/agent.lock") as lock:
        until(lambda: locked(lock))
    client.add_task("true")
    assert finished(client) == ["success", "success"]
    assert agent_pid() not in (None, first)


def test_workspace_that_was_made_anew(backend, workdir, monkeypatch):
    """An agent whose workspace was removed leaves that of its successor alone."""
    monkeypatch.setenv("CLOUDOPS_AGENT_IDLE_S", "2")
    one = CloudClient(at_exit="detach")
    one.create_pool("p")
    one.create_job("j", "p")
    one.add_task("true")
    assert finished(one) == ["success"]
    first = until(agent_pid)
    one.close()
    until(lambda: shutil.rmtree(".cloudops", ignore_errors=True) or not os.path.exists(".cloudops"))
    other = CloudClient(at_exit="detach")
    other.create_pool("p")
    other.create_job("j", "p")
    other.add_task("sh -c 'sleep 30'")
    second = until(agent_pid)
    assert second != first
    until(lambda: not Path(f"/proc/{first}/exe").exists())
    assert agent_pid() == second
    other._batch.terminate_job("j")
    assert finished(other) == ["failure"]
    other.close()


def test_job_that_was_ended_unheard(client):
    """A job ended by a client that cannot tell the agent keeps the reason, also when its last task
    ends at this moment."""
    client.create_job("k", "p")
    client.add_task("sh -c 'until [ -e /d/gate ]; do sleep 0.05; done'", job_name="k")
    until(lambda: client._batch.get_job("k").counts.running)
    with client._batch._store.transaction() as _:
        client._batch._store.execute(
            "UPDATE job SET state = 'terminating', terminate_reason = 'UserTerminate' "
            "WHERE id = 'k'"
        )
    Path("d/gate").touch()
    job = until(lambda: (found := client._batch.get_job("k")).state == "completed" and found)
    assert job.terminate_reason == "UserTerminate"


def locked(file) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(file, fcntl.LOCK_UN)
    return True


def test_one_agent_for_all(client):
    """However many are started at once, one serves and the others leave without an error."""
    client.add_task(WAIT)  # one without work would leave before they have started
    pid = until(agent_pid)
    argv = [sys.executable, "-m", "cfa.cloudops.service.agent", str(Path(".cloudops").absolute())]
    others = [subprocess.Popen(argv) for _ in range(4)]
    assert [other.wait(30) for other in others] == [0] * 4
    assert agent_pid() == pid
    Path("d/gate").touch()
    assert finished(client) == ["success"]


def test_agents_that_start_together(backend, workdir):
    """Agents that start at the same moment in an empty workspace settle on one."""
    home = str(Path(".cloudops").absolute())
    argv = [sys.executable, "-m", "cfa.cloudops.service.agent", home]
    started = [subprocess.Popen(argv) for _ in range(4)]
    until(lambda: sum(one.poll() is None for one in started) == 1)
    assert agent_pid() in {one.pid for one in started}
    assert [one.wait(30) for one in started] == [0] * 4  # the last one when it is idle


def test_agent_of_another_version(client, monkeypatch):
    """A client of another version replaces the agent; tasks that run are collected, not repeated."""
    client.add_task("sh -c 'echo x >>/d/runs; until [ -e /d/gate ]; do sleep 0.05; done'")
    until(Path("d/runs").exists)
    first = until(agent_pid)
    # The other version is told by a module that stands before ours on the path.
    Path("other").mkdir()
    Path("other/sitecustomize.py").write_text(
        "import importlib.metadata as m\n"
        "plain = m.version\n"
        "m.version = lambda name: '9.9' if name == 'cfa-cloudops' else plain(name)\n"
    )
    path = os.pathsep.join(filter(None, [str(Path("other").absolute()), os.getenv("PYTHONPATH")]))
    script = (
        "from cfa.cloudops.local import CloudClient\n"
        "client = CloudClient(at_exit='detach')\n"
        "client.add_task('j', 'true')\n"
        "while client._batch.task_counts('j').succeeded < 2:\n"
        "    client._batch.wait_for_change(1)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": path}
    ) as other:
        until(lambda: agent_pid() not in (None, first))
        Path("d/gate").touch()
        assert other.wait(60) == 0
    assert Path("d/runs").read_text() == "x\n"
    assert client._batch.get_task("j", "j--1").requeue_count == 0


def test_client_that_vanishes(client):
    """A client killed between its call and the answer does the agent no harm."""
    pid = until(agent_pid)
    os.kill(pid, signal.SIGSTOP)
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(".cloudops/agent.sock")
    os.kill(pid, signal.SIGCONT)
    client.add_task("true")
    assert finished(client) == ["success"]
    assert agent_pid() == pid


class Clock:
    """The time module, with a wall clock that can be set."""

    def __init__(self) -> None:
        self.offset = 0.0

    def time(self) -> float:
        return time.time() + self.offset

    def __getattr__(self, name: str):
        return getattr(time, name)


@contextlib.contextmanager
def agent_here(idle_s: float) -> Iterator[Agent]:
    """An agent in this process, until it is idle."""
    workspace = Workspace(Path(".cloudops").absolute())
    workspace.create()
    lock = agent_module._lock(workspace)
    assert lock is not None
    agent = Agent(workspace, idle_s=idle_s)
    thread = threading.Thread(target=agent.run)
    thread.start()
    until(workspace.socket.exists)
    yield agent
    thread.join(60)
    os.close(lock)
    os.close(agent._bell)
    os.close(agent._rope)
    agent._selector.close()
    assert not thread.is_alive()


@pytest.fixture
def clock(backend, workdir: Path, monkeypatch) -> Iterator[Clock]:
    """An agent in this process that lives by a clock of its own."""
    made = Clock()
    for module in (agent_module, scheduler, ledger, recovery, link, schedules):
        monkeypatch.setattr(module, "time", made)
    with agent_here(idle_s=1):
        yield made


def test_idle_agent_sleeps(backend, workdir: Path, monkeypatch):
    """An agent without nodes wakes for nothing: no timer goes on by itself."""
    monkeypatch.setattr(agent_module, "_RESERVE_S", 0.01)
    monkeypatch.setattr(agent_module, "_RESERVE_AGAIN_S", 0.01)
    monkeypatch.setattr(agent_module, "_GLANCE_S", 0.01)
    turns = []
    with agent_here(idle_s=1) as agent:
        turn = agent.scheduler.turn
        monkeypatch.setattr(agent.scheduler, "turn", lambda **how: turns.append(1) or turn(**how))
    assert len(turns) < 10


@pytest.mark.parametrize("hours", [10, -10])
def test_clock_that_jumps(clock, hours):
    """Time limits are durations: setting the clock neither ends a task early nor keeps it."""
    Path("d").mkdir()
    client = CloudClient(at_exit="detach", max_parallel=3)
    try:
        client.create_pool("p", mounts=["d"], task_slots_per_node=3)
        client.create_job("j", "p", timeout=60)
        client.add_task(WAIT, timeout=30)
        client.add_task("sh -c 'echo up; sleep 60'", timeout=2 / 60)
        for task in ("j--1", "j--2"):
            until(lambda task=task: client._batch.read_task_file("j", task, "stdout.txt"))
        clock.offset = hours * 3600
        client.add_task("true")  # makes the agent look at everything
        until(lambda: client._batch.get_task("j", "j--3").state == "completed")
        until(lambda: client._batch.get_task("j", "j--2").state == "completed")
        assert client._batch.get_task("j", "j--2").failure.code == "TaskEnded"
        assert client._batch.get_task("j", "j--1").state == "running"
        assert client._batch.get_job("j").state == "active"
        Path("d/gate").touch()
        assert finished(client) == ["success", "failure", "success"]
    finally:
        client.close()


def test_clock_that_jumps_to_a_schedule(clock, monkeypatch):
    """A schedule goes by the wall clock: when that is set forward, its jobs come at once, the missed
    ones but once; when it is set back, none comes twice."""
    monkeypatch.setattr(schedules, "_GLANCE_S", 0.05)
    Path("d").mkdir()
    client = CloudClient(at_exit="detach", max_parallel=3)

    def made() -> int:
        return sum(job.spec.id.startswith("s:") for job in client._batch.list_jobs())

    try:
        client.create_pool("p", mounts=["d"], task_slots_per_node=3)
        client.create_job("j", "p")
        client.add_task(WAIT)  # keeps the agent
        client.create_job_schedule("s", "p", "true", recurrence_interval=timedelta(hours=1))
        until(lambda: client.check_job_status("s:job-1") == "complete")
        clock.offset = 4.5 * 3600
        until(lambda: client.check_job_status("s:job-2") == "complete")
        clock.offset = -10 * 3600
        client.add_task("true")  # makes the agent look at everything
        until(lambda: client._batch.get_task("j", "j--2").state == "completed")
        assert made() == 2
        clock.offset = 5.5 * 3600
        until(lambda: client.check_job_status("s:job-3") == "complete")
        assert made() == 3
        client.delete_job_schedule("s")
        Path("d/gate").touch()
        assert finished(client) == ["success", "success"]
    finally:
        client.close()


def test_stopped_agent_is_told_of(client: CloudClient, caplog: pytest.LogCaptureFixture):
    """A client that waits for an agent which was stopped says so, and how to let it go on."""
    client.add_task("j", "true")
    assert finished(client) == ["success"]
    pid = until(agent_pid)
    os.kill(pid, signal.SIGSTOP)
    try:
        client.add_task("j", "true")
        until(lambda: (client._batch.wait_for_change(0.1), "is stopped" in caplog.text)[1])
    finally:
        os.kill(pid, signal.SIGCONT)
    assert f"kill -CONT {pid}" in caplog.text
    assert finished(client) == ["success", "success"]


def launchers() -> list[int]:
    """First processes of the launchers of this workspace's nodes."""
    mark = os.fsencode(Path(".cloudops").absolute())
    found = []
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        if b"serve" in words and any(word.startswith(mark) for word in words):
            found.append(int(process.name))
    return [pid for pid in found if parent(pid) not in found]  # without their subshells


@pytest.mark.thorough
def test_node_that_never_hears_of_the_end(client: CloudClient):
    """A node whose input somebody else keeps open after its agent died is given up, and its task
    runs again."""
    client.add_task("j", WAIT)
    until(lambda: client._batch.task_counts("j").running)
    pid = until(agent_pid)
    [launcher] = until(launchers)
    held = os.open(f"/proc/{launcher}/fd/0", os.O_WRONLY)
    try:
        os.kill(pid, signal.SIGKILL)
        until(lambda: (client._batch.wait_for_change(0.2), launcher not in launchers())[1])
        Path("d/gate").touch()
        assert finished(client) == ["success"]
        assert client._batch.get_task("j", "j--1").requeue_count == 1
    finally:
        os.close(held)
