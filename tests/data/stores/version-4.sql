BEGIN TRANSACTION;
CREATE TABLE edge (
    parent INTEGER NOT NULL,
    child INTEGER NOT NULL REFERENCES task (number) ON DELETE CASCADE,
    PRIMARY KEY (parent, child)
) WITHOUT ROWID;
INSERT INTO "edge" VALUES(2,4);
INSERT INTO "edge" VALUES(3,4);
INSERT INTO "edge" VALUES(5,6);
CREATE TABLE event (
    number INTEGER PRIMARY KEY,
    time REAL NOT NULL,
    job INTEGER,
    task INTEGER,
    what TEXT NOT NULL,
    detail TEXT
);
INSERT INTO "event" VALUES(1,1.79571373854600334169e+09,1,NULL,'created','scaled');
INSERT INTO "event" VALUES(2,1.79571373875453209876e+09,1,1,'running','aae4ec55');
INSERT INTO "event" VALUES(3,1.79571373876232218743e+09,1,1,'completed','success');
INSERT INTO "event" VALUES(4,1.7957137387698962689e+09,1,NULL,'completed','AllTasksComplete');
INSERT INTO "event" VALUES(5,1.79571373977789354326e+09,1,2,'running','aae4ec55');
INSERT INTO "event" VALUES(6,1.7957137399630215168e+09,2,NULL,'created','fixed');
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
, log_problem TEXT, manager TEXT);
INSERT INTO "job" VALUES(1,'mixed','scaled','active','{
  "id": "mixed",
  "pool_id": "scaled",
  "max_task_retries": 1,
  "timeout_s": null,
  "auto_complete": true,
  "integer_task_ids": false,
  "log_container": "logs",
  "log_folder": "stdout_stderr",
  "log_storage": "@STORAGE@",
  "manager_task_id": null,
  "metadata": [
    [
      "mark_complete",
      "True"
    ],
    [
      "owner",
      "somebody"
    ],
    [
      "datetime_created",
      "2026-11-26T17:22:18.545924+00:00"
    ]
  ]
}',1,NULL,1.79571373854600334169e+09,NULL,NULL,NULL,4,2,1,1,0,NULL,NULL);
INSERT INTO "job" VALUES(2,'plain','fixed','active','{
  "id": "plain",
  "pool_id": "fixed",
  "max_task_retries": 0,
  "timeout_s": null,
  "auto_complete": true,
  "integer_task_ids": true,
  "log_container": null,
  "log_folder": "stdout_stderr",
  "log_storage": "",
  "manager_task_id": null,
  "metadata": [
    [
      "mark_complete",
      "True"
    ],
    [
      "owner",
      "somebody"
    ],
    [
      "datetime_created",
      "2026-11-26T17:22:19.962978+00:00"
    ]
  ]
}',1,NULL,1.7957137399630215168e+09,NULL,NULL,NULL,2,2,0,0,0,NULL,NULL);
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('max_parallel','2');
INSERT INTO "meta" VALUES('workspace','6ecefecb9e44');
CREATE TABLE node (
    id TEXT PRIMARY KEY,
    job INTEGER NOT NULL,
    backend TEXT NOT NULL,
    name TEXT NOT NULL,
    opened REAL NOT NULL,
    ended REAL,
    reason TEXT
) WITHOUT ROWID;
INSERT INTO "node" VALUES('aae4ec55',1,'subprocess','mixed',1.7957137386626446247e+09,NULL,NULL);
CREATE TABLE pool (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL COLLATE NOCASE UNIQUE,
    state TEXT NOT NULL,
    definition TEXT NOT NULL,       -- JSON of PoolSpec
    created REAL NOT NULL           -- seconds since the epoch, here and below
);
INSERT INTO "pool" VALUES(1,'scaled','active','{
  "id": "scaled",
  "backend": "subprocess",
  "image": null,
  "needs_image": false,
  "mounts": [
    {
      "source": "data",
      "target": "in"
    }
  ],
  "vm_size": "standard_d4ads_v5",
  "nodes": 2,
  "slots_per_node": 1,
  "isolation": "job",
  "storage": "@STORAGE@",
  "resources": {
    "cpus": null,
    "memory_bytes": null
  },
  "autoscale_formula": "default",
  "metadata": [
    [
      "owner",
      "somebody"
    ],
    [
      "datetime_created",
      "2026-11-26T17:22:18.530413+00:00"
    ]
  ]
}',1.79571373854038047798e+09);
INSERT INTO "pool" VALUES(2,'fixed','active','{
  "id": "fixed",
  "backend": "subprocess",
  "image": null,
  "needs_image": false,
  "mounts": [],
  "vm_size": "standard_d4ads_v5",
  "nodes": 2,
  "slots_per_node": 1,
  "isolation": "job",
  "storage": "@STORAGE@",
  "resources": {
    "cpus": null,
    "memory_bytes": null
  },
  "autoscale_formula": null,
  "metadata": [
    [
      "owner",
      "somebody"
    ],
    [
      "datetime_created",
      "2026-11-26T17:22:18.545588+00:00"
    ]
  ]
}',1.79571373854573512079e+09);
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
INSERT INTO "schedule" VALUES(1,'nightly','active','{
  "id": "nightly",
  "pool_id": "fixed",
  "command_line": "echo scheduled",
  "display_name": "nightly",
  "start_window": null,
  "recurrence_interval": 2592000.0,
  "do_not_run_until": null,
  "do_not_run_after": null,
  "metadata": [
    [
      "owner",
      "somebody"
    ],
    [
      "datetime_created",
      "2026-11-26T17:22:19.963823+00:00"
    ]
  ]
}',1.79571373996402025227e+09,NULL,0,0,NULL);
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
, log_day TEXT);
INSERT INTO "task" VALUES(1,1,'mixed--1',3,0,0,'echo first',NULL,NULL,NULL,1,0,1,0,0,'aae4ec55',1.79571373854703903198e+09,1.79571373875453209876e+09,1.79571373876232218743e+09,0,NULL,NULL,'2026-11-22');
INSERT INTO "task" VALUES(2,1,'mixed--2',2,0,0,'sleep 1.25',NULL,NULL,NULL,1,0,1,0,0,'aae4ec55',1.79571373977722120287e+09,1.79571373977789354326e+09,NULL,NULL,NULL,NULL,'2026-11-26');
INSERT INTO "task" VALUES(3,1,'mixed--3',0,0,0,'sh -c "cat data/in.txt || true"',NULL,NULL,NULL,1,0,0,0,0,NULL,1.7957137399623150825e+09,NULL,NULL,NULL,NULL,NULL,'2026-11-26');
INSERT INTO "task" VALUES(4,1,'mixed--4',0,0,2,'true',NULL,NULL,NULL,1,0,0,0,0,NULL,1.79571373996277141573e+09,NULL,NULL,NULL,NULL,NULL,'2026-11-26');
INSERT INTO "task" VALUES(5,2,'1',0,0,0,'true',NULL,NULL,NULL,0,0,0,0,0,NULL,1.79571373996345949172e+09,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "task" VALUES(6,2,'2',0,0,1,'sh -c ''exit 0''',NULL,NULL,NULL,0,0,0,0,0,NULL,1.79571373996345949172e+09,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE UNIQUE INDEX task_id ON task (job, id);
CREATE INDEX task_ready ON task (job, number) WHERE state = 0 AND unmet = 0 AND request = 0;
CREATE INDEX task_running ON task (job) WHERE state = 2;
CREATE INDEX task_request ON task (job) WHERE request > 0;
CREATE INDEX edge_child ON edge (child);
CREATE INDEX node_open ON node (backend) WHERE ended IS NULL;
CREATE INDEX event_job ON event (job, number);
CREATE INDEX task_owed ON task (job, number)
    WHERE log_day IS NOT NULL AND state = 3 AND attempt > 0;
CREATE INDEX job_open ON job (number) WHERE state <> 'completed';
COMMIT;
PRAGMA user_version = 4;
