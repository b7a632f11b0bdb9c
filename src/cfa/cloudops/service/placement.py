"""Placement: which ready task gets which free slot, and which nodes are opened for the others."""

from __future__ import annotations

import os
import time
from collections import deque
from typing import TYPE_CHECKING

from attrs import define, field

from cfa.cloudops.beneath import Place
from cfa.cloudops.model.values import Isolation, PoolSpec
from cfa.cloudops.service.definitions import split_command
from cfa.cloudops.service.ledger import Attempt
from cfa.cloudops.service.networks import Lent, Networks
from cfa.cloudops.service.nodes import Group, GroupKey, Keeper, LiveNode, Opening, send
from cfa.cloudops.service.paths import map_command
from cfa.cloudops.service.workspace import enter_job, prepare_task

if TYPE_CHECKING:
    from cfa.cloudops.service.scheduler import Scheduler

#: How often an attempt is prepared whose directory a task closes again and again.
_CLOSED_AGAIN = 100
#: Ready tasks read ahead from the store.
_READ_AHEAD = 64


class StaleNodeError(Exception):
    """The directory of a job was removed, or another was put there, since a node was shown it."""


@define(eq=False)
class Job:
    """A job that is not completed, or whose nodes are not closed yet."""

    number: int
    id: str
    pool_id: str
    #: The task that it ends with.
    manager: str | None = None
    state: str = "active"
    auto_complete: bool = True
    #: When its time limit passes, on the monotonic clock: somebody may set the other one.
    deadline: float | None = None
    pool: PoolSpec | None = None
    pool_deleting: bool = False
    groups: dict[GroupKey, Group] = field(factory=dict)
    networks: Networks = field(factory=Networks)
    running: dict[str, Attempt] = field(factory=dict)  # by token
    buffer: deque[Attempt] = field(factory=deque)
    #: There may be ready tasks in the store.
    hungry: bool = True
    #: No task is active or running.
    out_of_work: bool = False
    removing: bool = False
    #: Host directories that its nodes were shown as mounts, with the time since when (epoch).
    shown: dict[str, float] = field(factory=dict)
    #: What was said about its pool.
    waits_for_pool: str | None = None
    #: Nobody will add tasks: its nodes need not wait for more.
    ended_by_user: bool = False

    @property
    def nodes(self) -> list[LiveNode]:
        nodes = [node for group in self.groups.values() for node in group.nodes]
        return [*nodes, *self.networks.keepers]


class Placement:
    """Claims tasks for slots, inside a transaction of the scheduler; hands them over after it."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._store = scheduler.store
        self._ledger = scheduler.ledger
        self._crew = scheduler.crew
        self._workspace = scheduler.workspace
        self._workspace_id = scheduler.workspace_id
        self._jobs = scheduler.jobs
        self._scaling = scheduler.scaling
        self._discard = scheduler.endings.discard
        #: Tasks at once on this machine.
        self.max_parallel = 1
        #: Nodes that were decided on; to be opened after the commit.
        self.openings: list[tuple[LiveNode, Opening]] = []
        self._first = 0
        #: Nothing starts before this monotonic time: something that every task needs is short.
        self._not_before = 0.0
        self._secrets = scheduler.secrets
        self._top = Place.open(scheduler.workspace.home)

    def pause(self, seconds: float) -> None:
        """Start nothing for a while."""
        self._not_before = time.monotonic() + seconds

    def close(self) -> None:
        """May be called twice."""
        self._top.close()

    def claim(self, free: int) -> list[Attempt]:
        """Mark tasks as running for every free slot; open nodes where they are short.

        Args:
            free: how many more tasks may run on this machine.

        Returns:
            Attempts to be handed over by `dispatch` when they are committed.
        """
        starts: list[Attempt] = []
        if time.monotonic() < self._not_before:
            for job in self._jobs.values():
                job.hungry = False
            return starts
        # A node that is coming up will take a slot at least: do not open one for every job.
        coming = sum(
            not (node.ready or node.closing or node.single_use or isinstance(node, Keeper))
            for node in self._crew.nodes.values()
        )
        free -= coming
        hungry = [job for job in self._jobs.values() if job.hungry or job.buffer]
        if not hungry:
            return starts
        self._first += 1  # take turns: the free slots of one turn may not reach every job
        turns = self._first % len(hungry)
        for job in hungry[turns:] + hungry[:turns]:
            self._explain(job)
            if job.pool is None or job.pool_deleting or job.state != "active":
                job.hungry = False
                job.buffer.clear()
                continue
            nodes = len(self._crew.nodes)
            room = self._room(job.pool)
            taken = self._claim_from(job, job.pool, min(free, room))
            if job.buffer and len(taken) >= room:
                self._scaling.too_few(job.pool)
            free -= len(taken)
            if job.pool.isolation is Isolation.JOB:
                free -= len(self._crew.nodes) - nodes
            starts += taken
        return starts

    def _explain(self, job: Job) -> None:
        """Tell people when ready tasks wait for the pool."""
        problem = None
        if job.pool is None:
            problem = f"There is no pool {job.pool_id!r}. Create it with create_pool."
        elif self._scaling.nodes(job.pool) == 0:
            problem = self._scaling.why_none(job.pool)
        if problem != job.waits_for_pool:
            job.waits_for_pool = problem
            self._store.execute(
                "UPDATE job SET problem = ? WHERE number = ?", (problem, job.number)
            )

    def _room(self, pool: PoolSpec) -> int:
        """Free slots of a pool, over all of its jobs."""
        busy = sum(
            len(job.running)
            for job in self._jobs.values()
            if job.pool is not None and job.pool.id == pool.id
        )
        return self._scaling.slots(pool) - busy

    def _claim_from(self, job: Job, pool: PoolSpec, room: int) -> list[Attempt]:
        starts: list[Attempt] = []
        while True:
            if not job.buffer:
                job.buffer.extend(self._ledger.ready(job.number, _READ_AHEAD))
                if not job.buffer:
                    break
            group = self._group_of(job, pool, job.buffer[0])
            if pool.isolation is Isolation.TASK:  # ahead, while all slots are taken
                self._open_nodes(job, pool, group)
            if len(starts) >= room:
                break
            if not group.nodes:
                self._open_nodes(job, pool, group)
            place = group.take()
            if place is None:
                break
            attempt = job.buffer.popleft()
            node, attempt.slot = place
            attempt.node = node.id
            if not self._ledger.start(attempt):  # a client was faster
                node.give_back(attempt.slot)
                node.used = False
                continue
            node.running[attempt.slot] = attempt
            job.running[attempt.token] = attempt
            starts.append(attempt)
        job.hungry = False
        return starts

    def _group_of(self, job: Job, pool: PoolSpec, attempt: Attempt) -> Group:
        key = GroupKey(job.number, attempt.image, attempt.mounts)
        group = job.groups.get(key)
        if group is None:
            group = job.groups[key] = Group(key, pool.isolation)
        return group

    def _open_nodes(self, job: Job, pool: PoolSpec, group: Group) -> None:
        if time.monotonic() < group.not_before:
            return
        capacity = min(self.max_parallel, self._scaling.slots(pool))
        single_use = pool.isolation is Isolation.TASK
        networks, keepers = job.networks, 0
        if single_use and self._crew.executors.share_networks(pool.backend):
            of_all_jobs = sum(isinstance(node, Keeper) for node in self._crew.nodes.values())
            unused = sum(not (node.used or node.closing) for node in group.nodes)
            keepers = networks.short(len(job.buffer) - unused, capacity)
            keepers = min(keepers, max(0, 2 * self.max_parallel - of_all_jobs))
        kept = keepers + networks.expected
        # What can run at once waits for a network only when that is about to come free. Of what is
        # opened ahead, as much waits longer as there are networks for.
        alive = sum(not node.closing for node in group.nodes) + networks.soon()
        plain = sum(not node.closing and node.keeper is None for node in group.nodes)
        for _ in range(group.shortage(len(job.buffer), capacity)):
            keeper = networks.free()
            if keeper is None and kept and alive >= capacity and plain + kept >= 2 * capacity:
                break
            node = self._crew.enlist(group.key, pool.backend, single_use=single_use)
            group.nodes.append(node)
            alive += 1
            plain += keeper is None
            self._open(job, pool, node, keeper.lend(node) if keeper is not None else None)
        for _ in range(keepers):
            keeper = self._crew.enlist_keeper(group.key, pool.backend)
            networks.keepers.append(keeper)
            self._open(job, pool, keeper, None)

    def _open(self, job: Job, pool: PoolSpec, node: LiveNode, network: Lent | None) -> None:
        """Write down that a node is going to be opened, and have it opened after the commit."""
        what = Opening(
            node_id=node.id,
            workspace_id=self._workspace_id,
            workspace=self._workspace,
            job_id=job.id,
            pool=pool,
            image=node.group.image or pool.image,
            mounts=node.group.mounts,
            keeps_network=isinstance(node, Keeper),
            network=network,
        )
        self._store.execute(
            "INSERT INTO node (id, job, backend, name, opened) VALUES (?, ?, ?, ?, ?)",
            (node.id, job.number, pool.backend, job.id, time.time()),
        )
        self.openings.append((node, what))

    def dispatch(self, attempt: Attempt) -> None:
        """Hand a committed attempt to its node.

        Raises:
            StaleNodeError: the node's view of its job's directory is not what is there now.
            OSError: the task's directory or its command could not be made.
        """
        node = self._crew.nodes[attempt.node]
        words = split_command(attempt.command)
        if node.mapping:
            words = map_command(words, node.mapping)
        for left in reversed(range(_CLOSED_AGAIN)):
            try:
                self._prepare(attempt, node)
                break
            except PermissionError:
                if not left:
                    raise
        if node.commands is not None:
            node.commands.write(attempt.slot, words)
        self._crew.watch_over(node)
        secret = self._secrets.of(node.id, attempt.token)
        send(node, f"run {attempt.slot} {attempt.token} {secret} {attempt.task_id}\n")

    def _prepare(self, attempt: Attempt, node: LiveNode) -> None:
        try:
            job = enter_job(self._top, self._jobs[attempt.job].id)
        except FileNotFoundError:
            raise StaleNodeError from None
        with job:
            status = os.fstat(job.fileno())
            if (status.st_dev, status.st_ino) != node.place:
                raise StaleNodeError
            aside = prepare_task(job, attempt.task_id, new=attempt.attempt == 1)
        for name in aside:
            self._discard(self._jobs[attempt.job].id, name)
