"""Workspaces of earlier versions: what waits in them runs.

`tests/data/stores` has a store of each version of the tables, written by the program of its time and
kept as SQL. Its agent and its node were killed while a task ran.
"""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from cfa.cloudops.local import CloudClient
from cfa.cloudops.service import link, reserve, sums
from cfa.cloudops.service.schema import MIGRATIONS, summed
from cfa.cloudops.service.workspace import Workspace

STORES = Path(__file__).parents[1] / "data" / "stores"
#: Files for the tables of this version would be of the program that is tested here.
VERSIONS = range(1, len(MIGRATIONS))
LOGS_SINCE, SCHEDULES_SINCE, SUMS_SINCE = 2, 3, 6


def restore(version: int, work: Path) -> None:
    """Lay a store of a version into the workspace of a directory."""
    text = (STORES / f"version-{version}.sql").read_text()
    home = work / ".cloudops"
    home.mkdir(mode=0o700)
    with contextlib.closing(sqlite3.connect(home / "store.db")) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(text.replace("@STORAGE@", f"file://{work}"))
        sums.install(db)
        if version >= SUMS_SINCE:  # the text of these was changed
            for table in ("pool", "job"):
                db.execute(f"UPDATE {table} SET sum = row_sum({summed(table, table)})")
            db.commit()
        if version >= SCHEDULES_SINCE:  # its first job is due, whatever the date is
            db.execute("UPDATE schedule SET created = ?", (time.time() - 60,))
            db.commit()


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """A version of the tables; the current directory has a workspace with a store of it."""
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    number: int = request.param
    for container in ("data", "logs"):
        (workdir / container).mkdir()
    restore(number, workdir)
    output = workdir / ".cloudops/root/workitems/mixed/job-1/mixed--1"
    output.mkdir(parents=True)
    (output / "stdout.txt").write_text("first\n")
    (output / "stderr.txt").touch()
    return number


def states(client: CloudClient, job: str) -> list[tuple[str, str, int | None]]:
    return [
        (task.id, str(task.result or task.state), task.exit_code)
        for task in client._batch.list_tasks(job)
    ]


@pytest.mark.timeout(120)
def test_waiting_work_runs(version: int, workdir: Path) -> None:
    """Tasks that waited or ran when their program was replaced run to their end."""
    with contextlib.closing(CloudClient()) as client:
        client.monitor_job("mixed", timeout=1)
        client.monitor_job("plain", timeout=1)
        assert states(client, "mixed") == [
            (f"mixed--{number}", "success", 0) for number in (1, 2, 3, 4)
        ]
        assert states(client, "plain") == [("1", "success", 0), ("2", "success", 0)]
        assert client._batch.get_task("mixed", "mixed--2").requeue_count == 1
        scaled, fixed = client._batch.list_pools()
        assert scaled.spec.autoscale_formula is not None
        assert (scaled.spec.nodes, fixed.spec.nodes) == (2, 2)
        if version >= LOGS_SINCE:
            saved = [path.name for path in (workdir / "logs").rglob("stdout.txt")]
            assert len(saved) == 4
        if version >= SCHEDULES_SINCE:
            client.monitor_job("nightly:job-1", timeout=1)
            assert states(client, "nightly:job-1") == [("nightly-job", "success", 0)]


@pytest.mark.timeout(120)
def test_numbers_go_on(version: int) -> None:
    """Jobs and tasks that are made after deletions get numbers that nothing in the store has had."""
    with contextlib.closing(CloudClient()) as client:
        client.monitor_job("mixed", timeout=1)
        store = client._batch._store  # type: ignore[attr-defined]  # that of this machine
        newest = [store.next_number(table) - 1 for table in ("job", "task")]
        assert all(newest), version
        for job in client.list_jobs():
            client.delete_job(job.id)
        client.create_job("new", client.list_pools()[1].id)
        client.add_task("new", "true")
        (made,) = store.rows("SELECT job, number FROM task")
        assert list(made) == [number + 1 for number in newest]


def tables(home: Path) -> int:
    with contextlib.closing(sqlite3.connect(home / "store.db")) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def test_an_agent_of_its_time_leaves_first(version: int, workdir: Path) -> None:
    """An agent that knows the earlier tables only is asked to leave while they are as it knows them."""
    home = workdir / ".cloudops"
    said, found = [], []

    def serve(listener: socket.socket) -> None:
        line, _ = listener.accept()
        with line:
            line.sendall(b"cloudops 0.1.0 1\n")
            said.append(line.recv(16))
            time.sleep(0.3)  # who does not wait for its end changes the tables now
            found.append(tables(home))

    with socket.socket(socket.AF_UNIX) as listener:
        with link.short_path(home / "agent.sock") as path:
            listener.bind(path)
        listener.listen()
        agent = threading.Thread(target=serve, args=(listener,), daemon=True)
        agent.start()
        workspace = Workspace(home)
        with contextlib.closing(reserve.open_store(workspace)):
            agent.join(30)
        assert (said, found) == ([link.LEAVE], [version])
    assert tables(home) == len(MIGRATIONS)


def test_all_versions_are_kept() -> None:
    """There is a store of every version of the tables before this one."""
    found = {int(path.stem.rpartition("-")[2]) for path in STORES.glob("version-*.sql")}
    assert found == set(VERSIONS)
    for number in VERSIONS:
        assert f"PRAGMA user_version = {number};" in (STORES / f"version-{number}.sql").read_text()
