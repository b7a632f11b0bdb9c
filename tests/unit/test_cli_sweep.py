"""`cloudops sweep`, `doctor` and `agent`, with executors of the tests' own."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import ClassVar

import pytest
from attrs import evolve

from cfa.cloudops import backends, settings
from cfa.cloudops.cli import agent, doctor, output, sweep
from cfa.cloudops.errors import (
    BackendError,
    BackendUnavailableError,
    ConflictError,
    ImageError,
    NodeError,
)
from cfa.cloudops.model.values import Mount, PoolSpec
from cfa.cloudops.provider.executor import Capabilities, Executor, NodeStatus
from cfa.cloudops.service.definitions import definition
from cfa.cloudops.service.link import version
from cfa.cloudops.service.local import LocalBatch
from cfa.cloudops.service.store import Store
from cfa.cloudops.service.workspace import Workspace

NO_IMAGES = Capabilities(version="1", endpoint="/bin/fake", images=False)
READY = Capabilities(version="1", endpoint="unix:///fake.sock", enforces_cpus=True)


class FakeExecutor(Executor):
    """Holds nodes as (workspace, home, status); what it is told to remove is gone."""

    name: ClassVar[str] = "docker"

    def __init__(self, *nodes, capabilities=READY, error=None):
        super().__init__()
        self.nodes = list(nodes)
        self.capabilities = capabilities
        self.error = error

    def probe(self):
        if self.error is not None:
            raise self.error
        return self.capabilities

    def open_node(self, spec):
        raise NotImplementedError

    def list_nodes(self, workspace):
        return [status for owner, _, status in self.nodes if owner == workspace]

    def remove_node(self, workspace, node_id):
        self.nodes = [
            node for node in self.nodes if (node[0], node[2].node_id) != (workspace, node_id)
        ]

    def workspaces(self):
        return {owner: home for owner, home, _ in self.nodes}


def node(identifier, *, running=True):
    return NodeStatus(node_id=identifier, engine_id=f"engine-{identifier}", running=running)


@pytest.fixture
def use(monkeypatch):
    """Makes executors the only ones there are."""

    def replace(**executors):
        monkeypatch.setattr(backends, "names", lambda group: sorted(executors))
        monkeypatch.setattr(backends, "load_executor", lambda name: executors[name])

    return replace


def make(home):
    """A workspace and its id."""
    chosen = settings.load(default_backend="auto", arguments={"CLOUDOPS_HOME": str(home)})
    LocalBatch(chosen).close()
    workspace = Workspace(home)
    store = Store(workspace.store)
    try:
        return workspace, store.meta("workspace")
    finally:
        store.close()


@pytest.fixture
def place(workdir):
    return make(workdir / ".cloudops")


@pytest.fixture
def living(place):
    """Something that holds the agent's lock."""
    workspace, _ = place
    with workspace.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def stale_socket(workspace):
    with socket.socket(socket.AF_UNIX) as line:
        line.bind(os.path.relpath(workspace.socket))


# --- sweep


def swept(workspace, *, dry_run, failed=0):
    broom = sweep.Broom(dry_run)
    sweep.sweep(workspace, broom)
    assert broom.failed == failed
    return broom.count


def swept_others(workspace, *, dry_run):
    broom = sweep.Broom(dry_run)
    sweep.sweep_others(workspace, broom)
    assert not broom.failed
    return broom.count


def test_sweep(place, use, capsys):
    """Nodes, their directories and the socket that a killed agent left are removed and named."""
    workspace, identifier = place
    engine = FakeExecutor(
        (identifier, "", node("one")),
        (identifier, "", node("two", running=False)),
        ("another", "", node("three")),
    )
    use(docker=engine)
    (workspace.nodes / "one").mkdir()
    (workspace.nodes / "one" / "launcher.sh").touch()
    stale_socket(workspace)

    assert swept(workspace, dry_run=True) == 4
    assert len(engine.nodes) == 3
    assert "would remove running node one" in capsys.readouterr().out

    assert swept(workspace, dry_run=False) == 4
    assert [owner for owner, _, _ in engine.nodes] == ["another"]
    assert not list(workspace.nodes.iterdir())
    assert not workspace.socket.exists()
    out = capsys.readouterr().out
    assert "removed ended node two (docker engine-two)" in out
    assert swept(workspace, dry_run=False) == 0


def test_sweep_leaves_a_living_agent_alone(place, use, living, capsys):
    """Nothing of a living agent is touched."""
    workspace, identifier = place
    engine = FakeExecutor((identifier, "", node("one")))
    use(docker=engine)
    (workspace.nodes / "one").mkdir()
    stale_socket(workspace)
    assert swept(workspace, dry_run=False) == 0
    assert len(engine.nodes) == 1
    assert (workspace.nodes / "one").exists()
    assert workspace.socket.exists()
    assert "an agent runs in" in capsys.readouterr().err


def test_sweep_with_an_engine_that_does_not_answer(place, use, capsys):
    """Directories of nodes on an engine that does not answer stay, and it is said."""
    workspace, _ = place
    store = Store(workspace.store)
    store.execute(
        "INSERT INTO node (id, job, backend, name, opened) VALUES ('one', 1, 'docker', 'x', 0)"
    )
    store.close()
    use(docker=FakeExecutor(error=BackendUnavailableError("It is down.", "Start it.")))
    (workspace.nodes / "one").mkdir()
    (workspace.nodes / "two").mkdir()
    assert swept(workspace, dry_run=False, failed=1) == 1
    assert [path.name for path in workspace.nodes.iterdir()] == ["one"]
    assert "It is down." in capsys.readouterr().err


def test_sweep_goes_on_after_a_failure(place, use, capsys, monkeypatch):
    """What cannot be removed is named, and the rest is removed."""
    workspace, identifier = place
    engine = FakeExecutor((identifier, "", node("one")), (identifier, "", node("two")))
    use(docker=engine)
    remove = engine.remove_node

    def fail(owner, node_id):
        if node_id == "one":
            raise BackendUnavailableError("It is stuck.")
        remove(owner, node_id)

    monkeypatch.setattr(engine, "remove_node", fail)
    assert swept(workspace, dry_run=False, failed=1) == 1
    assert "It is stuck." in capsys.readouterr().err


def test_sweep_of_temporaries(place, use, workdir):
    """Half-written blobs and reports go when their writer is dead, and only then."""
    workspace, _ = place
    use()
    chosen = settings.load(default_backend="subprocess")
    batch = LocalBatch(chosen)
    mounts = (Mount("input-test", "data"), Mount("gone", "gone"))
    store = Store(workspace.store)
    spec = PoolSpec(id="p", backend="subprocess", mounts=mounts, storage=chosen.storage)
    store.execute(
        "INSERT INTO pool (id, state, definition, created) VALUES ('p', 'active', ?, 0)",
        (definition(spec),),
    )
    store.close()
    batch.close()
    folder = workdir / "input-test" / "deep"
    (folder / ".cloudops-1-dead-0.part").mkdir(parents=True)
    (folder / ".cloudops-1-dead-0.part" / "x").touch()
    for name in (".cloudops-1-dead-1.part", ".cloudops-1-alive-2.part", "data.part", "data"):
        (folder / name).touch()
    report = Path(tempfile.gettempdir(), "cloudops-run-dead")
    report.touch()
    with (folder / ".cloudops-1-alive-2.part").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert swept(workspace, dry_run=False) == 3
    kept = sorted(path.name for path in folder.iterdir())
    assert kept == [".cloudops-1-alive-2.part", "data", "data.part"]
    assert not report.exists()


def test_sweep_of_other_workspaces(place, use, tmp_path, capsys, monkeypatch):
    """Of others only nodes of deleted workspaces go, and ended ones of those without an agent."""
    monkeypatch.setattr(sweep, "agent_may_live", lambda home: home == str(tmp_path / "moved"))
    monkeypatch.setattr(sweep, "is_here", lambda endpoint: True)
    mine, _ = place
    idle, idle_id = make(tmp_path / "idle")
    busy, busy_id = make(tmp_path / "busy")
    nodes = [
        ("gone", str(tmp_path / "gone"), node("g1", running=False)),
        ("gone", str(tmp_path / "gone"), node("g2")),
        ("moved", str(tmp_path / "moved"), node("v1")),
        ("nameless", "", node("n1", running=False)),
        (idle_id, str(idle.home), node("i1", running=False)),
        (idle_id, str(idle.home), node("i2")),
        (busy_id, str(busy.home), node("b1", running=False)),
        ("mine", str(mine.home), node("m1", running=False)),
    ]
    engine = FakeExecutor(*nodes)
    use(docker=engine)
    with busy.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert swept_others(mine, dry_run=True) == 3
        assert swept_others(mine, dry_run=False) == 3
    left = {status.node_id for _, _, status in engine.nodes}
    assert left == {"v1", "n1", "i2", "b1", "m1"}
    shown = capsys.readouterr()
    assert "which is gone" in shown.out
    for kept in ("v1", "i2", "b1"):
        assert f"kept node {kept}" in shown.err


def test_an_agent_whose_directory_was_moved(tmp_path):
    """An agent is found among the processes by its arguments."""
    home = str(tmp_path / "moved")
    with subprocess.Popen(
        [sys.executable, "-c", "print('up'); input()", "cfa.cloudops.service.agent", home],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # a program that is just being started has no arguments yet
        try:
            assert agent.agent_may_live(home)
        finally:
            process.kill()
    assert not agent.agent_may_live(home)


@pytest.mark.parametrize("endpoint", ["tcp://far:2375", "unix://forwarded.sock"])
def test_sweep_of_others_on_a_remote_engine(use, workdir, tmp_path, capsys, endpoint):
    """Whether a workspace on another machine lives cannot be seen: its nodes stay."""
    remote = evolve(READY, endpoint=endpoint)
    nodes = [("gone", str(tmp_path / "gone"), node("g1", running=False))]
    engine = FakeExecutor(*nodes, capabilities=remote)
    use(docker=engine)
    with socket.socket(socket.AF_UNIX) as line:  # served by a process that is no engine
        line.bind("forwarded.sock")
        line.listen()
        assert swept_others(None, dry_run=False) == 0
    assert engine.nodes
    assert endpoint in capsys.readouterr().err


# --- doctor


@pytest.fixture
def examine(workdir):
    def call(**arguments):
        given = {f"CLOUDOPS_{name.upper()}": value for name, value in arguments.items()}
        return doctor.examine(lambda: settings.load(default_backend="auto", arguments=given))

    return call


def test_doctor_of_a_good_machine(examine, use, workdir, capsys):
    """All is well when an engine answers and both places can be written to; nothing is left."""
    use(docker=FakeExecutor())
    report = examine()
    assert report.usable
    assert report.chosen == "docker"
    assert [place.writable for place in report.places] == [True, True]
    assert report.settings["CLOUDOPS_BACKEND"] == {"value": "auto", "origin": "default"}
    assert list(workdir.iterdir()) == []
    doctor.show(report)
    out = capsys.readouterr().out
    assert "Tasks run on docker." in out
    assert "cores enforced, memory not enforced" in out
    assert "unix:///fake.sock" in out


def test_doctor_without_an_engine(examine, use, capsys):
    """Without an engine no task can run, and each one's own advice is given."""
    use(
        docker=FakeExecutor(error=BackendUnavailableError("It is down.", "Start docker.")),
        podman=FakeExecutor(error=BackendError("It is broken.", "Mend podman.")),
    )
    report = examine()
    assert not report.usable
    assert [engine.state for engine in report.engines] == ["not answering", "broken"]
    doctor.show(report)
    out = capsys.readouterr().out
    assert "Start docker." in out
    assert "Mend podman." in out
    assert "No task can run" in out


def test_doctor_of_a_setting_that_names_a_dead_engine(examine, use):
    """That another engine answers does not help when the setting names one that does not."""
    use(
        docker=FakeExecutor(error=BackendUnavailableError("It is down.", "Start docker.")),
        subprocess=FakeExecutor(),
    )
    assert examine().chosen == "subprocess"
    report = examine(backend="docker")
    assert not report.usable
    assert "Start docker." in report.problems[0].advice
    assert not examine(backend="nope").usable


def test_doctor_of_places_that_cannot_be_written(examine, use, workdir):
    """A workspace below a file is a problem that says what to do."""
    use(docker=FakeExecutor())
    (workdir / "file").touch()
    report = examine(home="file/workspace")
    assert not report.usable
    [problem] = report.problems
    assert "file/workspace" in problem.what
    assert "CLOUDOPS_HOME" in problem.advice


def test_doctor_of_a_store_that_cannot_be_used(examine, use, workdir):
    """A store of a newer version, or a damaged one, is a fatal problem with what to do."""
    use(docker=FakeExecutor())
    make(workdir / ".cloudops")
    assert examine().usable
    store = workdir / ".cloudops" / "store.db"
    with contextlib.closing(sqlite3.connect(store)) as db:
        db.execute("PRAGMA user_version = 99")
    report = examine()
    assert not report.usable
    (problem,) = report.problems
    assert "newer version" in problem.what
    assert "CLOUDOPS_HOME" in problem.advice
    store.write_bytes(b"no database " * 999)
    assert not examine().usable


def test_doctor_of_bad_settings(examine, use):
    """A setting that cannot be used is a problem, not a crash."""
    use(docker=FakeExecutor())
    report = examine(max_parallel="many")
    assert not report.usable
    assert "CLOUDOPS_MAX_PARALLEL" in report.problems[0].what


def test_doctor_of_other_storage(examine, use):
    """A storage that is not a directory is tried by making a container in it."""
    use(docker=FakeExecutor())
    report = examine(storage="memory://doctor")
    assert report.places[1].writable
    assert report.places[1].free_bytes is None


def test_doctor_of_a_full_disk(examine, use, monkeypatch):
    """Little space is a problem, but not one that keeps tasks from running."""
    use(docker=FakeExecutor())
    usage = doctor.shutil.disk_usage(".")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage._replace(free=1 << 20))
    report = examine()
    assert report.usable
    assert "1.0 MiB" in report.problems[0].what


def test_doctor_of_a_plugin_that_crashes(examine, use, monkeypatch):
    """A plugin's own fault is shown; the others are still looked at."""
    crashing = FakeExecutor()
    monkeypatch.setattr(crashing, "probe", lambda: 1 / 0)
    use(crash=crashing, docker=FakeExecutor())
    report = examine()
    assert report.usable
    assert "ZeroDivisionError" in report.engines[0].why


class TrialNode:
    """A node of `Container`, which counts those that are open."""

    def __init__(self, executor):
        self.executor = executor

    def close(self, grace_s):
        assert grace_s == 0
        self.executor.open -= 1


class Container(FakeExecutor):
    """Opens nodes; `images` has the error that each image comes to, None for none."""

    def __init__(self, **images):
        super().__init__()
        self.images = images
        self.specs = []
        self.open = 0

    def open_node(self, spec):
        self.specs.append(spec)
        error = self.images.get(spec.image, ImageError(f"There is no {spec.image}."))
        if error is not None:
            raise error
        self.open += 1
        return TrialNode(self)


def pools(workdir, *images, backend="docker"):
    """A workspace with a pool for each image."""
    workspace, identifier = make(workdir / ".cloudops")
    with contextlib.closing(Store(workspace.store)) as store:
        for number, image in enumerate(images):
            spec = PoolSpec(id=f"pool{number}", backend=backend, nodes=1, image=image)
            store.execute(
                "INSERT INTO pool (id, state, definition, created) VALUES (?, 'active', ?, 0)",
                (spec.id, definition(spec)),
            )
    return identifier


RUNC = NodeError("docker cannot start a node: runc: setting rlimit type 7: not permitted.", "Pool?")


def test_doctor_tries_a_container(examine, use, workdir, capsys):
    """An engine starts a container from the first image of a pool that is there, and removes it."""
    engine = Container(here=None, never=RUNC)
    use(docker=engine)
    identifier = pools(workdir, None, "absent", "here", "absent", "never")
    report = examine()
    assert report.usable
    assert report.engines[0].trial == doctor.Trial(started=True, image="here")
    assert [spec.image for spec in engine.specs] == ["absent", "here"]
    assert engine.open == 0
    assert all(spec.workspace != identifier for spec in engine.specs)
    assert all(not Path(spec.home).exists() for spec in engine.specs)
    doctor.show(report)
    assert "a container of here started" in capsys.readouterr().out


def test_doctor_of_an_engine_that_starts_no_container(examine, use, workdir, capsys):
    """An engine that answers and starts nothing is not ready; its own words and a way to try it."""
    use(docker=Container(here=RUNC), subprocess=FakeExecutor(capabilities=NO_IMAGES))
    pools(workdir, "here")
    report = examine()
    assert report.chosen == "docker"
    assert not report.usable
    assert [engine.state for engine in report.engines] == ["broken", "ready"]
    (problem,) = report.problems
    assert "rlimit type 7: not permitted" in problem.what
    assert "docker run --rm here true" in problem.advice
    output.document(report)
    found = json.loads(capsys.readouterr().out)["engines"]
    assert found[0]["trial"] == {"started": False, "image": "here", "why": RUNC.message}
    assert found[1]["trial"] is None
    doctor.show(report)
    assert "docker: broken" in capsys.readouterr().out
    report = examine(backend="subprocess")  # then it is no matter
    assert report.usable
    assert len(report.problems) == 1


def test_doctor_believes_one_container_that_starts(examine, use, workdir):
    """An image that does not work is no fault of an engine that starts another one."""
    engine = Container(bad=RUNC, good=None)
    use(docker=engine)
    pools(workdir, "bad", "good")
    report = examine()
    assert report.engines[0].trial.started
    assert not report.problems


def test_doctor_gives_up_after_some_images(examine, use, workdir):
    """Many images do not make the examination of a broken engine long."""
    engine = Container(**{f"image{n}": RUNC for n in range(9)})
    use(docker=engine)
    pools(workdir, *engine.images)
    assert examine().engines[0].trial.image == "image0"
    assert len(engine.specs) == 3


@pytest.mark.parametrize(
    ("images", "engine", "why"),
    [
        ((), "docker", "no pool on docker names an image"),
        (("here",), "podman", "no pool on docker names an image"),
        (("absent",), "docker", "no image of a pool is on this machine"),
    ],
)
def test_doctor_without_an_image_to_try(examine, use, workdir, capsys, images, engine, why):
    """Without an image of a pool the report says that nothing was tried; that is no problem."""
    use(docker=Container(here=None))
    assert "no pool on docker" in examine().engines[0].trial.why  # no workspace at all
    pools(workdir, *images, backend=engine)
    report = examine()
    assert report.usable
    assert not report.problems
    doctor.show(report)
    assert f"no container was tried: {why}" in capsys.readouterr().out


@pytest.mark.parametrize("fault", [ZeroDivisionError("oops"), SystemExit(3)])
def test_doctor_of_a_plugin_that_crashes_on_a_node(examine, use, workdir, fault):
    """A plugin that fails in its own way when a node is opened is shown like any failure."""
    use(docker=Container(here=fault))
    pools(workdir, "here")
    report = examine()
    assert not report.usable
    assert type(fault).__name__ in report.problems[0].what


# --- agent


def test_agent_state(place, living):
    """Without a socket, but with its lock held, an agent is starting or exiting."""
    workspace, _ = place
    assert agent.agent_state(workspace).state == "changing"


def test_agent_state_after_a_kill(place):
    """A socket that nobody serves is that of a killed agent."""
    workspace, _ = place
    assert agent.agent_state(workspace) == agent.AgentState(state="none")
    workspace.lock.touch()
    stale_socket(workspace)
    assert agent.agent_state(workspace) == agent.AgentState(state="none", stale_socket=True)


def test_agent_beside_another(place):
    """Where an agent serves already a second one is refused."""
    workspace, _ = place
    with socket.socket(socket.AF_UNIX) as line:
        line.bind(os.path.relpath(workspace.socket))
        line.listen()

        def greet():
            peer, _ = line.accept()
            with peer:
                peer.send(f"cloudops {version()} 4321\n".encode())

        greeter = threading.Thread(target=greet)
        greeter.start()
        try:
            with pytest.raises(ConflictError, match="4321"):
                agent.serve(settings.load(default_backend="auto"), stay=False)
        finally:
            greeter.join(10)


def test_report_is_json(examine, use, capsys):
    """A doctor's report is one JSON document."""
    use(docker=FakeExecutor())
    output.document(examine())
    found = json.loads(capsys.readouterr().out)
    assert found["usable"] is True
    assert found["engines"][0]["found"]["endpoint"] == "unix:///fake.sock"
