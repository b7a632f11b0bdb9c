"""Users' scripts, as they are, from their first line to their exit status."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LOCAL = """\
from cfa.cloudops.local import CloudClient

cc = CloudClient()
cc.create_pool(
    "example-pool",
    container_image_name = "python:3.10-slim",
    mounts = [("input-test", "data")]
    )
cc.create_job(
    "example-job",
    pool_name = "example-pool"
    )
cc.add_task(
    "python3 /data/run-local.py",
    job_name = "example-job"
    )
"""
CLOUD = LOCAL.replace("cfa.cloudops.local", "cfa.cloudops")

TASK = """\
import os, sys
print("hello from", os.environ["AZ_BATCH_TASK_ID"])
print("second line")
print("trouble", file=sys.stderr)
os.makedirs(os.path.dirname(__file__) + "/made", exist_ok=True)
with open(os.path.dirname(__file__) + "/made/result.txt", "w") as file:
    file.write("42")
"""


@pytest.fixture(autouse=True)
def no_warnings(monkeypatch):
    """Scripts print what they and their tasks say; that there is no sandbox is tested elsewhere."""
    monkeypatch.setenv("LOG_LEVEL", "error")


@pytest.fixture
def main_job(bench, python_image):
    """A directory as the script expects it."""
    (bench.place / "input-test").mkdir()
    (bench.place / "input-test" / "run-local.py").write_text(TASK)
    return bench


@pytest.mark.promise(
    "CloudClient",
    (
        "A script runs word for word, with the local import or with the cloud's and "
        "`CLOUDOPS_BACKEND`."
    ),
    local=(
        "the script stays until its tasks are done, shows their output line by line and a summary"
    ),
    cloud="the script ends at once, its tasks go on, their output is in files",
    difference="here the script stays; `CLOUDOPS_AT_EXIT=detach` lets it end",
)
@pytest.mark.parametrize("script", [LOCAL, CLOUD], ids=["local", "cloud"])
def test_the_script_runs_as_written(main_job, script):
    """The script runs word for word with either import, shows its task's output and a summary."""
    status, out, err = main_job.run(script)
    assert (status, out) == (
        0,
        "example-job--1 | hello from example-job--1\nexample-job--1 | second line\n",
    )
    assert "example-job--1 | trouble" in err
    assert "1 succeeded, 0 failed" in err


def owners(top: Path) -> list[tuple[int, int]]:
    """User and group of everything below a directory; the agent may remove its own meanwhile."""
    found = []
    for place, folders, files in os.walk(top):
        for name in (*folders, *files):
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(os.path.join(place, name))
                found.append((status.st_uid, status.st_gid))
    return found


def test_files_belong_to_the_caller(main_job):
    """Files and folders that a task makes are the caller's, who can delete all of them."""
    status, _, err = main_job.run(LOCAL)
    assert status == 0, err
    data = main_job.place / "input-test"
    assert (data / "made" / "result.txt").read_text() == "42"
    found = [*owners(data), *owners(main_job.place / ".cloudops")]
    assert len(found) > 10
    assert set(found) == {(os.getuid(), os.getgid())}
    shutil.rmtree(data)


@pytest.mark.promise(
    "CloudClient",
    "A script's exit status is its own, however it ends and whatever its tasks do.",
    local="its own",
)
@pytest.mark.parametrize(
    ("ending", "status"),
    [("import sys; sys.exit(3)", 3), ("raise RuntimeError('mine')", 1), ("cc.nonsense", 1)],
)
def test_exit_status_is_the_scripts(main_job, ending, status):
    """However a script ends, it stays for its tasks and its exit status is its own."""
    got, out, err = main_job.run(f"{LOCAL}\n{ending}\n")
    assert got == status
    assert "hello from" in out
    assert "1 succeeded" in err


def test_failing_tasks_are_named(main_job):
    """The summary names failed tasks with the reason; the script's own status stays 0."""
    status, out, err = main_job.run(
        LOCAL.replace("python3 /data/run-local.py", "sh -c 'echo no; exit 9'")
    )
    assert (status, out) == (0, "example-job--1 | no\n")
    assert "0 succeeded, 1 failed" in err
    assert "exit code 9" in err


def test_output_without_line_end_is_shown(main_job):
    """The last line of a task's output is shown even if it has no line end."""
    status, out, _ = main_job.run(LOCAL.replace("python3 /data/run-local.py", "printf ab"))
    assert (status, out) == (0, "example-job--1 | ab\n")


def test_container_is_named_and_goes(main_job):
    """The job's container carries the promised name while it has work, and is gone afterwards."""
    if not main_job.containers:
        pytest.skip("nodes are no containers here")
    waiting = LOCAL.replace("python3 /data/run-local.py", WAIT)
    process = main_job.script(waiting)
    try:
        until(lambda: main_job.container_names() == ["python_3.10-slim.example-job"])
    finally:
        (main_job.place / "input-test" / "gate").touch()
        process.communicate(timeout=60)
    until(lambda: not main_job.container_names())
    assert process.returncode == 0


@pytest.mark.promise(
    "CloudClient",
    "Ids, counts and log settings belong to the job, so that the next script goes on with it.",
    local="numbering goes on, settings are the job's",
    cloud="they live on the client object: a new client begins at 1 again and saves no logs",
    difference="here the truth is with the job; the attributes show it",
)
def test_three_processes_continue_one_job(main_job):
    """Scripts run one after the other go on with the job: ids, log settings and counts are its."""
    first = LOCAL.replace(
        '"example-job",\n    pool', '"example-job",\n    exist_ok=True,\n    pool'
    )
    assert "exist_ok" in first
    for number in (1, 2, 3):
        status, out, err = main_job.run(first)
        assert status == 0, err
        assert out.startswith(f"example-job--{number} | hello from example-job--{number}\n")
    rest = """\
from cfa.cloudops.local import CloudClient
cc = CloudClient(at_exit="detach")
print(cc.add_task("example-job", "true"))
print(cc.task_id_max, cc.pool_name)
cc.create_job("example-job", "example-pool", exist_ok=True)
print(cc.task_id_max)
"""
    status, out, err = main_job.run(rest)
    assert (status, out.split()) == (0, ["example-job--4", "4", "None", "4"]), err


@pytest.mark.promise(
    "create_job",
    "`exist_ok` goes on with the job that there is, which stays as it was.",
    local="the client's attributes show the job's settings",
    cloud="the client's settings become those of the call",
    difference="see `CloudClient`",
)
def test_log_settings_stay_with_the_job(bench):
    """A job made again with exist_ok keeps its own log settings, also in another process."""
    client = bench.client()
    client.create_pool("p", container_image_name=bench.image)
    client.create_blob_container("logs")
    client.create_job("j", "p", save_logs_to_blob="logs", logs_folder="/deep/er/")
    other = bench.client()
    other.create_job("j", "p", exist_ok=True, save_logs_to_blob="others")
    assert (other.save_logs_to_blob, other.logs_folder) == ("logs", "deep/er")


WAIT = "sh -c 'echo up; until [ -e /data/gate ]; do sleep 0.1; done; echo over'"


@pytest.mark.promise(
    "CloudClient",
    "Ctrl-C never takes the tasks with it.",
    local="the script says how to follow and stop them, and ends by SIGINT, status 130 in a shell",
    cloud="the same: they do not depend on the script",
)
def test_interrupt_detaches(main_job):
    """Ctrl-C while a script stays ends it by SIGINT, with advice; its tasks go on and finish."""
    process = main_job.script(LOCAL.replace("python3 /data/run-local.py", WAIT))
    assert process.stdout is not None
    assert process.stdout.readline() == "example-job--1 | up\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert "detached; 1 task of example-job goes on" in err
    assert "cloudops logs -f example-job" in err
    assert "cloudops job terminate example-job" in err
    assert "Traceback" not in err
    (main_job.place / "input-test" / "gate").touch()
    client = main_job.client()
    tasks = main_job.finished(client, "example-job")
    assert [str(task.result) for task in tasks.values()] == ["success"]
    assert main_job.output(client, "example-job--1", "example-job") == "up\nover\n"


def test_interrupt_in_the_script_detaches(main_job):
    """Ctrl-C in the script itself ends it as Python does and does not stay with its tasks."""
    text = LOCAL.replace("python3 /data/run-local.py", WAIT)
    process = main_job.script(text + "print('ready', flush=True)\nimport time\ntime.sleep(60)\n")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert "detached" in err
    (main_job.place / "input-test" / "gate").touch()
    client = main_job.client()
    assert [str(t.result) for t in main_job.finished(client, "example-job").values()] == ["success"]


def test_reader_that_goes_away(main_job):
    """A closed pipe (`script | head`) is no error of the tasks."""
    (main_job.place / "script.py").write_text(LOCAL)
    with subprocess.Popen(
        [sys.executable, main_job.place / "script.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
    assert "Traceback" not in err
    client = main_job.client()
    tasks = main_job.finished(client, "example-job")
    assert [str(task.result) for task in tasks.values()] == ["success"]


def test_pool_and_job_leave_readable_text(main_job):
    """What a pool and a job are can be read in the store."""
    main_job.run(LOCAL)
    client = main_job.client()
    row = client._batch._store.row("SELECT definition FROM pool")
    assert '"image": "python:3.10-slim"' in row[0]


def until(condition, limit_s=60.0):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


@pytest.mark.quiet
def test_first_output_within_a_second(workdir: Path, monkeypatch):
    """With no engine, a fresh workspace shows its first task's output within a second."""
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    (workdir / "input-test").mkdir()
    (workdir / "input-test" / "run-local.py").write_text("print('first')\n")
    best = 60.0
    for number in range(3):
        fresh = workdir / str(number)
        shutil.copytree(workdir / "input-test", fresh / "input-test")
        (fresh / "script.py").write_text(LOCAL)
        began = time.monotonic()
        with subprocess.Popen(
            [sys.executable, "script.py"], cwd=fresh, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "example-job--1 | first\n"
            best = min(best, time.monotonic() - began)
            process.communicate(timeout=60)
    assert best < 1.0
