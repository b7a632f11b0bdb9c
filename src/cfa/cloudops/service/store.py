"""The store: one SQLite database a workspace, shared by clients and the agent.

Write-ahead log, foreign keys, one `user_version` a migration. A commit survives the death of any
process (not the loss of power within the last moments: NORMAL, because a laptop disk takes 5 ms a
sync). Every SQLite error leaves here as one of ours.

A damaged file gives errors, never values. The structure is examined when a store is opened, all of it
where that takes a moment only; what is written in rows is known by its checksum (see `sums`).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4
from zlib import crc32

from cfa.cloudops.errors import (
    InvalidInputError,
    StoreError,
    StoreUnreadableError,
    StoreVersionError,
)
from cfa.cloudops.service import sums
from cfa.cloudops.service.disks import LOCAL_DISK, disk_full, no_space, read_only
from cfa.cloudops.service.schema import MIGRATIONS, SUMMED

#: Codes of `task.state`: small integers keep the index of ready tasks small.
ACTIVE, PREPARING, RUNNING, COMPLETED = range(4)
#: Codes of `task.request`: what a client asks the agent to do with a task.
NOTHING, TERMINATE, DELETE = range(3)

_BUSY_S = 30.0
#: Bytes; SQLite takes 512 and needs some for its companions `-wal` and `-shm`.
_LONGEST_PATH = 500
#: A file of up to this many bytes is examined as a whole when it is opened: under ten milliseconds.
_EXAMINED_BYTES = 1 << 20
#: What is examined of a larger one.
_EXAMINED_TABLES = ("meta", "pool", "job", "schedule")

_NO_SUM = "A row does not have its checksum."

#: How the entries of `meta` begin that hold the image that nodes of a job wait for.
_PULLING = "pulling-"
#: SQL for that image of a row of `job`, NULL where there is none.
PULLING = f"(SELECT {sums.sound('meta.value')} FROM meta WHERE name = '{_PULLING}' || job.number)"  # noqa: S608

#: The condition of a task that ran and whose logs are not saved yet; it has an index.
OWED = "log_day IS NOT NULL AND state = 3 AND attempt > 0"


def pulling_name(job_number: int) -> str:
    """The name of the entry of `meta` with the image that nodes of a job wait for."""
    return f"{_PULLING}{job_number}"


def pulled(store: Store) -> list[int]:
    """Numbers of jobs that have such an entry."""
    rows = store.rows("SELECT name FROM meta WHERE name GLOB ?", (f"{_PULLING}*",))
    return [int(name.removeprefix(_PULLING)) for (name,) in rows]


class Store:
    """One connection to a workspace's store. Threads take turns; a transaction is one turn.

    Args:
        path: the database file; its directory exists. Made when absent.
        before_change: called before the tables of an earlier version are changed.

    Raises:
        StoreUnreadableError: damaged, or not ours to read or write.
        StoreVersionError: written by a newer version.
        DiskFullError: no space to make it.
    """

    def __init__(self, path: Path, before_change: Callable[[], None] | None = None) -> None:
        self.path = path
        self._before_change = before_change
        if len(os.fsencode(path.absolute())) > _LONGEST_PATH:
            raise StoreError(
                f"The path of the store is too long for SQLite ({_LONGEST_PATH} bytes): {path}.",
                "Work in a directory with a shorter path, or set CLOUDOPS_HOME to one.",
            )
        self._turn = threading.RLock()
        _stores.add(self)
        with self._translated("open"):
            self._db = sqlite3.connect(
                path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
        try:
            with self._translated("open"):
                journal = self._db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                if journal != "wal":
                    raise _no_store(path, f"its journal can only be: {journal}")
                self._db.execute("PRAGMA synchronous = NORMAL")
                self._db.execute("PRAGMA foreign_keys = ON")
                self._db.execute("PRAGMA cache_size = -8192")
                self._db.execute("PRAGMA cell_size_check = ON")
                sums.install(self._db)
            if not self._migrate():
                self._examine()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._db.close()
        _stores.discard(self)

    def hold(self) -> None:
        """Keep every other thread out until `let_go`."""
        self._turn.acquire()

    def let_go(self) -> None:
        self._turn.release()

    # --- versions

    def _version(self) -> int:
        with self._translated("read the version of"):
            return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _migrate(self) -> bool:
        """Make or change the tables. False: they are as they should be."""
        newest = len(MIGRATIONS)
        version = self._version()
        if version == newest:
            return False
        if 0 < version < newest and self._before_change is not None:
            self._before_change()
        with self.transaction():
            found = self._version()  # another process may have been faster
            if found > newest:
                raise StoreVersionError(
                    f"The store {self.path} was written by a newer version of cfa-cloudops "
                    f"(store version {found}, this one knows {newest}).",
                    "Upgrade cfa-cloudops, or set CLOUDOPS_HOME to another directory.",
                )
            for script in MIGRATIONS[found:]:
                for statement in script.split(";\n"):
                    if statement.strip():
                        self.execute(statement)
            write = "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)"
            if found == 0:
                self.execute(write, ("workspace", uuid4().hex[:12]))
            self.execute(write, ("schema", self._schema()))
            self.execute(f"PRAGMA user_version = {newest}")
        return True

    # --- damage

    def _schema(self) -> str:
        """A checksum of what SQLite believes about our tables."""
        tables = ", ".join(f"'{name}'" for name in (*SUMMED, "edge"))
        found = self.rows(
            "SELECT type, name, tbl_name, sql FROM sqlite_master "  # noqa: S608  constants
            f"WHERE tbl_name IN ({tables}) ORDER BY name"
        )
        return str(crc32(repr(found).encode()))

    def _examine(self) -> None:
        if self.meta("schema") != self._schema():
            raise _damaged(self.path, "Its tables are not the expected ones.")
        # A damaged name would only not be found: no index has it a second time.
        self.row(f"SELECT COUNT({sums.sound('meta.name')}) FROM meta")  # noqa: S608
        size = self.row("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
        if size is not None and size[0] <= _EXAMINED_BYTES:
            self.examine()
        elif sqlite3.sqlite_version_info >= (3, 33):  # before, it would be the whole file
            for table in _EXAMINED_TABLES:
                self._check(table)

    def examine(self) -> None:
        """Examine the structure of the whole file, a second for 100 MB.

        Raises:
            StoreUnreadableError: it is damaged; the message says where.
        """
        self._check("1")

    def _check(self, what: str) -> None:
        for (found,) in self.rows(f"PRAGMA integrity_check({what})"):
            if found != "ok":
                raise _damaged(self.path, " ".join(str(found).split()) + ".")

    def _has_damaged_row(self) -> bool:
        """Ask all rows: SQLite does not say what a function has raised, for whom, nor why."""
        try:
            for table, columns in SUMMED.items():
                column = sums.sound(f"{table}.{columns[0]}")
                self._db.execute(f"SELECT COUNT({column}) FROM {table}").fetchone()  # noqa: S608
        except sqlite3.Error:
            return True
        return False

    # --- statements

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A write transaction: all of it is committed, or, on any exception, nothing."""
        with self._turn:
            with self._translated("write to"):
                self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                with self._translated("write to"):
                    self._db.execute("COMMIT")
            except BaseException:
                # After some errors (a full disk) SQLite has rolled back by itself.
                if self._db.in_transaction:
                    with self._translated("write to"):
                        self._db.execute("ROLLBACK")
                raise

    def execute(self, sql: str, values: Iterable[Any] = ()) -> int:
        """Run a statement; the number of rows it changed."""
        with self._turn, self._translated("write to"):
            return self._db.execute(sql, tuple(values)).rowcount

    def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        with self._turn, self._translated("write to"):
            self._db.executemany(sql, rows)

    def row(self, sql: str, values: Iterable[Any] = ()) -> tuple[Any, ...] | None:
        with self._turn, self._translated("read"):
            found: tuple[Any, ...] | None = self._db.execute(sql, tuple(values)).fetchone()
            return found

    def rows(self, sql: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        with self._turn, self._translated("read"):
            return self._db.execute(sql, tuple(values)).fetchall()

    def stream(self, sql: str, values: Iterable[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows one by one, for results too large for a list. Writes go on beside it."""
        with self._turn, self._translated("read"):
            cursor = self._db.execute(sql, tuple(values))
        while True:
            with self._turn, self._translated("read"):
                batch = cursor.fetchmany(1000)
            if not batch:
                return
            yield from batch

    # --- space

    def free_bytes(self) -> int:
        """Space inside the file that new rows can take without its growing."""
        pages, size = self.row("PRAGMA freelist_count"), self.row("PRAGMA page_size")
        return int(pages[0]) * int(size[0]) if pages and size else 0

    def make_free(self, size: int) -> None:
        """Make so many bytes of such space."""
        with self.transaction():
            self.execute("CREATE TABLE reserve (space BLOB)")
            self.execute("INSERT INTO reserve VALUES (zeroblob(?))", (size,))
            self.execute("DROP TABLE reserve")

    # --- meta

    def meta(self, name: str) -> str | None:
        found = self.row("SELECT value, sum, 0, name, value FROM meta WHERE name = ?", (name,))
        if found is None:
            return None
        try:  # here and not in SQL: this is read at every turn of the agent
            return str(sums.sound_value(*found))
        except sums.DamagedRowError:
            raise _damaged(self.path, _NO_SUM) from None

    def set_meta(self, name: str, value: str) -> None:
        """Outside or inside a transaction; writes only what changed."""
        if self.meta(name) != value:
            self.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (name, value))

    # --- numbers

    def next_number(self, table: str) -> int:
        """The number for a new row of `job` or `task`, which no row has had. In its transaction."""
        row = self.row(  # one statement: it is asked for at each addition
            f"SELECT MAX(number), (SELECT {sums.sound('meta.value')} FROM meta WHERE name = ?) "  # noqa: S608
            f"FROM {table}",
            (f"used-{table}",),
        )
        return max(int(number or 0) for number in row or (0,)) + 1

    def retire_numbers(self, *tables: str) -> None:
        """Before rows of `job` or `task` are deleted: see that no later one gets their numbers.

        Written at deletions, so that additions only read it: SQLite's own AUTOINCREMENT would write at
        each of them.
        """
        for table in tables:
            self.set_meta(f"used-{table}", str(self.next_number(table) - 1))

    # --- errors

    @contextmanager
    def _translated(self, verb: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if str(error) == sums.RAISED and not self._has_damaged_row():
                raise KeyboardInterrupt from None  # all that a sound row can have raised
            raise _translate(error, self.path, verb) from None
        except (UnicodeEncodeError, OverflowError) as error:  # only a caller's values are encoded
            raise InvalidInputError(
                f"Could not {verb} the store {self.path}: a value cannot be stored: {error}.",
                "Pass text without undecodable bytes, and numbers of at most 63 bits.",
            ) from None
        except (MemoryError, UnicodeDecodeError) as error:
            # A damaged length asks for gigabytes; an error about damaged text cannot be shown.
            raise _damaged(self.path, f"{type(error).__name__}: {error}.") from None


#: Stores of this process. No thread may be inside SQLite while another one forks: the child would
#: inherit its locks for good.
_stores: weakref.WeakSet[Store] = weakref.WeakSet()
_held: list[Store] = []


def is_open(path: Path) -> bool:
    """Whether this process has a store open."""
    return any(one.path == path for one in list(_stores))


def _before_fork() -> None:
    for one in list(_stores):
        one.hold()
        _held.append(one)


def _after_fork() -> None:
    while _held:
        _held.pop().let_go()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


def _translate(error: sqlite3.Error, path: Path, verb: str) -> StoreError:
    text = str(error)
    if text == sums.RAISED:
        return _damaged(path, _NO_SUM)
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if text.startswith("Could not decode to UTF-8"):  # said by Python, without a code
        code = sqlite3.SQLITE_CORRUPT
    tried = f"Could not {verb} the store {path}: {text}."
    match code:
        case sqlite3.SQLITE_FULL:
            return disk_full(tried, path.parent)
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN if no_space(path.parent):
            return disk_full(tried, path.parent)
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY if read_only(path.parent):
            return StoreUnreadableError(
                f"{tried} Its disk is mounted read-only.",
                "Mount it for writing, or set CLOUDOPS_HOME to a directory on another disk.",
            )
        case sqlite3.SQLITE_IOERR if verb == "open":
            return _no_store(path, text)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreError(
                f"{tried} Another process held it for over {_BUSY_S:.0f} seconds.",
                "Try again. If that does not help, look for a stopped process that has the file open.",
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return _damaged(path, f"SQLite says: {text}.")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return StoreUnreadableError(
                tried, f"Check the owner and the permissions of {path.parent} and of the file."
            )
        case _:
            return StoreError(tried, "If it happens again, please report it with this message.")


def _no_store(path: Path, text: str) -> StoreUnreadableError:
    """The error for a file system without what a write-ahead log needs: shared memory and locks."""
    return StoreUnreadableError(
        f"The file system of {path.parent} cannot hold a store ({text}), or its disk is failing.",
        LOCAL_DISK,
    )


def _damaged(path: Path, found: str) -> StoreUnreadableError:
    return StoreUnreadableError(
        f"The store {path} is damaged. {found}",
        f"Task output is still in {path.parent}/root/workitems. Restore {path.name} from a copy; or "
        "move it away, or set CLOUDOPS_HOME to another directory, to start over.",
    )


Row = tuple[Any, ...]
Reader = Callable[[Row], Any]
