"""How many tasks run at once."""

from __future__ import annotations

import time

import pytest


def overlap(tasks):
    """The most tasks that ran at one moment."""
    changes = sorted(
        [(task.started, 1) for task in tasks] + [(task.ended, -1) for task in tasks],
        key=lambda change: (change[0], change[1]),
    )
    most = now = 0
    for _, step in changes:
        now += step
        most = max(most, now)
    return most


@pytest.mark.quiet
def test_six_on_six(bench):
    """Six one-second tasks on six slots take under 2.5 seconds beyond start-up."""
    client = bench.ready(
        max_parallel=6, autoscale=False, low_priority_nodes=3, task_slots_per_node=2
    )
    client.add_task("true")  # the start-up: an agent and a node
    bench.finished(client)
    began = time.monotonic()
    client.add_task_collection("j", [{"command_line": "sleep 1"}] * 6)
    tasks = list(bench.finished(client).values())[1:]
    assert time.monotonic() - began < 2.5
    assert overlap(tasks) == 6


@pytest.mark.promise(
    "create_pool",
    "What runs at once over all pools has a limit.",
    local="`CLOUDOPS_MAX_PARALLEL`, else the number of cores",
    cloud="the quota of the account",
    difference="what the limit is",
)
def test_cap_of_the_machine(bench):
    """CLOUDOPS_MAX_PARALLEL caps what runs at once, over all jobs."""
    client = bench.ready(max_parallel=2, task_slots_per_node=4)
    client.create_job("k", "p")
    for job in "jk":
        client.add_task_collection(job, [{"command_line": "sleep 0.2"}] * 4)
    tasks = [*bench.finished(client).values(), *bench.finished(client, "k").values()]
    assert {task.result for task in tasks} == {"success"}
    assert overlap(tasks) <= 2


@pytest.mark.promise(
    "create_pool",
    "A pool of n nodes with m slots runs n x m tasks at once, over all of its jobs.",
    local="slots of this machine, at most `CLOUDOPS_MAX_PARALLEL`",
    cloud="n machines",
    difference="nodes are no machines here; they share one",
)
def test_cap_of_the_pool(bench):
    """A pool of n nodes with m slots runs n x m tasks at once, over all of its jobs."""
    client = bench.ready(
        max_parallel=8, autoscale=False, low_priority_nodes=1, task_slots_per_node=3
    )
    client.create_job("k", "p")
    for job in "jk":
        client.add_task_collection(job, [{"command_line": "sleep 0.2"}] * 5)
    tasks = [*bench.finished(client).values(), *bench.finished(client, "k").values()]
    assert overlap(tasks) == 3


def test_isolation_task_runs_side_by_side(bench):
    """With a fresh node for each task, tasks still run in parallel, as many as allowed."""
    client = bench.ready(isolation="task", max_parallel=3, task_slots_per_node=3)
    client.add_task_collection("j", [{"command_line": "sleep 0.5"}] * 6)
    tasks = list(bench.finished(client).values())
    assert {task.result for task in tasks} == {"success"}
    assert overlap(tasks) in (2, 3)
    assert len({task.node_id for task in tasks}) == 6
