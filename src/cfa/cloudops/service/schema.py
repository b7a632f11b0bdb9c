"""The tables of the store, and what leads from one version of them to the next."""

from __future__ import annotations

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
-- the day of adding, as text of the client's calendar, until the task's logs are saved in a blob
-- container; NULL when there is nothing to save
ALTER TABLE task ADD COLUMN log_day TEXT;

-- what of the job could not be saved, for people
ALTER TABLE job ADD COLUMN log_problem TEXT;

CREATE INDEX task_owed ON task (job, number)
    WHERE log_day IS NOT NULL AND state = 3 AND attempt > 0;
"""

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

_UPLOADS = """
CREATE TABLE upload (               -- of tasks that say themselves where their logs go
    task INTEGER PRIMARY KEY REFERENCES task (number) ON DELETE CASCADE,
    definition TEXT NOT NULL        -- JSON of Upload
);
"""

#: Whole numbers that are counted up and down. Their part of the checksum is counted along.
COUNTED: dict[str, tuple[str, ...]] = {
    "job": ("active", "running", "succeeded", "failed", "last_task_number"),
    "task": ("unmet",),
}
#: What else the checksum of a row is of. Of a task, what those that are added together have in common
#: comes first. The number of an event is left out: it is not known before the row is written, and its
#: index holds it too. Rows of `edge` need none: its two trees hold the same.
SUMMED: dict[str, tuple[str, ...]] = {
    "meta": ("name", "value"),
    "pool": ("number", "id", "state", "definition", "created", "scaling"),
    "job": (
        "number", "id", "pool", "state", "definition", "auto_complete", "deadline", "created", "ended",
        "terminate_reason", "problem", "log_problem", "manager",
    ),
    "task": (
        "job", "state", "request", "image", "mounts", "timeout", "retries", "release",
        "attempt", "retried", "requeued", "node", "created", "started", "ended", "exit_code",
        "failure", "message", "log_day", "number", "id", "command",
    ),
    "node": ("id", "job", "backend", "name", "opened", "ended", "reason"),
    "event": ("time", "job", "task", "what", "detail"),
    "schedule": (
        "number", "id", "state", "definition", "created", "ended", "used", "last_job", "recent_job",
    ),
    "upload": ("task", "definition"),
}  # fmt: skip
#: Columns that name a row.
_KEYS = {"meta": "name", "node": "id", "upload": "task"}
#: Who writes many rows of these at once writes their checksums along.
_SUMMED_BY_WRITER = ("task", "event")
#: So do the statements that change nothing but these: even a trigger that does nothing takes time.
_CHANGED_OFTEN = {
    "task": {
        "state", "attempt", "node", "started", "ended", "exit_code", "failure", "message",
    },
}  # fmt: skip


def summed(table: str, row: str) -> str:
    """SQL for the arguments of `sums.row_sum`: how many are counted, and the values of a row."""
    counted = COUNTED.get(table, ())
    return ", ".join((str(len(counted)), *(f"{row}.{name}" for name in counted + SUMMED[table])))


def _sums(*tables: str) -> str:
    """Checksums of the rows of tables, kept by triggers. Rows from before have none until they change.

    A trigger leaves a checksum alone that the statement itself has set. The functions are those of
    `sums`. Who does not have them, such as an agent of an older version that has not left yet, cannot
    count tasks of a job, so none of its transactions about tasks is committed.
    """
    script = ""
    for table in tables:
        key = _KEYS.get(table, "number")
        old, new = summed(table, "OLD"), summed(table, "NEW")
        watched = ", ".join(
            name
            for name in (*COUNTED.get(table, ()), *SUMMED[table])
            if name not in _CHANGED_OFTEN.get(table, ())
        )
        script += f"ALTER TABLE {table} ADD COLUMN sum INTEGER;\n"
        renew = f"UPDATE {table} SET sum = {{}} WHERE {key} = NEW.{key}; END;\n"  # noqa: S608
        script += (
            f"CREATE TRIGGER {table}_changed AFTER UPDATE OF {watched} ON {table} "
            "WHEN NEW.sum IS OLD.sum BEGIN " + renew.format(f"renewed_sum(OLD.sum, {old}, {new})")
        )
        if table not in _SUMMED_BY_WRITER:
            script += f"CREATE TRIGGER {table}_added AFTER INSERT ON {table} BEGIN " + renew.format(
                f"row_sum({new})"
            )
    return script


#: Scripts that lead from version n to n + 1.
MIGRATIONS: tuple[str, ...] = (
    _FIRST, _LOGS, _SCHEDULES, _OPEN_JOBS, _SCALING,
    _sums("meta", "pool", "job", "task", "node", "event", "schedule"),
    _UPLOADS + _sums("upload"),
)  # fmt: skip
