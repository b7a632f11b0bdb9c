"""The crew: every living node of an agent, from opening to removal, and how attempts on it are ended.

It reports to the scheduler by three calls: `exited`, `lost` and `opening_failed`.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from cfa.cloudops.errors import BackendUnavailableError, CloudOpsError, NodeError
from cfa.cloudops.provider.executor import ImageProgress, NodeEnd
from cfa.cloudops.service import journal
from cfa.cloudops.service.disks import NO_PROCESS
from cfa.cloudops.service.ledger import Attempt, Outcome
from cfa.cloudops.service.nodes import (
    PROTOCOL,
    Executors,
    GroupKey,
    Keeper,
    LiveNode,
    Opened,
    Opening,
    backoff_s,
    open_node,
    send,
)
from cfa.cloudops.service.recovery import FULL
from cfa.cloudops.service.workspace import Commands

if TYPE_CHECKING:
    from cfa.cloudops.service.scheduler import Scheduler

_log = logging.getLogger(__name__)

#: Seconds from TERM to KILL, and from KILL to the end of the whole node.
GRACE_S = 5.0
#: How often in a row a node may start nothing before another one is tried.
_REFUSALS = 3
#: How often a task may vanish with the shell of its slot before that counts as its exit.
_LOST_ALONE = 2
#: Seconds between two questions whether the slots of a busy node live.
_CHECK_S = 3.0
#: Questions in a row without an answer after which a node is given up.
_UNANSWERED = 10
#: Seconds in which the program of a container that keeps a network has to speak, and to answer.
_KEEPER_S, _LOOK_S = 30.0, 3.0
#: Seconds for which a network is kept: its name servers are those of its first moment.
_KEPT_S = 600.0
#: Pauses before a network is looked at again in which something is left, in seconds.
_AGAIN_S = (0.05, 0.3)
#: Lines of names of hosts and name servers that a keeper may tell.
_NAMES = 1000
_RETRY_S = (0.2, 10.0)  # first and longest wait for an engine that does not answer


class Crew:
    """Opens, reads and closes nodes for the scheduler."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._agent = scheduler.agent
        self.executors = Executors()
        self._secrets = scheduler.secrets
        self.nodes: dict[str, LiveNode] = {}
        self._lost_alone: dict[int, int] = {}  # by number of the task

    # --- opening

    def enlist(self, group: GroupKey, backend: str, *, single_use: bool) -> LiveNode:
        """A node that is going to be opened; its id can be written into the store first."""
        node = LiveNode(secrets.token_hex(4), group, backend, single_use=single_use)
        self.nodes[node.id] = node
        return node

    def enlist_keeper(self, group: GroupKey, backend: str) -> Keeper:
        """The same for one that keeps a network."""
        keeper = Keeper(secrets.token_hex(4), group, backend)
        self.nodes[keeper.id] = keeper
        return keeper

    def open(self, node: LiveNode, what: Opening) -> None:
        """Open an enlisted node in a worker thread."""

        def pulls(_: ImageProgress) -> None:  # by the worker thread
            if not node.pulls:
                self._agent.post(partial(self._pulls, node, what.image))

        self._agent.work(
            lambda: open_node(self.executors, what, pulls),
            lambda opened, error: self._opened(node, opened, error),
        )

    def _pulls(self, node: LiveNode, image: str | None) -> None:
        """Opening takes long, because the engine fetches an image."""
        node.pulls = True
        self._scheduler.pulling(node.group.job, image)

    def _opened(self, node: LiveNode, opened: Opened | None, error: BaseException | None) -> None:
        if node.pulls:
            self._scheduler.pulling(node.group.job, None)
        if opened is None:
            error = error or RuntimeError("no node")
            if not isinstance(error, CloudOpsError):
                _log.error("opening node %s", node.id, exc_info=error)
            node.closing = True
            self._refused(node, error)
            self._remove(node, str(error))
            return
        node.node, node.root, node.mapping = opened.node, opened.root, opened.mapping
        node.place, node.shown = opened.place, opened.shown
        self._scheduler.showed(node)
        node.commands = Commands(self._agent.workspace.control(node.id))
        node.idle_since = time.monotonic()
        if not node.single_use:  # those would fill the log
            _log.info("node %s open: %s %s", node.id, node.backend, opened.node.engine_id)
        if node.closing:
            self._close(node)
            return
        self._agent.watch(opened.node.fileno(), lambda: self._read(node))
        if isinstance(node, Keeper):
            self._agent.at(time.monotonic() + _KEEPER_S, partial(self._hurry, node))

    def _remove(self, node: LiveNode, reason: str, wait_s: float = 0.0) -> None:
        """See that nothing is left of a node that failed to open: its engine may have died midway."""

        def remove() -> None:
            executor = self.executors.get(node.backend)
            executor.remove_node(self._scheduler.workspace_id, node.id)

        def done(_: object, error: BaseException | None) -> None:
            if isinstance(error, CloudOpsError) and error.transient:
                self._again(wait_s, lambda longer: self._remove(node, reason, longer))
            else:
                self._gone(node, reason)

        self._agent.work(remove, done)

    def _again(self, wait_s: float, call: Callable[[float], None]) -> None:
        """Call after `wait_s`, longer each time: the engine does not answer."""
        longer = min(_RETRY_S[1], wait_s * 2 or _RETRY_S[0])
        self._agent.at(time.monotonic() + longer, partial(call, longer))

    # --- listening

    def _read(self, node: LiveNode) -> None:
        if node.node is None or (node.closing and not node.draining):
            return
        data = node.node.read()
        if data is None:
            return
        if not data:
            if not node.draining:
                node.broken = not node.ready
                _log.warning("node %s ended by itself", node.id)
                if isinstance(node, Keeper):
                    self._network_lost(node)
            elif not node.running:  # the container's first process ended, and so did all others
                self._give_back(node)
            node.closing = node.draining = True
            self._part(node)
            return
        for line in node.lines(data):
            self._hear(node, line)

    def _hear(self, node: LiveNode, line: bytes) -> None:
        words = line.split()
        match words:
            case [b"exited", token, secret, code] if self._believed(node, secret, token, code):
                self._ended(node, token.decode(), code.decode())
            case [b"full", token, secret] if self._believed(node, secret, token):
                self._full(node, token.decode())
            case [b"lost", slot, secret, *how] if self._believed(node, secret):
                attempt = node.give_up(int(slot) if slot.isdigit() and len(slot) < 6 else 0)
                if attempt is not None:
                    self._slot_lost(node, attempt, how=how[0].decode() if how else "")
            case [b"alive", word] if word.decode(errors="replace") == node.question:
                node.unanswered = 0
            case [b"refused"] if not node.ready:
                node.refused = True
            case [b"refused", secret] if self._believed(node, secret):
                node.refused = True
            case [b"ready", _] if line == PROTOCOL and not node.ready:
                self._ready(node)
            case [b"host" | b"name" | b"resolver" | b"look", *_] if isinstance(node, Keeper):
                self._hear_keeper(node, *os.fsdecode(line).partition(" ")[::2])
            case [b"alive", _]:
                pass  # to an earlier question
            case _:
                if not node.doubted:  # once: whoever pretends may do so without end
                    node.doubted = True
                    _log.warning("node %s says what no launcher does: %r", node.id, line[:200])

    def _believed(
        self, node: LiveNode, secret: bytes, token: bytes = b"", code: bytes = b"0"
    ) -> bool:
        """Whether the launcher said it, and not a task that writes to the same stream.

        A task that has read the secret from its launcher's memory, or an image whose shell is the
        launcher, can say what it likes: no more of it is taken than a launcher could say.
        """
        try:
            words = [word.decode("ascii") for word in (secret, token, code)]
        except UnicodeDecodeError:
            return False
        return bool(journal.CODE.fullmatch(words[2])) and self._secrets.are(
            words[0], node.id, words[1]
        )

    def _ready(self, node: LiveNode) -> None:
        """The launcher has begun; from now on a task may run beside it."""
        try:
            self._agent.workspace.close_box(node.id)
        except OSError as error:  # the workspace was removed, or the disk is out of order
            _log.warning("node %s cannot be used: %s", node.id, error)
            node.broken = True
            self.dismiss(node, 0)
            return
        node.ready = True
        if isinstance(node, Keeper):
            self._scheduler.wanted(node.group.job)
        else:
            send(node, f"node {self._secrets.of(node.id)}\n")
            self._scheduler.node_ready(node)

    def _hear_keeper(self, keeper: Keeper, subject: str, text: str) -> None:
        if subject != "look" and (
            keeper.ready or len(keeper.hosts) + len(keeper.resolver) > _NAMES
        ):
            return
        match subject:
            case "name":
                keeper.host_name = text
            case "host":
                keeper.hosts.append(text)
            case "resolver":
                keeper.resolver.append(text)
            case _:
                self._looked(keeper, empty=text == "empty")

    def _ended(self, node: LiveNode, token: str, code: str) -> None:
        attempt = next((one for one in node.running.values() if one.token == token), None)
        if attempt is None:
            return
        del node.running[attempt.slot]
        if token in node.full:
            node.full.discard(token)
            self._scheduler.problem(node.group.job, None)
        if attempt.verdict is not None:  # what survived TERM must not survive the task
            send(node, f"kill {attempt.slot} {attempt.token} KILL\n")
        node.give_back(attempt.slot)
        node.refusals = 0
        group = self._scheduler.group(node.group)
        if group is not None:
            group.barren = 0
        self._scheduler.exited(attempt, code)
        self._has_room(node)

    def _full(self, node: LiveNode, token: str) -> None:
        """An attempt ended, and its result waits for space on the disk."""
        node.full.add(token)
        self._scheduler.problem(node.group.job, FULL)
        attempt = next((one for one in node.running.values() if one.token == token), None)
        if attempt is not None and attempt.verdict is not None:
            self._end_without_result(node, attempt)

    def _end_without_result(self, node: LiveNode, attempt: Attempt) -> None:
        """An attempt that was ended needs no result of its own; its slot waits on, and is not used
        again."""
        node.give_up(attempt.slot)
        node.full.discard(attempt.token)
        send(node, f"kill {attempt.slot} {attempt.token} KILL\n")
        self._scheduler.exited(attempt, "full")
        self._has_room(node)

    def _slot_lost(self, node: LiveNode, attempt: Attempt, *, how: str) -> None:
        """The shell of a slot was killed: from outside, or by a task that killed its process group.

        The latter leaves nothing of the task. An outsider that meets the moment does so as well, so
        it counts as the task's own doing only when it happens again and again.
        """
        code = self.outcomes(node.id, [attempt]).get(attempt.token)
        if code is None and how == "alone":
            lost = self._lost_alone[attempt.number] = self._lost_alone.get(attempt.number, 0) + 1
            code = None if lost <= _LOST_ALONE else "137"
        if code is not None:
            self._lost_alone.pop(attempt.number, None)
            self._scheduler.exited(attempt, code)
        elif how == "refused":
            self._scheduler.refused(attempt, NO_PROCESS)
            self._rest(node)
        else:
            self._scheduler.lost(attempt, "the shell of its slot was killed")
        self._has_room(node)

    def _rest(self, node: LiveNode) -> None:
        """Give a node nothing for a while. What it lacks may be its own: a task can take from it what a
        new one has again."""
        now = time.monotonic()
        if now >= node.not_before:
            node.refusals += 1
            node.not_before = now + backoff_s(node.refusals)
            self._agent.at(node.not_before, partial(self._scheduler.wanted, node.group.job))
        if node.refusals >= _REFUSALS and not node.running and not node.closing:
            _log.warning("node %s starts nothing any more: closing it", node.id)
            self._scheduler.barren(node)
            self.dismiss(node, 0)

    def outcomes(self, node_id: str, attempts: Iterable[Attempt]) -> dict[str, str]:
        """What the journals of a node say of these attempts, by token."""
        wanted = {attempt.token: attempt.slot for attempt in attempts}
        try:
            with self._agent.workspace.open_journals(node_id) as journals:
                return journal.outcomes(journals, node_id, self._secrets, wanted)
        except OSError:
            return {}

    def _has_room(self, node: LiveNode) -> None:
        node.idle_since = time.monotonic()
        if node.single_use:
            self.dismiss(node, GRACE_S)

    def watch_over(self, node: LiveNode) -> None:
        """See from time to time, while something runs, that the node's slots live."""
        if not node.checked:
            node.checked = True
            self._agent.at(time.monotonic() + _CHECK_S, lambda: self._check(node))

    def _check(self, node: LiveNode) -> None:
        node.checked = False
        if not node.running or node.closing:
            return
        if node.unanswered >= _UNANSWERED:
            _log.warning("node %s does not answer any more: closing it", node.id)
            self.dismiss(node, 0)
            return
        self._look_for_ends(node)
        node.unanswered += 1
        node.question = secrets.token_hex(8)
        send(node, f"check {node.question}\n")
        self.watch_over(node)

    def _look_for_ends(self, node: LiveNode) -> None:
        """Find attempts that ended and whose report another process of the node has taken away."""
        found = self.outcomes(node.id, node.running.values())
        ended = [one for one in list(node.running.values()) if one.token in found]
        for attempt in ended:
            if attempt.token in node.unreported:  # a report may be under way, but not for so long
                _log.warning("the report of attempt %s was lost in node %s", attempt.token, node.id)
                self._ended(node, attempt.token, found[attempt.token])
        node.unreported = {attempt.token for attempt in ended}

    # --- ending attempts

    def kill(self, attempt: Attempt, *, hard: bool = False) -> None:
        """End an attempt: TERM, after the grace KILL, and if that does not help, its node."""
        node = self.nodes.get(attempt.node)
        if node is None or node.running.get(attempt.slot) is not attempt:
            return
        if attempt.token in node.full:
            self._end_without_result(node, attempt)
            return
        signal = "KILL" if hard else "TERM"
        send(node, f"kill {attempt.slot} {attempt.token} {signal}\n")
        then = (lambda: self._despair(attempt)) if hard else (lambda: self.kill(attempt, hard=True))
        self._agent.at(time.monotonic() + GRACE_S, then)

    def _despair(self, attempt: Attempt) -> None:
        node = self.nodes.get(attempt.node)
        if node is not None and node.running.get(attempt.slot) is attempt:
            _log.warning("attempt %s survives KILL: closing its node", attempt.token)
            self.dismiss(node, 0)

    # --- closing

    def dismiss(self, node: LiveNode, grace_s: float) -> None:
        """Close a node. What still runs on it when it is gone is lost and goes to the queue.

        With a grace it is left to end by itself, which its stream tells: asking an engine to stop a
        container and how far it is costs as much again as starting one.
        """
        if node.closing and (grace_s or not node.draining):
            return
        node.closing = True
        if node.node is None:
            return  # it is being opened; `_opened` closes it
        node.draining = True
        if grace_s:
            node.node.drain()
            self._agent.at(time.monotonic() + grace_s, lambda: self._part(node))
        else:
            self._part(node)

    def _part(self, node: LiveNode) -> None:
        """Close a node that ended or whose grace is over."""
        if node.draining and node.node is not None:
            node.draining = False
            self._agent.unwatch(node.node.fileno())
            self._close(node)

    def _close(self, node: LiveNode, wait_s: float = 0.0) -> None:
        engine = node.node
        if engine is None:
            return

        def done(end: Any, error: BaseException | None) -> None:
            if error is not None:
                transient = isinstance(error, CloudOpsError) and error.transient
                _log.warning("closing node %s: %s", node.id, error, exc_info=not transient)
                if transient:
                    self._again(wait_s, partial(self._close, node))
                else:
                    self._remove(node, str(error))
                return
            self._gone(node, end.reason if isinstance(end, NodeEnd) else "")

        self._agent.work(partial(engine.close, 0), done)

    def _gone(self, node: LiveNode, reason: str) -> None:
        """Nothing of the node runs any more: collect what it left."""
        del self.nodes[node.id]
        if node.commands is not None:
            node.commands.close()
        group = self._scheduler.group(node.group)
        if group is not None and node in group.nodes:
            group.nodes.remove(node)
        networks = self._scheduler.networks(node.group.job)
        if networks is not None and isinstance(node, Keeper):
            networks.keepers.remove(node)
            self._scheduler.wanted(node.group.job)
        self._scheduler.node_ended(node.id, reason)
        if node.broken:
            text = f"The node {node.id} ended before it was ready. {reason}".strip()
            error: CloudOpsError = NodeError(text, f"Read {self._agent.workspace.log}.")
            if node.refused:
                error = BackendUnavailableError(NO_PROCESS, "Its tasks wait.")
            self._refused(node, error)
        self._give_back(node)
        why = NO_PROCESS if node.refused else reason or f"the node {node.id} went away"
        self.collect(node.running.values(), why, refused=node.refused)

    def collect(self, attempts: Iterable[Attempt], reason: str, *, refused: bool = False) -> None:
        """Sort attempts of a node that is gone into exited and lost; `refused`: it lacked processes."""
        attempts = list(attempts)
        found: dict[str, str] = {}
        for node_id in {attempt.node for attempt in attempts}:
            found |= self.outcomes(node_id, [one for one in attempts if one.node == node_id])
        for attempt in attempts:
            code = found.get(attempt.token)
            if code is not None:
                self._scheduler.exited(attempt, code)
            elif refused:
                self._scheduler.postponed(attempt, reason)
            else:
                self._scheduler.lost(attempt, reason)

    # --- networks that are kept for other nodes

    def _refused(self, node: LiveNode, error: BaseException) -> None:
        """A node did not come up; whether for the network is not asked, but tried without at last."""
        for_network = isinstance(node, Keeper) or node.keeper is not None
        transient = isinstance(error, CloudOpsError) and error.transient
        if for_network and isinstance(error, NodeError) and not transient:
            self._count_loss(node, str(error))
        else:
            self._scheduler.opening_failed(node, error)

    def _count_loss(self, node: LiveNode, why: str) -> None:
        job = node.group.job
        networks = self._scheduler.networks(job)
        if networks is None or networks.refused:
            return
        networks.lost(why, node.enlisted)
        if networks.refused:
            _log.warning("no networks are kept for the nodes of job %d any more: %s", job, why)
            for other in networks.keepers:
                if other.user is None:
                    self._let_go(other, GRACE_S)
        self._scheduler.wanted(job)

    def _let_go(self, keeper: Keeper, grace_s: float) -> None:
        """Close a keeper; who waits for its network may have another."""
        self.dismiss(keeper, grace_s)
        self._scheduler.wanted(keeper.group.job)

    def _hurry(self, keeper: Keeper) -> None:
        """A keeper whose program does not speak is not waited for."""
        if keeper.id in self.nodes and not (keeper.ready or keeper.closing):
            keeper.broken = True
            self._let_go(keeper, 0)

    def _network_lost(self, keeper: Keeper) -> None:
        """A keeper went, and its network with it: what runs there runs again elsewhere."""
        if keeper.user is not None:
            self.dismiss(keeper.user, 0)
        if keeper.ready:  # else it is counted when it is gone
            self._count_loss(keeper, f"the node {keeper.id} ended by itself")

    def _give_back(self, node: LiveNode) -> None:
        """Nothing of a node runs any more: see whether its network can be the next one's."""
        keeper, node.keeper = node.keeper, None
        if keeper is None:
            return
        keeper.user, keeper.idle_since = None, time.monotonic()
        networks = self._scheduler.networks(keeper.group.job)
        old = keeper.idle_since - keeper.enlisted > _KEPT_S
        if old or keeper.closing or networks is None or networks.refused:
            self._let_go(keeper, GRACE_S)
        else:
            self._look(keeper)

    def _look(self, keeper: Keeper) -> None:
        """Ask a keeper whether anything is left in its network; one that does not answer goes."""
        if keeper.id not in self.nodes or keeper.closing:
            return
        keeper.looks += 1
        question = keeper.asked = object()
        send(keeper, "look\n")

        def late() -> None:
            if keeper.id in self.nodes and keeper.asked is question:
                self._give_up(keeper, "it does not answer", 0)

        self._agent.at(time.monotonic() + _LOOK_S, late)

    def _looked(self, keeper: Keeper, *, empty: bool) -> None:
        keeper.asked = None
        if empty:
            keeper.looks = 0
            keeper.uses += 1
            self._scheduler.wanted(keeper.group.job)
        elif keeper.looks <= len(_AGAIN_S):  # a connection may just be closing
            wait = _AGAIN_S[keeper.looks - 1]
            self._agent.at(time.monotonic() + wait, partial(self._look, keeper))
        else:
            self._give_up(keeper, "tasks leave connections open", GRACE_S)

    def _give_up(self, keeper: Keeper, why: str, grace_s: float) -> None:
        self._let_go(keeper, grace_s)
        if not keeper.uses:  # it has cost more than it gave
            self._count_loss(keeper, f"the network of the node {keeper.id} was used once: {why}")

    def leave(self) -> None:
        """Let go of every node: each finishes what runs and ends by itself."""
        for node in self.nodes.values():
            if node.node is not None:
                node.node.drain()
        self.executors.close()


def verdict(failure: str, message: str) -> Outcome:
    """An outcome that we impose."""
    return Outcome(None, failure, message)
