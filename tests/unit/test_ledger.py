"""The ledger: whatever happens to tasks, counters and dependencies stay right."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfa.cloudops.service.ledger import Attempt, Ledger, Outcome
from cfa.cloudops.service.schema import summed
from cfa.cloudops.service.store import Store
from cfa.cloudops.service.sums import SUM_TASK

FAILED = Outcome(1, "FailureExitCode", "no")
ENDED = Outcome(None, "TaskEnded", "ended")
GOOD = Outcome(0)

#: For every task: the earlier tasks that it depends on, and whether its failure releases.
graphs = st.integers(1, 12).flatmap(
    lambda size: st.tuples(
        *(
            st.tuples(
                st.sets(st.integers(0, max(number - 1, 0))) if number else st.just(set[int]()),
                st.booleans(),
            )
            for number in range(size)
        )
    )
)
STEPS = ("start", "good", "fail", "retry", "requeue", "fail_waiting", "delete", "ask")


@contextmanager
def store_of(graph: tuple[tuple[set[int], bool], ...]) -> Iterator[Store]:
    """A store with one job whose tasks depend on one another as the graph says."""
    with tempfile.TemporaryDirectory() as place, closing(Store(Path(place) / "s.db")) as store:
        with store.transaction():
            store.execute(
                "INSERT INTO job (number, id, pool, state, definition, auto_complete, created, "
                "active) VALUES (1, 'j', 'p', 'active', '{}', 1, 0, ?)",
                (len(graph),),
            )
            for number, (parents, release) in enumerate(graph, start=1):
                store.execute(
                    "INSERT INTO task (number, job, id, unmet, command, retries, release, created) "
                    "VALUES (?, 1, ?, ?, 'true', 1, ?, 0)",
                    (number, f"t{number}", len(parents), release),
                )
                store.execute_many(
                    "INSERT INTO edge VALUES (?, ?)", ((parent + 1, number) for parent in parents)
                )
            store.execute(SUM_TASK)
        yield store


def check(store: Store) -> None:
    """The counters are the rows; `unmet` is the number of edges that are not satisfied.

    Each row has its checksum.
    """
    counted = store.row(
        "SELECT COALESCE(SUM(state = 0), 0), COALESCE(SUM(state = 2), 0), "
        "COALESCE(SUM(state = 3 AND failure IS NULL), 0), "
        "COALESCE(SUM(state = 3 AND failure IS NOT NULL), 0) FROM task"
    )
    assert store.row("SELECT active, running, succeeded, failed FROM job") == counted
    for number, unmet in store.rows("SELECT number, unmet FROM task WHERE state = 0"):
        edges = store.row("SELECT COUNT(*) FROM edge WHERE child = ?", (number,))
        assert edges == (unmet,)
    assert store.row("SELECT 1 FROM edge JOIN task ON number = parent WHERE state = 3") is None
    assert store.row("SELECT 1 FROM edge WHERE parent NOT IN (SELECT number FROM task)") is None
    for table in ("job", "task", "event"):
        wrong = f"SELECT * FROM {table} WHERE sum IS NOT row_sum({summed(table, table)})"
        assert store.rows(wrong) == []


def step(what: str, store: Store, ledger: Ledger, running: list[Attempt], pick: int) -> None:
    """Do one thing that the agent may do, to a task that it fits, if there is one."""
    attempt = running[pick % len(running)] if running else None
    waiting = store.rows("SELECT number, id FROM task WHERE state = 0")
    match what:
        case "start":
            ready = ledger.ready(1, 3)
            if ready:
                one = ready[pick % len(ready)]
                one.node = "n"
                assert ledger.start(one)
                running.append(one)
        case "good" | "fail" if attempt is not None:
            running.remove(attempt)
            ledger.finish(attempt, GOOD if what == "good" else FAILED)
        case "retry" if attempt is not None:
            running.remove(attempt)
            ledger.retry(attempt, 1)
        case "requeue" if attempt is not None:
            running.remove(attempt)
            ledger.requeue(attempt, "lost")
        case "fail_waiting" if waiting:
            number, task_id = waiting[pick % len(waiting)]
            ledger.fail_waiting(1, number, task_id, ENDED)
        case "ask" if attempt is not None:
            store.execute("UPDATE task SET request = 1 WHERE number = ?", (attempt.number,))
        case "delete":
            numbers = [row[0] for row in store.rows("SELECT number FROM task WHERE state <> 2")]
            if numbers:
                ledger.delete(1, numbers[pick % len(numbers)])
        case _:
            pass


@settings(deadline=None, max_examples=60)
@given(graphs, st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 99)), max_size=40))
def test_counters_stay_right(
    graph: tuple[tuple[set[int], bool], ...], steps: list[tuple[str, int]]
) -> None:
    """After any steps in any graph, counters and unmet dependencies agree with the rows."""
    with store_of(graph) as store:
        ledger = Ledger(store)
        running: list[Attempt] = []
        for what, pick in steps:
            with store.transaction():
                step(what, store, ledger, running, pick)
                ledger.flush()
            check(store)


@settings(deadline=None, max_examples=60)
@given(graphs, st.integers(0, 1 << 30))
def test_every_graph_ends(graph: tuple[tuple[set[int], bool], ...], seed: int) -> None:
    """Every graph comes to an end: a task ran exactly if all it depends on let it."""
    chance = random.Random(seed)
    with store_of(graph) as store:
        ledger = Ledger(store)
        ran: dict[int, bool] = {}
        while ready := ledger.ready(1, 100):
            one = chance.choice(ready)
            good = chance.random() < 0.7
            with store.transaction():
                ledger.start(one)
                ledger.finish(one, GOOD if good else FAILED)
                ledger.flush()
            ran[one.number] = good
            check(store)
        assert store.row("SELECT active, running FROM job") == (0, 0)
        for number, (parents, _) in enumerate(graph, start=1):
            released = all(ran.get(p + 1, False) or (p + 1 in ran and graph[p][1]) for p in parents)
            assert (number in ran) == released
        blocked = store.rows("SELECT message FROM task WHERE failure = 'DependencyFailed'")
        assert len(blocked) == len(graph) - len(ran)
        assert all("depends on, failed" in row[0] for row in blocked)


def test_start_that_comes_too_late() -> None:
    """A task that a client asked to end, or that is no longer active, does not start."""
    with store_of(((set(), False),)) as store:
        ledger = Ledger(store)
        (one,) = ledger.ready(1, 10)
        store.execute("UPDATE task SET request = 1")
        assert not ledger.start(one)
        assert ledger.ready(1, 10) == []


def test_attempts_are_numbered() -> None:
    """Each try has a token of its own."""
    with store_of(((set(), False),)) as store:
        ledger = Ledger(store)
        tokens = []
        for _ in range(3):
            (one,) = ledger.ready(1, 10)
            with store.transaction():
                assert ledger.start(one)
                ledger.retry(one, 1)
                ledger.flush()
            tokens.append(one.token)
        assert tokens == ["1.1", "1.2", "1.3"]


def test_rolled_back_counters_are_forgotten() -> None:
    """Counters of a transaction that was rolled back do not appear in the next."""
    with store_of(((set(), False),)) as store:
        ledger = Ledger(store)
        (one,) = ledger.ready(1, 10)
        try:
            with store.transaction():
                ledger.start(one)
                raise RuntimeError
        except RuntimeError:
            ledger.forget()
        with store.transaction():
            ledger.flush()
        check(store)


def test_clock_that_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task does not end before it started, whatever becomes of the clock."""
    with store_of(((set(), False),)) as store, store.transaction():
        ledger = Ledger(store)
        [attempt] = ledger.ready(1, 1)
        ledger.start(attempt)
        monkeypatch.setattr("time.time", lambda: 1000.0)
        ledger.finish(attempt, GOOD)
        started, ended = store.row("SELECT started, ended FROM task") or (0, 0)
        assert ended >= started > 1000
