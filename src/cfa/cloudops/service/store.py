"""The store: one SQLite database a workspace, shared by clients and the agent.

Write-ahead log, foreign keys, one `user_version` a migration. A commit survives the death of any
process (not the loss of power within the last moments: NORMAL, because a laptop disk takes 5 ms a
sync). Every SQLite error leaves here as one of ours.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from cfa.cloudops.errors import (
    CloudOpsError,
    DiskFullError,
    StoreError,
    StoreUnreadableError,
    StoreVersionError,
)

#: Codes of `task.state`: small integers keep the index of ready tasks small.
ACTIVE, PREPARING, RUNNING, COMPLETED = range(4)
#: Codes of `task.request`: what a client asks the agent to do with a task.
NOTHING, TERMINATE, DELETE = range(3)

_BUSY_S = 30.0
#: Bytes; SQLite takes 512 and needs some for its companions `-wal` and `-shm`.
_LONGEST_PATH = 500

_FIRST = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE pool (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL COLLATE NOCASE UNIQUE,
    state TEXT NOT NULL,
    definition TEXT NOT NULL,       -- JSON of PoolSpec
    created REAL NOT NULL           -- seconds since the epoch, here and below
);

CREATE TABLE job (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL COLLATE NOCASE UNIQUE,
    pool TEXT NOT NULL COLLATE NOCASE,  -- no reference: the pool may come later or go earlier
    state TEXT NOT NULL,
    definition TEXT NOT NULL,       -- JSON of JobSpec
    auto_complete INTEGER NOT NULL,
    deadline REAL,
    created REAL NOT NULL,
    ended REAL,
    terminate_reason TEXT,
    problem TEXT,                   -- why nothing runs, for people
    last_task_number INTEGER NOT NULL DEFAULT 0,
    active INTEGER NOT NULL DEFAULT 0,
    running INTEGER NOT NULL DEFAULT 0,
    succeeded INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE task (
    number INTEGER PRIMARY KEY,
    job INTEGER NOT NULL REFERENCES job (number) ON DELETE CASCADE,
    id TEXT NOT NULL COLLATE NOCASE,
    state INTEGER NOT NULL DEFAULT 0,
    request INTEGER NOT NULL DEFAULT 0,
    unmet INTEGER NOT NULL DEFAULT 0,   -- dependencies that are not satisfied yet
    command TEXT NOT NULL,
    image TEXT,                     -- NULL: the pool's
    mounts TEXT,                    -- JSON; NULL: the pool's
    timeout REAL,                   -- seconds of one attempt
    retries INTEGER NOT NULL,       -- allowed; -1: without limit
    release INTEGER NOT NULL,       -- 1: a failure does not block the tasks that depend on this one
    attempt INTEGER NOT NULL DEFAULT 0,
    retried INTEGER NOT NULL DEFAULT 0,
    requeued INTEGER NOT NULL DEFAULT 0,
    node TEXT,
    created REAL NOT NULL,
    started REAL,
    ended REAL,
    exit_code INTEGER,
    failure TEXT,                   -- code, NULL after success
    message TEXT
);
CREATE UNIQUE INDEX task_id ON task (job, id);
CREATE INDEX task_ready ON task (job, number) WHERE state = 0 AND unmet = 0 AND request = 0;
CREATE INDEX task_running ON task (job) WHERE state = 2;
CREATE INDEX task_request ON task (job) WHERE request > 0;

CREATE TABLE edge (
    parent INTEGER NOT NULL,
    child INTEGER NOT NULL REFERENCES task (number) ON DELETE CASCADE,
    PRIMARY KEY (parent, child)
) WITHOUT ROWID;
CREATE INDEX edge_child ON edge (child);

CREATE TABLE node (
    id TEXT PRIMARY KEY,
    job INTEGER NOT NULL,
    backend TEXT NOT NULL,
    name TEXT NOT NULL,
    opened REAL NOT NULL,
    ended REAL,
    reason TEXT
) WITHOUT ROWID;
CREATE INDEX node_open ON node (backend) WHERE ended IS NULL;

CREATE TABLE event (
    number INTEGER PRIMARY KEY,
    time REAL NOT NULL,
    job INTEGER,
    task INTEGER,
    what TEXT NOT NULL,
    detail TEXT
);
CREATE INDEX event_job ON event (job, number);
"""

_LOGS = """
-- the day of adding, as text of the client's calendar, until the task's logs are saved in the blob
-- container of its job; NULL when there is nothing to save
ALTER TABLE task ADD COLUMN log_day TEXT;

-- what of the job could not be saved, for people
ALTER TABLE job ADD COLUMN log_problem TEXT;

CREATE INDEX task_owed ON task (job, number)
    WHERE log_day IS NOT NULL AND state = 3 AND attempt > 0;
"""

#: The condition of a task that ran and whose logs are not saved yet; it has an index.
OWED = "log_day IS NOT NULL AND state = 3 AND attempt > 0"

_SCHEDULES = """
CREATE TABLE schedule (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL COLLATE NOCASE UNIQUE,
    state TEXT NOT NULL,
    definition TEXT NOT NULL,       -- JSON of JobScheduleSpec
    created REAL NOT NULL,
    ended REAL,
    used INTEGER NOT NULL DEFAULT 0,        -- occurrences below this number had their job
    last_job INTEGER NOT NULL DEFAULT 0,    -- n of the newest <id>:job-<n>
    recent_job TEXT
);
-- The id of the task that the job ends with.
ALTER TABLE job ADD COLUMN manager TEXT;
"""

#: What the agent reads at each wake-up must not grow with the jobs that are over.
_OPEN_JOBS = "CREATE INDEX job_open ON job (number) WHERE state <> 'completed'"

_SCALING = """
ALTER TABLE pool ADD COLUMN scaling TEXT;   -- JSON: nodes that its formula gave, and the latest run
"""

#: Scripts that lead from version n to n + 1.
MIGRATIONS: tuple[str, ...] = (_FIRST, _LOGS, _SCHEDULES, _OPEN_JOBS, _SCALING)


class Store:
    """One connection to a workspace's store. Threads take turns; a transaction is one turn.

    Args:
        path: the database file; its directory exists. Made when absent.

    Raises:
        StoreUnreadableError: damaged, or not ours to read or write.
        StoreVersionError: written by a newer version.
        DiskFullError: no space to make it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
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
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = NORMAL")
                self._db.execute("PRAGMA foreign_keys = ON")
                self._db.execute("PRAGMA cache_size = -8192")
            self._migrate()
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

    def _migrate(self) -> None:
        newest = len(MIGRATIONS)
        if self._version() == newest:
            return
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
            if found == 0:
                self.execute("INSERT INTO meta VALUES ('workspace', ?)", (uuid4().hex[:12],))
            self.execute(f"PRAGMA user_version = {newest}")

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
                    self._db.execute("ROLLBACK")
                raise

    def execute(self, sql: str, values: Iterable[Any] = ()) -> int:
        """Run a statement; the number of rows it changed."""
        with self._turn, self._translated("write to"):
            return self._db.execute(sql, tuple(values)).rowcount

    def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        with self._turn, self._translated("write to"):
            self._db.executemany(sql, rows)

    def insert(self, sql: str, values: Iterable[Any] = ()) -> int:
        """Run an INSERT; the number of the new row."""
        with self._turn, self._translated("write to"):
            return int(self._db.execute(sql, tuple(values)).lastrowid or 0)

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
        found = self.row("SELECT value FROM meta WHERE name = ?", (name,))
        return None if found is None else str(found[0])

    def set_meta(self, name: str, value: str) -> None:
        """Outside or inside a transaction; writes only what changed."""
        if self.meta(name) != value:
            self.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    # --- errors

    @contextmanager
    def _translated(self, verb: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _translate(error, self.path, verb) from None


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
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    tried = f"Could not {verb} the store {path}: {text}."
    match code:
        case sqlite3.SQLITE_FULL:
            return DiskFullError(tried, "Free some space; what was committed is safe.")
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN if no_space(path.parent):
            return DiskFullError(tried, "Free some space; what was committed is safe.")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreError(
                f"{tried} Another process held it for over {_BUSY_S:.0f} seconds.",
                "Try again; if it stays so, look for a stopped process with the file open.",
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StoreUnreadableError(
                tried,
                f"The file is damaged. Task output is still in {path.parent}/root/workitems. Move "
                f"{path.name}* away, or set CLOUDOPS_HOME to another directory, to begin anew.",
            )
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return StoreUnreadableError(
                tried, f"Check the owner and the permissions of {path.parent} and of the file."
            )
        case _:
            return StoreError(tried, "If it happens again, please report it with this message.")


#: What a write takes that has to fit: a transaction of some changes.
_SOME_SPACE = b"\0" * (64 << 10)


def no_space(directory: Path) -> bool:
    """Whether nothing more can be written in a directory: no blocks, no inodes, or the quota is used up.

    Tried with a file that has no name. What a file system says of itself is of no use: ext4 keeps some
    blocks to itself that it calls free, and others do not count their inodes.
    """
    try:
        descriptor = os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            left = len(_SOME_SPACE)
            while left:
                left -= os.write(descriptor, _SOME_SPACE[:left])
        finally:
            os.close(descriptor)
    except (OSError, AttributeError) as error:
        if getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT):
            return True
        return _says_full(directory)
    return False


def _says_full(directory: Path) -> bool:
    """The same where files without names are not possible."""
    try:
        found = os.statvfs(directory)
        return (found.f_bavail if os.geteuid() else found.f_bfree) == 0  # root may use the rest
    except OSError:
        return False


#: What is short, by what the system says. It comes again without anybody's doing.
_SHORT = {
    errno.ENOSPC: "No space is left in the workspace.",
    errno.EDQUOT: "The disk quota of the workspace is used up.",
    errno.EMFILE: "The agent has as many files open as it may.",
    errno.ENFILE: "The machine has as many files open as it can.",
    errno.EAGAIN: "No further process can be started: a limit of processes is reached.",
    errno.ENOMEM: "No memory is left.",
}


def shortage(error: BaseException | None) -> str:
    """What is short, in a sentence, when that is all that an error says, or what it was made of; else ''."""
    while error is not None:
        if isinstance(error, DiskFullError):
            return _SHORT[errno.ENOSPC]
        if isinstance(error, OSError) and error.errno in _SHORT:
            return _SHORT[error.errno]
        error = error.__context__ if isinstance(error, CloudOpsError) else None
    return ""


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn a full disk met while writing files of ours into `DiskFullError`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"No space left while {what}: {error}.", "Free some space and try again."
            ) from None
        raise


Row = tuple[Any, ...]
Reader = Callable[[Row], Any]
