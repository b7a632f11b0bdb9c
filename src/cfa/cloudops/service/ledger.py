"""What happens to tasks, written into the store: the one place where states change.

Every function runs inside a transaction of the caller, who commits many changes at once. The counters
of a job and `unmet` of a task are kept in step here, so that nobody ever counts rows on a hot path.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence

from attrs import define, field, frozen

from cfa.cloudops.model.values import JobSpec
from cfa.cloudops.service.definitions import definition
from cfa.cloudops.service.store import ACTIVE, COMPLETED, NOTHING, RUNNING, Store
from cfa.cloudops.service.sums import count_sum, row_sum, sound

#: Failure codes of the service that we use, and one of ours.
EXIT_CODE = "FailureExitCode"
NO_PROGRAM = "CommandProgramNotFound"
NOT_LAUNCHED = "CommandLaunchFailed"
ENDED = "TaskEnded"
BAD_IMAGE = "ContainerInvalidImage"
BAD_SETTINGS = "ContainerInvalidSettings"
TOO_MANY_LOSSES = "MaxInternalRetryCountReached"
PARENT_FAILED = "DependencyFailed"


@frozen
class Outcome:
    """How a task ended for good. `failure` None is success."""

    exit_code: int | None = None
    failure: str | None = None
    message: str | None = None


@define
class Attempt:
    """One try of a task, while the agent deals with it."""

    number: int
    job: int
    task_id: str
    command: str
    image: str | None
    mounts: str | None
    timeout: float | None
    retries: int
    retried: int
    release: bool
    #: The day of adding, when its logs are to be saved.
    log_day: str | None
    requeued: int
    created: float
    attempt: int
    #: Where it runs, and since when.
    node: str = ""
    started: float | None = None
    slot: int = 0
    #: Why we are ending it, when we are.
    verdict: Outcome | None = None
    #: It goes back to the queue when it ends.
    requeue: bool = False
    #: What the launcher calls it.
    token: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.token = f"{self.number}.{self.attempt}"

    def row_sum(self, state: int, *ended: float | str | None) -> int:
        """The checksum of its row once it is in a state, and with what it has when it ended."""
        return row_sum(
            1, 0, self.job, state, NOTHING, self.image, self.mounts, self.timeout, self.retries,
            self.release, self.attempt, self.retried, self.requeued, self.node, self.created,
            self.started, *ended, self.log_day, self.number, self.task_id, self.command,
        )  # fmt: skip


_ATTEMPT_COLUMNS = (
    f"number, job, {sound('task.id')}, command, image, mounts, timeout, retries, retried, release, "
    "log_day, requeued, created, attempt"
)


def insert_job(store: Store, spec: JobSpec, now: float) -> int:
    """Write a new job, in a transaction; its number."""
    number = store.next_number("job")
    store.execute(
        "INSERT INTO job (number, id, pool, state, definition, auto_complete, manager, deadline, "
        "created) VALUES (?, ?, ?, 'active', ?, ?, ?, ?, ?)",
        (
            number,
            spec.id,
            spec.pool_id,
            definition(spec),
            spec.auto_complete,
            spec.manager_task_id,
            None if spec.timeout_s is None else now + spec.timeout_s,
            now,
        ),
    )
    insert_event(store, now, number, None, "created", spec.pool_id)
    return number


def insert_event(
    store: Store, time: float, job: int | None, task: int | None, what: str, detail: str | None
) -> None:
    """Write down what happened, in a transaction."""
    event = (time, job, task, what, detail)
    store.execute(
        "INSERT INTO event (time, job, task, what, detail, sum) VALUES (?, ?, ?, ?, ?, ?)",
        (*event, row_sum(0, *event)),
    )


class Ledger:
    """Transitions over one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._deltas: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0, 0])

    # --- reading

    def ready(self, job: int, limit: int) -> list[Attempt]:
        """Tasks that can run now, oldest first, as attempts that are not started yet."""
        found = self._store.rows(
            f"SELECT {_ATTEMPT_COLUMNS} FROM task "  # noqa: S608  a constant
            "WHERE job = ? AND state = 0 AND unmet = 0 AND request = 0 ORDER BY number LIMIT ?",
            (job, limit),
        )
        return [Attempt(*(*row[:-1], row[-1] + 1)) for row in found]

    def running(self) -> list[Attempt]:
        """Attempts that the store holds as running."""
        found = self._store.rows(
            f"SELECT {_ATTEMPT_COLUMNS}, node, started FROM task WHERE state = 2"  # noqa: S608
        )
        return [Attempt(*row) for row in found]

    # --- transitions; call `flush` before the commit

    def start(self, attempt: Attempt) -> bool:
        """active -> running. False: a client asked for something else in between."""
        now = attempt.started = time.time()
        changed = self._store.execute(
            "UPDATE task SET state = 2, attempt = ?, node = ?, started = ?, sum = ? "
            "WHERE number = ? AND state = 0 AND request = 0",
            (
                attempt.attempt,
                attempt.node,
                now,
                attempt.row_sum(RUNNING, None, None, None, None),
                attempt.number,
            ),
        )
        if changed:
            self._count(attempt.job, active=-1, running=1)
            self.event("running", attempt.job, attempt.number, attempt.node, now)
        return bool(changed)

    def finish(self, attempt: Attempt, outcome: Outcome) -> bool:
        """running -> completed. True: tasks that depended on it may run now."""
        now = max(time.time(), attempt.started or 0.0)  # the clock may have been set back
        self._complete(
            attempt.job,
            attempt.number,
            outcome,
            now,
            attempt.row_sum(COMPLETED, now, outcome.exit_code, outcome.failure, outcome.message),
        )
        return self._settle(
            attempt.job, attempt.number, attempt.task_id, outcome.failure is None or attempt.release
        )

    def fail_waiting(self, job: int, number: int, task_id: str, outcome: Outcome) -> None:
        """active -> completed as a failure, without having run; what depends on it is blocked."""
        self._complete(job, number, outcome, time.time())
        self._settle(job, number, task_id, released=False)

    def retry(self, attempt: Attempt, exit_code: int) -> None:
        """running -> active after a non-zero exit with retries left."""
        now = time.time()
        self._store.execute(
            "UPDATE task SET state = 0, retried = retried + 1 WHERE number = ?", (attempt.number,)
        )
        self._count(attempt.job, active=1, running=-1)
        self.event("retry", attempt.job, attempt.number, f"exit code {exit_code}", now)

    def requeue(self, attempt: Attempt, reason: str) -> None:
        """running -> active because the node went away, as after a preemption."""
        self._store.execute(
            "UPDATE task SET state = 0, requeued = requeued + 1, node = NULL, started = NULL "
            "WHERE number = ?",
            (attempt.number,),
        )
        self._count(attempt.job, active=1, running=-1)
        self.event("requeue", attempt.job, attempt.number, reason)

    def block(self, job: int, children: Iterable[int], parent_id: str) -> None:
        """Complete tasks whose parent failed, and those behind them: the monitors of a job end."""
        queue = [(child, parent_id) for child in children]
        while queue:
            number, parent = queue.pop()
            row = self._store.row(
                f"SELECT {sound('task.id')}, state FROM task WHERE number = ?",  # noqa: S608
                (number,),
            )
            if row is None or row[1] != ACTIVE:
                continue
            message = f"Not run: the task {parent!r}, which it depends on, failed."
            self._complete(job, number, Outcome(None, PARENT_FAILED, message), time.time())
            queue += [(child, row[0]) for child in self._take_edges(number)]

    def delete(self, job: int, number: int) -> None:
        """Forget a task that is not running. What waited for it is blocked."""
        row = self._store.row(
            f"SELECT {sound('task.id')}, state, failure FROM task WHERE number = ?",  # noqa: S608
            (number,),
        )
        if row is None:
            return
        task_id, state, failure = row
        children = self._take_edges(number)
        self._store.retire_numbers("task")
        self._store.execute("DELETE FROM task WHERE number = ?", (number,))
        if state == COMPLETED:
            self._count(job, succeeded=-(failure is None), failed=-(failure is not None))
        else:
            self._count(job, active=-(state == ACTIVE), running=-(state == RUNNING))
        self.block(job, children, task_id)

    def event(
        self, what: str, job: int | None, task: int | None, detail: str, at: float | None = None
    ) -> None:
        insert_event(self._store, time.time() if at is None else at, job, task, what, detail)

    def flush(self) -> None:
        """Write the counters that the transitions since the last call changed."""
        for job, deltas in self._deltas.items():
            self._store.execute(
                "UPDATE job SET active = active + ?, running = running + ?, "
                "succeeded = succeeded + ?, failed = failed + ?, sum = sum + ? WHERE number = ?",
                (*deltas, count_sum(*deltas), job),
            )
        self._deltas.clear()

    def forget(self) -> None:
        """Drop the counters of a transaction that was rolled back."""
        self._deltas.clear()

    # --- parts

    def _complete(
        self, job: int, number: int, outcome: Outcome, now: float, row_sum: int | None = None
    ) -> None:
        """Write how a task ended; of one that was running, with the checksum of its row."""
        was_running = row_sum is not None
        change = "UPDATE task SET state = 3, ended = ?, exit_code = ?, failure = ?, message = ?"
        ended = (now, outcome.exit_code, outcome.failure, outcome.message)
        if not was_running or not self._store.execute(
            f"{change}, sum = ? WHERE number = ? AND request = 0", (*ended, row_sum, number)
        ):
            self._store.execute(f"{change}, request = 0 WHERE number = ?", (*ended, number))
        failed = outcome.failure is not None
        self._count(
            job,
            active=-(not was_running),
            running=-was_running,
            succeeded=not failed,
            failed=failed,
        )
        self.event("completed", job, number, outcome.failure or "success", now)

    def _settle(self, job: int, number: int, task_id: str, released: bool) -> bool:
        """Release or block what depends on a completed task."""
        children = self._take_edges(number)
        if not children:
            return False
        if not released:
            self.block(job, children, task_id)
            return False
        self._store.execute_many(
            f"UPDATE task SET unmet = unmet - 1, sum = sum - {count_sum(1)} WHERE number = ?",  # noqa: S608
            ((child,) for child in children),
        )
        return True

    def _take_edges(self, parent: int) -> Sequence[int]:
        children = [
            row[0] for row in self._store.rows("SELECT child FROM edge WHERE parent = ?", (parent,))
        ]
        if children:
            self._store.execute("DELETE FROM edge WHERE parent = ?", (parent,))
        return children

    def _count(
        self, job: int, active: int = 0, running: int = 0, succeeded: int = 0, failed: int = 0
    ) -> None:
        deltas = self._deltas[job]
        deltas[0] += active
        deltas[1] += running
        deltas[2] += succeeded
        deltas[3] += failed
