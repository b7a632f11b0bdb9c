"""What becomes of jobs and pools: completion, reopening, time limits, ends and deletions."""

from __future__ import annotations

import csv
import os
import signal
import time
from pathlib import Path

import pytest

from cfa.cloudops import batch_helpers
from cfa.cloudops.cli.agent import agent_state
from cfa.cloudops.errors import (
    JobCompletedError,
    JobExistsError,
    JobNotFoundError,
    PoolNotFoundError,
    WaitTimeoutError,
)
from cfa.cloudops.service.scheduler import LINGER_S

UP = "sh -c 'echo up; exec sleep 60'"


@pytest.mark.promise(
    "create_job",
    "A job completes when all of its tasks have.",
    local="not before it has had a task",
    cloud="one without tasks may complete at once, and then takes none",
    difference="the trap is not reproduced",
)
def test_job_needs_a_task_to_complete(bench):
    """A job without tasks stays active; it completes when all of its tasks have."""
    client = bench.ready()
    assert not client._batch.wait_for_change(0.3) or client.check_job_status("j") == "active"
    assert client.check_job_status("j") == "active"
    client.add_task("true")
    job = bench.completed(client)
    assert job.terminate_reason == "AllTasksComplete"
    assert job.ended is not None


@pytest.mark.promise(
    "create_job",
    "What a job that completed by itself does with another task.",
    local="it opens again, and completes again",
    cloud="the task is refused: `JobCompleted`",
    difference=(
        "add tasks in one call, or `mark_complete_after_tasks_run=False`, to be safe on the cloud"
    ),
)
def test_completed_job_opens_again(bench):
    """A job that completed by itself takes further tasks and completes again, as often as wanted."""
    client = bench.ready()
    for number in range(1, 4):
        assert client.add_task("true") == f"j--{number}"
        assert client.check_job_status("j") in ("active", "complete")
        assert bench.completed(client).counts.succeeded == number


@pytest.mark.promise(
    "create_job",
    "Tasks can be added one by one without haste.",
    local="completing between two calls breaks nothing",
    cloud="the second may be refused",
    difference="as above",
)
def test_tasks_added_in_a_loop(bench):
    """Completing between two calls does not break a script that adds tasks one by one."""
    client = bench.ready()
    ids = [client.add_task("true") for _ in range(50)]
    assert [task.result for task in bench.finished(client).values()] == ["success"] * 50
    assert ids[-1] == "j--50"


@pytest.mark.promise(
    "create_job",
    "`mark_complete_after_tasks_run=False` keeps the job active.",
    local="when its tasks are done",
)
def test_job_kept_open(bench):
    """With mark_complete_after_tasks_run=False a job stays active when its tasks are done."""
    client = bench.ready(mark_complete_after_tasks_run=False)
    client.add_task("true")
    bench.finished(client)
    client.add_task("true")
    bench.finished(client)
    assert client.check_job_status("j") == "active"
    client._batch.terminate_job("j")
    assert bench.completed(client).terminate_reason == "UserTerminate"


@pytest.mark.promise(
    "create_job",
    (
        "`timeout` is minutes from the creation of the job: then running tasks end and the "
        "job completes."
    ),
    local="reason `MaxWallClockTimeExpiry`; what waits stays `active`",
)
def test_time_limit_of_a_job(bench):
    """At its time limit a job's running tasks are ended, others stay active, the job completes."""
    client = bench.ready(timeout=6 / 60, task_retries=5)
    client.add_task(UP)
    client.add_task("true", depends_on="j--1")
    job = bench.completed(client)
    assert job.terminate_reason == "MaxWallClockTimeExpiry"
    ended, waiting = client._batch.list_tasks("j")
    assert ended.failure.code == "TaskEnded"
    assert (waiting.state, waiting.result) in (("active", None), ("completed", "failure"))
    with pytest.raises(JobCompletedError):
        client.add_task("true")


@pytest.mark.promise(
    "create_job",
    "`timeout` also ends a job in which nothing runs.",
    local="it completes",
)
def test_time_limit_of_an_idle_job(bench):
    """The time limit also ends a job in which nothing runs."""
    client = bench.ready(timeout=1 / 60)
    assert bench.completed(client).terminate_reason == "MaxWallClockTimeExpiry"


def test_terminate_a_job(bench):
    """Terminating ends running tasks, leaves waiting ones active, and is final."""
    client = bench.ready(task_retries=5, task_slots_per_node=1, max_autoscale_nodes=1)
    client.add_task(UP)
    client.add_task("echo never")
    bench.running(client, "j--1")
    client._batch.terminate_job("j", "enough")
    job = bench.completed(client)
    assert job.terminate_reason == "enough"
    running, waiting = client._batch.list_tasks("j")
    assert (running.state, running.failure.code) == ("completed", "TaskEnded")
    assert waiting.state == "active"
    client._batch.terminate_job("j")  # no error, nothing changes
    assert client._batch.get_job("j").terminate_reason == "enough"
    with pytest.raises(JobCompletedError):
        client.add_task("true")
    with pytest.raises(JobExistsError):
        client.create_job("j", "p")
    if bench.containers:
        bench.until(client, lambda: not bench.container_names())


@pytest.mark.promise(
    "delete_job",
    "A deleted job is gone with its tasks and their files, and its name is free.",
    local="when the call returns",
)
def test_delete_a_job(bench):
    """A deleted job is gone with its rows and files, and its name is free."""
    client = bench.ready()
    client.add_task("sh -c 'echo x >file'")
    bench.completed(client)
    client.delete_job("j")
    store = client._batch._store
    for table in ("job", "task", "edge", "event"):
        assert store.rows(f"SELECT * FROM {table}") == [], table
    assert list((bench.place / ".cloudops/root/workitems").iterdir()) == []
    with pytest.raises(JobNotFoundError):
        client.add_task("j", "true")
    client.create_job("j", "p")
    assert client.add_task("true") == "j--1"
    bench.completed(client)


@pytest.mark.promise(
    "delete_job",
    "Deleting ends what runs.",
    local="the container is gone when the call returns",
)
def test_delete_a_running_job(bench):
    """Deleting a job ends what runs in it; its container is gone when the call returns."""
    client = bench.ready()
    for _ in range(3):
        client.add_task("sh -c 'trap : TERM; echo up; while :; do sleep 0.1; done'")
    bench.running(client, "j--1")
    began = time.monotonic()
    client.delete_job("j")
    assert time.monotonic() - began < 20
    assert client.check_job_status("j") == "does not exist"
    assert list((bench.place / ".cloudops/root/workitems").iterdir()) == []
    if bench.containers:
        bench.until(client, lambda: not bench.container_names())


def test_job_that_is_being_deleted_takes_no_tasks(bench):
    """A job marked for deletion is not opened again by a late task."""
    client = bench.ready()
    client.add_task("true")
    bench.completed(client)
    client._batch._store.execute("UPDATE job SET state = 'deleting'")
    with pytest.raises(JobCompletedError):
        client.add_task("j", "true")
    client.delete_job("j")


@pytest.mark.promise(
    "delete_pool",
    "Tasks that run in a deleted pool go back to the queue; its jobs stay.",
    local="they run when there is such a pool again",
)
def test_delete_a_pool_with_running_tasks(bench):
    """Tasks of a deleted pool go back to the queue, and run when there is such a pool again."""
    (bench.place / "d").mkdir()
    client = bench.ready(mounts=["d"])
    client.add_task("sh -c 'echo up; echo x >>/d/runs; until [ -e /d/gate ]; do sleep 0.05; done'")
    client.add_task("true", depends_on="j--1")
    bench.running(client, "j--1")
    client.delete_pool("p")
    with pytest.raises(PoolNotFoundError):
        client._batch.get_pool("p")
    task = client._batch.get_task("j", "j--1")
    assert (task.state, task.requeue_count, task.retry_count) == ("active", 1, 0)
    bench.until(client, lambda: "no pool 'p'" in (client._batch.get_job("j").problem or ""))
    assert client.add_task("j", "true") == "j--3"
    (bench.place / "d" / "gate").touch()
    client.create_pool("p", container_image_name=bench.image, mounts=["d"])
    tasks = bench.finished(client)
    assert [task.result for task in tasks.values()] == ["success"] * 3
    assert (bench.place / "d" / "runs").read_text() == "x\nx\n"
    assert client._batch.get_job("j").problem is None


@pytest.mark.quiet
def test_delete_a_pool_after_its_work(bench):
    """A node that only waits for more tasks does not keep a pool from going."""
    client = bench.ready()
    client.add_task("true")
    client.monitor_job("j")
    began = time.monotonic()
    client.delete_pool("p")
    assert time.monotonic() - began < LINGER_S - 1
    assert bench.container_names() == []


@pytest.mark.promise(
    "create_job",
    "`verify_pool=False` takes a pool that does not exist yet; else it is a `ValueError`.",
    local="tasks wait, and the job says for what",
)
def test_job_before_its_pool(bench):
    """With verify_pool=False a job may come before its pool; tasks wait and say for what."""
    client = bench.client()
    client.create_job("j", "later", verify_pool=False)
    client.add_task("true")
    bench.until(client, lambda: "no pool 'later'" in (client._batch.get_job("j").problem or ""))
    client.create_pool("later", container_image_name=bench.image)
    assert bench.finished(client)["j--1"].result == "success"


@pytest.mark.promise(
    "create_pool",
    "Tasks of a pool without nodes wait.",
    local="until it is made again with some, and a warning says so",
    cloud="until it is resized",
    difference="pools are not resized here; make them again",
)
def test_pool_without_nodes(bench):
    """Tasks of a pool without nodes wait until it is made again with some."""
    client = bench.ready(autoscale=False, low_priority_nodes=0)
    client.add_task("true")
    bench.until(client, lambda: "no nodes" in (client._batch.get_job("j").problem or ""))
    client.create_pool("p", container_image_name=bench.image, replace_existing_pool=True)
    assert bench.finished(client)["j--1"].result == "success"


@pytest.mark.promise(
    "create_pool",
    "A pool that exists is kept, unless `replace_existing_pool`.",
    local="kept, with a warning that names what differs, and `pool_name` is set",
    cloud="kept silently; `pool_name` is not set; only an equal spelling counts as existing",
    difference="a defect of version 0.8.0, not repeated here",
)
def test_existing_pool(bench, capsys):
    """A pool that exists is kept, with a warning when it differs, unless it is to be replaced."""
    client = bench.ready(task_slots_per_node=2)
    client.create_pool("P", container_image_name=bench.image, task_slots_per_node=3)
    assert client._batch.get_pool("p").spec.slots_per_node == 2
    assert client.pool_name == "P"
    assert "differs in: slots_per_node" in capsys.readouterr().out
    client.create_pool(
        "p",
        container_image_name=bench.image,
        task_slots_per_node=3,
        replace_existing_pool=True,
    )
    assert client._batch.get_pool("p").spec.slots_per_node == 3
    assert len(client._batch.list_pools()) == 1


@pytest.mark.promise(
    "monitor_job",
    "It blocks until all tasks are completed, then prints a summary with the documented keys.",
    local="counts are right, also of a job that was complete before",
    cloud="a complete job is reported as not completed, with zero counts",
    difference="a defect of version 0.8.0, not repeated here",
)
@pytest.mark.promise(
    "monitor_job",
    "`download_task_output` writes `<job>_output/<task id>_stdout.txt` and `_stderr.txt`.",
    local="both streams of each task, and `download_job_stats` a table beside",
)
def test_monitor(bench, capsys):
    """`monitor_job` ends with the job, prints a summary and saves output and statistics."""
    client = bench.ready()
    client.add_task("sh -c 'echo out; echo err >&2'")
    client.add_task("sh -c 'exit 3'")
    client.monitor_job("j", timeout=1, download_job_stats=True, download_task_output=True)
    out = capsys.readouterr().out
    assert "'success': 1" in out
    assert "'fail': 1" in out
    assert Path("j_output/j--1_stdout.txt").read_text() == "out\n"
    assert Path("j_output/j--1_stderr.txt").read_text() == "err\n"
    with open("j-stats.csv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="|"))
    assert [row["exit_code"] for row in rows] == ["0", "3"]
    client.monitor_job("j")
    again = capsys.readouterr().out
    assert "'completed': True" in again
    assert "'success': 1, 'fail': 1" in again


@pytest.mark.promise(
    "monitor_job",
    "`timeout` is minutes, 480 by default; then it is a `RuntimeError`, and the job goes on.",
    local="`WaitTimeoutError`, a `RuntimeError`",
    cloud="documented; version 0.8.0 loops for ever",
    difference="a defect of version 0.8.0, not repeated here",
)
def test_monitor_gives_up(bench):
    """`monitor_job` with a time limit raises and leaves the job to go on."""
    client = bench.ready()
    client.add_task(UP)
    with pytest.raises(WaitTimeoutError) as caught:
        client.monitor_job("j", timeout=0.5 / 60)
    assert isinstance(caught.value, RuntimeError)
    assert client.check_job_status("j") == "active"
    client.delete_job("j")


@pytest.mark.promise(
    "add_task",
    "Several scripts may add to one job at the same time.",
    local="every id is given once",
    cloud="clients count for themselves, so that ids collide",
    difference="a defect of version 0.8.0, not repeated here",
)
def test_two_clients_at_once(bench):
    """Clients of one workspace add to one job at the same time; every id is given once."""
    first, second = bench.ready(), bench.client()
    ids = []
    for _ in range(20):
        ids += [first.add_task("j", "true"), second.add_task("j", "true")]
    assert ids == [f"j--{number}" for number in range(1, 41)]
    assert {task.result for task in bench.finished(first).values()} == {"success"}


@pytest.mark.parametrize("backend", ["subprocess-nosandbox"], indirect=True)
@pytest.mark.parametrize(
    "complete",
    [
        lambda client: client.check_job_status("j") == "complete",
        lambda client: '"completed"' in client.get_task_status("j", "j--1"),
        lambda client: batch_helpers.get_completed_tasks("j", client.batch_service_client)[
            "completed tasks"
        ],
    ],
    ids=["check_job_status", "get_task_status", "get_completed_tasks"],
)
def test_asking_is_enough_after_a_kill(bench, complete):
    """A script that does nothing but ask how far a job is sees its end though the agent was killed."""
    client = bench.ready()
    held = bench.place / "held"
    client.add_task(f"sh -c 'echo up; while ! test -e {held}; do sleep 0.05; done'")
    bench.running(client, "j--1")
    killed = agent_state(client._batch.workspace).pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    held.touch()
    deadline = time.monotonic() + 60
    while not complete(client):
        assert time.monotonic() < deadline, bench.describe(client)
        time.sleep(0.02)


def test_jobs_share_a_pool(bench):
    """Several jobs of one pool run side by side and all complete."""
    client = bench.ready()
    for name in "klmn":
        client.create_job(name, "p")
        client.add_task_collection(name, [{"command_line": "true"}] * 5)
    for name in "klmn":
        assert bench.completed(client, name).counts.succeeded == 5
