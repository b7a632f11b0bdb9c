"""What is short, space, descriptors or processes, is waited for; and what is past its end still ends."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from cfa.cloudops.errors import DiskFullError, StoreError
from cfa.cloudops.local import CloudClient
from cfa.cloudops.service.store import Store

pytestmark = pytest.mark.thorough

SOME_MIB = 24


def until(condition: Callable[[], object], limit_s: float = 30.0, what: str = ""):
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it did not happen {what}"
        time.sleep(0.02)
    return found


def mount(argv: list[str], place: Path) -> None:
    done = subprocess.run(["mount", *argv, place], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"Nothing can be mounted here: {done.stderr.strip()}")


def unmount(place: Path) -> None:
    """Unmount it for certain; a node that ends may use it for a moment longer."""
    for _ in range(100):
        if subprocess.run(["umount", place], capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)
    subprocess.run(["umount", "-l", place], check=False)


@pytest.fixture(params=["tmpfs", "ext4"])
def small(request: pytest.FixtureRequest, tmp_path: Path, workdir: Path) -> Iterator[Path]:
    """A small file system, on which the workspace lies."""
    if os.getuid() != 0:
        pytest.skip("Only root may mount.")
    place = tmp_path / "small"
    place.mkdir()
    image = tmp_path / "image"
    if request.param == "few inodes":
        mount(["-t", "tmpfs", "-o", f"size={SOME_MIB}m,nr_inodes=200", "tmpfs"], place)
    elif request.param == "tmpfs":
        mount(["-t", "tmpfs", "-o", f"size={SOME_MIB}m", "tmpfs"], place)
    else:
        with open(image, "wb") as file:
            file.truncate((SOME_MIB + 8) << 20)
        # Blocks as on any larger disk. With smaller ones a write into a page of which SQLite has one
        # block ends in SIGBUS when there is no space for the others.
        done = subprocess.run(
            ["mkfs.ext4", "-q", "-m", "0", "-b", "4096", image], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("An ext4 file system cannot be made here.")
        mount(["-o", "loop,errors=remount-ro", str(image)], place)
    try:
        os.environ["CLOUDOPS_HOME"] = str(place / "home")
        yield place
        shutil.rmtree(place / "many", ignore_errors=True)
        if is_writable(place):
            clear(place / "home")
    finally:
        os.environ.pop("CLOUDOPS_HOME", None)
        unmount(place)
        image.unlink(missing_ok=True)


def agent_pid(home: Path) -> int | None:
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.settimeout(5)
            line.connect(os.path.relpath(home / "agent.sock"))
            return int(line.recv(100).split()[2])
        except (OSError, IndexError):
            return None


def is_full(place: Path) -> bool:
    """Whether next to nothing can be written; single blocks become free again and again."""
    data = b"." * (64 << 10)
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            return os.write(file.fileno(), data) < len(data)
    except OSError as error:
        return error.errno == errno.ENOSPC


def await_reserve(home: Path) -> None:
    until((home / "reserve" / "3.wal").exists)


def is_writable(place: Path) -> bool:
    try:
        (place / "touched").touch()
    except OSError as error:
        return error.errno != errno.EROFS
    return True


def make_room(home: Path) -> None:
    """What somebody does about a full disk: the output of the flood goes."""
    for path in (home / "root" / "workitems").rglob("std*.txt"):
        if path.stat().st_size > 1 << 20:
            os.truncate(path, 0)
    (home.parent / "ballast").unlink(missing_ok=True)


def clear(home: Path) -> None:
    """End everything in the workspace, and see the agent leave."""
    make_room(home)
    with contextlib.closing(CloudClient(at_exit="detach")) as client:
        for job in client._batch.list_jobs():
            client.delete_job(job.spec.id)
        until(lambda: client._batch.wait_for_change(1) and not client._batch.list_jobs())
    until(lambda: agent_pid(home) is None)


def tasks_of(job: str) -> list[int]:
    """Processes of the tasks of a job whose name no other has."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            environment = (process / "environ").read_bytes()
            if (
                f"AZ_BATCH_JOB_ID={job}\0".encode() in environment
                and b"AZ_BATCH_TASK_ID=" in environment
            ):
                found.append(int(process.name))
    return found


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """Our command line, in a process of its own."""
    argv = [sys.executable, "-c", "from cfa.cloudops.cli import main; raise SystemExit(main())"]
    return subprocess.run([*argv, *words], capture_output=True, text=True, timeout=60, check=False)


FLOOD = "sh -c 'while :; do cat /dev/zero || sleep 0.02; done'"


def test_flood_with_a_limit(backend, small: Path, image: str):
    """A task that fills the disk ends at its time limit, while nothing can be written; results of
    other tasks wait for space, and none runs twice. The agent stays."""
    home = small / "home"
    Path("d").mkdir()
    Path("d/runs").touch()
    with contextlib.closing(CloudClient(at_exit="detach", max_parallel=6)) as client:
        client.create_pool("p", mounts=["d"], container_image_name=image, task_slots_per_node=6)
        client.create_job("j", "p")
        for _ in range(12):
            client.add_task("j", "sh -c 'echo $AZ_BATCH_TASK_ID >>/d/runs; sleep 2'")
        client.create_job("flood", "p")
        until(lambda: Path("d/runs").read_text())
        agent = until(lambda: agent_pid(home))
        await_reserve(home)
        with open(small / "ballast", "wb") as file:  # so that the flood has little to do
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(small).free - (6 << 20))
        client.add_task("flood", FLOOD, timeout=10 / 60)
        until(lambda: is_full(small), what="full")
        until(lambda: client._batch.get_task("flood", "flood--1").state == "completed", 40, "ended")
        assert client._batch.get_task("flood", "flood--1").failure.code == "TaskEnded"
        make_room(home)
        until(lambda: client._batch.task_counts("j").completed == 12, 60)
        assert client._batch.task_counts("j").succeeded == 12
        assert agent_pid(home) == agent
        assert sorted(Path("d/runs").read_text().split()) == sorted(f"j--{n}" for n in range(1, 13))


@pytest.mark.parametrize("agent", ["alive", "killed"])
@pytest.mark.parametrize("how", ["terminate", "delete"])
def test_ended_on_a_full_disk(backend, small: Path, image: str, agent: str, how: str):
    """A job whose task fills the disk, and takes every block that comes free, is ended or deleted by
    a second process; also when the agent was killed and no process has the store open."""
    home = small / "home"
    flood = f"flood-{uuid4().hex[:8]}"
    with contextlib.closing(CloudClient(at_exit="detach", max_parallel=6)) as client:
        client.create_pool("p", container_image_name=image, task_slots_per_node=6)
        client.create_job(flood, "p")
        client.add_task(flood, "sleep 100")
        until(lambda: client._batch.task_counts(flood).running == 1)
        await_reserve(home)
        client.add_task(flood, FLOOD)
        until(lambda: is_full(small), what="full")
    if agent == "killed":
        os.kill(until(lambda: agent_pid(home)), signal.SIGKILL)
        # The last to close it removes what SQLite keeps beside the store; a task takes that space.
        Store(home / "store.db").close()
        until(lambda: is_full(small), what="full again")
    ended = command("job", how, flood)
    assert ended.returncode == 0, (home / "agent.log").read_text()
    until(lambda: not tasks_of(flood), 20, (home / "agent.log").read_text())
    with contextlib.closing(CloudClient(at_exit="detach")) as client:
        if how == "delete":
            until(lambda: client._batch.wait_for_change(1) and not client._batch.list_jobs())
        else:
            until(lambda: client._batch.get_job(flood).state == "completed")
            assert {task.state for task in client._batch.list_tasks(flood)} == {"completed"}


def test_full_from_the_beginning(backend, small: Path, image: str):
    """On a disk that was full before, a client says so, and leaves nothing that hinders the next."""
    fill(small)
    with pytest.raises(DiskFullError):
        CloudClient(at_exit="detach")
    (small / "ballast").unlink()
    with contextlib.closing(CloudClient(at_exit="detach")) as client:
        client.create_pool("p", container_image_name=image)
        client.create_job("j", "p")
        await_reserve(small / "home")
        fill(small)
        client.add_task("j", "true")
        until(lambda: client._batch.wait_for_change(1) and client._batch.get_job("j").problem)
        (small / "ballast").unlink()
        until(lambda: client._batch.wait_for_change(1) and client._batch.task_counts("j").completed)
        assert client._batch.task_counts("j").succeeded == 1


def fill(place: Path) -> None:
    with open(place / "ballast", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"." * 4096)


@pytest.mark.parametrize("small", ["few inodes"], indirect=True)
def test_no_inodes(backend, small: Path, image: str):
    """Where no further file can be made, tasks wait for it, and the job says why."""
    with contextlib.closing(CloudClient(at_exit="detach", max_parallel=2)) as client:
        client.create_pool("p", container_image_name=image, task_slots_per_node=2)
        client.create_job("j", "p")
        client.add_task("j", "sleep 1")
        until(lambda: client._batch.task_counts("j").running)
        ballast = small / "many"
        ballast.mkdir()
        with contextlib.suppress(OSError):
            for number in range(100_000):
                (ballast / str(number)).touch()
        client.add_task_collection("j", [{"command_line": "true"}] * 5)
        until(lambda: client._batch.get_job("j").problem)
        assert re.search("space|inodes", client._batch.get_job("j").problem)
        os.environ["CLOUDOPS_HOME"] = str(small / "other")
        with pytest.raises(DiskFullError):
            CloudClient(at_exit="detach")
        for path in ballast.iterdir():
            path.unlink()
        os.environ["CLOUDOPS_HOME"] = str(small / "home")
        until(lambda: client._batch.task_counts("j").succeeded == 6)


# --- descriptors and processes


def limited(resource_name: str, processes: Iterable[int], number: int) -> None:
    for pid in processes:
        subprocess.run(["prlimit", f"--{resource_name}={number}:", f"--pid={pid}"], check=True)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_few_descriptors(backend, workdir: Path, image: str):
    """An agent that may open few files starts what it can; the rest waits, jobs say why, and clients
    that it cannot hear cost it nothing."""
    home = Path(".cloudops").absolute()
    with contextlib.closing(CloudClient(at_exit="detach", max_parallel=30)) as client:
        client.create_pool("p", container_image_name=image, task_slots_per_node=30)
        client.create_job("first", "p")
        client.add_task("first", "true")
        client.add_task("first", "sleep 600")  # keeps the agent
        until(lambda: client._batch.task_counts("first").succeeded)
        agent = until(lambda: agent_pid(home))
        limited("nofile", [agent], len(os.listdir(f"/proc/{agent}/fd")) + 8)
        lines = []
        for _ in range(200):
            line = socket.socket(socket.AF_UNIX)
            line.setblocking(False)
            lines.append(line)
            with contextlib.suppress(BlockingIOError):
                line.connect(".cloudops/agent.sock")
        time.sleep(0.5)
        before, began = cpu_s(agent), time.monotonic()
        time.sleep(2)
        used = (cpu_s(agent) - before) / (time.monotonic() - began)
        assert used < 0.1
        for number in range(6):
            client.create_job(f"j{number}", "p")
            client.add_task_collection(f"j{number}", [{"command_line": "true"}] * 3)

        def problems() -> list[str]:
            return [job.problem for job in client._batch.list_jobs() if job.problem]

        until(problems)
        assert all("limit of open files" in text for text in problems())
        for line in lines:
            line.close()
        limited("nofile", [agent], 1000)
        until(lambda: all(client._batch.task_counts(f"j{n}").completed == 3 for n in range(6)))
        failures = [task.failure for n in range(6) for task in client._batch.list_tasks(f"j{n}")]
        assert failures == [None] * 18, (home / "agent.log").read_text()
        assert not problems()
        assert agent_pid(home) == agent
        client.delete_job("first")


NOBODY_ELSE = 54321

FEW_PROCESSES = """
import contextlib, os, resource, subprocess, sys, time
from pathlib import Path
from cfa.cloudops.local import CloudClient

def limit(number):
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and process.stat().st_uid == os.getuid():
                resource.prlimit(int(process.name), resource.RLIMIT_NPROC, (number, 1000))

def mine():
    found = 0
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and process.stat().st_uid == os.getuid():
                found += len(os.listdir(process / "task"))
    return found

def until(condition, limit_s=60):
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, Path(".cloudops/agent.log").read_text()
        client._batch.wait_for_change(0.1)
    return found

limit(1000)
client = CloudClient(at_exit="detach", max_parallel=8)
client.create_pool("p", task_slots_per_node=8)
client.create_job("j", "p")
client.add_task("j", "true")
until(lambda: client._batch.task_counts("j").succeeded)
before = mine()
client.create_job("k", "p")
limit(before + int(sys.argv[1]))
client.add_task_collection("j", [{"command_line": "sleep 1"}] * 8)
client.add_task_collection("k", [{"command_line": "true"}] * 2)
told = until(lambda: [job.problem for job in client._batch.list_jobs() if job.problem])
assert "process" in told[0], told
time.sleep(3)
limit(1000)
until(lambda: client._batch.task_counts("j").completed == 9, 90)
until(lambda: client._batch.task_counts("k").completed == 2)
failures = [task.failure for task in client._batch.list_tasks("j")]
assert failures == [None] * 9, (failures, Path(".cloudops/agent.log").read_text())
assert client._batch.task_counts("k").succeeded == 2
assert not any(job.problem for job in client._batch.list_jobs())
client.close()
"""


@pytest.mark.parametrize("more", [0, 2, 5])
def test_few_processes(backend, workdir: Path, more: int):
    """A user with a limit of processes: what cannot start waits, its job says why, and all of it runs
    once the limit is raised."""
    run_as_nobody_else(backend, FEW_PROCESSES, str(more))


def run_as_nobody_else(backend, script: str, *arguments: str) -> None:
    """Run a script as a user who has no other process."""
    if backend.engine is not None:
        pytest.skip("The limit is that of processes of this machine.")
    if os.getuid() != 0:
        pytest.skip("Only root can start programs as a user whom nobody else is.")
    place = Path(tempfile.mkdtemp(dir="/tmp", prefix="cloudops-limits-"))
    try:
        os.chown(place, NOBODY_ELSE, NOBODY_ELSE)
        argv = ["setpriv", f"--reuid={NOBODY_ELSE}", f"--regid={NOBODY_ELSE}", "--clear-groups"]
        argv += [sys.executable, "-c", script, *arguments]
        environment = {**os.environ, "HOME": str(place), "TMPDIR": str(place)}
        environment["XDG_CACHE_HOME"] = str(place / "cache")
        done = subprocess.run(
            argv,
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        until(lambda: not any_process_of(NOBODY_ELSE))
    finally:
        for pid in any_process_of(NOBODY_ELSE):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(place)


def any_process_of(user: int) -> list[int]:
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and process.stat().st_uid == user:
                found.append(int(process.name))
    return found


TAKEN = """
import contextlib, os, resource, time
from pathlib import Path
from cfa.cloudops.local import CloudClient

client = CloudClient(at_exit="detach", max_parallel=2)
client.create_pool("p", task_slots_per_node=2)
client.create_job("j", "p")
client.add_task("j", "true")
while client._batch.task_counts("j").succeeded < 1:
    client._batch.wait_for_change(1)
for process in Path("/proc").iterdir():
    if not process.name.isdigit():
        continue
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
        if process.stat().st_uid == os.getuid():
            if b"launcher.sh" in (process / "cmdline").read_bytes():
                resource.prlimit(int(process.name), resource.RLIMIT_NPROC, (1, 1))
client.add_task_collection("j", [{"command_line": "true"}] * 4)
deadline = time.monotonic() + 60
while client._batch.task_counts("j").succeeded < 5:
    assert time.monotonic() < deadline, Path(".cloudops/agent.log").read_text()
    client._batch.wait_for_change(1)
client.close()
"""


def test_node_that_was_robbed(backend, workdir: Path):
    """A node whose processes were limited by what ran in it is replaced; the agent is not limited."""
    run_as_nobody_else(backend, TAKEN)


def test_fork_bomb(backend, workdir: Path, image: str, monkeypatch: pytest.MonkeyPatch):
    """A task that takes all processes of its container fails; tasks beside it, which it keeps from
    running, are tried again and succeed."""
    if backend.engine is None:
        pytest.skip("Processes of this machine have no limit of their own.")
    monkeypatch.setenv(f"CLOUDOPS_{backend.executor.upper()}_PIDS_LIMIT", "60")
    with contextlib.closing(CloudClient(at_exit="detach", max_parallel=4)) as client:
        client.create_pool("p", container_image_name=image, task_slots_per_node=4)
        client.create_job("j", "p")
        client.add_task("j", "sh -c 'while :; do sleep 5 & done'", timeout=6 / 60)
        for _ in range(8):
            client.add_task("j", "sleep 1")  # which makes no further process, that might be refused
        until(
            lambda: (
                client._batch.wait_for_change(1) and client._batch.task_counts("j").completed == 9
            ),
            90,
        )
        tasks = list(client._batch.list_tasks("j"))
        assert [str(task.result) for task in tasks][1:] == ["success"] * 8
        assert str(tasks[0].result) == "failure"


# --- a disk that cannot be written any more


@pytest.mark.parametrize("small", ["ext4"], indirect=True)
def test_read_only(backend, small: Path):
    """A file system that becomes read-only under a running agent is a typed error to its clients, who
    do not start agent after agent."""
    if backend.name != "subprocess-nosandbox":
        pytest.skip("One backend will do.")
    home = small / "home"
    with contextlib.closing(CloudClient(at_exit="detach", max_parallel=2)) as client:
        client.create_pool("p", task_slots_per_node=2)
        client.create_job("j", "p")
        client.add_task("j", "sleep 2")
        until(lambda: client._batch.task_counts("j").running)
        break_disk(small)
        with pytest.raises(StoreError):
            client.add_task("j", "true")
        with pytest.raises(StoreError):
            wait_long(client)
    with pytest.raises(StoreError):
        CloudClient(at_exit="detach").create_pool("q")
    until(lambda: agent_pid(home) is None)
    for pid in processes_in(home):  # a result that cannot be written is not given up
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def processes_in(home: Path) -> list[int]:
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if os.fsencode(home) in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


def wait_long(client: CloudClient) -> None:
    for _ in range(30):
        client._batch.wait_for_change(1)


def break_disk(place: Path) -> None:
    """Have a file system believe that it is damaged, after which it cannot be written any more."""
    device = subprocess.check_output(["findmnt", "-no", "SOURCE", place], text=True).strip()
    trigger = Path("/sys/fs/ext4", Path(device).name, "trigger_fs_error")
    if not trigger.exists():
        pytest.skip("This kernel cannot be told to take a disk for damaged.")
    trigger.write_text("x")
    until(lambda: not is_writable(place))
