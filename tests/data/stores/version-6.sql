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
, sum INTEGER);
INSERT INTO "event" VALUES(1,1.79578127924156522748e+09,1,NULL,'created','scaled',114880216);
INSERT INTO "event" VALUES(2,1.7957812795863392353e+09,1,1,'running','98aab1bc',3674875166);
INSERT INTO "event" VALUES(3,1.79578127963312435145e+09,1,1,'completed','success',2229532035);
INSERT INTO "event" VALUES(4,1.79578127980813169483e+09,1,2,'running','9f3561ee',1155363319);
INSERT INTO "event" VALUES(5,1.79578127981685638434e+09,2,NULL,'created','fixed',914846010);
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
, log_problem TEXT, manager TEXT, sum INTEGER);
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
      "2026-11-27T12:07:59.241452+00:00"
    ]
  ]
}',1,NULL,1.79578127924156522748e+09,NULL,NULL,NULL,4,2,1,1,0,NULL,NULL,518480849);
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
      "2026-11-27T12:07:59.816800+00:00"
    ]
  ]
}',1,NULL,1.79578127981685638434e+09,NULL,NULL,NULL,2,2,0,0,0,NULL,NULL,1249077235);
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL, sum INTEGER) WITHOUT ROWID;
INSERT INTO "meta" VALUES('agent','fd218cd89af34780bf185f35cd7e6fe6',1976587578);
INSERT INTO "meta" VALUES('max_parallel','2',3813141440);
INSERT INTO "meta" VALUES('schema','114152092',1840328183);
INSERT INTO "meta" VALUES('workspace','c5d9d4e84661',419917786);
CREATE TABLE node (
    id TEXT PRIMARY KEY,
    job INTEGER NOT NULL,
    backend TEXT NOT NULL,
    name TEXT NOT NULL,
    opened REAL NOT NULL,
    ended REAL,
    reason TEXT
, sum INTEGER) WITHOUT ROWID;
INSERT INTO "node" VALUES('98aab1bc',1,'subprocess','mixed',1.79578127945696449274e+09,1.79578127967935967444e+09,'',971381263);
INSERT INTO "node" VALUES('9f3561ee',1,'subprocess','mixed',1.79578127967960596081e+09,NULL,NULL,2708506748);
CREATE TABLE pool (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL COLLATE NOCASE UNIQUE,
    state TEXT NOT NULL,
    definition TEXT NOT NULL,       -- JSON of PoolSpec
    created REAL NOT NULL           -- seconds since the epoch, here and below
, scaling TEXT, sum INTEGER);
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
  "dedicated_nodes": 0,
  "autoscale_formula": "// As many low-priority nodes as tasks are pending, 2 at most. While fewer than 70 % of the samples of the\n// last 15 minutes are there, only the newest counts.\nwindow = TimeInterval_Minute * 15;\nseen = $PendingTasks.GetSamplePercent(window);\nnewest = max(0, $PendingTasks.GetSample(1));\npending = seen < 70 ? newest : max(newest, avg($PendingTasks.GetSample(window)));\n$TargetLowPriorityNodes = min(2, ceil(pending));\n$TargetDedicatedNodes = 0;\n$NodeDeallocationOption = taskcompletion;\n",
  "autoscale_interval_s": 5.0,
  "metadata": [
    [
      "owner",
      "somebody"
    ],
    [
      "datetime_created",
      "2026-11-27T12:07:59.149915+00:00"
    ]
  ]
}',1.79578127921389412878e+09,'{"dedicated": 0, "low_priority": 1, "option": "taskcompletion", "evaluated": 1795781279.649061, "results": "$TargetDedicatedNodes=0;$TargetLowPriorityNodes=1;$NodeDeallocationOption=taskcompletion", "error": null}',2980466227);
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
  "dedicated_nodes": 1,
  "autoscale_formula": null,
  "autoscale_interval_s": 5.0,
  "metadata": [
    [
      "owner",
      "somebody"
    ],
    [
      "datetime_created",
      "2026-11-27T12:07:59.240953+00:00"
    ]
  ]
}',1.7957812792411940098e+09,NULL,1049934721);
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
, sum INTEGER);
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
      "2026-11-27T12:07:59.817538+00:00"
    ]
  ]
}',1.7957812798176627159e+09,NULL,0,0,NULL,3334779366);
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
, log_day TEXT, sum INTEGER);
INSERT INTO "task" VALUES(1,1,'mixed--1',3,0,0,'echo first',NULL,NULL,NULL,1,0,1,0,0,'98aab1bc',1.79578127924273824693e+09,1.7957812795863392353e+09,1.79578127963312435145e+09,0,NULL,NULL,'2026-11-27',1411765454);
INSERT INTO "task" VALUES(2,1,'mixed--2',2,0,0,'sleep 1.25',NULL,NULL,NULL,1,0,1,0,0,'9f3561ee',1.79578127964159107209e+09,1.79578127980813169483e+09,NULL,NULL,NULL,NULL,'2026-11-27',2668245987);
INSERT INTO "task" VALUES(3,1,'mixed--3',0,0,0,'sh -c "cat data/in.txt || true"',NULL,NULL,NULL,1,0,0,0,0,NULL,1.79578127981587219244e+09,NULL,NULL,NULL,NULL,NULL,'2026-11-27',1210549531);
INSERT INTO "task" VALUES(4,1,'mixed--4',0,0,2,'true',NULL,NULL,NULL,1,0,0,0,0,NULL,1.79578127981663274769e+09,NULL,NULL,NULL,NULL,NULL,'2026-11-27',514205338);
INSERT INTO "task" VALUES(5,2,'1',0,0,0,'true',NULL,NULL,NULL,0,0,0,0,0,NULL,1.79578127981720399863e+09,NULL,NULL,NULL,NULL,NULL,NULL,1465065621);
INSERT INTO "task" VALUES(6,2,'2',0,0,1,'sh -c ''exit 0''',NULL,NULL,NULL,0,0,0,0,0,NULL,1.79578127981743669505e+09,NULL,NULL,NULL,NULL,NULL,NULL,3057300342);
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
CREATE TRIGGER meta_changed AFTER UPDATE OF name, value ON meta WHEN NEW.sum IS OLD.sum BEGIN UPDATE meta SET sum = renewed_sum(OLD.sum, 0, OLD.name, OLD.value, 0, NEW.name, NEW.value) WHERE name = NEW.name; END;
CREATE TRIGGER meta_added AFTER INSERT ON meta BEGIN UPDATE meta SET sum = row_sum(0, NEW.name, NEW.value) WHERE name = NEW.name; END;
CREATE TRIGGER pool_changed AFTER UPDATE OF number, id, state, definition, created, scaling ON pool WHEN NEW.sum IS OLD.sum BEGIN UPDATE pool SET sum = renewed_sum(OLD.sum, 0, OLD.number, OLD.id, OLD.state, OLD.definition, OLD.created, OLD.scaling, 0, NEW.number, NEW.id, NEW.state, NEW.definition, NEW.created, NEW.scaling) WHERE number = NEW.number; END;
CREATE TRIGGER pool_added AFTER INSERT ON pool BEGIN UPDATE pool SET sum = row_sum(0, NEW.number, NEW.id, NEW.state, NEW.definition, NEW.created, NEW.scaling) WHERE number = NEW.number; END;
CREATE TRIGGER job_changed AFTER UPDATE OF active, running, succeeded, failed, last_task_number, number, id, pool, state, definition, auto_complete, deadline, created, ended, terminate_reason, problem, log_problem, manager ON job WHEN NEW.sum IS OLD.sum BEGIN UPDATE job SET sum = renewed_sum(OLD.sum, 5, OLD.active, OLD.running, OLD.succeeded, OLD.failed, OLD.last_task_number, OLD.number, OLD.id, OLD.pool, OLD.state, OLD.definition, OLD.auto_complete, OLD.deadline, OLD.created, OLD.ended, OLD.terminate_reason, OLD.problem, OLD.log_problem, OLD.manager, 5, NEW.active, NEW.running, NEW.succeeded, NEW.failed, NEW.last_task_number, NEW.number, NEW.id, NEW.pool, NEW.state, NEW.definition, NEW.auto_complete, NEW.deadline, NEW.created, NEW.ended, NEW.terminate_reason, NEW.problem, NEW.log_problem, NEW.manager) WHERE number = NEW.number; END;
CREATE TRIGGER job_added AFTER INSERT ON job BEGIN UPDATE job SET sum = row_sum(5, NEW.active, NEW.running, NEW.succeeded, NEW.failed, NEW.last_task_number, NEW.number, NEW.id, NEW.pool, NEW.state, NEW.definition, NEW.auto_complete, NEW.deadline, NEW.created, NEW.ended, NEW.terminate_reason, NEW.problem, NEW.log_problem, NEW.manager) WHERE number = NEW.number; END;
CREATE TRIGGER task_changed AFTER UPDATE OF unmet, job, request, image, mounts, timeout, retries, release, retried, requeued, created, log_day, number, id, command ON task WHEN NEW.sum IS OLD.sum BEGIN UPDATE task SET sum = renewed_sum(OLD.sum, 1, OLD.unmet, OLD.job, OLD.state, OLD.request, OLD.image, OLD.mounts, OLD.timeout, OLD.retries, OLD.release, OLD.attempt, OLD.retried, OLD.requeued, OLD.node, OLD.created, OLD.started, OLD.ended, OLD.exit_code, OLD.failure, OLD.message, OLD.log_day, OLD.number, OLD.id, OLD.command, 1, NEW.unmet, NEW.job, NEW.state, NEW.request, NEW.image, NEW.mounts, NEW.timeout, NEW.retries, NEW.release, NEW.attempt, NEW.retried, NEW.requeued, NEW.node, NEW.created, NEW.started, NEW.ended, NEW.exit_code, NEW.failure, NEW.message, NEW.log_day, NEW.number, NEW.id, NEW.command) WHERE number = NEW.number; END;
CREATE TRIGGER node_changed AFTER UPDATE OF id, job, backend, name, opened, ended, reason ON node WHEN NEW.sum IS OLD.sum BEGIN UPDATE node SET sum = renewed_sum(OLD.sum, 0, OLD.id, OLD.job, OLD.backend, OLD.name, OLD.opened, OLD.ended, OLD.reason, 0, NEW.id, NEW.job, NEW.backend, NEW.name, NEW.opened, NEW.ended, NEW.reason) WHERE id = NEW.id; END;
CREATE TRIGGER node_added AFTER INSERT ON node BEGIN UPDATE node SET sum = row_sum(0, NEW.id, NEW.job, NEW.backend, NEW.name, NEW.opened, NEW.ended, NEW.reason) WHERE id = NEW.id; END;
CREATE TRIGGER event_changed AFTER UPDATE OF time, job, task, what, detail ON event WHEN NEW.sum IS OLD.sum BEGIN UPDATE event SET sum = renewed_sum(OLD.sum, 0, OLD.time, OLD.job, OLD.task, OLD.what, OLD.detail, 0, NEW.time, NEW.job, NEW.task, NEW.what, NEW.detail) WHERE number = NEW.number; END;
CREATE TRIGGER schedule_changed AFTER UPDATE OF number, id, state, definition, created, ended, used, last_job, recent_job ON schedule WHEN NEW.sum IS OLD.sum BEGIN UPDATE schedule SET sum = renewed_sum(OLD.sum, 0, OLD.number, OLD.id, OLD.state, OLD.definition, OLD.created, OLD.ended, OLD.used, OLD.last_job, OLD.recent_job, 0, NEW.number, NEW.id, NEW.state, NEW.definition, NEW.created, NEW.ended, NEW.used, NEW.last_job, NEW.recent_job) WHERE number = NEW.number; END;
CREATE TRIGGER schedule_added AFTER INSERT ON schedule BEGIN UPDATE schedule SET sum = row_sum(0, NEW.number, NEW.id, NEW.state, NEW.definition, NEW.created, NEW.ended, NEW.used, NEW.last_job, NEW.recent_job) WHERE number = NEW.number; END;
COMMIT;
PRAGMA user_version = 6;
