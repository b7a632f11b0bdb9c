"""The scheduler: which task runs where and when, and what becomes of it.

Everything happens in `turn`: take what came in, write it in one transaction with what starts next,
commit, then act. An exception in between leaves the store as it was and ends the agent; the next one
begins from the store.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from cfa.cloudops.beneath import Place
from cfa.cloudops.errors import BlobContainerNotFoundError, CloudOpsError, ImageError, NodeError
from cfa.cloudops.privileges import strip_privileges
from cfa.cloudops.service import journal
from cfa.cloudops.service import ledger as rules
from cfa.cloudops.service.crew import GRACE_S, Crew, verdict
from cfa.cloudops.service.definitions import pool_spec, split_command
from cfa.cloudops.service.disks import shortage
from cfa.cloudops.service.endings import Endings
from cfa.cloudops.service.journal import Secrets
from cfa.cloudops.service.ledger import Attempt, Ledger, Outcome
from cfa.cloudops.service.networks import Networks
from cfa.cloudops.service.nodes import Group, GroupKey, Keeper, LiveNode, backoff_s
from cfa.cloudops.service.outputs import Outputs
from cfa.cloudops.service.placement import Job, Placement, StaleNodeError
from cfa.cloudops.service.recovery import Recovery
from cfa.cloudops.service.scaling import Scaling
from cfa.cloudops.service.schedules import Schedules
from cfa.cloudops.service.store import ACTIVE, DELETE, OWED, RUNNING, pulled, pulling_name
from cfa.cloudops.service.sums import sound
from cfa.cloudops.service.workspace import STREAMS

if TYPE_CHECKING:
    from cfa.cloudops.service.agent import Agent

_log = logging.getLogger(__name__)

#: Seconds that an idle node of a job without work stays while a client may still add some.
LINGER_S = 5.0
#: How often a task may lose its node to something else than a dying agent.
_MAX_LOSSES = 10
#: How often in a row a node must be refused before the tasks that need it fail.
_OPEN_TRIES = 6
#: Bytes of a failed program's standard error that are looked at.
_LAST_WORDS = 4096
#: Files that are named in the log.
_NAMED = 20
#: Seconds in which nothing starts after something was short.
_PAUSE_S = 1.0


class Scheduler:
    """Decides; `Crew` does."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.store = agent.store
        self.workspace = agent.workspace
        self.workspace_id = self.store.meta("workspace") or ""
        self.secrets = Secrets(self.workspace.key())
        self.ledger = Ledger(self.store)
        self.crew = Crew(self)
        self.recovery = Recovery(self)
        self.outputs = Outputs(self)
        self.endings = Endings(self)
        self._schedules = Schedules(self)
        self.jobs: dict[int, Job] = {}
        self.scaling = Scaling(self)
        self._placement = Placement(self)
        self._attempts: dict[str, Attempt] = {}
        self._losses: dict[int, int] = {}
        self._look = True
        # What came in since the last turn.
        self._exits: list[tuple[Attempt, str]] = []
        self._lost: list[tuple[Attempt, str]] = []
        self._postponed: list[tuple[Attempt, str]] = []
        self._ended_nodes: list[tuple[str, str]] = []
        self._failed_groups: list[tuple[GroupKey, Outcome]] = []
        self._problems: dict[int, str | None] = {}
        self._pulling: dict[int, str | None] = {}
        self._short: set[int] = set()  # jobs whose problem is that something was short
        self._deletes: set[int] = set()
        # What is to be done after the commit.
        self._after: list[Callable[[], None]] = []

    # --- told by the agent, the crew and the recovery

    def look(self) -> None:
        """A client wrote into the store."""
        self._look = True

    def recover(self) -> None:
        self._pulling = dict.fromkeys(pulled(self.store))  # by nodes of a dead agent
        self._read_jobs()
        self.recovery.begin()

    def adopt(self, attempt: Attempt) -> None:
        """An attempt that runs on a node of a dead agent."""
        self._attempts[attempt.token] = attempt
        job = self.jobs.get(attempt.job)
        if job is not None:
            job.running[attempt.token] = attempt
        if attempt.timeout is not None and attempt.started is not None:
            self._limit(attempt, attempt.started + attempt.timeout - time.time())

    def node_ready(self, node: LiveNode) -> None:
        group = self.group(node.group)
        if group is not None and group.failures:
            group.failures = group.refusals = 0
            self._problems[node.group.job] = None
        self.wanted(node.group.job)

    def wanted(self, job: int) -> None:
        """Tasks of a job may find a node now."""
        if job in self.jobs:
            self.jobs[job].hungry = True

    def exited(self, attempt: Attempt, code: str) -> None:
        self._exits.append((attempt, code))

    def lost(self, attempt: Attempt, reason: str) -> None:
        self._lost.append((attempt, reason))

    def postponed(self, attempt: Attempt, reason: str) -> None:
        """An attempt could not begin, through no fault of its task: it waits, and all others with it."""
        self.refused(attempt, reason)
        self._placement.pause(_PAUSE_S)
        self.agent.at(time.monotonic() + _PAUSE_S, self.look)

    def refused(self, attempt: Attempt, reason: str) -> None:
        """The same where a node lacks something: only what would run there waits."""
        self._postponed.append((attempt, reason))
        self._short.add(attempt.job)
        self._problems[attempt.job] = f"{reason} Its tasks wait."

    def barren(self, node: LiveNode) -> None:
        """A node is closed because it starts nothing; the next one may do no better."""
        group = self.group(node.group)
        if group is not None:
            group.barren += 1
            self._hold(group, group.barren)

    def _hold(self, group: Group, failures: int) -> None:
        """Open no node of a group for a while."""
        group.not_before = time.monotonic() + backoff_s(failures)
        self.agent.at(group.not_before, partial(self.wanted, group.key.job))

    def problem(self, job: int, text: str | None) -> None:
        """Why a job makes no progress, for people; None: it does again."""
        self._problems[job] = text

    def pulling(self, job: int, image: str | None) -> None:
        """Nodes of a job wait for an image, which is no problem; None: no longer."""
        self._problems[job] = None
        self._pulling[job] = image

    def node_ended(self, node_id: str, reason: str) -> None:
        self._ended_nodes.append((node_id, reason))

    def showed(self, node: LiveNode) -> None:
        """A node was shown its mounts."""
        job = self.jobs.get(node.group.job)
        if job is not None:
            for source in node.shown:
                job.shown.setdefault(source, time.time() - (time.monotonic() - node.enlisted))

    def opening_failed(self, node: LiveNode, error: BaseException) -> None:
        """A node could not be opened: try later, or fail the tasks that need it."""
        group = self.group(node.group)
        if group is None:
            return
        short = shortage(error)
        again = bool(short) or (isinstance(error, CloudOpsError) and error.transient)
        if isinstance(error, NodeError):
            # One that was killed while it came up looks like one that cannot be opened: see again.
            # Those that came up beside it met the same fault.
            if node.enlisted >= group.refused_at:
                group.refused_at = time.monotonic()
                group.refusals += 1
            again |= group.refusals < _OPEN_TRIES
        if again:
            group.failures += 1
            self._hold(group, group.failures)
            self._problems[node.group.job] = f"{short} Its tasks wait." if short else str(error)
            return
        if isinstance(error, ImageError):
            code = rules.BAD_IMAGE
        elif isinstance(error, BlobContainerNotFoundError):
            code = "MountConfigurationError"
        else:
            code = rules.BAD_SETTINGS
        self._failed_groups.append((node.group, Outcome(None, code, str(error))))

    def after(self, action: Callable[[], None]) -> None:
        """Do it when this turn is committed."""
        self._after.append(action)

    def group(self, key: GroupKey) -> Group | None:
        job = self.jobs.get(key.job)
        return None if job is None else job.groups.get(key)

    def networks(self, job: int) -> Networks | None:
        """What is kept for the nodes of a job."""
        found = self.jobs.get(job)
        return None if found is None else found.networks

    # --- the turn

    def turn(self, *, look: bool = False) -> bool:
        """Deal with everything that came in. True while there is something to stay for."""
        self._look |= look
        if self._has_news():
            if self._look:
                self._look = False
                self._schedules.make_due()
                self._read_settings()
                self._read_jobs()
                requests = True
            else:
                requests = False
            with self.store.transaction():
                self.agent.still_ours()
                self.outputs.settle()
                if requests:
                    self._take_requests()
                self._take_exits()
                self.scaling.evaluate()
                starts = self._claim()
                if self.scaling.evaluate():  # a pool was too small
                    starts += self._claim()
                self.endings.complete()
                self.scaling.settle()
                self.ledger.flush()
            for attempt in starts:
                self._dispatch(attempt)
            openings, self._placement.openings = self._placement.openings, []
            for node, what in openings:
                self.crew.open(node, what)
            after, self._after = self._after, []
            for action in after:
                action()
            self.outputs.send()
            self.agent.changed()
        self._close_idle()
        return bool(
            self.crew.nodes
            or self._attempts
            or self._short
            or self.recovery.busy
            or self.outputs.busy
            or self.endings.busy
            or self.scaling.waiting
            or self._has_news()
            or any(job.state in ("terminating", "deleting") for job in self.jobs.values())
            or any(group.failures for job in self.jobs.values() for group in job.groups.values())
        )

    def _dispatch(self, attempt: Attempt) -> None:
        """Hand an attempt to its node. Whatever is wrong with its files is its own failure."""
        try:
            self._placement.dispatch(attempt)
        except (OSError, CloudOpsError, StaleNodeError) as error:
            node = self.crew.nodes[attempt.node]
            node.running.pop(attempt.slot, None)
            node.give_back(attempt.slot)
            if isinstance(error, StaleNodeError):
                self.lost(attempt, "the directory of its job was removed")
                self.crew.dismiss(node, 0)
                return
            if node.single_use:
                self.crew.dismiss(node, GRACE_S)
            short = shortage(error)
            if short:
                self.postponed(attempt, short)
            else:
                _log.warning("attempt %s cannot begin: %s", attempt.token, error)
                message = f"Its directory could not be created: {error}."
                attempt.verdict = attempt.verdict or verdict(rules.NOT_LAUNCHED, message)
                self.exited(attempt, "denied")
            return
        self._limit(attempt, attempt.timeout)
        if attempt.job in self._short:
            self._short.discard(attempt.job)
            self._problems[attempt.job] = None

    def _claim(self) -> list[Attempt]:
        starts = self._placement.claim(self._placement.max_parallel - len(self._attempts))
        self._attempts.update((attempt.token, attempt) for attempt in starts)
        return starts

    def _has_news(self) -> bool:
        return bool(
            self._look
            or self._exits
            or self._lost
            or self._postponed
            or self._ended_nodes
            or self._failed_groups
            or self._problems
            or self._pulling
            or self.endings.news
            or self.outputs.news
            or self.scaling.due
            or any(job.hungry for job in self.jobs.values())
        )

    def heed(self) -> None:
        """End what a client wants ended, without writing anything down: the disk is full."""
        jobs = self.store.rows("SELECT number FROM job WHERE state IN ('terminating', 'deleting')")
        tasks = self.store.rows("SELECT number FROM task WHERE request > 0")
        ended, asked = {row[0] for row in jobs}, {row[0] for row in tasks}
        for attempt in self._attempts.values():
            if attempt.job in ended or attempt.number in asked:
                self.end(attempt, "Ended by the user.", hard=False)

    def leave(self) -> None:
        """The agent ends in good order: nodes drain, the next agent collects."""
        self.crew.leave()
        self._placement.close()

    # --- reading the store

    def _read_settings(self) -> None:
        self._placement.max_parallel = int(self.store.meta("max_parallel") or 1)

    def _read_jobs(self) -> None:
        """Take over new and changed jobs and pools; few rows."""
        pools = {
            row[0].lower(): (row[1], row[2])
            for row in self.store.rows(
                f"SELECT id, state, {sound('pool.definition')} FROM pool"  # noqa: S608
            )
        }
        seen = set()
        rows = self.store.rows(
            f"SELECT number, {sound('job.id')}, pool, state, auto_complete, manager, deadline, "  # noqa: S608
            "active + running = 0 "
            "FROM job WHERE state <> 'completed'"
        )
        for (
            number, identifier, pool_id, state, auto_complete, manager, deadline, out_of_work,
        ) in rows:  # fmt: skip
            seen.add(number)
            job = self.jobs.get(number)
            if job is None:
                job = self.jobs[number] = Job(number, identifier, pool_id, manager)
                if deadline is not None:
                    job.deadline = time.monotonic() + deadline - time.time()
                    self.agent.at(job.deadline, self.look)
            job.state, job.auto_complete = state, bool(auto_complete)
            job.out_of_work = bool(out_of_work)
            pool_state, definition = pools.get(pool_id.lower(), ("", None))
            job.pool = None if definition is None else pool_spec(definition)
            job.pool_deleting = pool_state == "deleting"
            job.hungry = state == "active" and not out_of_work
        for number, job in list(self.jobs.items()):
            if number not in seen:
                job.state, job.out_of_work, job.hungry = "completed", True, False
                job.pool_deleting = pools.get(job.pool_id.lower(), ("",))[0] == "deleting"
                if not job.nodes and not job.running:
                    del self.jobs[number]
        self.scaling.take_over()

    # --- what clients ask for

    def _take_requests(self) -> None:
        for number, job_number, request, state, task_id in self.store.rows(
            f"SELECT number, job, request, state, {sound('task.id')} FROM task "  # noqa: S608  a constant
            f"WHERE request > 0 AND NOT ({OWED})"  # what is to be deleted is saved first
        ):
            self._take_task_request(number, job_number, request, state, task_id)
        now = time.monotonic()
        for job in self.jobs.values():
            if job.state == "active" and job.deadline is not None and job.deadline <= now:
                job.state = "terminating"
                self.store.execute(
                    "UPDATE job SET state = 'terminating', "
                    "terminate_reason = 'MaxWallClockTimeExpiry' WHERE number = ?",
                    (job.number,),
                )
            if job.state in ("terminating", "deleting"):
                job.hungry, job.ended_by_user = False, True
                job.buffer.clear()
                for attempt in job.running.values():
                    self.end(attempt, f"The job is {job.state}.", hard=job.state == "deleting")
            elif job.pool_deleting:
                for attempt in job.running.values():
                    attempt.requeue = True
                    self.end(attempt, "The pool is being deleted.", hard=False)
                self._after.extend(partial(self.crew.dismiss, node, GRACE_S) for node in job.nodes)
        self._delete_pools()

    def _take_task_request(
        self, number: int, job: int, request: int, state: int, task_id: str
    ) -> None:
        if state == RUNNING:
            if request == DELETE:
                self._deletes.add(number)
            for attempt in self._attempts.values():
                if attempt.number == number:
                    self.end(attempt, "Ended by the user.", hard=request == DELETE)
        elif request == DELETE:
            self.endings.delete_task(job, number, task_id)
        elif state == ACTIVE:
            ended = Outcome(None, rules.ENDED, "Ended by the user before it ran.")
            self.ledger.fail_waiting(job, number, task_id, ended)
        if job in self.jobs:
            self.jobs[job].hungry = True

    def _delete_pools(self) -> None:
        """Pools go when no node of theirs is left."""
        for (pool_id,) in self.store.rows("SELECT id FROM pool WHERE state = 'deleting'"):
            jobs = [job for job in self.jobs.values() if job.pool_id.lower() == pool_id.lower()]
            if not any(job.nodes or job.running for job in jobs):
                self.store.execute("DELETE FROM pool WHERE id = ?", (pool_id,))
                for job in jobs:
                    job.pool, job.hungry = None, True  # the next claim says what is missing

    # --- what happened

    def _take_exits(self) -> None:
        exits, self._exits = self._exits, []
        for attempt, code in exits:
            self._take_exit(attempt, code)
        lost, self._lost = self._lost, []
        for attempt, reason in lost:
            self._take_loss(attempt, reason)
        postponed, self._postponed = self._postponed, []
        for attempt, reason in postponed:
            self._take_postponed(attempt, reason)
        ended, self._ended_nodes = self._ended_nodes, []
        for node_id, reason in ended:
            self.store.execute(
                "UPDATE node SET ended = ?, reason = ? WHERE id = ?", (time.time(), reason, node_id)
            )
            self._after.append(partial(self.put_away, node_id))
        if ended:
            self._delete_pools()
        failed, self._failed_groups = self._failed_groups, []
        for key, outcome in failed:
            self._fail_group(key, outcome)
        problems, self._problems = self._problems, {}
        for number, problem in problems.items():
            self.store.execute("UPDATE job SET problem = ? WHERE number = ?", (problem, number))
        pulling, self._pulling = self._pulling, {}
        for number, image in pulling.items():
            if image is not None and number in self.jobs:
                self.store.set_meta(pulling_name(number), image)
            else:
                self.store.execute("DELETE FROM meta WHERE name = ?", (pulling_name(number),))
        self.endings.settle()

    def _take_exit(self, attempt: Attempt, code: str) -> None:
        if code == "gone":
            self._take_loss(attempt, "its directory was removed before it began")
            return
        job = self._forget(attempt)
        number = int(code) if code.lstrip("-").isdecimal() else None
        if attempt.requeue:
            self.ledger.requeue(attempt, "the pool was deleted")
            self._feed(job)
            return
        if attempt.verdict is not None:
            given = attempt.verdict
            self._finish(job, attempt, Outcome(number, given.failure, given.message))
        elif number == 0:
            self._finish(job, attempt, Outcome(0))
        elif code == "missing":
            words = split_command(attempt.command)
            message = f"The program {words[0]!r} was not found; see stderr.txt."
            self._finish(job, attempt, Outcome(None, rules.NO_PROGRAM, message))
        elif number is None:
            message = "The program could not be launched; see stderr.txt."
            self._finish(job, attempt, Outcome(None, rules.NOT_LAUNCHED, message))
        elif attempt.retries < 0 or attempt.retried < attempt.retries:
            self.ledger.retry(attempt, number)
            self._feed(job)
        else:
            message = f"The program ended with exit code {number}. {self._advice(job, attempt)}"
            message = message.rstrip()
            self._finish(job, attempt, Outcome(number, rules.EXIT_CODE, message))

    def _advice(self, job: Job | None, attempt: Attempt) -> str:
        """What may have been missing, by the last words of a program that failed."""
        if job is None or job.pool is None:
            return ""
        try:
            with self.workspace.open_task(job.id, attempt.task_id) as task:
                start = max(0, task.status(STREAMS[1]).st_size - _LAST_WORDS)
                words = task.read(STREAMS[1], _LAST_WORDS, start).decode(errors="replace")
            return self.crew.executors.get(job.pool.backend).advise(words) if words else ""
        except OSError:
            return ""
        except Exception:  # noqa: BLE001  a plugin's fault must not end the agent
            _log.exception("asking the backend %s for advice", job.pool.backend)
            return ""

    def _take_loss(self, attempt: Attempt, reason: str) -> None:
        job = self._forget(attempt)
        losses = self._losses[attempt.number] = self._losses.get(attempt.number, 0) + 1
        if attempt.verdict is not None and not attempt.requeue:
            self._finish(job, attempt, attempt.verdict)
        elif losses > _MAX_LOSSES:
            message = f"Its node was lost {losses} times. The last time: {reason.rstrip('.')}."
            self._finish(job, attempt, verdict(rules.TOO_MANY_LOSSES, message))
        else:
            self.ledger.requeue(attempt, reason)
            self._feed(job)

    def _take_postponed(self, attempt: Attempt, reason: str) -> None:
        self._forget(attempt)
        if attempt.verdict is not None and not attempt.requeue:
            self._finish(self.jobs.get(attempt.job), attempt, attempt.verdict)
        else:
            self.ledger.requeue(attempt, reason)

    def put_away(self, node_id: str) -> None:
        """Remove the directory of a node that is gone; what its tasks took is kept with its job."""
        row = self.store.row("SELECT job FROM node WHERE id = ?", (node_id,))
        if row is not None:
            try:
                with (
                    self.workspace.open_journals(node_id) as journals,
                    self.workspace.open_accounts() as accounts,
                ):
                    journal.keep(journals, accounts, row[0], node_id)
            except OSError as error:
                _log.debug("no account of node %s is kept: %s", node_id, error)
        self.workspace.remove_node(node_id)

    def _forget(self, attempt: Attempt) -> Job | None:
        self._attempts.pop(attempt.token, None)
        job = self.jobs.get(attempt.job)
        if job is not None:
            job.running.pop(attempt.token, None)
        return job

    def _feed(self, job: Job | None) -> None:
        if job is not None and job.state == "active":
            job.hungry = True

    def _finish(self, job: Job | None, attempt: Attempt, outcome: Outcome) -> None:
        self.ledger.finish(attempt, outcome)
        self.outputs.due |= attempt.log_day is not None
        self._losses.pop(attempt.number, None)
        if attempt.number in self._deletes:
            self._deletes.discard(attempt.number)
            self.endings.delete_ended(attempt)
        # Any task may run in the slot that became free, also one that was released now.
        self._feed(job)

    def _fail_group(self, key: GroupKey, outcome: Outcome) -> None:
        """No node can be opened for these tasks: fail those that are ready."""
        job = self.jobs.get(key.job)
        if job is None:
            return
        job.buffer.clear()
        job.groups[key].failures = job.groups[key].refusals = 0
        self._problems[key.job] = None
        for number, task_id in self.store.rows(
            "SELECT number, id FROM task WHERE job = ? AND state = 0 AND unmet = 0 "
            "AND image IS ? AND mounts IS ?",
            (key.job, key.image, key.mounts),
        ):
            self.ledger.fail_waiting(key.job, number, task_id, outcome)
        job.hungry = True

    # --- ending attempts

    def _limit(self, attempt: Attempt, left_s: float | None) -> None:
        if left_s is not None:
            self.agent.at(time.monotonic() + left_s, partial(self._expire, attempt))

    def _expire(self, attempt: Attempt) -> None:
        """The wall clock of an attempt ran out."""
        if self._attempts.get(attempt.token) is attempt:
            self.end(
                attempt, f"It exceeded its time limit of {attempt.timeout:g} seconds.", hard=False
            )

    def end(self, attempt: Attempt, why: str, *, hard: bool) -> None:
        """End an attempt; it completes as a failure when it is gone."""
        if attempt.verdict is not None and not hard:
            return
        attempt.verdict = verdict(rules.ENDED, why)
        if self.recovery.has(attempt.node):
            self.recovery.kill(attempt.node)
        else:
            self.crew.kill(attempt, hard=hard)

    # --- the end of nodes

    def _close_idle(self) -> None:
        """Close nodes of jobs without work, at once when no client is there that may add some."""
        now = time.monotonic()
        for job in list(self.jobs.values()):
            if not job.out_of_work or job.running:
                continue
            for node in job.nodes:
                if node.closing or node.node is None or node.running:
                    continue
                if isinstance(node, Keeper) and node.user is not None:
                    continue
                left = node.idle_since + LINGER_S - now
                if self.agent.clients and not job.ended_by_user and left > 0:
                    if not node.alarmed:
                        node.alarmed = True
                        self.agent.at(now + left, partial(setattr, node, "alarmed", False))
                else:
                    self.crew.dismiss(node, GRACE_S)
            if not job.nodes and job.shown:
                self.strip(job)
            if job.state == "completed" and not job.nodes:
                del self.jobs[job.number]

    def strip(self, job: Job) -> None:
        """Take set-user-id bits off what the tasks of a job left in its mounts; its nodes are gone."""
        shown, job.shown = job.shown, {}

        def strip() -> list[str]:
            left = []
            for source, since in shown.items():
                with contextlib.suppress(OSError), Place.open(source) as place:
                    _, names = strip_privileges(place, since)
                    left += [f"{source}/{name}" for name in names]
            return left

        def done(left: list[str] | None, error: BaseException | None) -> None:
            if error is not None:
                _log.error("looking through the mounts of job %s", job.id, exc_info=error)
            for name in (left or ())[:_NAMED]:
                _log.warning("a file that a task left belongs to another user: %r", name)

        self.agent.work(strip, done)
