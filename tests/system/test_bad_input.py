"""Bad input and bad surroundings: each a typed error in words, nothing half-made."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import subprocess
import sys
import time
import traceback
from datetime import timedelta

import pytest
from tests.conftest import loaded

from cfa.cloudops import CloudClient as CloudPackageClient
from cfa.cloudops.errors import (
    BackendError,
    BackendUnavailableError,
    CloudOpsError,
    DiskFullError,
    ImageError,
    InvalidInputError,
    SettingError,
    StoreUnreadableError,
    StoreVersionError,
    UntrustedWorkspaceError,
    WaitTimeoutError,
)
from cfa.cloudops.local import CloudClient
from cfa.cloudops.model.values import TaskSpec
from cfa.cloudops.testing import images


def tracebacks(error: BaseException) -> int:
    """How many a script shows that ends with this error."""
    return "".join(traceback.format_exception(error)).count("Traceback (most recent call last)")


@pytest.mark.promise(
    "create_pool",
    "An image that is nowhere is an error.",
    local="`create_pool` raises the engine's own words; no pool is made",
    cloud="the pool is made; its tasks fail with `ContainerInvalidImage`",
    difference="here it is said earlier; `subprocess` ignores images",
)
def test_unknown_image(bench):
    """An image that is nowhere fails `create_pool` in the engine's own words; no pool is made."""
    if not bench.containers:
        pytest.skip("no images here")
    client = bench.client()
    with pytest.raises(ImageError) as caught:
        client.create_pool("p", container_image_name="localhost:1/no/such-image:7")
    assert isinstance(caught.value, RuntimeError)
    assert "no/such-image:7" in str(caught.value)
    assert tracebacks(caught.value) == 1, "the script shows the SDK's own as well"
    assert client._batch.list_pools() == []
    with pytest.raises(ImageError):
        client.create_pool("p", container_image_name="UPPER CASE".replace(" ", "::"))


@pytest.mark.promise(
    "create_pool",
    "What an image must have is checked.",
    local="one without `/bin/sh` is refused with what to do",
    cloud="an image without a shell works",
    difference="use an image that has a shell",
)
def test_image_without_a_shell(bench):
    """An image without `/bin/sh` is refused with what to do; no pool is made."""
    if not bench.containers:
        pytest.skip("no images here")
    client = bench.client()
    with pytest.raises(ImageError, match="/bin/sh") as caught:
        client.create_pool("p", container_image_name=loaded(bench.backend, images.NOSHELL))
    assert caught.value.hint
    assert client._batch.list_pools() == []


@pytest.mark.promise(
    "add_task",
    "A task's image that is nowhere fails that task alone, without an exit code.",
    local="`ContainerInvalidImage`",
)
def test_task_image_that_is_missing(bench):
    """A task's own image that is nowhere fails that task without an exit code; others go on."""
    if not bench.containers:
        pytest.skip("no images here")
    client = bench.ready(task_retries=2)
    client.add_task("true", container_image_name="localhost:1/no/such-image:7")
    client.add_task("true")
    client.add_task("true", depends_on="j--1")
    bad, good, blocked = bench.finished(client).values()
    assert (bad.failure.code, bad.exit_code, bad.retry_count) == ("ContainerInvalidImage", None, 0)
    assert "such-image" in bad.failure.message
    assert good.result == "success"
    assert blocked.failure.code == "DependencyFailed"


@pytest.mark.promise(
    "add_task",
    "A task has an image, its own or the pool's; else it is a `ValueError`.",
    local="where images are needed",
    cloud="`ValueError`",
    difference="`subprocess` needs none",
)
def test_pool_without_an_image(bench):
    """Where images are needed a task must have one, its own or the pool's."""
    if not bench.containers:
        pytest.skip("no images here")
    client = bench.client()
    client.create_pool("p")
    client.create_job("j", "p")
    with pytest.raises(ValueError, match="container_image_name"):
        client.add_task("true")
    client.add_task("true", container_image_name=bench.image)
    assert bench.finished(client)["j--1"].result == "success"


@pytest.mark.promise(
    "create_pool",
    "A backend that does not answer is an error that says what to start.",
    local="`ConnectionError`, no pool is made",
    cloud="an error of the service",
    difference="the type of the error",
)
def test_engine_that_is_not_running(bench, monkeypatch):
    """A dead engine fails `create_pool` with what to start; no pool is made."""
    if not bench.containers:
        pytest.skip("no engine here")
    dead = f"unix://{bench.place}/dead.sock"
    for name in ("DOCKER_HOST", "CONTAINER_HOST"):
        monkeypatch.setenv(name, dead)
    client = bench.client()
    with pytest.raises(BackendUnavailableError) as caught:
        client.create_pool("p", container_image_name=bench.image)
    assert isinstance(caught.value, ConnectionError)
    assert caught.value.transient
    assert caught.value.hint
    assert tracebacks(caught.value) == 1
    assert client._batch.list_pools() == []


def test_engine_that_dies_before_the_job(bench):
    """Tasks of a job whose engine does not answer wait, say why, and run when it is back.

    The agent is the one that finds it dead: it was started in surroundings without an engine.
    """
    if not bench.containers:
        pytest.skip("no engine here")
    client = bench.ready()
    # A client that waits would start an agent of its own: look without.
    until((bench.place / ".cloudops/agent.sock").exists)
    until(lambda: not (bench.place / ".cloudops/agent.sock").exists())
    dead = dict.fromkeys(("DOCKER_HOST", "CONTAINER_HOST"), f"unix://{bench.place}/dead.sock")
    script = (
        "from cfa.cloudops.local import CloudClient\n"
        "CloudClient(at_exit='detach').add_task('j', 'true')\n"
    )
    assert bench.run(script, **dead)[0] == 0
    until(lambda: client._batch.get_job("j").problem)
    assert client._batch.task_counts("j").active == 1
    with contextlib.suppress(ProcessLookupError):
        os.kill(agent_pid(bench), 9)  # the next one has our surroundings
    tasks = bench.finished(client)
    assert tasks["j--1"].result == "success"
    assert tasks["j--1"].failure is None


def agent_pid(bench):
    """The agent of the workspace: who answers at its socket says so."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(os.path.relpath(bench.place / ".cloudops/agent.sock"))
        return int(line.recv(100).split()[-1])


def test_blob_container_that_vanishes(bench):
    """A mount whose folder is gone when the node opens fails the task with its name."""
    (bench.place / "d").mkdir()
    client = bench.client()
    client.create_pool("p", container_image_name=bench.image, mounts=["d"])
    client.create_job("j", "p")
    client.create_job("k", "p")
    os.rename("d", "e")
    with pytest.raises(FileNotFoundError, match="d"):
        client.add_task("j", "true")
    os.rename("e", "d")
    os.rename("d", "e")
    client._batch.add_tasks("k", [TaskSpec(command_line="true")])  # past the client's own check
    task = bench.finished(client, "k")["k--1"]
    assert task.failure.code == "MountConfigurationError"
    assert "'d'" in task.failure.message


# --- settings and stores: the same on every backend, so with none


@pytest.fixture
def home(workdir, monkeypatch):
    """A directory with a workspace that has one pool."""
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    client = CloudClient()
    client.create_pool("p")
    client.close()
    return workdir / ".cloudops"


def refused(error):
    """Make a client, expect an error of ours; its text."""
    with pytest.raises(error) as caught:
        CloudClient()
    assert isinstance(caught.value, CloudOpsError)
    assert caught.value.hint
    assert tracebacks(caught.value) == 1, "the script shows SQLite's own as well"
    return str(caught.value)


@pytest.mark.promise(
    "CloudClient",
    "The cloud's import with nothing configured says what is missing.",
    local="`BackendError`, which names `CLOUDOPS_BACKEND`",
    cloud="an authentication error",
    difference="the type of the error",
)
def test_cloud_client_without_settings(workdir):
    """The cloud package with nothing configured says what is missing and what to set instead."""
    with pytest.raises(BackendError) as caught:
        CloudPackageClient()
    assert "CLOUDOPS_BACKEND" in str(caught.value)
    assert not (workdir / ".cloudops").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLOUDOPS_MAX_PARALLEL", "0"),
        ("CLOUDOPS_MAX_PARALLEL", "many"),
        ("CLOUDOPS_ISOLATION", "none"),
        ("CLOUDOPS_AT_EXIT", "stay"),
    ],
)
def test_bad_settings(workdir, monkeypatch, name, value):
    """A setting with a bad value is named with its origin; nothing is made."""
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    monkeypatch.setenv(name, value)
    text = refused(SettingError)
    assert name in text
    assert "environment" in text
    assert not (workdir / ".cloudops").exists()


def test_unknown_backend(workdir, monkeypatch):
    """A backend that nobody offers is an error that names the ones there are."""
    monkeypatch.setenv("CLOUDOPS_BACKEND", "dockr")
    assert "docker" in refused(BackendError)


def test_newer_store(home):
    """A store of a newer version is refused, and left as it is."""
    with contextlib.closing(sqlite3.connect(home / "store.db")) as db:
        db.execute("PRAGMA user_version = 99")
    assert "newer" in refused(StoreVersionError)
    with contextlib.closing(sqlite3.connect(home / "store.db")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (99,)
        assert db.execute("SELECT id FROM pool").fetchall() == [("p",)]


def test_damaged_store(home):
    """A file that is no store is refused with the way out, and left as it is."""
    for name in ("store.db-wal", "store.db-shm"):
        (home / name).unlink(missing_ok=True)
    (home / "store.db").write_bytes(b"not a database" * 1000)
    text = refused(StoreUnreadableError)
    assert "damaged" in text
    assert (home / "store.db").read_bytes() == b"not a database" * 1000


def test_store_damaged_in_the_middle(home):
    """Damage deeper in the file is met with the same error, at whatever call finds it."""
    with contextlib.closing(sqlite3.connect(home / "store.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray((home / "store.db").read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    (home / "store.db").write_bytes(data)
    with pytest.raises(StoreUnreadableError, match="damaged"):
        CloudClient().create_pool("q")


def test_store_that_is_a_folder(workdir, monkeypatch):
    """A directory in the store's place is refused in words."""
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    (workdir / ".cloudops" / "store.db").mkdir(parents=True)
    assert "store.db" in refused(UntrustedWorkspaceError)


def test_workspace_that_is_a_file(workdir, monkeypatch):
    """A file in the workspace's place is refused in words."""
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    (workdir / ".cloudops").write_text("")
    assert "CLOUDOPS_HOME" in refused(StoreUnreadableError)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_read_only_directory(workdir, monkeypatch):
    """A directory that may not be written is refused with the way out."""
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    place = workdir / "closed"
    place.mkdir()
    place.chmod(0o500)
    monkeypatch.chdir(place)
    assert "CLOUDOPS_HOME" in refused(StoreUnreadableError)


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_unreadable_store(home):
    """A store that may not be read is refused in words."""
    (home / "store.db").chmod(0)
    assert "permission" in refused(StoreUnreadableError)


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_workspace_that_may_not_be_looked_at(home):
    """Every command says in words that the workspace is closed to us, the doctor too."""
    home.chmod(0)
    try:
        for command in ("job list", "pool list", "logs j", "sweep", "sweep --all", "doctor"):
            done = subprocess.run(
                [sys.executable, "-m", "cfa.cloudops.cli", *command.split()],
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode not in (0, -6), done
            assert "Traceback" not in done.stderr
            assert "permissions" in (done.stdout if command == "doctor" else done.stderr)
        assert "ermission" in refused(StoreUnreadableError)
    finally:
        home.chmod(0o700)


@pytest.mark.root
def test_read_only_disk(workdir, monkeypatch):
    """A read-only file system is refused with the way out."""
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    with mounted(workdir, "size=1m,ro") as disk:
        monkeypatch.chdir(disk)
        assert "CLOUDOPS_HOME" in refused(StoreUnreadableError)
        monkeypatch.chdir(workdir)


@contextlib.contextmanager
def mounted(workdir, options):
    """A small disk of its own."""
    disk = workdir / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "cloudops-test", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True, timeout=20)
    if done.returncode != 0:
        pytest.skip(f"cannot mount here: {done.stderr}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True, timeout=20)


@pytest.mark.root
def test_full_disk_at_the_start(workdir, monkeypatch):
    """A workspace on a full disk is refused in words."""
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    with mounted(workdir, "size=128k") as disk:
        monkeypatch.setenv("CLOUDOPS_HOME", str(disk / "home"))
        fill(disk)
        refused(DiskFullError)


@pytest.mark.thorough
@pytest.mark.root
def test_disk_that_fills_while_tasks_run(workdir, monkeypatch):
    """A disk that fills up loses no result: the client says so, and with space all goes on."""
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    (workdir / "d").mkdir()
    with mounted(workdir, "size=2m") as disk:
        monkeypatch.setenv("CLOUDOPS_HOME", str(disk / "home"))
        client = CloudClient(at_exit="detach", max_parallel=2)
        try:
            client.create_pool("p", mounts=["d"], task_slots_per_node=2)
            client.create_job("j", "p")
            wait = "sh -c 'echo $0 >>/d/runs; until [ -e /d/gate ]; do sleep 0.05; done'"
            client.add_task(wait + " 1")
            client.add_task(wait + " 2")
            client.add_task("sh -c 'echo $0 >>/d/runs' 3", depends_on=["j--1", "j--2"])
            runs = workdir / "d" / "runs"
            until(lambda: runs.exists() and len(runs.read_text()) == 4)
            fill(disk)
            (workdir / "d" / "gate").touch()
            with pytest.raises(DiskFullError, match="space"):
                client.add_task("true")
            with pytest.raises(WaitTimeoutError, match="space"):
                client.monitor_job("j", timeout=0.05)
            (disk / "filler").unlink()
            client.monitor_job("j", timeout=1)
            found = {task.id: task for task in client._batch.list_tasks("j")}
            assert {task.result for task in found.values()} == {"success"}
            assert sorted(runs.read_text().split()) == ["1", "2", "3"]
            until(lambda: not (disk / "home/agent.sock").exists())
        finally:
            client.close()


@pytest.mark.root
def test_results_on_a_full_disk(workdir, monkeypatch):
    """Results that do not fit leave nothing half-made, and the older ones whole."""
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    monkeypatch.setenv("CLOUDOPS_HOME", str(workdir / "home"))
    client = CloudClient()
    client.create_pool("p")
    client.create_job("j", "p")
    client.add_task("echo said")
    client.monitor_job("j")
    with mounted(workdir, "size=128k") as disk:
        monkeypatch.chdir(disk)
        try:
            client.download_job_stats("j", "old")
            before = (disk / "old.csv").read_text()
            (disk / "j_output").mkdir()
            fill(disk)
            for write in (
                lambda: client.download_job_stats("j", "old"),
                lambda: client.download_job_stats("j"),
                lambda: client.monitor_job("j", download_task_output=True),
            ):
                with pytest.raises(DiskFullError, match="space"):
                    write()
            assert (disk / "old.csv").read_text() == before
            assert sorted(os.listdir(disk)) == ["filler", "j_output", "old.csv"]
            assert os.listdir(disk / "j_output") == []
            (disk / "filler").unlink()
            client.monitor_job("j", download_task_output=True)
            assert (disk / "j_output/j--1_stdout.txt").read_text() == "said\n"
        finally:
            monkeypatch.chdir(workdir)
            client.close()


def fill(disk):
    """Leave no byte free."""
    with open(disk / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def until(condition, limit_s=30.0):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.mark.parametrize("backend", ["subprocess-nosandbox"], indirect=True)
def test_arguments_of_tasks_that_cannot_work(bench):
    """What cannot be an argument of a task or a job is a typed error, and nothing is added."""
    client = bench.ready(task_id_ints=True, mark_complete_after_tasks_run=False)
    for more in (
        {"timeout": timedelta(minutes=-5)},
        {"timeout": 10**12},
        {"depends_on": 5.5},
        {"depends_on": b"1"},
        {"depends_on": [None]},
        {"depends_on_range": "12"},
        {"depends_on_range": (1.7, 2.2)},
        {"depends_on_range": (float("inf"), 2)},
        {"mount_pairs": 5},
        {"container_image_name": 5},
    ):
        with pytest.raises(InvalidInputError):
            client.add_task("j", "true", **more)
    for task in ({5: 1}, {"depends_on_positions": 5}, {"full_container_name": ["a:1"]}):
        with pytest.raises(InvalidInputError):
            client.add_task_collection("j", [{"command_line": "true", **task}])
    for more in ({"timeout": timedelta(minutes=-5)}, {"save_logs_to_blob": "b", "logs_folder": 5}):
        with pytest.raises(InvalidInputError):
            client.create_job("k", "p", **more)
    assert client.add_task("j", "true", timeout=timedelta(0)) == "1"  # no limit, as 0
    assert bench.finished(client)["1"].exit_code == 0
