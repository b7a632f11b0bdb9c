"""Which networks are kept for containers of one task each, and who may use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cfa.cloudops.errors import BackendUnavailableError, ImageError, NodeError
from cfa.cloudops.model.values import Isolation
from cfa.cloudops.provider.executor import Node, NodeEnd
from cfa.cloudops.service import crew
from cfa.cloudops.service import networks as module
from cfa.cloudops.service.agent import Agent
from cfa.cloudops.service.ledger import Attempt
from cfa.cloudops.service.networks import Lent, Networks, keeps, make_fifo
from cfa.cloudops.service.nodes import Group, GroupKey, Keeper, LiveNode
from cfa.cloudops.service.placement import Job
from cfa.cloudops.service.scheduler import Scheduler
from cfa.cloudops.service.workspace import Workspace

KEY = GroupKey(1, "image", None)


class Stream(Node):
    """A node of which only what it is told, and the end of its stream matter here."""

    engine_id = "container"

    def __init__(self) -> None:
        self.told: list[bytes] = []

    def fileno(self) -> int:
        return 0

    def read(self) -> bytes | None:
        return b""

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def drain(self) -> None: ...

    def close(self, grace_s: float) -> NodeEnd:
        return NodeEnd()


@pytest.fixture
def alarms() -> list[Callable[[], None]]:
    """What the agent is going to do later."""
    return []


@pytest.fixture
def scheduler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alarms: list[Callable[[], None]]
) -> Iterator[Scheduler]:
    """The scheduler of an agent that does not run, with one job of one group."""
    workspace = Workspace(tmp_path)
    workspace.create()
    agent = Agent(workspace)
    monkeypatch.setattr(agent, "work", lambda task, done: None)
    monkeypatch.setattr(agent, "unwatch", lambda fileno: None)
    monkeypatch.setattr(agent, "at", lambda when, action: alarms.append(action))
    job = agent.scheduler.jobs[1] = Job(1, "j", "p")
    job.groups[KEY] = Group(KEY, Isolation.TASK)
    yield agent.scheduler
    agent.store.close()


def networks_of(scheduler: Scheduler) -> Networks:
    return scheduler.jobs[1].networks


def keeper_of(scheduler: Scheduler, *, ready: bool = True) -> Keeper:
    keeper = scheduler.crew.enlist_keeper(KEY, "podman")
    networks_of(scheduler).keepers.append(keeper)
    keeper.ready, keeper.node = ready, Stream()
    return keeper


def user_of(scheduler: Scheduler, keeper: Keeper) -> LiveNode:
    node = scheduler.crew.enlist(KEY, "podman", single_use=True)
    scheduler.jobs[1].groups[KEY].nodes.append(node)
    keeper.lend(node)
    node.ready, node.node = True, Stream()
    return node


def end(scheduler: Scheduler, node: LiveNode) -> None:
    """The task of a node has ended, and then its launcher."""
    scheduler.crew.dismiss(node, 5)
    scheduler.crew._read(node)


def say(scheduler: Scheduler, keeper: Keeper, *lines: bytes) -> None:
    for line in lines:
        scheduler.crew._hear(keeper, line)


def attempt() -> Attempt:
    return Attempt(1, 1, "t", "true", None, None, None, 0, 0, False, None, 0, 0.0, 1)


# --- how many


@pytest.mark.parametrize(
    ("waiting", "capacity", "wanted"),
    [(0, 3, 0), (3, 3, 0), (4, 3, 1), (9, 3, 2), (64, 3, 3), (64, 1, 1)],
)
def test_first_keepers(waiting: int, capacity: int, wanted: int) -> None:
    """Keepers come where several tasks wait for each, and not more at a time than tasks run."""
    assert Networks().short(waiting, capacity) == wanted


def test_more_keepers(scheduler: Scheduler) -> None:
    """Up to two for every task that runs: its own, and that of the one that comes up behind it."""
    networks = networks_of(scheduler)
    for _ in range(3):
        keeper_of(scheduler, ready=False)
    assert networks.short(64, 3) == 0
    for keeper in networks.keepers:
        keeper.ready = True
    assert networks.short(64, 3) == 3
    for _ in range(3):
        keeper_of(scheduler)
    assert networks.short(64, 3) == 0


def test_names(scheduler: Scheduler) -> None:
    """A keeper says what is in its files before it is ready, line by line."""
    keeper = keeper_of(scheduler, ready=False)
    said = (
        b"name e54",
        b"host 10.0.0.1 a",
        b"host ",
        b"host # x  y",
        b"resolver nameserver 1.1.1.1",
    )
    say(scheduler, keeper, *said)
    assert not keeper.free
    say(scheduler, keeper, b"ready 1")
    assert keeper.lend(keeper) == Lent(
        keeper.id, "container", "e54", ("10.0.0.1 a", "", "# x  y"), ("nameserver 1.1.1.1",)
    )


# --- one at a time


def test_one_user_at_a_time(scheduler: Scheduler) -> None:
    """A network is lent to one node until nothing of that runs any more, and nothing is left."""
    networks = networks_of(scheduler)
    keeper = keeper_of(scheduler)
    assert networks.free() is keeper
    node = user_of(scheduler, keeper)
    assert (networks.free(), networks.soon()) == (None, 0)
    end(scheduler, node)
    assert (networks.free(), networks.soon()) == (None, 1)
    say(scheduler, keeper, b"look empty")
    assert (networks.free(), networks.soon()) == (keeper, 0)
    scheduler.crew._gone(node, "")
    assert networks.free() is keeper


def test_keepers_that_cannot_be_used(scheduler: Scheduler) -> None:
    """One that comes up, or goes, lends nothing; only the first kind can be waited for."""
    networks = networks_of(scheduler)
    keeper = keeper_of(scheduler, ready=False)
    assert networks.free() is None
    assert networks.expected
    keeper.ready = keeper.closing = True
    assert networks.free() is None
    assert not networks.expected


def test_broken_connection_frees_nothing(scheduler: Scheduler) -> None:
    """Where only the stream broke the task may go on: the network is free when the node is gone."""
    keeper = keeper_of(scheduler)
    node = user_of(scheduler, keeper)
    node.running[1] = attempt()
    scheduler.crew._read(node)
    assert keeper.user is node
    node.running.clear()
    scheduler.crew._gone(node, "")
    say(scheduler, keeper, b"look empty")
    assert networks_of(scheduler).free() is keeper


def test_something_is_left(scheduler: Scheduler, alarms: list[Callable[[], None]]) -> None:
    """A connection may just be closing, so it is looked at again; then the network is given up."""
    keeper = keeper_of(scheduler)
    end(scheduler, user_of(scheduler, keeper))
    for _ in crew._AGAIN_S:
        say(scheduler, keeper, b"look used")
        assert (keeper.free, keeper.closing) == (False, False)
        alarms.pop()()
    assert keeper.node.told == [b"look\n"] * 3
    say(scheduler, keeper, b"look used")
    assert keeper.closing


def test_something_was_left(scheduler: Scheduler, alarms: list[Callable[[], None]]) -> None:
    """And is gone at the second look."""
    keeper = keeper_of(scheduler)
    end(scheduler, user_of(scheduler, keeper))
    say(scheduler, keeper, b"look used")
    alarms.pop()()
    say(scheduler, keeper, b"look empty")
    assert keeper.free


def test_keeper_that_does_not_answer(
    scheduler: Scheduler, alarms: list[Callable[[], None]]
) -> None:
    """It goes when its time is over; an earlier question's alarm means nothing."""
    keeper = keeper_of(scheduler)
    end(scheduler, user_of(scheduler, keeper))
    say(scheduler, keeper, b"look empty")
    end(scheduler, user_of(scheduler, keeper))
    first, *_, last = [alarm for alarm in alarms if alarm.__name__ == "late"]
    first()
    assert not keeper.closing
    last()
    assert keeper.closing


# --- doing without


def refuse(scheduler: Scheduler, node: LiveNode, error: Exception) -> None:
    node.closing = True
    scheduler.crew._refused(node, error)
    scheduler.crew._gone(node, str(error))


def test_keepers_that_are_refused(scheduler: Scheduler) -> None:
    """Where none comes up nodes have networks of their own; tasks hear nothing of it."""
    networks = networks_of(scheduler)
    for _ in range(module._LOSSES):
        assert not networks.refused
        refuse(scheduler, keeper_of(scheduler, ready=False), NodeError("no"))
    assert (networks.refused, networks.short(64, 3)) == ("no", 0)
    group = scheduler.jobs[1].groups[KEY]
    assert (group.failures, group.refusals, scheduler._failed_groups) == (0, 0, [])


def test_users_that_are_refused(scheduler: Scheduler) -> None:
    """An engine that lets no node into the network of another is asked for one of its own."""
    keeper = keeper_of(scheduler)
    for _ in range(module._LOSSES):
        refuse(scheduler, user_of(scheduler, keeper), NodeError("cannot join"))
        say(scheduler, keeper, b"look empty")
    assert networks_of(scheduler).refused == "cannot join"
    assert scheduler.jobs[1].groups[KEY].refusals == 0
    assert keeper.closing
    assert scheduler.jobs[1].hungry


@pytest.mark.parametrize("keeps", [True, False])
def test_engine_that_is_away(scheduler: Scheduler, keeps: bool) -> None:
    """Then it is waited for, as for any node, and nothing is lost for ever."""
    keeper = keeper_of(scheduler)
    node = keeper if keeps else user_of(scheduler, keeper)
    refuse(scheduler, node, BackendUnavailableError("away"))
    assert scheduler.jobs[1].groups[KEY].failures == 1
    assert not networks_of(scheduler).refused


def test_keeper_that_ends_by_itself(scheduler: Scheduler) -> None:
    """What runs in its network is ended, to run again; another takes its place. Those that end
    together are one loss."""
    lost, other = keeper_of(scheduler), keeper_of(scheduler)
    node, safe = user_of(scheduler, lost), user_of(scheduler, other)
    scheduler.crew._read(lost)
    assert (node.closing, safe.closing, other.closing) == (True, False, False)
    scheduler.crew._gone(lost, "")
    assert networks_of(scheduler).short(64, 3) == 3
    scheduler.crew._gone(node, "")


def test_keepers_that_are_lost_again_and_again(scheduler: Scheduler) -> None:
    """Then the job does without; those that are in use go with their users."""
    other = keeper_of(scheduler)
    safe = user_of(scheduler, other)
    for _ in range(module._LOSSES):
        lost = keeper_of(scheduler)
        scheduler.crew._read(lost)
        scheduler.crew._gone(lost, "")
    assert networks_of(scheduler).refused
    assert not other.closing
    end(scheduler, safe)
    assert other.closing


def test_keepers_that_are_lost_together(scheduler: Scheduler) -> None:
    """A killed service of the engine takes all of them along, which is one loss."""
    for keeper in [keeper_of(scheduler) for _ in range(2 * module._LOSSES)]:
        scheduler.crew._read(keeper)
        scheduler.crew._gone(keeper, "")
    assert not networks_of(scheduler).refused


def test_networks_that_are_used_once(
    scheduler: Scheduler, alarms: list[Callable[[], None]]
) -> None:
    """Where every task leaves something, networks are not kept for long."""
    for _ in range(module._LOSSES):
        assert not networks_of(scheduler).refused
        keeper = keeper_of(scheduler)
        end(scheduler, user_of(scheduler, keeper))
        for _ in crew._AGAIN_S:
            say(scheduler, keeper, b"look used")
            alarms.pop()()
        say(scheduler, keeper, b"look used")
        scheduler.crew._gone(keeper, "")
    assert "used once" in networks_of(scheduler).refused


def test_image_that_is_missing(scheduler: Scheduler) -> None:
    """That is no matter of networks: the tasks that need it fail at once."""
    refuse(scheduler, user_of(scheduler, keeper_of(scheduler)), ImageError("no such image"))
    assert len(scheduler._failed_groups) == 1


def test_keeper_that_is_old(scheduler: Scheduler) -> None:
    """A network is not kept for ever."""
    keeper = keeper_of(scheduler)
    keeper.enlisted -= crew._KEPT_S
    end(scheduler, user_of(scheduler, keeper))
    assert keeper.closing


def test_keeper_that_hangs(scheduler: Scheduler) -> None:
    """One whose program does not speak is not waited for for ever."""
    keeper = keeper_of(scheduler, ready=False)
    scheduler.jobs[1].hungry = False
    scheduler.crew._hurry(keeper)
    assert keeper.closing
    assert scheduler.jobs[1].hungry


def test_keeper_that_came_up_in_time(scheduler: Scheduler) -> None:
    """The clock that was set for it says nothing then."""
    keeper = keeper_of(scheduler)
    scheduler.crew._hurry(keeper)
    assert not keeper.closing


# --- names


def test_own_names(tmp_path: Path) -> None:
    """A node finds itself under its own names, and everything else as its network has it."""
    hosts = ("127.0.0.1\tlocalhost", "", "10.88.0.1 gateway", "10.88.0.7\te5483bdedc21 image.j.12")
    lent = Lent("keeper", "container", "e5483bdedc21", hosts, ("nameserver 10.0.0.1",))
    binds = lent.own_names(tmp_path, "abcd1234 image.j.abcd1234")
    assert {bind.target: Path(bind.source).read_text() for bind in binds} == {
        "/etc/hosts": "127.0.0.1\tlocalhost\n\n10.88.0.1 gateway\n"
        "10.88.0.7\tabcd1234 image.j.abcd1234\n",
        "/etc/resolv.conf": "nameserver 10.0.0.1\n",
    }
    assert all(Path(bind.source).parent == tmp_path for bind in binds)


def test_keeper_is_known_by_its_fifo(tmp_path: Path) -> None:
    """So that the next agent leaves it to those that use it."""
    assert not keeps(tmp_path)
    make_fifo(tmp_path)
    assert keeps(tmp_path)
