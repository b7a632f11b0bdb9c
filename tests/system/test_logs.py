"""Logs of tasks in blob containers: where they are, when they are there, and what may go wrong."""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime
from pathlib import Path

import pytest

from cfa.cloudops import task
from cfa.cloudops.errors import BlobContainerNotFoundError

ONE = pytest.mark.parametrize("backend", ["subprocess-nosandbox"], indirect=True)


def logs(container: str = "output-test") -> dict[str, str]:
    """Blob names in a container and their content."""
    files = (path for path in Path(container).rglob("*") if path.is_file())
    return {path.relative_to(container).as_posix(): path.read_text() for path in files}


def today() -> str:
    return datetime.now().astimezone().strftime("%Y-%m-%d")


@pytest.mark.promise(
    "create_job",
    (
        "`save_logs_to_blob` saves both streams of every task that ran, failed ones included,"
        " as `<folder>/<date>/<task id>/stdout.txt`."
    ),
    local="the job is complete when they are there",
    cloud="uploaded as each task completes",
    difference="the date is that of adding, by the clock of the machine that adds",
)
@pytest.mark.promise(
    "monitor_job",
    "It also ends when tasks failed that others depend on.",
    local="blocked tasks complete as failures",
    cloud="blocked tasks wait for ever, and so does the monitor",
    difference="here it ends",
)
def test_logs_are_there_when_monitor_returns(bench):
    """Both streams of every task that ran, failed and retried ones included, of the last try."""
    client = bench.client()
    client.create_blob_container("output-test")
    client = bench.ready(
        "test-job-1", save_logs_to_blob="output-test", logs_folder="/logs/", task_retries=1
    )
    client.add_task("echo good")
    client.add_task("sh -c 'echo bad >&2; exit 3'")
    client.add_task("sh -c 'echo x >>n; wc -l <n; [ $(wc -l <n) = 2 ]'")
    client.add_task("echo never", depends_on="test-job-1--2")
    client.monitor_job("test-job-1")
    day = f"logs/{today()}"
    found = logs()
    assert {name: text.strip() for name, text in found.items()} == {
        f"{day}/test-job-1--1/stdout.txt": "good",
        f"{day}/test-job-1--1/stderr.txt": "",
        f"{day}/test-job-1--2/stdout.txt": "",
        f"{day}/test-job-1--2/stderr.txt": "bad",
        f"{day}/test-job-1--3/stdout.txt": "2",
        f"{day}/test-job-1--3/stderr.txt": "",
    }
    assert client.check_job_status("test-job-1") == "complete"
    client.download_folder("logs", "logs-copy", "output-test")
    assert logs("logs-copy") == found
    client.delete_job("test-job-1")
    assert logs() == found


@pytest.mark.promise(
    "create_job",
    "Where logs are saved is a matter of the job.",
    local="whoever adds a task, also by `add_task_collection`",
    cloud="only tasks of the client that made the job, and none of collections",
    difference="see `CloudClient`",
)
@ONE
def test_settings_belong_to_the_job(bench):
    """A client that did not make the job saves its tasks' logs all the same; a job without the
    setting saves none, and without a folder they lie in `stdout_stderr`."""
    client = bench.client()
    client.create_blob_container("output-test")
    client = bench.ready(save_logs_to_blob="output-test")
    client.create_job("other", "p")
    client.add_task("other", "echo other")
    bench.client().add_task_collection("j", [{"command_line": "echo one"}])
    client.monitor_job("other")
    client.monitor_job("j")
    assert set(logs()) == {
        f"stdout_stderr/{today()}/j--1/{name}.txt" for name in ("stdout", "stderr")
    }


@pytest.mark.promise(
    "create_job",
    "A job with many tasks is complete when all their logs are saved.",
    local="six hundred tasks, twice as many files",
    cloud="the same, task by task",
)
@ONE
def test_many_logs(bench):
    """A job of more tasks than one batch has is complete when all are saved."""
    client = bench.client()
    client.create_blob_container("output-test")
    client = bench.ready(save_logs_to_blob="output-test", mark_complete_after_tasks_run=False)
    client.add_task_collection("j", [{"command_line": f"echo {n}"} for n in range(600)])
    client.monitor_job("j")
    found = logs()
    said = {name: text for name, text in found.items() if name.endswith("stdout.txt")}
    assert sorted(int(text) for text in said.values()) == list(range(600))
    assert len(found) == 1200


@pytest.mark.promise(
    "delete_job",
    "What a task had said when its job was deleted is in the log container.",
    local="saved",
    cloud="files of running tasks may be lost",
    difference="more is kept here",
)
@ONE
def test_time_limit_and_deleted_job(bench):
    """What a task said until its time limit, or until its job was deleted, is saved."""
    client = bench.client()
    client.create_blob_container("output-test")
    client = bench.ready(save_logs_to_blob="output-test")
    client.add_task("sh -c 'echo until the limit; sleep 60'", timeout=1 / 60)
    client.add_task("sh -c 'echo until the end; sleep 60'")
    bench.running(client, "j--2")
    bench.until(client, lambda: logs())
    client.delete_job("j")
    said = [text for name, text in sorted(logs().items()) if name.endswith("stdout.txt")]
    assert said == ["until the limit\n", "until the end\n"]


SCRIPT = """\
from cfa.cloudops.local import CloudClient
client = CloudClient()
client.create_blob_container("output-test")
client.create_pool("p")
client.create_job("j", "p", save_logs_to_blob="output-test")
client.add_task_collection("j", [{"command_line": f"echo {n}"} for n in range(50)])
"""


@ONE
def test_logs_are_there_when_a_script_ends(bench):
    """A script that stays with its tasks until the end also stays for their logs."""
    status, _, err = bench.run(SCRIPT)
    assert status == 0, err
    assert len(logs()) == 100


@pytest.mark.promise(
    "create_job",
    "The container for logs must exist.",
    local="`ValueError`, no job is made",
    cloud="not checked; the uploads fail, and with them the tasks",
    difference="here it is said earlier",
)
@ONE
def test_missing_container_is_refused(bench):
    """A job whose log container does not exist is refused; one that exists is left as it is."""
    client = bench.ready()
    with pytest.raises(BlobContainerNotFoundError, match="output-test"):
        client.create_job("k", "p", save_logs_to_blob="output-test")
    assert client.check_job_status("k") == "does not exist"
    client.create_job("j", "p", save_logs_to_blob="output-test", exist_ok=True)
    assert client.save_logs_to_blob is None


@ONE
def test_killed_agent_leaves_its_debts(bench):
    """The successor of a killed agent saves what is owed, though the task ended long before."""
    client = bench.client()
    client.create_blob_container("output-test")
    client = bench.ready(save_logs_to_blob="output-test")
    os.rmdir("output-test")
    client.add_task("echo late")
    bench.finished(client)
    assert client._batch.get_job("j").logs_owed == 1
    assert client.check_job_status("j") == "active"
    pid = bench.agent_pid()
    os.kill(pid, signal.SIGKILL)
    os.mkdir("output-test")
    client.monitor_job("j", timeout=1)
    assert bench.agent_pid() != pid
    assert logs()[f"stdout_stderr/{today()}/j--1/stdout.txt"] == "late\n"
    assert client._batch.get_job("j").problem is None


@ONE
def test_deleted_task_pays_its_debts(bench):
    """A completed task that is deleted goes when its logs are saved, not before."""
    client = bench.client()
    client.create_blob_container("output-test")
    client = bench.ready(save_logs_to_blob="output-test", mark_complete_after_tasks_run=False)
    os.rmdir("output-test")
    client.add_task("echo late")
    bench.finished(client)
    assert client._batch.get_job("j").logs_owed == 1
    os.mkdir("output-test")
    client._batch.delete_task("j", "j--1")
    assert logs()[f"stdout_stderr/{today()}/j--1/stdout.txt"] == "late\n"
    assert client._batch.task_counts("j").total == 0


@pytest.mark.promise(
    "create_job",
    "Logs that cannot be saved do not change what a task's result is.",
    local="given up after some tries, which is said; the result stays",
    cloud="a task with exit code 0 fails when its upload fails",
    difference="here the result stays",
)
@ONE
def test_logs_that_cannot_be_saved(bench, capsys):
    """They are given up after some tries, which is said; the others are saved, the job completes."""
    client = bench.client()
    client.create_blob_container("output-test")
    client = bench.ready(save_logs_to_blob="output-test")
    taken = Path("output-test", "stdout_stderr", today(), "j--2", "stderr.txt")
    taken.mkdir(parents=True)  # a folder where the blob must be
    (taken / "x").touch()
    began = time.monotonic()
    client.add_task_collection("j", [{"command_line": f"echo {n}"} for n in range(3)])
    client.monitor_job("j", timeout=1)
    assert 5 < time.monotonic() - began < 40
    job = client._batch.get_job("j")
    assert (job.counts.succeeded, job.state, job.logs_owed) == (3, "completed", 0)
    assert "Logs could not be saved" in job.problem
    assert "j--2" in job.problem
    assert str(bench.place) in job.problem
    saved = {name.split("/")[2] for name in logs() if name.endswith("stderr.txt")}
    assert saved == {"j--1", "j--3"}
    assert job.problem in capsys.readouterr().out


@pytest.mark.promise(
    "create_job",
    "`task.get_task_config` with `log_blob_container` or `output_files` saves a single task's streams.",
    local="as `<log_subdir>/<task id>/stdout.txt` and `stderr.txt`, and not where the job says",
    cloud="the same, and other files that a pattern matches",
    difference="other files are not saved, and the log says so",
)
def test_logs_of_single_tasks(bench):
    """Tasks say where their logs go and after which end; others of the job go on as it says."""
    client = bench.client()
    for name in ("output-test", "own", "failures"):
        client.create_blob_container(name)
    client = bench.ready(save_logs_to_blob="output-test", logs_folder="logs")

    def described(name, command, **more):
        return task.get_task_config(name, command, log_subdir="j", **more)

    client.batch_service_client.create_task_collection(
        "j",
        [
            described("mine", "echo mine", log_blob_container="own"),
            described("kept", "false", log_blob_container="failures",
                      log_upload_condition="taskFailure"),
            described("left", "true", log_blob_container="failures",
                      log_upload_condition="taskFailure"),
            described("theirs", "echo theirs"),
        ],
    )  # fmt: skip
    client.monitor_job("j")
    assert logs("own") == {"j/mine/stdout.txt": "mine\n", "j/mine/stderr.txt": ""}
    assert set(logs("failures")) == {"j/kept/stdout.txt", "j/kept/stderr.txt"}
    assert logs().keys() == {f"logs/{today()}/theirs/{name}.txt" for name in ("stdout", "stderr")}
    assert client.check_job_status("j") == "complete"


@ONE
def test_logs_in_another_account(bench, monkeypatch):
    """`log_blob_account` is the account in whose container the logs are."""
    monkeypatch.setenv("AZURE_BLOB_STORAGE_ACCOUNT", "first")
    client = bench.ready()
    config = task.get_task_config(
        "mine", "echo mine", log_blob_container="own", log_blob_account="second", log_subdir="j"
    )
    with pytest.raises(BlobContainerNotFoundError, match="'own' of the storage account 'second'"):
        client.batch_service_client.create_task("j", config)
    other = bench.client(azure_blob_storage_account="second")
    other.create_blob_container("own")
    client.batch_service_client.create_task("j", config)
    client.monitor_job("j")
    assert logs("@second/own").keys() == {"j/mine/stdout.txt", "j/mine/stderr.txt"}


@ONE
def test_logs_of_single_tasks_that_cannot_be_saved(bench):
    """A container that is gone takes the logs of nobody else with it, and the job completes."""
    client = bench.client()
    for name in ("output-test", "own"):
        client.create_blob_container(name)
    client = bench.ready(save_logs_to_blob="output-test")
    client.batch_service_client.create_task(
        "j", task.get_task_config("mine", "sleep 1", log_blob_container="own")
    )
    os.rmdir("own")
    client.add_task("echo theirs")
    client.monitor_job("j", timeout=1)
    job = client._batch.get_job("j")
    assert (job.counts.succeeded, job.state, job.logs_owed) == (2, "completed", 0)
    assert "There is no blob container 'own'" in job.problem
    assert logs()[f"stdout_stderr/{today()}/j--1/stdout.txt"] == "theirs\n"
