"""The fault driver: a workload that records itself, a killer, and a checker.

The workload is a script that makes jobs of short tasks for ever. Each task appends a line when it
starts and one when it ends to a file in a mounted blob container, with its attempt and a mark that
is unique to the run, and prints the mark, which is saved with its logs. The killer ends processes at
random moments. The checker then compares what the store says with what the tasks wrote themselves.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from attrs import define, field, frozen

from cfa.cloudops.local import CloudClient
from cfa.cloudops.service.journal import Secrets, accounts
from cfa.cloudops.service.workspace import Workspace

#: Seconds in which everything must be finished, and gone, after the last kill.
LIMIT_S = 90.0

TASK = """\
read mark </proc/sys/kernel/random/uuid
echo "$AZ_BATCH_TASK_ID ${CLOUDOPS_ATTEMPT%@*} $mark start" >>$2
echo $mark
sleep $1
echo "$AZ_BATCH_TASK_ID ${CLOUDOPS_ATTEMPT%@*} $mark end" >>$2
"""

SCRIPT = """\
import random, sys, time
from pathlib import Path
from cfa.cloudops.local import CloudClient
from cfa.cloudops.errors import BackendUnavailableError

image, isolation, tasks = sys.argv[1], sys.argv[2], int(sys.argv[3])
client = CloudClient(at_exit="detach", isolation=isolation, max_parallel=3)
while True:
    try:
        client.create_pool(
            "p", mounts=["rec"], container_image_name=image or None, task_slots_per_node=3
        )
        break
    except BackendUnavailableError:
        time.sleep(0.2)  # the engine was killed
while not Path("stop").exists():
    jobs = client._batch.list_jobs()
    number = len(jobs) or 1
    if jobs and jobs[-1].counts.total >= tasks:
        client.monitor_job(jobs[-1].spec.id)
        number += 1
    client.create_job(f"j{number}", "p", exist_ok=True, save_logs_to_blob="saved")
    before = None
    while client._batch.task_counts(f"j{number}").total < tasks and not Path("stop").exists():
        wait = random.choice(["0.02", "0.05", "0.1", "0.3"])
        before = client.add_task(
            f"j{number}", f"sh /rec/task.sh {wait} /rec/runs",
            depends_on=before if random.random() < 0.3 else None,
        )
        with open("added", "a") as file:
            file.write(f"{before}\\n")
"""


@frozen
class Run:
    """One run of a task, as it recorded itself."""

    task: str
    attempt: int
    mark: str


@define
class Driver:
    """One session of faults in the current directory.

    Args:
        targets: kinds of kills with their weights: `script`, `agent`, `recovering`, `node`, `slot`,
            `guard`, `engine`.
        kill_engine: kills the engine and starts it again.
        leftovers: containers of ours that exist, for the end.
    """

    image: str
    isolation: str
    seed: int
    targets: Mapping[str, int]
    kill_engine: Callable[[random.Random], bool] = lambda _: False
    leftovers: Callable[[], Sequence[str]] = tuple
    tasks_per_job: int = 12
    place: Path = field(factory=Path.cwd)
    killed: Counter[str] = field(factory=Counter)
    #: Task -> attempt whose exit was on record before some kill.
    recorded: dict[str, int] = field(factory=dict)

    @property
    def home(self) -> Path:
        return self.place / ".cloudops"

    def run(self, kills: int, pause_s: float) -> None:
        """Kill so many times, with pauses of up to twice `pause_s`, then let all finish, and check."""
        print(f"seed {self.seed}, {kills} kills")
        chance = random.Random(self.seed)
        (self.place / "rec").mkdir()
        (self.place / "saved").mkdir()
        (self.place / "rec" / "task.sh").write_text(TASK)
        script = self._start()
        kinds, weights = zip(*self.targets.items(), strict=True)
        limit = time.monotonic() + kills * (pause_s * 4 + 10) + 60
        try:
            while sum(self.killed.values()) < kills:
                assert time.monotonic() < limit, f"too slow: {dict(self.killed)}\n{self.words()}"
                time.sleep(chance.random() * 2 * pause_s)
                if script.poll() is not None:
                    assert script.returncode == -signal.SIGKILL, self.words()
                    script = self._start()
                kind = chance.choices(kinds, weights)[0]
                self._note_exits()
                if self._kill(kind, script, chance):
                    self.killed[kind] += 1
            (self.place / "stop").touch()
        finally:
            script.kill()
            script.wait()
        print(f"killed {dict(self.killed)}")
        self._finish()
        self._check()
        self._check_gone()

    def _start(self) -> subprocess.Popen[bytes]:
        (self.place / "script.py").write_text(SCRIPT)
        arguments = [self.image, self.isolation, str(self.tasks_per_job)]
        with open(self.place / "script.log", "ab") as log:
            return subprocess.Popen(
                [sys.executable, "script.py", *arguments],
                cwd=self.place,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def words(self) -> str:
        """The last words of script and agent."""
        text = []
        for path in (self.place / "script.log", self.home / "agent.log"):
            with contextlib.suppress(OSError):
                text.append(f"--- {path.name}\n" + path.read_text(errors="replace")[-3000:])
        return "\n".join(text)

    # --- killing

    def _kill(self, kind: str, script: subprocess.Popen[bytes], chance: random.Random) -> bool:
        match kind:
            case "script":
                script.kill()
                return True
            case "agent":
                return kill(self._agents(), chance)
            case "recovering":  # the agent that picks up what one before it left
                if not kill(self._agents(), chance):
                    return False
                deadline = time.monotonic() + 2
                while not self._agents() and time.monotonic() < deadline:
                    time.sleep(0.005)
                time.sleep(chance.random() * 0.5)
                return kill(self._agents(), chance)
            case "node":
                return kill(self._nodes(), chance)
            case "slot":
                return kill(self._slots(), chance)
            case "guard":
                return kill(self._guards(), chance)
            case "engine":
                return self.kill_engine(chance)
            case _:
                raise AssertionError(kind)

    def _agents(self) -> list[int]:
        wanted = [b"cfa.cloudops.service.agent", os.fsencode(self.home)]
        return [pid for pid, words in commands() if all(word in words for word in wanted)]

    def _open_nodes(self) -> list[str]:
        """Ids of nodes that the store holds as open; a look that never waits."""
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(
                sqlite3.connect(f"file:{self.home}/store.db?mode=ro", uri=True, timeout=5)
            ) as db,
        ):
            return [row[0] for row in db.execute("SELECT id FROM node WHERE ended IS NULL")]
        return []

    def _launchers(self, verb: bytes) -> list[int]:
        marks = {f"AZ_BATCH_NODE_ID={node}".encode() for node in self._open_nodes()}
        return [
            pid
            for pid, words in commands()
            if _launches(words, verb) and not marks.isdisjoint(environment(pid))
        ]

    def _nodes(self) -> list[int]:
        """First processes of nodes, and bubblewrap around them; not the guards of slots."""
        serving = set(self._launchers(b"serve"))
        return [
            pid for pid in serving if parent(pid) not in serving or b"bwrap" in name(parent(pid))
        ]

    def _guards(self) -> list[int]:
        return sorted(set(self._launchers(b"serve")) - set(self._nodes()))

    def _slots(self) -> list[int]:
        # A shell's child looks like it until it has become the task's program. Its parent is asked
        # last: it may have become a shell after it was looked at and before it had that child.
        return [
            pid for pid in self._launchers(b"slot") if not _launches(words_of(parent(pid)), b"slot")
        ]

    def _note_exits(self) -> None:
        """Which attempts have written down, or brought into the store, that they are over."""
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(
                sqlite3.connect(f"file:{self.home}/store.db?mode=ro", uri=True, timeout=5)
            ) as db,
        ):
            self.recorded.update(self._journalled(db))
            self.recorded.update(
                db.execute("SELECT id, attempt FROM task WHERE state = 3").fetchall()
            )

    def _journalled(self, db: sqlite3.Connection) -> Iterator[tuple[str, int]]:
        workspace = Workspace(self.home)
        secrets = Secrets(workspace.key())
        for (node,) in db.execute("SELECT id FROM node WHERE ended IS NULL").fetchall():
            found: dict[str, str] = {}
            with contextlib.suppress(OSError), workspace.open_journals(node) as journals:
                found = {one.attempt: one.code for one in accounts(journals, node, secrets)}
            for token, code in found.items():
                number, _, attempt = token.partition(".")
                if code == "0":
                    for (task,) in db.execute("SELECT id FROM task WHERE number = ?", (number,)):
                        yield task, int(attempt)

    # --- finishing and checking

    def _finish(self) -> None:
        """A fresh client brings all jobs to their ends."""
        client = CloudClient(at_exit="detach")
        try:
            deadline = time.monotonic() + LIMIT_S
            client._batch.wait_for_change(0)  # an agent, also when the jobs are done: it tidies up
            for job in client._batch.list_jobs():
                while not (found := client._batch.get_job(job.spec.id)).settled:
                    left = deadline - time.monotonic()
                    assert left > 0, f"{job.spec.id} does not end: {found}\n{self.words()}"
                    client._batch.wait_for_change(min(left, 1.0))
        finally:
            client.close()

    def runs(self) -> tuple[list[Run], Counter[Run]]:
        """What tasks recorded: starts, and ends by run."""
        starts: list[Run] = []
        ends: Counter[Run] = Counter()
        for line in (self.place / "rec" / "runs").read_text().splitlines():
            task, token, mark, what = line.split()
            run = Run(task, int(token.partition(".")[2]), mark)
            if what == "start":
                starts.append(run)
            else:
                ends[run] += 1
        return starts, ends

    def _check(self) -> None:
        client = CloudClient(at_exit="detach")
        try:
            tasks = {
                task.id: task
                for job in client._batch.list_jobs()
                for task in client._batch.list_tasks(job.spec.id)
            }
        finally:
            client.close()
        added = (self.place / "added").read_text().split()
        assert set(added) <= set(tasks), f"lost: {set(added) - set(tasks)}"
        assert len(added) == len(set(added)), "an id was given twice"
        starts, ends = self.runs()
        of_task: dict[str, list[Run]] = defaultdict(list)
        for run in starts:
            of_task[run.task].append(run)
        problems = [
            f"{task.id}: {task.result} {task.failure}"
            for task in tasks.values()
            if task.result != "success"
        ]
        for task in tasks:
            problems += self._problems(task, of_task[task], ends)
        print(
            f"{len(tasks)} tasks, {len(starts)} runs, {sum(ends.values())} finished, "
            f"{sum(task.requeue_count for task in tasks.values())} requeued"
        )
        problems.sort(key=lambda text: "DependencyFailed" in text)
        concerned = {text.partition(":")[0] for text in problems[:3]}
        history = [told(self.home, task) for task in concerned]
        assert not problems, "\n".join([*problems[:20], *history, self.words()])

    def _problems(self, task: str, runs: list[Run], ends: Counter[Run]) -> list[str]:
        found = []
        attempts = [run.attempt for run in runs]
        if len(attempts) != len(set(attempts)):
            found.append(f"{task}: an attempt ran twice: {runs}")
        last = max(runs, key=lambda run: run.attempt, default=None)
        if last is None or not ends[last]:
            found.append(f"{task}: its last run did not end: {runs}")
        saved = [path.read_text() for path in self.place.glob(f"saved/*/*/{task}/stdout.txt")]
        if last is None or saved != [f"{last.mark}\n"]:
            found.append(f"{task}: the logs of its last run are not saved: {saved} {runs}")
        recorded = self.recorded.get(task)
        if recorded is not None and max(attempts, default=0) != recorded:
            found.append(f"{task}: run again although attempt {recorded} had ended: {runs}")
        return found

    def _check_gone(self) -> None:
        """Nothing is left but the store, its log, and what the tasks made."""
        deadline = time.monotonic() + LIMIT_S
        while left := self._left():
            assert time.monotonic() < deadline, f"left behind: {left}\n{self.words()}"
            time.sleep(0.1)

    def _left(self) -> list[str]:
        found = [f"process {pid} {words}" for pid, words in commands() if self._ours(pid, words)]
        found += [str(path) for path in (self.home / "nodes").iterdir()]
        expected = {
            ".gitignore", "accounts", "agent.lock", "agent.log", "key", "nodes", "reserve", "root",
            "store.db",
        }  # fmt: skip
        found += [path.name for path in self.home.iterdir() if path.name not in expected]
        with open(self.home / "agent.lock") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # a process that is exiting has no command line any more
                found.append("a holder of the agent's lock")
        return found + list(self.leftovers())

    def _ours(self, pid: int, words: list[bytes]) -> bool:
        return pid != os.getpid() and any(os.fsencode(self.home) in word for word in words)


def told(home: Path, task: str) -> str:
    """What the store of a workspace says about a task, and its nodes."""
    with contextlib.closing(sqlite3.connect(home / "store.db", timeout=5)) as db:
        said = db.execute(
            "SELECT event.time, what, detail, opened, node.ended, reason FROM event "
            "JOIN task ON task.number = event.task LEFT JOIN node ON node.id = detail "
            "WHERE task.id = ? ORDER BY event.number",
            (task,),
        ).fetchall()
    return "\n".join([f"--- {task}", *map(str, said)])


def commands() -> list[tuple[int, list[bytes]]]:
    """The words of every process that is alive."""
    pids = [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdecimal()]
    return [(pid, words) for pid in pids if (words := words_of(pid))]


def words_of(pid: int) -> list[bytes]:
    """The words of a process; none of one that has ended."""
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0")
        return text.split(b"\0") if text else []
    return []


def _launches(words: Sequence[bytes], verb: bytes) -> bool:
    """Whether a process with these words is a launcher, with that verb."""
    return any(
        word.endswith(b"/volatile/launcher.sh") and after == verb for word, after in pairwise(words)
    )


def environment(pid: int) -> list[bytes]:
    """What a process was given."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []


def parent(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def name(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_bytes()
    return b""


def kill(pids: Sequence[int], chance: random.Random) -> bool:
    """Kill one of these processes; False when there was none."""
    if not pids:
        return False
    try:
        os.kill(chance.choice(sorted(pids)), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
