"""A hostile task does random harm for a minute, and nobody else takes any.

`hostile.sh` is what it does. Beside it run victims: tasks of another job in its pool, of a job in
another pool and, where every task has a node of its own, of its own job. All the while somebody outside
reads, lists, downloads and uploads. Nothing starts `hostile.sh` but in a container or a sandbox.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shlex
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from tests.faults.driver import told
from tests.system.conftest import Bench

from cfa.cloudops.beneath import Place
from cfa.cloudops.errors import CloudOpsError, FileAccessError
from cfa.cloudops.model.values import JobState, Task
from cfa.cloudops.service.link import relieve
from cfa.cloudops.service.workspace import Workspace

#: For each of the two isolations: a minute per backend. The sandbox is tried by root and by an ordinary
#: user, for half of that each.
SECONDS = float(os.environ.get("CLOUDOPS_HOSTILE_S") or 30)
SEED = int(os.environ.get("CLOUDOPS_TEST_SEED") or random.randrange(1 << 31))
pytestmark = [pytest.mark.faults, pytest.mark.timeout(420 + SECONDS)]

HOSTILE = Path(__file__).with_name("hostile.sh").read_text()
#: A call that takes longer has been kept waiting, and a command: a busy machine starts one slowly.
BLOCKED_S, COMMAND_BLOCKED_S = 5.0, 15.0
#: Minutes that one hostile task may take: some stop themselves, or whoever would end them.
TASK_MIN = 0.2
#: Bytes of memory that an agent may have taken at most.
AGENT_BYTES = 400 << 20
#: Exit code -> what dependents do; also what victims exit with.
CODES = (0, 3, 7)
VICTIM = """\
echo "$1 ${CLOUDOPS_ATTEMPT%@*}" >>/v/record
echo "out of $1"
echo "err of $1" >&2
sleep 0.2
exit $2
"""


@define
class Victims:
    """Tasks with names and known ends, in one job; each records that it runs."""

    job: str
    client: Any
    spared: bool  #: nothing that the hostile tasks can reach is theirs
    codes: dict[str, tuple[str, int | None]] = field(factory=dict)  # id -> name, code

    def add(self) -> None:
        """One for each code, and dependents of a success and of a failure."""
        ids = {}
        for code in CODES:
            ids[code] = self._add(code, None)
        self._add(0, ids[0])
        self._add(None, ids[3])

    def _add(self, code: int | None, depends_on: str | None) -> str:
        name = f"{self.job}.{len(self.codes)}"
        found = self.client.add_task(
            self.job,
            f"sh /v/victim.sh {name} {code or 0}",
            mount_pairs=[{"source": "v", "target": "v"}],
            depends_on=depends_on,
        )
        self.codes[found] = (name, code)
        return str(found)

    def waiting(self) -> int:
        counts = self.client._batch.task_counts(self.job)
        return int(counts.active + counts.running)

    def changed(
        self, tasks: dict[str, Task], runs: Counter[str], removals: Counter[str]
    ) -> list[str]:
        """What is not as it must be. Who is not spared may lose a directory, and begins again then."""
        return [
            f"{task} ({name}, to end with {code}): {problem}; {tasks[task]}"
            for task, (name, code) in self.codes.items()
            for problem in self._problems(
                tasks[task], name, code, runs[name], 0 if self.spared else removals[task]
            )
        ]

    def _problems(
        self, task: Task, name: str, code: int | None, runs: int, removals: int
    ) -> Iterator[str]:
        if task.requeue_count > removals:
            yield "it was requeued"
        if runs > 1 + task.retry_count:
            yield f"it ran {runs} times"
        if task.result == "success" and (code != 0 or runs != 1):
            yield "it never succeeded"
        if not self.spared:
            return
        if (task.exit_code, runs) != (code, int(code is not None)):
            yield f"it exited with {task.exit_code} and ran {runs} times"
        for stream in ("out", "err") if code is not None else ():
            found = self.client._batch.read_task_file(self.job, task.id, f"std{stream}.txt")
            if found != f"{stream} of {name}\n".encode():
                yield f"std{stream}.txt holds {found!r}"


@define
class Outside:
    """Somebody who looks on, in a thread that another keeps the time of."""

    bench: Bench
    jobs: list[str]
    seed: int
    client: Any = None
    calls: Counter[str] = field(factory=Counter)
    failures: Counter[str] = field(factory=Counter)
    blocked: list[str] = field(factory=list)
    slowest: tuple[float, str] = (0.0, "")
    _thread: ThreadPoolExecutor = field(factory=lambda: ThreadPoolExecutor(1))
    _chance: random.Random = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self.client = self._thread.submit(self.bench.client).result()

    def look(self) -> None:
        """A call about a job."""
        job = self._chance.choice(self.jobs)
        name, call = self._chance.choice(list(self._all(job).items()))
        self._time(f"{name} of {job}", call)

    def _all(self, job: str) -> dict[str, Callable[[], object]]:
        client, batch = self.client, self.client._batch
        task = f"{job}--{self._chance.randrange(1, 5)}"
        place = self.bench.place
        return {
            "read_task_file out": lambda: batch.read_task_file(job, task, "stdout.txt"),
            "read_task_file err": lambda: batch.read_task_file(job, task, "stderr.txt"),
            "read_task_file below": lambda: batch.read_task_file(job, task, "wd/data"),
            "list_tasks": lambda: list(batch.list_tasks(job)),
            "get_job": lambda: batch.get_job(job),
            "download_job_stats": lambda: client.download_job_stats(
                job, file_name=str(place / "downloads" / "stats")
            ),
            "task show": lambda: self._command("task", "show", job, task),
            "task logs": lambda: self._command("task", "logs", job, task),
            "list_blob_files": lambda: client.list_blob_files("h"),
            "download_file": lambda: client.download_file(
                "data", place / "downloads" / "data", "h"
            ),
            "upload_files": lambda: client.upload_files(["file"], "h", str(place / "up"), "deep"),
        }

    def _command(self, *words: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "cfa.cloudops.cli", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=True,
        )

    def _time(self, name: str, call: Callable[[], object]) -> None:
        began = time.monotonic()
        future: Future[object] = self._thread.submit(call)
        try:
            future.result(COMMAND_BLOCKED_S if name.startswith("task ") else BLOCKED_S)
        except TimeoutError:
            self.blocked.append(name)
            with contextlib.suppress(Exception):
                future.result(60)
        except (CloudOpsError, subprocess.CalledProcessError) as error:
            self.failures[type(error).__name__] += 1  # a typed error is an answer
        self.calls[name.split(" of ")[0]] += 1
        self.slowest = max(self.slowest, (time.monotonic() - began, name))

    def close(self) -> None:
        self._thread.submit(self.client.close).result(60)
        self._thread.shutdown()


# --- pictures


def picture(top: Path, without: set[Path]) -> dict[str, tuple[object, ...]]:
    """What is below a directory: kinds, permissions, owners and contents."""
    found = {}
    for path in [top, *_below(top, without)]:
        status = path.lstat()
        held: object = None
        if stat.S_ISREG(status.st_mode):
            held = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(status.st_mode):
            held = os.readlink(path)
        found[str(path)] = (oct(status.st_mode), status.st_uid, status.st_gid, held)
    return found


def _below(top: Path, without: set[Path]) -> Iterator[Path]:
    for path in sorted(top.iterdir()):
        if path not in without:
            yield path
            if path.is_dir() and not path.is_symlink():
                yield from _below(path, without)


def removals(home: Path) -> Counter[str]:
    """How often the directory of each task was removed before the task began."""
    with contextlib.closing(sqlite3.connect(home / "store.db", timeout=5)) as db:
        rows = db.execute(
            "SELECT task.id FROM event JOIN task ON task.number = event.task "
            "WHERE what = 'requeue' AND detail = 'its directory was removed before it began'"
        )
        return Counter(task for (task,) in rows)


def processes() -> str:
    """The namespace of this machine's processes."""
    return os.readlink("/proc/self/ns/pid")


def agent_pid() -> int | None:
    """Who answers at the workspace's socket: a child that is about to become a node looks like it."""
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(".cloudops/agent.sock")
            return int(line.recv(100).split()[2])
        except (OSError, IndexError):
            return None


def agent_errors(log: str, hostile: list[str]) -> list[str]:
    """Errors that an agent logged which are not about a hostile job."""
    lines = [line for line in log.splitlines() if " ERROR " in line]
    return [
        line
        for line in lines
        # A user's own engine: who closes the directory of a job can open no node for it any more.
        if not any(f"job {job}: " in line for job in hostile) and " opening node " not in line
    ]


def highest_memory(pid: int) -> int:
    """Bytes that a process had at most."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError(pid)


# --- the test


@define
class Attack:
    """Hostile tasks of one job, some at a time, until the time is over."""

    job: str
    client: Any
    victim: Path
    chance: random.Random
    at_once: int
    device: str
    count: int = 0

    def feed(self, end: float) -> None:
        """See that enough of them run."""
        counts = self.client._batch.task_counts(self.job)
        for _ in range(self.at_once - counts.active - counts.running):
            seed = self.chance.randrange(1 << 31)
            words = [seed, int(end), processes(), self.victim, "/h", "/counts", self.device]
            command = ["sh", "-c", HOSTILE, "hostile", *map(str, words)]
            self.add(shlex.join(command))
            self.count += 1

    def add(self, command: str) -> str:
        """Add a task to their job; they are given back what they closed to themselves."""
        while True:
            for way in ("h", "counts", ".cloudops/root/workitems/bad/job-1"):
                with contextlib.suppress(FileNotFoundError):
                    os.chmod(way, 0o755)
            try:
                return str(self.client.add_task(self.job, command, timeout=TASK_MIN))
            except FileAccessError:  # it was closed again meanwhile
                continue


def numbers(mount: Path) -> int:
    """The sum of what is in the files of a mount, but for what hostile tasks made of them."""
    done = 0
    with Place.open(str(mount)) as place:
        for name in place.names():
            with contextlib.suppress(OSError, ValueError):
                done += int(place.read(name, 20))
    return done


@pytest.fixture
def emptied(bench: Bench) -> Iterator[None]:
    """What is left in the mounts goes in the end: pytest cannot remove what is closed to its owner."""
    yield
    with Place.open(str(bench.place)) as place:
        for way in ("h", "counts", ".cloudops/root/shared", ".cloudops/root/workitems"):
            place.remove_tree(way)


@pytest.mark.usefixtures("emptied")
@pytest.mark.parametrize("isolation", ["job", "task"])
def test_a_hostile_task_harms_nobody_else(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolation: str
):
    """Files outside touched 0, other tasks' results changed 0, agent restarts 0, blocked calls 0."""
    if not bench.backend.capabilities.private_paths:
        pytest.skip("without a sandbox it would do to this machine what it does to its node")
    # The usual sandbox leaves people's files writable; what is asked here is whether a task gets out.
    monkeypatch.setenv("CLOUDOPS_SUBPROCESS_SANDBOX", "strict")
    monkeypatch.setenv("CLOUDOPS_AGENT_IDLE_S", "20")  # a slow call must not make it leave
    print(f"CLOUDOPS_TEST_SEED={SEED} CLOUDOPS_HOSTILE_S={SECONDS:g}")
    chance = random.Random(SEED)
    victim = tmp_path / "victim"
    for name in ("job-1", "sub"):
        (victim / name).mkdir(parents=True)
        (victim / name / "file").write_text("the host's\n")
    (victim / "file").write_text("the host's\n")
    for name in ("h", "v", "counts", "saved", "downloads", "up"):
        (bench.place / name).mkdir()
    (bench.place / "v" / "victim.sh").write_text(VICTIM)
    (bench.place / "up" / "file").write_text("uploaded\n")

    client = bench.client(isolation=isolation, max_parallel=14)
    fixed: dict[str, Any] = {"container_image_name": bench.image, "autoscale": False}
    client.create_pool("p", mounts=["h", "counts"], task_slots_per_node=8, **fixed)
    client.create_pool("q", task_slots_per_node=3, **fixed)
    options: dict[str, Any] = {"mark_complete_after_tasks_run": False, "task_retries": 0}
    client.create_job("bad", "p", save_logs_to_blob="saved", **{**options, "task_retries": 2})
    victims = [Victims("same", client, True), Victims("other", client, True)]
    client.create_job("same", "p", **options)
    client.create_job("other", "q", **options)
    if isolation == "task":
        victims.append(Victims("bad", client, False))
    # A sandbox has the devices of the host; nothing is tried here that would last.
    device = "/dev/zero" if bench.containers else "/nowhere"
    attack = Attack("bad", client, victim, chance, at_once=2, device=device)
    for group in victims:
        group.add()
    bench.until(client, agent_pid)
    pid = agent_pid()
    assert pid is not None
    home = bench.place / ".cloudops"
    changing = {
        *(home / name for name in ("accounts", "agent.log", "agent.sock", "nodes", "reserve")),
        *(home / f"store.db{end}" for end in ("", "-wal", "-shm")),
        home / "root" / "workitems",
        home / "root" / "shared",
        tmp_path / "home",  # a user's own engine writes there
        *(bench.place / name for name in ("h", "counts", "saved", "downloads", "v/record")),
    }
    bench.until(client, (home / "key").exists)  # the agent has made all that it makes once
    before = picture(tmp_path, changing)

    siblings: set[str] = set()
    seconds = SECONDS if bench.containers else SECONDS / 2
    end = time.time() + seconds
    outside = Outside(bench, ["bad", "same"], chance.randrange(1 << 31))
    try:
        while time.time() < end:
            attack.feed(end)
            for group in victims:
                if group.waiting() < 4:
                    group.add()
            if isolation == "job" and len(siblings) < seconds / 3:
                siblings.add(attack.add("sh -c 'sleep 0.2; exit 7'"))
            outside.look()
        limit = 60 * TASK_MIN + 90
        for group in victims[:2]:
            bench.until(client, lambda group=group: not group.waiting(), limit)
        bench.until(client, lambda: not _waiting(client, "bad"), limit)
    finally:
        outside.close()
        for name in ("h", "counts"):
            (bench.place / name).chmod(0o755)
    print(
        f"{numbers(bench.place / 'counts')} actions of {attack.count} hostile tasks; "
        f"{sum(len(group.codes) for group in victims)} victims, {len(siblings)} siblings; "
        f"{sum(outside.calls.values())} calls, the slowest {outside.slowest[0]:.1f} s "
        f"({outside.slowest[1]}), {dict(outside.failures)}"
    )

    log = (home / "agent.log").read_text(errors="replace")
    record = (bench.place / "v" / "record").read_text()
    runs = Counter(line.split()[0] for line in record.splitlines())
    tasks = {
        task.id: task for job in ("bad", "same", "other") for task in client._batch.list_tasks(job)
    }
    spoiled = sum(
        tasks[task].exit_code != code
        for group in victims[2:]
        for task, (_, code) in group.codes.items()
    )
    results = Counter(
        f"{task.result} {task.exit_code} {task.failure}" for task in client._batch.list_tasks("bad")
    )
    memory = highest_memory(pid) if agent_pid() == pid else 0
    print(f"agent: {memory >> 20} MiB; own job: {dict(results)}, {spoiled} of its victims failed")
    removed = removals(home)
    problems = [text for group in victims for text in group.changed(tasks, runs, removed)]
    own = {task for group in victims for task in group.codes}
    if problems:
        problems += [told(home, task) for task in sorted(own) if tasks[task].requeue_count]
    problems += [
        f"{task.id}: a success that it did not earn"
        for task in client._batch.list_tasks("bad")
        if task.result == "success" and task.id not in own
    ]
    problems += [f"blocked: {name}" for name in outside.blocked]
    problems += agent_errors(log, ["bad"])
    if agent_pid() != pid:
        problems.append("the agent is another one")
    if memory > AGENT_BYTES:
        problems.append(f"the agent took {memory} bytes")
    client._batch.terminate_job("bad")
    bench.until(client, lambda: client._batch.get_job("bad").state is JobState.COMPLETED)
    if agent_pid() != pid:
        problems.append("the agent is another one after the termination")
    client.delete_job("bad")
    for job in ("same", "other"):
        client._batch.terminate_job(job)
        bench.until(client, lambda job=job: client._batch.get_job(job).state is JobState.COMPLETED)
    problems += agent_errors((home / "agent.log").read_text(errors="replace"), ["bad"])
    client.close()
    relieve(Workspace(home))
    bench.until_gone(pid)
    subprocess.run([sys.executable, "-m", "cfa.cloudops.cli", "sweep"], timeout=60, check=True)
    problems += [f"left: {path}" for path in (home / "nodes").iterdir()]
    problems += [
        f"left: {path}"
        for path in (home / "root" / "workitems").iterdir()
        if path.name not in ("same", "other")
    ]
    problems += [f"left: {name}" for name in bench.container_names()]
    after = picture(tmp_path, changing)
    problems += [
        f"{path}: {before.get(path)} became {after.get(path)}"
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    ]
    assert not problems, "\n".join([f"seed {SEED}", *problems[:40], log[-6000:]])


def _waiting(client: Any, job: str) -> int:
    counts = client._batch.task_counts(job)
    return int(counts.active + counts.running)
