"""Pools that grow and shrink by their formula."""

from __future__ import annotations

import pytest

from cfa.cloudops.errors import FormulaError

FOLLOW = "$TargetDedicatedNodes = max(0, $PendingTasks.GetSample(1)) / 2;"
#: A task that runs until a file with its own name is there.
GATE = "sh -c 'until [ -e {0}/$AZ_BATCH_TASK_ID ]; do sleep 0.05; done'"


@pytest.fixture
def gate(bench, monkeypatch):
    """Opens tasks, which run until then."""
    monkeypatch.setenv("CLOUDOPS_AUTOSCALE_INTERVAL_S", "0.2")

    def let(*tasks):
        for task in tasks:
            (bench.place / "gate" / task).touch()

    return let


def counts(client, job="j"):
    found = client._batch.task_counts(job)
    return found.running, found.active


def nodes(client, pool="p"):
    return client._batch.get_pool(pool).nodes


@pytest.mark.promise(
    "create_pool",
    "With `autoscale=True` a pool grows with the tasks that wait and shrinks as they end.",
    local=(
        "slots of this machine, looked at when tasks come and every "
        "`CLOUDOPS_AUTOSCALE_INTERVAL_S` seconds"
    ),
    cloud="VMs, every 5 minutes",
    difference="nodes are no machines here; they share one",
)
def test_grows_and_shrinks(bench, gate):
    """A pool grows with the tasks that wait and shrinks as they end; who runs is left to finish."""
    client = bench.client(max_parallel=8)
    client.create_blob_container("gate")
    client.create_pool("p", ["gate"], container_image_name=bench.image, autoscale_formula=FOLLOW)
    client.create_job("j", "p")
    client.add_task_collection("j", [{"command_line": GATE.format("/gate")}] * 8)
    bench.until(client, lambda: counts(client) == (4, 4))
    assert nodes(client) == 4
    gate(*(f"j--{number}" for number in range(1, 5)))
    bench.until(client, lambda: sum(counts(client)) == 4 and nodes(client) == 2)
    assert counts(client)[0] >= 2
    gate(*(f"j--{number}" for number in range(5, 9)))
    tasks = bench.finished(client)
    assert {task.result for task in tasks.values()} == {"success"}
    bench.until(client, lambda: nodes(client) == 0)
    run = client._batch.get_pool("p").autoscale_run
    assert run.error is None
    assert run.results.startswith("$TargetDedicatedNodes=0;$TargetLowPriorityNodes=0;")


@pytest.mark.promise(
    "create_pool",
    "How soon the default formula gives nodes to tasks that come.",
    local="at once",
    cloud="after 5 minutes at most, and the start of a VM",
    difference="here nobody waits",
)
def test_nobody_waits_for_an_interval(bench, monkeypatch):
    """The ready-made formula gives nodes when tasks come, also to those that waited for others."""
    monkeypatch.setenv("CLOUDOPS_AUTOSCALE_INTERVAL_S", "3600")
    client = bench.ready(max_parallel=4, max_autoscale_nodes=3)
    first = client.add_task("j", "true")
    for _ in range(3):
        client.add_task("j", "sleep 0.3", depends_on=[first])
    tasks = bench.finished(client)
    starts = sorted(task.started for task in tasks.values())
    assert (starts[3] - starts[1]).total_seconds() < 0.3
    bench.until(client, lambda: nodes(client) == 0)


@pytest.mark.promise(
    "create_pool",
    "A formula that fails leaves the pool as it is; the error is kept with the pool.",
    local="and is the problem of the jobs that wait",
)
def test_formula_that_fails(bench, monkeypatch):
    """A formula that fails leaves the pool as it is and says why; a new one goes on with the tasks."""
    monkeypatch.setenv("CLOUDOPS_AUTOSCALE_INTERVAL_S", "0.2")
    client = bench.ready(
        autoscale_formula="\n$TargetDedicatedNodes = avg($PendingTasks.GetSample("
        "TimeInterval_Day, 50));"
    )
    client.add_task("j", "true")
    run = bench.until(client, lambda: client._batch.get_pool("p").autoscale_run)
    assert run.error.startswith("Line 2, column 43: ")
    assert "InsufficientSampleData" in run.error
    assert nodes(client) == 0
    bench.until(client, lambda: "Line 2" in (client._batch.get_job("j").problem or ""))
    client.create_pool(
        "p",
        container_image_name=bench.image,
        autoscale_formula="$TargetLowPriorityNodes = 1",
        replace_existing_pool=True,
    )
    assert bench.finished(client)["j--1"].result == "success"
    found = client._batch.get_pool("p")
    assert (found.dedicated_nodes, found.low_priority_nodes) == (0, 1)


@pytest.mark.promise(
    "create_pool",
    "A formula that can never work is refused; no pool is made.",
    local="`FormulaError`, a `ValueError`, with line and column",
    cloud="`RuntimeError` that names the pool",
    difference="the type of the error",
)
def test_wrong_formula_makes_no_pool(bench):
    """A wrong formula is refused with line and column, and nothing is changed."""
    client = bench.client()
    with pytest.raises(FormulaError, match="Line 2, column 25: "):
        client.create_pool(
            "p",
            container_image_name=bench.image,
            autoscale_formula="x = 1;\n$TargetDedicatedNodes = y;",
        )
    assert client._batch.list_pools() == []


@pytest.mark.parametrize("backend", ["subprocess-nosandbox"], indirect=True)
def test_formula_that_asks_for_too_much(bench):
    """A target beyond all bounds is cut to what can be counted with; the tasks run."""
    client = bench.ready(
        autoscale_formula="$TargetDedicatedNodes = 1e308; $TargetLowPriorityNodes = 1e308;"
    )
    client.add_task("j", "true")
    assert bench.completed(client).counts.succeeded == 1
    assert nodes(client) == 2_000_000
