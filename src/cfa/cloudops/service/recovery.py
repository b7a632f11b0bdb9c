"""Recovery: what a new agent does with the nodes of one that died.

Their launchers saw the end of their standard input and are draining: they finish what runs and exit.
Their results are in their journals. So: collect what is there, wait for nodes that still run, and give
back to the queue what neither exited nor can exit any more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import define, field

from cfa.cloudops.errors import CloudOpsError
from cfa.cloudops.provider.executor import NodeStatus
from cfa.cloudops.service.disks import no_space
from cfa.cloudops.service.ledger import Attempt
from cfa.cloudops.service.networks import keeps
from cfa.cloudops.service.nodes import mount_sources
from cfa.cloudops.service.sums import sound
from cfa.cloudops.service.workspace import SERVING

if TYPE_CHECKING:
    from cfa.cloudops.service.scheduler import Scheduler

_log = logging.getLogger(__name__)

FULL = "No space is left in the workspace: the results of its tasks wait for space."
_FIRST_S, _LONGEST_S = 0.05, 1.0
#: An engine may still be working on what a killed agent asked for: look again for so long.
_AFTERMATH_S = 2.0
#: A launcher sees the end of its input at once. One that has not after so long never will: an engine
#: that was killed between two steps of opening a node may leave it with an input that nobody closes.
_DEAF_S = 15.0


@define(eq=False)
class _Orphan:
    node_id: str
    backend: str
    attempts: dict[str, Attempt] = field(factory=dict)  # by token
    doomed: bool = False


class Recovery:
    """Adopts the nodes that the store holds as open when an agent starts."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._agent = scheduler.agent
        self._orphans: dict[str, _Orphan] = {}
        self._searching: set[str] = set()
        self._until = 0.0
        self._patience = 0.0
        self._full = False

    @property
    def busy(self) -> bool:
        return bool(self._orphans or self._searching)

    def begin(self) -> None:
        """Read the store. Nothing else of the agent runs yet."""
        store = self._scheduler.store
        for node_id, backend, job, opened in store.rows(
            f"SELECT {sound('node.id')}, backend, job, opened FROM node "  # noqa: S608
            "WHERE ended IS NULL ORDER BY opened"
        ):
            self._orphans[node_id] = _Orphan(node_id, backend)
            self._find_mounts(job, opened)
        for attempt in self._scheduler.ledger.running():
            self._scheduler.adopt(attempt)
            orphan = self._orphans.get(attempt.node)
            if orphan is None:
                self._scheduler.crew.collect([attempt], "its node is gone")
            else:
                orphan.attempts[attempt.token] = attempt
        self._remove_rests()
        self._until = time.monotonic() + _AFTERMATH_S
        self._patience = time.monotonic() + _DEAF_S
        for backend in {orphan.backend for orphan in self._orphans.values()}:
            self._search(backend, _FIRST_S)

    def _find_mounts(self, job_number: int, opened: float) -> None:
        """What the nodes of a dead agent were shown, as far as the pool says."""
        job = self._scheduler.jobs.get(job_number)
        if job is None or job.pool is None or not job.pool.mounts:
            return
        pool = job.pool

        def done(sources: dict[str, str] | None, _: BaseException | None) -> None:
            for source in (sources or {}).values():
                job.shown.setdefault(source, opened)

        storage = self._scheduler.workspace.storage_url(pool.storage)
        self._agent.work(lambda: mount_sources(storage, pool.mounts), done)

    def _remove_rests(self) -> None:
        """Remove directories of nodes that ended when nobody could remove them any more."""
        for name in self._scheduler.workspace.node_ids():
            if name not in self._orphans:
                self._scheduler.put_away(name)
        if not self._orphans:
            self._scheduler.workspace.remove_former_nodes()

    def has(self, node_id: str) -> bool:
        return node_id in self._orphans

    def kill(self, node_id: str) -> None:
        """End a draining node: the only way to end an attempt on it."""
        self._orphans[node_id].doomed = True

    # --- parts

    def _search(self, backend: str, wait_s: float) -> None:
        """Ask the engine for nodes of ours, in a worker thread, and again until none is left."""
        self._searching.add(backend)
        self._doom_the_deaf()
        doomed = [
            orphan.node_id
            for orphan in self._orphans.values()
            if orphan.backend == backend
            and (orphan.doomed or not (orphan.attempts or self._keeps(orphan)))
        ]
        orphans = set(self._orphans)
        workspace = self._scheduler.workspace_id
        executors = self._scheduler.crew.executors

        def search() -> list[str]:
            executor = executors.get(backend)
            executors.capabilities(backend)  # starts an engine's service where one is needed
            for node_id in doomed:
                executor.remove_node(workspace, node_id)
            alive = []
            found: Sequence[NodeStatus] = executor.list_nodes(workspace)
            known = orphans | set(self._scheduler.crew.nodes)  # asked after, or new ones would go
            for status in found:
                if status.node_id in orphans and status.running:
                    alive.append(status.node_id)
                elif status.node_id not in known or status.node_id in orphans:
                    executor.remove_node(workspace, status.node_id)
            return alive

        def done(alive: list[str] | None, error: BaseException | None) -> None:
            if alive is None:
                transient = isinstance(error, CloudOpsError)
                _log.warning("looking for nodes on %s: %s", backend, error, exc_info=not transient)
            else:
                self._sort(backend, set(alive))
            self._look_at_disk()
            now = time.monotonic()
            left = any(orphan.backend == backend for orphan in self._orphans.values())
            if left or now < self._until:
                again = min(_LONGEST_S, wait_s * 1.5)
                self._agent.at(now + wait_s, lambda: self._search(backend, again))
            else:
                self._searching.discard(backend)

        self._agent.work(search, done)

    def _keeps(self, orphan: _Orphan) -> bool:
        """Whether it keeps a network; such a one ends with the last node that uses it."""
        return keeps(self._scheduler.workspace.control(orphan.node_id))

    def _doom_the_deaf(self) -> None:
        """Give up nodes whose launchers still wait for us."""
        if time.monotonic() < self._patience:
            return
        for orphan in self._orphans.values():
            if self._keeps(orphan) and any(one.attempts for one in self._orphans.values()):
                continue  # it is no matter whether it heard while others may use its network
            if not orphan.doomed and self._is_deaf(orphan.node_id):
                _log.warning("node %s did not notice that its agent died", orphan.node_id)
                orphan.doomed = True

    def _outcomes(self, orphan: _Orphan) -> dict[str, str]:
        if not orphan.attempts:
            return {}
        attempts = orphan.attempts.values()
        found = self._scheduler.crew.outcomes(orphan.node_id, attempts)
        for token, attempt in orphan.attempts.items():  # of a node of an earlier version
            job = self._scheduler.jobs.get(attempt.job)
            if token not in found and job is not None:
                code = self._scheduler.workspace.former_outcome(
                    orphan.node_id, job.id, attempt.task_id, token
                )
                found |= {token: code} if code else {}
        return found

    def _is_deaf(self, node_id: str) -> bool:
        try:
            with self._scheduler.workspace.open_journals(node_id) as journals:
                return journals.exists(SERVING)
        except OSError:
            return False

    def _look_at_disk(self) -> None:
        """Say it when nodes of a dead agent cannot write down their results."""
        full = no_space(self._scheduler.workspace.home)
        if full == self._full:
            return
        self._full = full
        for orphan in self._orphans.values():
            for attempt in orphan.attempts.values():
                self._scheduler.problem(attempt.job, FULL if full else None)

    def _sort(self, backend: str, alive: set[str]) -> None:
        for orphan in list(self._orphans.values()):
            if orphan.backend != backend:
                continue
            found = self._outcomes(orphan)
            for token, attempt in list(orphan.attempts.items()):
                if token in found:
                    del orphan.attempts[token]
                    self._scheduler.exited(attempt, found[token])
            if orphan.node_id in alive:
                continue
            del self._orphans[orphan.node_id]
            self._scheduler.node_ended(orphan.node_id, "its agent died")
            self._scheduler.crew.collect(
                orphan.attempts.values(), "the agent and then the node ended"
            )
