"""When nodes cannot be opened: try again, or fail the tasks that need them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from cfa.cloudops.errors import BackendUnavailableError, NodeError
from cfa.cloudops.model.values import Isolation, JobSpec
from cfa.cloudops.provider.executor import ImageProgress
from cfa.cloudops.service import crew
from cfa.cloudops.service import scheduler as module
from cfa.cloudops.service.agent import Agent
from cfa.cloudops.service.definitions import JOB_COLUMNS, job_value
from cfa.cloudops.service.ledger import insert_job
from cfa.cloudops.service.nodes import Group, GroupKey, LiveNode
from cfa.cloudops.service.placement import Job
from cfa.cloudops.service.scheduler import Scheduler
from cfa.cloudops.service.workspace import Workspace

KEY = GroupKey(1, "image", None)


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[Scheduler]:
    """The scheduler of an agent that does not run, with one job of one group."""
    workspace = Workspace(tmp_path)
    workspace.create()
    agent = Agent(workspace)
    job = agent.scheduler.jobs[1] = Job(1, "j", "p")
    job.groups[KEY] = Group(KEY, Isolation.TASK)
    yield agent.scheduler
    agent.store.close()


def enlist(scheduler: Scheduler, count: int) -> list[LiveNode]:
    group = scheduler.group(KEY)
    assert group is not None
    made = [scheduler.crew.enlist(KEY, "podman", single_use=True) for _ in range(count)]
    group.nodes += made
    return made


def given_up(scheduler: Scheduler) -> bool:
    return bool(scheduler._failed_groups)


def test_nodes_that_fail_together_count_once(scheduler: Scheduler) -> None:
    """Many nodes that one killed engine takes along are one failure."""
    for node in enlist(scheduler, 3 * module._OPEN_TRIES):
        scheduler.opening_failed(node, NodeError("it ended before it was ready"))
    assert not given_up(scheduler)


def test_nodes_that_fail_one_after_another(scheduler: Scheduler) -> None:
    """A group whose nodes are refused again and again is given up at last."""
    for _ in range(module._OPEN_TRIES):
        assert not given_up(scheduler)
        [node] = enlist(scheduler, 1)
        scheduler.opening_failed(node, NodeError("it cannot be started"))
    assert given_up(scheduler)


def test_an_engine_that_was_away_is_no_refusal(scheduler: Scheduler) -> None:
    """However long an engine does not answer, the first refusal after that is but one."""
    for _ in range(3 * module._OPEN_TRIES):
        [node] = enlist(scheduler, 1)
        scheduler.opening_failed(node, BackendUnavailableError("it does not answer"))
    [node] = enlist(scheduler, 1)
    scheduler.opening_failed(node, NodeError("it ended before it was ready"))
    assert not given_up(scheduler)


def test_a_node_that_comes_up_clears_the_count(scheduler: Scheduler) -> None:
    """Refusals count since the last node that came up."""
    for _ in range(3):
        for _ in range(module._OPEN_TRIES - 1):
            [node] = enlist(scheduler, 1)
            scheduler.opening_failed(node, NodeError("it ended before it was ready"))
        [node] = enlist(scheduler, 1)
        scheduler.node_ready(node)
    assert not given_up(scheduler)


def test_a_pull_is_no_problem(scheduler: Scheduler) -> None:
    """The store says which image a job waits for, until it is there, and not what keeps it besides."""

    def told() -> tuple[str | None, str | None, bool]:
        row = scheduler.store.row(f"SELECT {JOB_COLUMNS} FROM job")
        assert row is not None
        job = job_value(row)
        return job.pulling, job.problem, job.stuck

    assert insert_job(scheduler.store, JobSpec(id="j", pool_id="p"), 0.0) == 1
    assert told() == (None, None, False)
    scheduler.pulling(1, "alpine")
    scheduler.turn()
    assert told() == ("alpine", "Pulling the image alpine.", False)
    scheduler.problem(1, "The disk is full.")
    scheduler.turn()
    assert told() == (None, "The disk is full.", True)
    scheduler.problem(1, None)
    scheduler.turn()
    assert told() == ("alpine", "Pulling the image alpine.", False)
    scheduler.recover()  # as the agent that comes after one that was killed
    scheduler.turn()
    assert told() == (None, None, False)


def test_a_pull_is_said(scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a node's image is fetched its job says so, once, and no longer when that is over."""
    said: list[str | None] = []

    def fetch(_executors: object, _what: object, progress: Callable[[ImageProgress], None]) -> None:
        for status in ("Pulling", "Extracting"):
            progress(ImageProgress(image="alpine", status=status))
            said.append(scheduler._pulling.get(1))
        raise BackendUnavailableError("it does not answer")

    def work(task: Callable[[], object], done: Callable[[object, BaseException], None]) -> None:
        with pytest.raises(BackendUnavailableError) as caught:
            task()
        assert scheduler._problems.pop(1) is None
        done(None, caught.value)

    posted: list[None] = []
    monkeypatch.setattr(crew, "open_node", fetch)
    monkeypatch.setattr(scheduler.agent, "work", work)
    monkeypatch.setattr(scheduler.agent, "post", lambda action: posted.append(action()))
    monkeypatch.setattr(scheduler.crew, "_remove", lambda *_: None)
    [node] = enlist(scheduler, 1)
    scheduler.crew.open(node, SimpleNamespace(image="alpine"))  # type: ignore[arg-type]  # all it reads
    assert said == ["alpine"] * 2
    assert len(posted) == 1
    assert scheduler._problems == {1: "it does not answer"}
    assert scheduler._pulling == {1: None}


def test_a_line_without_end_is_not_kept() -> None:
    """Of what a task writes into its launcher's stream without end little is kept; reports pass."""
    node = LiveNode("n", KEY, "podman")
    for _ in range(100):
        assert node.lines(bytes(1 << 18)) == []
        assert len(node.buffer) <= 1 << 16
    assert node.lines(b"\nexited 1.1 se") == [bytes(1 << 16)]
    assert node.lines(b"cret 0\n\n") == [b"exited 1.1 secret 0"]
