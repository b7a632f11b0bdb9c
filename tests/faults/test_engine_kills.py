"""Kills on real engines: as on plain processes, and of the engine itself."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import define
from tests.conftest import REQUIRED
from tests.faults.driver import Driver, commands, environment

from cfa.cloudops.provider.container import HOME_LABEL
from cfa.cloudops.testing import images

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]

KILLS = os.environ.get("CLOUDOPS_FAULT_KILLS")
SEED = int(os.environ.get("CLOUDOPS_FAULT_SEED") or random.randrange(1 << 32))
TARGETS = {"script": 2, "agent": 3, "recovering": 1, "node": 3, "slot": 3, "guard": 1, "engine": 3}
STARTER = Path(__file__).parents[2] / ".ci" / "engines"


@define
class Server:
    """An engine of our own, which may be killed without harm to anybody.

    `find` gives the processes that must die for the engine to be dead; `start` brings it back, or
    does nothing where a client does that. `store` is where it keeps its containers.
    """

    name: str
    engine: images.Engine
    environment: dict[str, str]
    find: Callable[[], list[int]]
    start: Callable[[], None]
    store: str

    def kill(self, chance: random.Random) -> bool:
        """Kill the engine at once and start it again after a random while."""
        found = self.find()
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(chance.random() * 1.5)
        self.start()
        return bool(found)

    def containers(self, home: Path) -> list[str]:
        """Containers of a workspace, running or not, and monitors of containers that are gone."""
        label = f"label={HOME_LABEL}={home}"
        listed = self.engine.run("ps", "--all", "--filter", label, "--quiet", timeout_s=60)
        known = self.engine.run(
            "ps", "--all", "--format", "{{.Names}}", timeout_s=60
        ).stdout.split()
        names = {
            pid: words[words.index(b"-n") + 1].decode()
            for pid, words in commands()
            if words[0].endswith(b"/conmon")
            and os.fsencode(self.store) in b" ".join(words)
            and any(word.startswith(b"cloudops-test_busybox") for word in words)
        }
        monitors = [f"monitor {pid}: {name}" for pid, name in names.items() if name not in known]
        return [f"container {name}" for name in listed.stdout.split()] + monitors


def lacking(name: str, why: str) -> None:
    if name in REQUIRED:
        pytest.fail(f"{name} is required here. {why}", pytrace=False)
    pytest.skip(f"{name}: {why}")


@pytest.fixture(scope="module", params=["docker", "podman", "podman-rootless"])
def server(request) -> Iterator[Server]:
    """Each engine in turn, started for this module alone."""
    rootless = request.param == "podman-rootless"
    if rootless != (os.getuid() != 0):
        pytest.skip(f"{request.param}: not for this user")
    if rootless:
        with _rootless() as server:
            yield server
        return
    if shutil.which(request.param) is None or not STARTER.exists():
        lacking(request.param, "it is not installed.")
    # The shortest path that there is: sockets below it have names of limited length.
    state = Path(tempfile.mkdtemp(prefix="e", dir=os.environ["PYTEST_DEBUG_TEMPROOT"]))
    try:
        with _own(request.param, state) as server:
            yield server
    finally:
        subprocess.run([sys.executable, STARTER, "stop", "--state", state], timeout=120)
        shutil.rmtree(state, ignore_errors=True)


@contextlib.contextmanager
def _own(name: str, state: Path) -> Iterator[Server]:
    def start() -> None:
        # Where nobody reaps processes in time the old numbers look alive: dockerd's, and that of the
        # containerd that died with it.
        for file in ("docker.pid", "exec/containerd/containerd.pid"):
            (state / "docker" / file).unlink(missing_ok=True)
        command = [sys.executable, STARTER, "start", "--state", state, "--only", name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            lacking(name, f"It does not start: {done.stderr}")

    def find() -> list[int]:
        return [int(json.loads((state / "state.json").read_text())[f"pid.{name}"])]

    start()
    variables = dict(
        line.removeprefix("export ").split("=", 1)
        for line in (state / "env").read_text().splitlines()
    )
    other = "CONTAINER" if name == "docker" else "DOCKER"
    environment = {key: value for key, value in variables.items() if not key.startswith(other)}
    engine = images.engine(name, {**os.environ, **environment})
    images.load(engine, images.BUSYBOX)
    yield Server(name, engine, environment, find, start, str(state))


@contextlib.contextmanager
def _rootless() -> Iterator[Server]:
    """The user's own Podman: each of our executors starts a service of its own. Those are found by a
    word in their environment, because the user may have others."""
    if shutil.which("podman") is None:
        lacking("podman-rootless", "it is not installed.")
    engine = images.engine("podman")
    if engine.run("info", timeout_s=60).returncode != 0:
        lacking("podman-rootless", "it does not work.")
    images.load(engine, images.BUSYBOX)
    mark = uuid.uuid4().hex

    def find() -> list[int]:
        return [
            pid
            for pid, words in commands()
            if words[1:3] == [b"system", b"service"]
            and b"podman" in words[0]
            and f"CLOUDOPS_TEST_MARK={mark}".encode() in environment(pid)
        ]

    variables = {"CLOUDOPS_TEST_MARK": mark}
    yield Server("podman", engine, variables, find, lambda: None, os.environ["HOME"])
    for path in Path(tempfile.gettempdir()).iterdir():
        if path.name.isdecimal():  # a temporary file of a service that was killed
            path.unlink()


@pytest.mark.parametrize("isolation", ["job", "task"])
def test_kills_on_an_engine(server: Server, workdir: Path, monkeypatch, isolation: str):
    """In containers: every task succeeds, no finished one runs again, nothing is left."""
    monkeypatch.setenv("CLOUDOPS_BACKEND", server.name)
    monkeypatch.setenv("CLOUDOPS_AGENT_IDLE_S", "1")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    kills = int(KILLS) if KILLS else {"job": 16, "task": 8}[isolation]
    driver = Driver(
        images.BUSYBOX,
        isolation,
        SEED,
        TARGETS,
        kill_engine=server.kill,
        leftovers=lambda: server.containers(workdir / ".cloudops"),
        tasks_per_job=8,
    )
    driver.run(kills, pause_s=0.8)
