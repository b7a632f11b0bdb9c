"""A damaged store gives what was written, or an error of ours: never another value, never a raw error.

A byte of the file, any byte, becomes another one; then everything is read that clients and the agent
read. What is covered: the header, the schema, the structure and the indices of a file of up to 1 MiB
(they are examined when it is opened), and each row (it has a checksum). What is not: the write-ahead
log, which exists while processes have the store open or after they were killed. SQLite ends it where
its own checksums do not fit any more, as after a crash, so what was committed later is lost. And the
indices of a larger file, which only `cloudops doctor` examines.
"""

from __future__ import annotations

import collections
import random
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cfa.cloudops import settings
from cfa.cloudops.errors import StoreError, StoreUnreadableError
from cfa.cloudops.model.values import (
    JobScheduleSpec,
    JobSpec,
    Mount,
    PoolSpec,
    TaskSpec,
)
from cfa.cloudops.service import additions, definitions
from cfa.cloudops.service.ledger import Ledger, Outcome, insert_job
from cfa.cloudops.service.local import LocalBatch
from cfa.cloudops.service.scheduler import Scheduler
from cfa.cloudops.service.schema import SUMMED, summed
from cfa.cloudops.service.store import Store
from cfa.cloudops.service.sums import row_sum

FLIPS = 1000
SEED = 9


def batch_of(home: Path) -> LocalBatch:
    return LocalBatch(
        settings.load(
            default_backend="subprocess", arguments={"CLOUDOPS_HOME": str(home)}, environment={}
        )
    )


def fill(store: Store) -> None:
    """Pools, jobs, schedules, tasks in every state, nodes, events and dependencies."""
    ledger = Ledger(store)
    with store.transaction():
        for number in range(3):
            spec = PoolSpec(
                id=f"pool{number}",
                backend="subprocess",
                mounts=(Mount("data", "in"),),
                nodes=number + 1,
                needs_image=False,
                metadata=(("owner", "somebody"),),
            )
            store.execute(
                "INSERT INTO pool (id, state, definition, created) VALUES (?, 'active', ?, ?)",
                (spec.id, definitions.definition(spec), 1.7e9 + number / 3),
            )
            schedule = JobScheduleSpec(
                id=f"schedule{number}",
                pool_id=spec.id,
                command_line="true",
                recurrence_interval=timedelta(days=20_000),
            )
            store.execute(
                "INSERT INTO schedule (id, state, definition, created, used, recent_job) "
                "VALUES (?, 'active', ?, ?, 1, ?)",
                (schedule.id, definitions.definition(schedule), 1.7e9, "schedule0:job-1"),
            )
        jobs = [
            insert_job(store, JobSpec(id=f"job{n}", pool_id="pool1", log_container=None), 1.7e9 + n)
            for n in range(4)
        ]
    for job in jobs:
        with store.transaction():
            specs = [
                TaskSpec(
                    command_line=f"python model.py --seed {number} --out /in/{number}.csv",
                    image="model:1" if number % 7 == 0 else None,
                    mounts=(Mount("data", "in"),) if number % 5 == 0 else None,
                    timeout_s=60 if number % 3 == 0 else None,
                    max_retries=1,
                    depends_on_positions=(number - 1,) if number % 11 == 10 else (),
                )
                for number in range(75)
            ]
            additions.add(store, f"job{jobs.index(job)}", specs)
        for number, attempt in enumerate(ledger.ready(job, 40)):
            attempt.node = f"{job:04x}{number % 4:04x}"
            with store.transaction():
                ledger.start(attempt)
                if number % 10 == 3:
                    failed = Outcome(3, "FailureExitCode", "The program ended with exit code 3.")
                    ledger.finish(attempt, failed)
                elif number % 10 == 7:
                    ledger.retry(attempt, 4)
                elif number % 10 != 9:
                    ledger.finish(attempt, Outcome(0))
                ledger.flush()
        with store.transaction():
            for number in range(4):
                store.execute(
                    "INSERT INTO node (id, job, backend, name, opened) VALUES (?, ?, ?, ?, ?)",
                    (f"{job:04x}{number:04x}", job, "subprocess", f"job{job}", 1.7e9),
                )
    store.set_meta("max_parallel", "2")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A workspace whose store nobody has open."""
    with closing(batch_of(tmp_path / "w")) as batch:
        fill(batch._store)
    return tmp_path / "w"


def read(home: Path) -> list[Any]:
    """Everything that clients and the agent read."""
    with closing(batch_of(home)) as batch:
        found: list[Any] = [batch.list_pools(), batch.list_jobs(), batch.list_job_schedules()]
        for job in ("job0", "job1", "job2", "job3"):
            tasks = list(batch.list_tasks(job))
            found += [tasks, batch.get_job(job), batch.task_counts(job), batch.list_events(job)]
            found += [batch.get_task(job, f"{job}--{number}") for number in (1, 10, 75)]
        agent = SimpleNamespace(
            store=batch._store, workspace=batch.workspace, at=lambda *_: None, clients=()
        )
        scheduler = Scheduler(agent)
        scheduler._read_settings()
        scheduler._read_jobs()
        found += [scheduler.workspace_id, scheduler._placement.max_parallel]
        for job in scheduler.jobs.values():
            found += [job.id, job.state, job.auto_complete, job.out_of_work, job.pool]
            found += map(str, scheduler.ledger.ready(job.number, 1000))
        found += map(str, scheduler.ledger.running())
        found += batch._store.rows("SELECT parent, child FROM edge ORDER BY parent, child")
        found += batch._store.rows("SELECT child FROM edge ORDER BY child")
        return found


def flipped(content: bytes, chance: random.Random) -> tuple[int, bytes]:
    place = chance.randrange(len(content))
    damaged = bytearray(content)
    damaged[place] ^= chance.randrange(1, 256)
    return place, bytes(damaged)


@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_flipped_bytes(home: Path) -> None:
    """Of 1,000 stores with a changed byte each, all give what was written or a StoreError."""
    store = home / "store.db"
    content = store.read_bytes()
    right = read(home)
    counts: collections.Counter[str] = collections.Counter()
    bad = []
    chance = random.Random(SEED)
    for _ in range(FLIPS):
        for rest in home.glob("store.db*"):
            rest.unlink()
        place, damaged = flipped(content, chance)
        store.write_bytes(damaged)
        try:
            outcome = "right" if read(home) == right else "wrong"
        except StoreError:
            outcome = "typed"
        except Exception as error:  # noqa: BLE001  any other is the fault
            outcome = "raw"
            bad.append((place, repr(error)))
        counts[outcome] += 1
        if outcome == "wrong":
            bad.append((place, "wrong"))
    assert (counts["raw"], counts["wrong"]) == (0, 0), bad
    assert counts["right"]
    assert counts["typed"] > FLIPS / 3  # the rest of the bytes mean nothing


def damage(store: Path, old: bytes, new: bytes) -> None:
    """Write other bytes of the same length into the file."""
    content = store.read_bytes()
    assert old in content
    store.write_bytes(content.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"--seed 33 ", b"--seed 34 "),
        (b'"slots_per_node": 1', b'"slots_per_node": 9'),
        (b"ended with exit code 3", b"ended with exit code 4"),
        (b"FailureExitCode", b"FailureExitMode"),
        (b"max_parallel", b"max_paralleL"),
    ],
)
def test_changed_values_of_a_large_store(
    home: Path, monkeypatch: pytest.MonkeyPatch, old: bytes, new: bytes
) -> None:
    """What is written in rows is known by its checksum, however large the store is."""
    monkeypatch.setattr("cfa.cloudops.service.store._EXAMINED_BYTES", 0)
    damage(home / "store.db", old, new)
    with pytest.raises(StoreUnreadableError, match="checksum"):
        read(home)


def test_damaged_rows_are_not_changed(home: Path) -> None:
    """A row that is damaged gets no new checksum by being changed."""
    damage(home / "store.db", b"--seed 74 ", b"--seed 75 ")
    with closing(Store(home / "store.db")) as store:
        for _ in range(2):
            with pytest.raises(StoreUnreadableError, match="checksum"):
                store.execute("UPDATE task SET unmet = unmet + 1")


def test_others_cannot_count_tasks(home: Path) -> None:
    """An agent of a version without checksums cannot commit what happens to a task."""
    with (
        closing(sqlite3.connect(home / "store.db")) as db,
        pytest.raises(sqlite3.OperationalError, match="no such function"),
    ):
        db.execute("UPDATE job SET active = active - 1, running = running + 1")


def test_checksums_of_all_rows(home: Path) -> None:
    """Every row has its checksum, whoever wrote it."""
    with closing(Store(home / "store.db")) as store:
        for table in SUMMED:
            wrong = f"SELECT COUNT(*) FROM {table} WHERE sum IS NOT row_sum({summed(table, table)})"
            assert store.row(wrong) == (0,), table


def test_checksums_are_the_same_everywhere() -> None:
    """A store is read by other versions of Python and on other machines."""
    assert row_sum(0, 1, -(1 << 40), 1.5, None, "é", "x" * 300) == 939036856


def test_doctor_examines_large_stores(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage to an index of a large store is found by whoever looks for it."""
    monkeypatch.setattr("cfa.cloudops.service.store._EXAMINED_BYTES", 0)
    content = (home / "store.db").read_bytes()
    place = content.rindex(b"job2--42")  # the index lies behind the table
    with (home / "store.db").open("r+b") as file:
        file.seek(place + 3)
        file.write(b"3")
    with closing(Store(home / "store.db")) as store, pytest.raises(StoreUnreadableError):
        store.examine()
