"""Job schedules: jobs that the agent starts by the clock."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from tests.system.conftest import Bench

from cfa.cloudops.local import CloudClient
from cfa.cloudops.model.values import Job, JobState, TaskResult


@pytest.fixture
def client(bench: Bench) -> Iterator[CloudClient]:
    """A client with the pool `p`, which sees the folder `d`. Its schedules end with the test."""
    made = bench.client(at_exit="detach", max_parallel=4)
    made.create_blob_container("d")
    made.create_pool("p", mounts=["d"], container_image_name=bench.image, task_slots_per_node=4)
    yield made
    for schedule in made._batch.list_job_schedules():
        made.delete_job_schedule(schedule.spec.id)


def jobs(client: CloudClient, schedule: str) -> list[Job]:
    """The jobs of a schedule, oldest first."""
    return [job for job in client._batch.list_jobs() if job.spec.id.startswith(f"{schedule}:")]


def ended(client: CloudClient, schedule: str) -> list[Job]:
    return [job for job in jobs(client, schedule) if job.state is JobState.COMPLETED]


def agent_pid() -> int | None:
    """Who answers at the workspace's socket."""
    with socket.socket(socket.AF_UNIX) as line, suppress(OSError, IndexError):
        line.connect(".cloudops/agent.sock")
        return int(line.recv(100).split()[2])
    return None


@pytest.mark.promise(
    "create_job_schedule",
    (
        "Jobs `<id>:job-<n>` start every `recurrence_interval`, one at a time, each with the "
        "task `<id>-job`."
    ),
    local="while an agent runs: a script's, or `cloudops agent --stay`",
    cloud="always; `TypeError` in version 0.8.0 of the client",
    difference="here somebody must keep an agent",
)
@pytest.mark.promise(
    "suspend_job_schedule",
    "No further jobs come; one that is active goes on.",
    local="until it is resumed",
)
@pytest.mark.promise(
    "resume_job_schedule",
    "Jobs come again.",
    local="numbered on",
)
@pytest.mark.promise(
    "delete_job_schedule",
    "What becomes of the schedule's jobs.",
    local="they stay, as the client documents",
    cloud="the service deletes them with their tasks and files",
    difference="download first what is to be kept",
)
def test_jobs_by_the_clock(bench: Bench, client: CloudClient):
    """Jobs come at their times, one after the other, numbered, each with one task, until the schedule
    is suspended, and again after it is resumed; its jobs stay when it is deleted."""
    # Two at a time would meet in the directory, and one of them would fail.
    alone = "sh -c 'mkdir /d/lock && echo $AZ_BATCH_JOB_ID && sleep 0.3 && rmdir /d/lock'"
    client.create_job_schedule("My Run", "p", alone, recurrence_interval=timedelta(seconds=0.2))
    bench.until(client, lambda: len(ended(client, "my-run")) >= 3)
    client.suspend_job_schedule("my-run")
    bench.until(client, lambda: len(ended(client, "my-run")) == len(jobs(client, "my-run")))
    made = jobs(client, "my-run")
    # Another schedule tells the time in which nothing must come.
    client.create_job_schedule("other", "p", "true", recurrence_interval=timedelta(seconds=0.3))
    bench.until(client, lambda: len(ended(client, "other")) >= 2)
    client.delete_job_schedule("other")
    assert jobs(client, "my-run") == made
    client.resume_job_schedule("my-run")
    bench.until(client, lambda: len(ended(client, "my-run")) > len(made))
    client.delete_job_schedule("my-run")
    bench.until(client, lambda: len(ended(client, "my-run")) == len(jobs(client, "my-run")))

    for number, job in enumerate(jobs(client, "my-run"), 1):
        assert job.spec.id == f"my-run:job-{number}"
        assert job.terminate_reason == "JMComplete"
        (task,) = client._batch.list_tasks(job.spec.id)
        assert (task.id, task.result) == ("my-run-job", TaskResult.SUCCESS)
        assert bench.output(client, task.id, job.spec.id) == f"{job.spec.id}\n"
        assert f"/workitems/my-run/job-{number}/my-run-job" in task.directory
    assert client.check_job_status("my-run:job-1") == "complete"
    with pytest.raises(RuntimeError):
        client.add_task("my-run:job-1", "true")
    client.delete_job("my-run:job-1")
    assert jobs(client, "my-run")[0].spec.id == "my-run:job-2"


@pytest.mark.promise(
    "create_job_schedule",
    "No occurrence starts twice.",
    local="whoever is killed",
)
def test_killed_agents(bench: Bench, client: CloudClient):
    """Agents that are killed at any moment start no occurrence twice and repeat no task."""
    interval = 0.5
    client.create_job_schedule(
        "s",
        "p",
        "sh -c 'echo $AZ_BATCH_JOB_ID >>/d/runs'",
        recurrence_interval=timedelta(seconds=interval),
    )
    for jobs_then in (1, 3, 5):
        bench.until(client, lambda least=jobs_then: len(jobs(client, "s")) >= least)
        os.kill(bench.until(client, agent_pid), signal.SIGKILL)
    bench.until(client, lambda: len(ended(client, "s")) >= 7)
    made = client._batch.get_job_schedule("s").created
    client.delete_job_schedule("s")
    bench.until(client, lambda: len(ended(client, "s")) == len(jobs(client, "s")))

    found = jobs(client, "s")
    occurrences = [(job.created - made).total_seconds() // interval for job in found]
    assert len(set(occurrences)) == len(occurrences)
    assert [job.spec.id for job in found] == [f"s:job-{n}" for n in range(1, len(found) + 1)]
    assert sorted(Path("d/runs").read_text().split()) == sorted(job.spec.id for job in found)


@pytest.mark.promise(
    "create_job_schedule",
    "Without recurrence there is one job, and the schedule completes with it.",
    local="also after a failure",
)
def test_one_job_and_the_end(bench: Bench, client: CloudClient):
    """Without recurrence there is one job, and the schedule completes with it, also after a failure;
    a new one of the name goes on numbering."""
    client.create_job_schedule("once", "p", "false")
    bench.until(client, lambda: client._batch.get_job_schedule("once").state == "completed")
    assert client._batch.get_job_schedule("once").recent_job == "once:job-1"
    (job,) = jobs(client, "once")
    assert (job.state, job.counts.failed) == (JobState.COMPLETED, 1)
    client.delete_job_schedule("once")
    client.create_job_schedule("once", "p", "true")
    bench.until(client, lambda: len(ended(client, "once")) == 2)
    assert [job.spec.id for job in jobs(client, "once")] == ["once:job-1", "once:job-2"]


def test_agent_that_stays(workdir: Path, monkeypatch):
    """`cloudops agent --stay` takes over from an agent that a script started, without repeating what
    runs; a second one is refused."""
    monkeypatch.setenv("CLOUDOPS_SUBPROCESS_SANDBOX", "off")
    client = CloudClient(backend="subprocess", at_exit="detach")
    bench = Bench(workdir, None, "")
    try:
        Path("d").mkdir()
        client.create_pool("p", mounts=["d"])
        client.create_job("j", "p")
        client.add_task("sh -c 'echo x >>/d/runs; until [ -e /d/gate ]; do sleep 0.05; done'")
        bench.until(client, Path("d/runs").exists)
        first = agent_pid()
        command = [sys.executable, "-m", "cfa.cloudops.cli", "agent", "--stay"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as staying:
            try:
                bench.until(client, lambda: agent_pid() == staying.pid)
                assert first != staying.pid
                again = subprocess.run(command, capture_output=True, timeout=60, check=False)
                assert again.returncode == 4
                Path("d/gate").touch()
                assert bench.completed(client).counts.succeeded == 1
                assert Path("d/runs").read_text() == "x\n"
            finally:
                staying.send_signal(signal.SIGINT)
                assert staying.wait(30) == 130
    finally:
        client.close()
