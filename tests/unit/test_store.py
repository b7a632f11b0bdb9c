"""The store: versions, transactions, errors."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cfa.cloudops.errors import StoreError, StoreUnreadableError, StoreVersionError
from cfa.cloudops.service import store as module
from cfa.cloudops.service.definitions import JOB_COLUMNS, job_value
from cfa.cloudops.service.store import MIGRATIONS, Store


def test_made_from_nothing(tmp_path: Path) -> None:
    """A new store has all tables, the newest version and an id of its own."""
    with closing(Store(tmp_path / "a.db")) as first, closing(Store(tmp_path / "b.db")) as second:
        assert first.row("PRAGMA user_version") == (len(MIGRATIONS),)
        names = {
            row[0] for row in first.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        assert names >= {"meta", "pool", "job", "task", "edge", "node", "event"}
        assert first.meta("workspace") != second.meta("workspace")


def test_made_from_an_empty_file(tmp_path: Path) -> None:
    """A file of no bytes, as a crash at the first moment leaves it, becomes a store."""
    (tmp_path / "a.db").touch()
    with closing(Store(tmp_path / "a.db")) as store:
        assert store.rows("SELECT * FROM pool") == []


def test_made_from_version_zero(tmp_path: Path) -> None:
    """A database in which no migration was committed becomes a store."""
    with closing(sqlite3.connect(tmp_path / "a.db")) as db:
        db.execute("PRAGMA journal_mode = WAL")
    with closing(Store(tmp_path / "a.db")) as store:
        assert store.row("PRAGMA user_version") == (len(MIGRATIONS),)


def test_opened_again(tmp_path: Path) -> None:
    """Opening a store of this version changes nothing."""
    with closing(Store(tmp_path / "a.db")) as store:
        identity = store.meta("workspace")
        store.set_meta("x", "1")
    with closing(Store(tmp_path / "a.db")) as store:
        assert (store.meta("workspace"), store.meta("x")) == (identity, "1")


def test_later_migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older store is brought up to date step by step and keeps what it has."""
    with closing(Store(tmp_path / "a.db")) as store:
        store.set_meta("x", "1")
        identity = store.meta("workspace")
    more = (*MIGRATIONS, "CREATE TABLE one (a);\nINSERT INTO one VALUES (1);\n", "DROP TABLE one")
    monkeypatch.setattr(module, "MIGRATIONS", more)
    with closing(Store(tmp_path / "a.db")) as store:
        assert store.row("PRAGMA user_version") == (len(more),)
        assert (store.meta("workspace"), store.meta("x")) == (identity, "1")
        assert store.row("SELECT 1 FROM sqlite_master WHERE name = 'one'") is None


def test_jobs_of_the_first_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs and tasks of a store of the first version are read, and owe no logs."""
    with monkeypatch.context() as patched:
        patched.setattr(module, "MIGRATIONS", MIGRATIONS[:1])
        with closing(Store(tmp_path / "a.db")) as store:
            store.execute(
                "INSERT INTO job (id, pool, state, definition, auto_complete, created) "
                "VALUES ('j', 'p', 'active', ?, 1, 0)",
                (json.dumps({"id": "j", "pool_id": "p", "metadata": []}),),
            )
            store.execute(
                "INSERT INTO task (job, id, state, command, retries, release, attempt, created) "
                "VALUES (1, 't', 3, 'true', 0, 0, 1, 0)"
            )
    with closing(Store(tmp_path / "a.db")) as store:
        row = store.row(f"SELECT {JOB_COLUMNS} FROM job")
        assert row is not None
        job = job_value(row)
        assert (job.spec.id, job.logs_owed, job.problem) == ("j", 0, None)


def test_migration_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration is done as a whole or not at all."""
    with closing(Store(tmp_path / "a.db")):
        pass
    more = (*MIGRATIONS, "CREATE TABLE one (a);\nNONSENSE;\n")
    with monkeypatch.context() as patched:
        patched.setattr(module, "MIGRATIONS", more)
        with pytest.raises(StoreError):
            Store(tmp_path / "a.db")
    with closing(Store(tmp_path / "a.db")) as store:
        assert store.row("SELECT 1 FROM sqlite_master WHERE name = 'one'") is None


def test_newer_version(tmp_path: Path) -> None:
    """A store of a newer version is refused."""
    with closing(Store(tmp_path / "a.db")) as store:
        store.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreVersionError, match="99"):
        Store(tmp_path / "a.db")


def interrupted(store: Store, error: type[BaseException]) -> None:
    with store.transaction():
        store.set_meta("x", "1")
        raise error


def broken(store: Store) -> None:
    with store.transaction():
        store.set_meta("x", "1")
        store.execute("NONSENSE")


def test_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    """Whatever ends a transaction early undoes all of it."""
    with closing(Store(tmp_path / "a.db")) as store:
        for error in (ValueError, KeyboardInterrupt):
            with pytest.raises(error):
                interrupted(store, error)
        assert store.meta("x") is None
        with store.transaction():
            store.set_meta("x", "2")
        assert store.meta("x") == "2"


def test_error_inside_a_transaction(tmp_path: Path) -> None:
    """A statement that fails is an error of ours, and the store can be used afterwards."""
    with closing(Store(tmp_path / "a.db")) as store:
        with pytest.raises(StoreError):
            broken(store)
        assert store.meta("x") is None
        store.set_meta("x", "1")


def test_stream_beside_writes(tmp_path: Path) -> None:
    """A long result can be read while the same connection writes."""
    with closing(Store(tmp_path / "a.db")) as store:
        numbers = ((str(number),) for number in range(5000))
        store.execute_many("INSERT INTO meta (name, value) VALUES (?, '')", numbers)
        seen = 0
        for _ in store.stream("SELECT name FROM meta WHERE value = ''"):
            if seen % 1000 == 0:
                store.set_meta("workspace", str(seen))
            seen += 1
        assert seen == 5000


def test_interrupt_inside_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while SQLite asks for a checksum is Ctrl-C, and not a damaged store."""

    def interrupted(*_: object) -> int:
        monkeypatch.undo()
        raise KeyboardInterrupt

    with closing(Store(tmp_path / "a.db")) as store:
        monkeypatch.setattr(module.sums, "crc32", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.row(f"SELECT {module.sums.sound('meta.value')} FROM meta")
        assert store.meta("workspace")


@pytest.mark.parametrize("content", [b"no database" * 500, b"SQLite format 3\0" + b"\xff" * 5000])
def test_damaged_file(tmp_path: Path, content: bytes) -> None:
    """A file that is no database is refused in words."""
    (tmp_path / "a.db").write_bytes(content)
    with pytest.raises(StoreUnreadableError, match=r"a\.db"):
        Store(tmp_path / "a.db")


def test_missing_directory(tmp_path: Path) -> None:
    """A directory that is not there is refused in words, also as an OSError."""
    with pytest.raises(OSError, match="nowhere") as caught:
        Store(tmp_path / "nowhere" / "a.db")
    assert isinstance(caught.value, StoreUnreadableError)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_read_only_file(tmp_path: Path) -> None:
    """A store that may not be written is refused when something is to be written."""
    with closing(Store(tmp_path / "a.db")):
        pass
    (tmp_path / "a.db").chmod(0o400)
    tmp_path.chmod(0o500)
    try:
        with (
            pytest.raises(StoreUnreadableError, match="permissions"),
            closing(Store(tmp_path / "a.db")) as store,
        ):
            store.set_meta("x", "1")
    finally:
        tmp_path.chmod(0o700)


def test_path_that_is_too_long(tmp_path: Path) -> None:
    """SQLite's limit of a path is named, and what to do about it."""
    deep = tmp_path.joinpath(*["d" * 100] * 5)
    deep.mkdir(parents=True)
    with pytest.raises(StoreError, match=r"too long for SQLite(.|\n)*shorter path"):
        Store(deep / "store.db")
