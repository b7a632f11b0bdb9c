"""Workspaces have owners: strangers' ones, copies, two agents, and what a dotenv file may say."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cfa.cloudops import settings
from cfa.cloudops.cli import doctor, sweep
from cfa.cloudops.errors import StoreError, UntrustedWorkspaceError
from cfa.cloudops.local import CloudClient
from cfa.cloudops.service import owner
from cfa.cloudops.service.agent import Agent, Superseded
from cfa.cloudops.service.link import greeting
from cfa.cloudops.service.local import LocalBatch
from cfa.cloudops.service.store import Store
from cfa.cloudops.service.workspace import Workspace

#: Nobody.
OTHER = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to another user")
plain = pytest.mark.parametrize("backend", ["subprocess-nosandbox"], indirect=True)

SCRIPT = """\
from cfa.cloudops.local import CloudClient
client = CloudClient()
if not client._batch.list_pools():
    client.create_pool("p")
client.create_job("j", "p", exist_ok=True)
client.add_task("j", "true")
client.monitor_job("j")
"""


def until(condition: Callable[[], Any], limit_s: float = 30.0) -> Any:
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
    return found


def run(*argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A Python program, such as `-m cfa.cloudops.cli job list`, in the current directory."""
    return subprocess.run(
        [sys.executable, *argv],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        **options,
    )


def cloudops(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return run("-m", "cfa.cloudops.cli", *words, **options)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def agent_pid(home: Path) -> int | None:
    words = greeting(Workspace(home))
    return int(words[2]) if len(words) > 2 else None


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}/exe").exists()


# --- who may look


@plain
@pytest.mark.parametrize("umask", [0, 0o002, 0o022, 0o077])
def test_modes(backend, workdir, umask):
    """A workspace is for its owner alone, whatever the umask, with an agent and without."""
    done = run("-c", SCRIPT, umask=umask)
    assert done.returncode == 0, done.stderr
    home = Path(".cloudops")
    found = {path.name: mode(path) for path in home.iterdir() if path.name != "root"}
    assert {"store.db", "agent.lock", "agent.log", ".gitignore"} <= set(found)
    kept = {name: found.pop(name, 0o700) for name in ("nodes", "accounts", "reserve")}
    assert set(kept.values()) == {0o700}, kept
    assert set(found.values()) == {0o600}, found
    assert mode(home) == 0o700


@plain
def test_modes_while_an_agent_serves(backend, workdir):
    """The socket and the companions of the database are for the owner alone as well."""
    before = os.umask(0)
    try:
        client = CloudClient(at_exit="detach")
        client.create_pool("p")
        client.create_job("j", "p")
        client.add_task("true")
        home = Path(".cloudops")
        until((home / "agent.sock").exists)
        assert agent_pid(home.absolute())
        names = ("store.db-wal", "store.db-shm", "agent.sock")
        assert {name: mode(home / name) for name in names} == dict.fromkeys(names, 0o600)
        client.monitor_job("j")
        client.close()
    finally:
        os.umask(before)


def loosen(home: Path) -> None:
    """As earlier versions made it."""
    home.chmod(0o755)
    for path in home.iterdir():
        if not path.is_dir():
            path.chmod(0o644)


def make(home: Path) -> Workspace:
    chosen = settings.load(default_backend="auto", arguments={"CLOUDOPS_HOME": str(home)})
    LocalBatch(chosen).close()
    return Workspace(home)


def test_earlier_workspaces_are_closed(workdir):
    """A workspace that others could read and not write is closed to them; its lock file is a new
    one, because they may have the old one open."""
    home = workdir / ".cloudops"
    workspace = make(home)
    loosen(home)
    before = workspace.lock.stat().st_ino
    with workspace.lock.open() as file:  # also keeps the number from being used again
        make(home)
        assert mode(home) == 0o700
        assert mode(workspace.store) == 0o600
        descriptor = owner.lock(workspace.lock)
        assert descriptor is not None
        assert workspace.lock.stat().st_ino != before
        assert mode(workspace.lock) == 0o600
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # which keeps nobody out
        os.close(descriptor)
        descriptor = owner.lock(workspace.lock)
        assert descriptor is not None
        os.close(descriptor)


@pytest.mark.thorough
@plain
def test_reader_that_holds_the_lock(backend, workdir):
    """Who could read a lock file of an earlier version, and holds it, does not stop the work."""
    home = workdir / ".cloudops"
    workspace = make(home)
    workspace.lock.chmod(0o644)
    with workspace.lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = run("-c", SCRIPT)
    assert done.returncode == 0, done.stderr


# --- whom we trust


def test_what_we_do_not_read_counts_not(workdir):
    """That others may write the file that tells git to look away makes a workspace no stranger's."""
    home = workdir / ".cloudops"
    make(home)
    (home / ".gitignore").chmod(0o666)
    make(home)


@pytest.fixture
def stranger(workdir: Path, backend) -> Iterator[Path]:
    """A workspace of another user with a task that waits to run; it would make the file `ran`."""
    client = CloudClient(at_exit="detach", max_parallel=1)
    client.create_pool("p")
    client.create_job("j", "p")
    pid = until(lambda: agent_pid(workdir / ".cloudops"))
    client.close()
    home = workdir / ".cloudops"
    until(lambda: gone(pid))
    with contextlib.closing(Store(home / "store.db")) as db, db.transaction():
        now = time.time()
        db.execute(
            "INSERT INTO task (job, id, command, retries, release, created) "
            "VALUES (1, 'j--1', ?, 0, 0, ?)",
            (f"touch {workdir}/ran", now),
        )
        db.execute("UPDATE job SET state = 'active', active = 1, last_task_number = 1")
    give(home, OTHER)
    yield home
    give(home, 0)


def give(home: Path, uid: int) -> None:
    for folder, names, files in os.walk(home):
        for name in (".", *names, *files):
            os.chown(Path(folder, name), uid, uid, follow_symlinks=False)


def state(home: Path) -> list[tuple[object, ...]]:
    """Everything that would change if somebody had worked in a directory."""
    found = []
    for path in sorted([home, *home.rglob("*")]):
        one = path.lstat()
        found.append((str(path), one.st_ino, one.st_mtime_ns, one.st_mode, one.st_uid))
    return found


ENTRIES = {
    "client": ("-c", "from cfa.cloudops.local import CloudClient; CloudClient()"),
    "agent": ("-m", "cfa.cloudops.service.agent", "HOME"),
    "foreground": ("-m", "cfa.cloudops.cli", "agent"),
    "list": ("-m", "cfa.cloudops.cli", "job", "list"),
    "logs": ("-m", "cfa.cloudops.cli", "logs", "j"),
    "create": ("-m", "cfa.cloudops.cli", "job", "create", "-j", "k", "-p", "p"),
    "sweep": ("-m", "cfa.cloudops.cli", "sweep"),
    "sweep all": ("-m", "cfa.cloudops.cli", "sweep", "--all"),
    "doctor": ("-m", "cfa.cloudops.cli", "doctor"),
}


def refused(home: Path, entry: str, **environment: str) -> str:
    """What an entry says that does not touch the workspace."""
    before = state(home)
    argv = [str(home) if word == "HOME" else word for word in ENTRIES[entry]]
    done = run(*argv, env={**os.environ, **environment})
    assert done.returncode != 0, done
    said = done.stdout + done.stderr
    assert f"The workspace {home} is not trusted" in said, said
    assert state(home) == before, entry
    return " ".join(said.split())


@as_root
@plain
def test_workspace_of_another_user(stranger, workdir, backend):
    """Every entry refuses another user's workspace, also for root, opens nothing in it, and says how
    to trust it; the words in the message work."""
    for entry in ENTRIES:
        said = refused(stranger, entry)
        assert f"belongs to {owner._user(OTHER)}" in said
        assert f"export CLOUDOPS_TRUST={stranger}" in said
    Path(".env").write_text("CLOUDOPS_TRUST=*\n")
    refused(stranger, "client")
    refused(stranger, "list")
    load = "from cfa.cloudops import auth; auth.load_env_vars(); "
    before = state(stranger)
    done = run("-c", load + ENTRIES["client"][1])
    assert "is not trusted" in done.stderr
    assert state(stranger) == before
    refused(stranger, "client", CLOUDOPS_TRUST=".cloudops:/elsewhere")
    Path(".env").unlink()
    assert not Path("ran").exists()
    trusting = {**os.environ, "CLOUDOPS_TRUST": f"/elsewhere:{stranger}"}
    assert cloudops("job", "list", env=trusting).returncode == 0
    done = run("-c", SCRIPT, env=trusting)
    assert done.returncode == 0, done.stderr
    assert Path("ran").exists()


@as_root
@plain
def test_other_user_in_a_workspace_of_root(backend, public):
    """It is the same the other way round: whoever owns it, another user does not run it."""
    home = make(public / ".cloudops").home
    home.chmod(0o755)
    done = run(
        *ENTRIES["client"],
        cwd=public,
        user=OTHER,
        group=OTHER,
        extra_groups=[],
        env={**os.environ, "HOME": str(public), "XDG_CACHE_HOME": str(public)},
    )
    assert "belongs to root, and you are" in done.stderr
    assert done.returncode == 1


@pytest.fixture
def public(workdir: Path) -> Iterator[Path]:
    """A directory that everybody reaches and may write to."""
    place = Path(
        tempfile.mkdtemp(prefix="cloudops-public-", dir=os.environ["PYTEST_DEBUG_TEMPROOT"])
    )
    place.chmod(0o777)
    yield place
    shutil.rmtree(place)


@as_root
@pytest.mark.parametrize("name", ["store.db", "store.db-wal", "agent.lock", "agent.log"])
def test_file_of_another_user(workdir, name):
    """A file of another user in the own workspace is refused as well."""
    home = make(workdir / ".cloudops").home
    (home / name).touch()
    os.chown(home / name, OTHER, OTHER)
    said = refused(home, "list")
    assert f"{home / name} belongs to" in said
    with pytest.raises(UntrustedWorkspaceError) as caught:
        CloudClient()
    assert isinstance(caught.value, PermissionError)
    assert isinstance(caught.value, StoreError)


@as_root
def test_link_of_another_user(workdir):
    """A link is its owner's: one of another user's is refused, wherever it leads; ours is followed."""
    make(workdir / "mine")
    home = workdir / ".cloudops"
    home.symlink_to(workdir / "mine")
    assert cloudops("job", "list").returncode == 0
    os.chown(home, OTHER, OTHER, follow_symlinks=False)
    assert f"{home} belongs to" in refused(home, "list")
    assert cloudops("job", "list", env={**os.environ, "CLOUDOPS_TRUST": "*"}).returncode == 0


def test_workspace_that_others_may_write(workdir):
    """What others may write is refused until the words of the message were typed."""
    home = make(workdir / ".cloudops").home
    home.chmod(0o775)
    (home / "store.db").chmod(0o662)
    for entry in ENTRIES:
        said = refused(home, entry)
    words = f"chmod go-w {home} {home}/store.db"
    assert words in said
    subprocess.run(words.split(), check=True)
    assert cloudops("job", "list").returncode == 0
    assert mode(home) == 0o700
    assert mode(home / "store.db") == 0o600


@as_root
def test_sweep_leaves_other_users_alone(workdir, monkeypatch):
    """Of a workspace that is not ours, nothing is taken for left behind."""
    home = make(workdir / "theirs").home
    give(home, OTHER)
    before = state(home)
    with sweep._owner(str(home)) as found:
        assert found == "unknown"
    assert state(home) == before
    with pytest.raises(UntrustedWorkspaceError):
        sweep.sweep(Workspace(home), sweep.Broom())


@as_root
def test_doctor_tells(workdir, monkeypatch):
    """The doctor has it among its findings and writes nothing there."""
    home = make(workdir / ".cloudops").home
    give(home, OTHER)
    report = doctor.examine(lambda: settings.load(default_backend="subprocess"))
    assert any("is not trusted" in one.what for one in report.problems)
    assert not report.usable
    assert [place.name for place in report.places] == ["storage"]


# --- copies


WAIT = (
    "sh -c 'echo start $AZ_BATCH_TASK_ID >>/d/log; until [ -e /d/gate ]; do sleep 0.1; done; "
    "echo end $AZ_BATCH_TASK_ID >>/d/log'"
)


def waiting(image: str, tasks: int, mount: str = "d") -> CloudClient:
    """A client whose tasks run until there is a file `gate`, and write what they do into a `log`."""
    Path(mount).mkdir()
    client = CloudClient(at_exit="detach", max_parallel=tasks)
    client.create_pool("p", mounts=["d"], task_slots_per_node=tasks, container_image_name=image)
    client.create_job("j", "p")
    for _ in range(tasks):
        client.add_task("j", WAIT)
    log = Path(mount, "log")
    until(lambda: log.exists() and len(log.read_text().splitlines()) == tasks)
    return client


def finish(client: CloudClient) -> None:
    deadline = time.monotonic() + 60
    while not client._batch.get_job("j").settled:
        left = deadline - time.monotonic()
        assert left > 0, (client._batch.get_job("j"), Path(".cloudops/agent.log").read_text())
        client._batch.wait_for_change(min(left, 1))


@pytest.mark.parametrize("backend", ["subprocess-nosandbox", "docker", "podman"], indirect=True)
def test_copy(backend, image, workdir):
    """A copied workspace touches nothing of the original: neither a sweep nor a script in it. It runs
    the unfinished tasks for itself."""
    client = waiting(image, 3)
    subprocess.run(["cp", "-a", workdir, "../copy"], check=True)
    swept = cloudops("sweep", cwd="../copy")
    assert swept.returncode == 0, swept.stderr
    assert " node " not in swept.stdout
    copy = (
        "from cfa.cloudops.local import CloudClient\n"
        "client = CloudClient(at_exit='detach')\n"
        "client.monitor_job('j')\n"
        "print([(str(task.result), task.requeue_count) for task in client._batch.list_tasks('j')])\n"
        "print(client._batch.task_counts('j'))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", copy],
        cwd="../copy",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            log, own = Path("d/log"), Path("../copy/d/log")
            until(lambda: len(own.read_text().splitlines()) == 6)
            assert client._batch.task_counts("j").running == 3
            Path("../copy/d/gate").touch()
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, err
    assert "('success', 1), ('success', 1), ('success', 1)" in out
    assert "3: 3 succeeded" in out
    assert client._batch.task_counts("j").running == 3
    Path("d/gate").touch()
    finish(client)
    tasks = list(client._batch.list_tasks("j"))
    assert [(task.result, task.requeue_count) for task in tasks] == [("success", 0)] * 3
    client.close()
    lines = log.read_text().splitlines()
    assert len(set(lines)) == len(lines) == 6
    starts = [line for line in lines if line.startswith("start ")]  # were copied with their file
    assert Counter(own.read_text().splitlines()) == Counter(lines + starts)


def running(workspace: Workspace) -> None:
    """Have the store hold a task as running on an open node."""
    with contextlib.closing(Store(workspace.store)) as store, store.transaction():
        now = time.time()
        store.execute(
            "INSERT INTO job (id, pool, state, definition, auto_complete, created, active, running) "
            "VALUES ('j', 'p', 'active', '{}', 1, ?, 0, 1)",
            (now,),
        )
        store.execute(
            "INSERT INTO task (job, id, state, command, retries, release, attempt, node, created, "
            "started) VALUES (1, 'j--1', 2, 'true', 0, 0, 1, 'one', ?, ?)",
            (now, now),
        )
        store.execute(
            "INSERT INTO node (id, job, backend, name, opened) VALUES ('one', 1, 'docker', 'x', ?)",
            (now,),
        )


def facts(workspace: Workspace) -> SimpleNamespace:
    with contextlib.closing(Store(workspace.store)) as store:
        return SimpleNamespace(
            id=store.meta("workspace"),
            task=store.row("SELECT state, attempt, requeued, node FROM task"),
            job=store.row("SELECT active, running, succeeded, failed FROM job"),
            node=store.row("SELECT ended IS NULL, reason FROM node"),
        )


def test_copy_parts(workdir, caplog):
    """A copy has an id of its own; what ran is in its queue again, and the nodes are closed."""
    workspace = make(workdir / "one")
    running(workspace)
    subprocess.run(["cp", "-a", "one", "two"], check=True)
    other = make(workdir / "two")
    assert facts(other).id != facts(workspace).id
    assert facts(other).task == (0, 1, 1, None)
    assert facts(other).job == (1, 0, 0, 0)
    assert facts(other).node == (0, "the workspace was copied")
    assert "two is a copy" in caplog.text
    before = facts(other)
    make(other.home)
    assert facts(other) == before
    make(workspace.home)
    assert facts(workspace).task == (2, 1, 0, "one")


def test_moved(workdir):
    """A workspace that was renamed, or in a directory that was, is what it was."""
    workspace = make(workdir / "a" / "one")
    running(workspace)
    before = facts(workspace)
    Path("a").rename("b")
    assert facts(make(workdir / "b" / "one")) == before


def test_copy_with_a_living_agent(workdir, monkeypatch):
    """Whose lock is held is no copy, however it looks: a container and its host may share it."""
    workspace = make(workdir / "one")
    running(workspace)
    before = facts(workspace)
    monkeypatch.setattr(owner, "_place", lambda _: "elsewhere")
    with owner.alone(workspace.lock) as free:
        assert free
        make(workspace.home)
    assert facts(workspace) == before
    make(workspace.home)
    assert facts(workspace).id != before.id


def test_place(workdir, monkeypatch):
    """A place outlasts a reboot: without an id of the file system that does, the machine counts."""
    number = workdir.stat().st_ino
    monkeypatch.setattr(owner, "_machine", lambda: "here")
    for fsid, place in ((0, "here"), (workdir.stat().st_dev, "here"), (0xABC, "abc")):
        monkeypatch.setattr(os, "statvfs", lambda _, fsid=fsid: SimpleNamespace(f_fsid=fsid))
        assert owner._place(workdir) == f"{number} on {place}"
    monkeypatch.undo()
    assert owner._machine()


# --- one agent that counts


@pytest.mark.parametrize("backend", ["subprocess-nosandbox", "docker"], indirect=True)
def test_removed_agent_files(backend, image, workdir):
    """With its files removed an agent has a successor, and only that one counts: each task ends once."""
    client = waiting(image, 10)
    home = workdir / ".cloudops"
    first = agent_pid(home)
    assert first
    for name in ("agent.lock", "agent.sock", "agent.log"):
        (home / name).unlink()
    other = CloudClient(at_exit="detach")
    other._batch.wake()
    second = until(lambda: agent_pid(home))
    assert second != first
    Path("d/gate").touch()
    finish(client)
    until(lambda: gone(first))
    job = client._batch.get_job("j")
    counts = (job.counts.active, job.counts.running, job.counts.succeeded, job.counts.failed)
    assert counts == (0, 0, 10, 0)
    lines = Counter(Path("d/log").read_text().splitlines())
    assert set(lines.values()) == {1}, lines
    assert len(lines) == 20
    client.close()
    other.close()


@plain
def test_agent_without_its_lock_file(backend, image, workdir):
    """An agent that finds its lock file gone leaves while its tasks run; the next collects them."""
    client = waiting(image, 2)
    home = workdir / ".cloudops"
    first = agent_pid(home)
    (home / "agent.lock").unlink()
    until(lambda: gone(first), 10)
    Path("d/gate").touch()
    finish(client)
    assert [task.requeue_count for task in client._batch.list_tasks("j")] == [0, 0]
    client.close()


def test_agent_that_was_superseded(workdir):
    """A transaction of an agent whose successor has begun writes nothing."""
    workspace = make(workdir / "one")
    first, second = Agent(workspace), Agent(workspace)
    try:
        with pytest.raises(Superseded):
            first.scheduler.turn(look=True)
        second.scheduler.turn(look=True)
    finally:
        for one in (first, second):
            one._workers.shutdown()
            one.store.close()
            one._selector.close()
            os.close(one._bell)
            os.close(one._rope)


# --- what a dotenv file may say


DOTENV = """\
LD_PRELOAD=/nowhere/evil.so
PATH=/nowhere
PYTHONPATH=/nowhere
PYTHONSTARTUP=/nowhere/evil.py
BASH_ENV=/nowhere/evil.sh
MY_VALUE=mine
CLOUDOPS_SUBPROCESS_SANDBOX=off
"""
NAMES = ("LD_PRELOAD", "PATH", "PYTHONPATH", "PYTHONSTARTUP", "BASH_ENV", "MY_VALUE")


def environment_of(pid: int) -> dict[str, str]:
    words = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(word.partition("=")[::2] for word in words if word)


@pytest.fixture
def dotenv(workdir: Path, backend, monkeypatch) -> dict[str, str]:
    """A strange `.env`; what of the real environment is to reach the agent."""
    monkeypatch.delenv("CLOUDOPS_SUBPROCESS_SANDBOX")
    monkeypatch.setenv("MY_REAL_VALUE", "real")
    Path(".env").write_text(DOTENV)
    return {name: os.environ[name] for name in (*NAMES, "MY_REAL_VALUE") if name in os.environ}


def check_agent(own: dict[str, str], **more: str) -> None:
    pid = until(lambda: agent_pid(Path(".cloudops").absolute()))
    found = environment_of(pid)
    watched = (*NAMES, "MY_REAL_VALUE", "CLOUDOPS_SUBPROCESS_SANDBOX")
    assert {name: found[name] for name in watched if name in found} == {**own, **more}
    os.kill(pid, signal.SIGKILL)
    until(lambda: gone(pid))


@plain
def test_dotenv_and_the_command_line(dotenv, backend):
    """A command in a strange directory starts an agent with none of its dotenv file's variables."""
    assert cloudops("pool", "create", "-p", "p").returncode == 0
    done = cloudops("job", "create", "-j", "j", "-p", "p")
    assert done.returncode == 0, done.stderr
    assert "evil" not in done.stderr
    check_agent(dotenv)


@plain
def test_programs_of_a_dotenv_file(dotenv, backend, workdir):
    """A command does not look for programs where a strange dotenv file says."""
    evil = workdir / "evil"
    evil.mkdir()
    (evil / "bwrap").write_text(f"#!/bin/sh\n: >{workdir}/ran\n")
    (evil / "bwrap").chmod(0o755)
    Path(".env").write_text(f"PATH={evil}\n")
    assert cloudops("pool", "create", "-p", "p").returncode == 0
    assert not Path("ran").exists()


@plain
def test_dotenv_and_the_agent_in_the_foreground(dotenv, backend):
    """`cloudops agent` has the environment that it was started with."""
    with subprocess.Popen([sys.executable, "-m", "cfa.cloudops.cli", "agent", "--stay"]) as process:
        try:
            until(lambda: agent_pid(Path(".cloudops").absolute()))
            check_agent(dotenv)
        finally:
            process.kill()


@plain
def test_dotenv_and_a_script(dotenv, backend):
    """A script has the entries in its environment, as on the cloud; its agent has not."""
    Path(".env").rename("my.env")
    script = (
        "import os\n"
        "from cfa.cloudops.local import CloudClient\n"
        "client = CloudClient(dotenv_path='my.env', at_exit='detach')\n"
        "assert os.environ['MY_VALUE'] == 'mine' and os.environ['PATH'] == '/nowhere'\n"
        "os.environ['MY_REAL_VALUE'] = 'set by the script'\n"
        "client.create_pool('p')\n"
        "client.create_job('j', 'p')\n"
    )
    done = run("-c", script)
    assert done.returncode == 0, done.stderr
    check_agent({**dotenv, "MY_REAL_VALUE": "set by the script"})


@plain
def test_dotenv_and_load_env_vars(dotenv, backend):
    """Of what `load_env_vars` put into the environment only settings reach the agent."""
    script = (
        "import os\n"
        "from cfa.cloudops import auth\n"
        "from cfa.cloudops.local import CloudClient\n"
        "auth.load_env_vars()\n"
        "auth.load_env_vars()\n"
        "assert os.environ['PATH'] == '/nowhere'\n"
        "client = CloudClient(at_exit='detach')\n"
        "client.create_pool('p')\n"
        "client.create_job('j', 'p')\n"
    )
    done = run("-c", script)
    assert done.returncode == 0, done.stderr
    check_agent(dotenv, CLOUDOPS_SUBPROCESS_SANDBOX="off")


@plain
@pytest.mark.parametrize("name", ["nodes", "accounts", "root"])
def test_links_in_place_of_directories(backend, workdir, name):
    """A link in the place of a directory of ours is refused: what it leads to is not tidied up."""
    (workdir / "elsewhere" / "sub").mkdir(parents=True)
    (workdir / "elsewhere" / "sub" / "kept").write_text("kept")
    (workdir / ".cloudops").mkdir(mode=0o700)
    (workdir / ".cloudops" / name).symlink_to(workdir / "elsewhere")
    with pytest.raises(UntrustedWorkspaceError, match="is a link, a pipe"):
        CloudClient(at_exit="detach")
    assert (workdir / "elsewhere" / "sub" / "kept").exists()


@plain
@pytest.mark.parametrize("name", ["key", "agent.log", "agent.lock", "store.db"])
def test_pipes_in_place_of_files(backend, workdir, name):
    """A pipe in the place of a file of ours is refused at once: to open it would wait for ever."""
    (workdir / ".cloudops").mkdir(mode=0o700)
    os.mkfifo(workdir / ".cloudops" / name, 0o600)
    began = time.monotonic()
    with pytest.raises(UntrustedWorkspaceError, match="is a link, a pipe"):
        CloudClient(at_exit="detach")
    assert time.monotonic() - began < 5
