"""`monitor_job` tells the truth: in what it shows, returns and raises, and by the exit status."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import timedelta

import pytest

from cfa.cloudops import batch_helpers
from cfa.cloudops.client import farewell
from cfa.cloudops.errors import AgentError, TasksFailedError

pytestmark = pytest.mark.parametrize("backend", ["subprocess-nosandbox"], indirect=True)

BAD = "sh -c 'echo the reason >&2; exit 3'"
SCRIPT = """\
import atexit, sys, time
atexit.register(print, "after all")
from cfa.cloudops.local import CloudClient
client = CloudClient(existing_job="replace")
client.create_pool("p", container_image_name="busybox")
client.create_job("j", "p")
client.add_task("j", "true")
client.add_task("j", {command!r})
{more}
"""


@pytest.mark.promise(
    "monitor_job",
    "It returns how the job ended.",
    local="the dictionary that it prints, with `failed_tasks`, `succeeded` and `raise_for_failures()`",
    cloud="the dictionary is printed, not returned",
    difference="ours only",
)
def test_result(bench):
    """The result is the cloud's dictionary, and knows the tasks that failed."""
    client = bench.ready()
    client.add_task("true")
    client.add_task(BAD)
    client.add_task("false")
    found = client.monitor_job("j")
    assert isinstance(found, dict)
    elapsed = found["elapsed time"]
    assert isinstance(elapsed, timedelta)
    assert found == {
        "completed": True,
        "elapsed time": elapsed,
        "terminate_reason": "AllTasksComplete",
        "tasks complete": 3,
        "tasks remaining": 0,
        "success": 1,
        "fail": 2,
    }
    assert [task.id for task in found.failed_tasks] == ["j--2", "j--3"]
    assert found.failed_tasks[0].exit_code == 3
    assert found.unrun_tasks == ()
    assert not found.succeeded
    with pytest.raises(RuntimeError, match=r"2 failed: j--2, j--3.*cloudops task show j j--2"):
        found.raise_for_failures()
    assert batch_helpers.monitor_tasks("j", None, client.batch_service_client)["fail"] == 2


def test_good_result(bench):
    """A result without failures raises nothing."""
    client = bench.ready()
    client.add_task("true")
    found = client.monitor_job("j", raise_on_failure=True)
    assert found.succeeded
    assert found.failed_tasks == ()
    found.raise_for_failures()


def test_tasks_that_never_ran(bench):
    """Tasks of a job that was ended before they ran are no success."""
    client = bench.ready(max_parallel=1)
    client.add_task("sh -c 'echo up; exec sleep 60'")
    client.add_task("true")
    bench.running(client, "j--1")
    client._batch.terminate_job("j")
    bench.completed(client)
    found = client.monitor_job("j")
    assert [task.id for task in found.unrun_tasks + found.failed_tasks] == ["j--2", "j--1"]
    with pytest.raises(TasksFailedError, match="1 failed: j--1; 1 never ran: j--2"):
        found.raise_for_failures()


def test_raise_on_failure(bench, capsys):
    """With `raise_on_failure` a failed task is an error, after all else is done."""
    client = bench.ready()
    client.add_task(BAD)
    with pytest.raises(TasksFailedError):
        client.monitor_job("j", raise_on_failure=True, download_job_stats=True)
    shown = capsys.readouterr()
    assert "'fail': 1" in shown.out
    assert "j--1 failed: " in shown.err
    assert "  the reason\n" in shown.err
    assert "cloudops task show j j--1" in shown.err
    assert (bench.place / "j-stats.csv").exists()


@pytest.fixture
def waits(bench, monkeypatch):
    """A client with a task that runs, on which Ctrl-C is pressed as soon as it waits for the job."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    client = bench.ready()
    client.add_task("sleep 20")
    monkeypatch.setattr(
        client._batch, "wait_for_change", lambda limit_s: signal.raise_signal(signal.SIGINT)
    )
    handler = signal.getsignal(signal.SIGINT)
    yield client
    signal.signal(signal.SIGINT, handler)
    client._batch.terminate_job("j")


def test_ctrl_c_while_it_is_said_what_goes_on(waits, monkeypatch):
    """A Ctrl-C that follows another one, while `monitor_job` says what goes on, changes nothing."""
    said = []

    def say_detached(batch, job_id):
        signal.raise_signal(signal.SIGINT)
        said.append(job_id)

    monkeypatch.setattr(farewell, "say_detached", say_detached)
    with pytest.raises(KeyboardInterrupt) as caught:
        waits.monitor_job("j")
    assert said == ["j"]
    assert caught.value.__context__ is None


def test_ctrl_c_without_a_service(waits, monkeypatch, capsys):
    """Ctrl-C is a Ctrl-C also when the service cannot say what goes on."""

    def fail(*_):
        raise AgentError("The agent has gone.")

    monkeypatch.setattr(waits._batch, "task_counts", fail)
    with pytest.raises(KeyboardInterrupt):
        waits.monitor_job("j")
    assert "cloudops: The agent has gone." in capsys.readouterr().err


def script(command, more=""):
    return SCRIPT.format(command=command, more=more)


@pytest.mark.promise(
    "CloudClient",
    "Failed tasks can decide over a script's exit status.",
    local="`CLOUDOPS_ON_FAILURE=exit`, `cloudops run --check`: it ends with status 1",
    cloud="the status says nothing of tasks",
    difference="ours only",
)
@pytest.mark.parametrize("more", ["", "client.monitor_job('j')\nprint('not reached')"])
def test_status_of_a_script(bench, more):
    """With CLOUDOPS_ON_FAILURE=exit failed tasks end the script with status 1, else with its own."""
    bad, good = script(BAD, more), script("true", more)
    assert bench.run(bad)[0] == 0
    status, out, err = bench.run(bad, CLOUDOPS_ON_FAILURE="exit")
    assert status == 1, err
    assert "after all" in out, "a handler of the script's own runs all the same"
    assert "not reached" not in out
    assert "Traceback" not in err
    status, out, err = bench.run(good, CLOUDOPS_ON_FAILURE="exit")
    assert status == 0, err
    assert ("not reached" in out) == bool(more)


LEAVES = {
    "sys.exit(3)": 3,
    "exit(4)": 4,
    "sys.exit('a message')": 1,
    "sys.exit(0)": 1,
    "sys.exit(256)": 1,
    "import argparse; argparse.ArgumentParser().error('wrong')": 2,
    "raise ValueError": 1,
    "client.close()": 1,
    "client.close()\nsys.exit(3)": 3,
    "client.monitor_job('j')": 1,
}
if sys.version_info >= (3, 12):
    LEAVES["raise SystemExit(3)"] = 3
    LEAVES["try: sys.exit(3)\nexcept SystemExit: pass"] = 1


@pytest.mark.promise(
    "CloudClient",
    "What a script gives to `sys.exit` stays its exit status, also when failed tasks decide.",
    local="its own unless that is 0",
    cloud="the status says nothing of tasks",
    difference="ours only",
)
@pytest.mark.parametrize(("more", "status"), LEAVES.items())
def test_own_status_of_a_script(bench, more, status):
    """With CLOUDOPS_ON_FAILURE=exit a script's own status stays unless it is 0."""
    if "close" in more:
        more = f"while not client.list_tasks('j')[1].result: time.sleep(0.1)\n{more}"
    ended, _, err = bench.run(script(BAD, more), CLOUDOPS_ON_FAILURE="exit")
    assert ended == status, err
    assert ("Traceback" in err) == ("ValueError" in more)


def test_raised_failures_end_a_script(bench):
    """A script that raises for failures ends with status 1."""
    status, _, err = bench.run(script(BAD, "client.monitor_job('j', raise_on_failure=True)"))
    assert status == 1
    assert "TasksFailedError: Of the tasks of the job 'j', 1 failed: j--2." in err


def run_command(bench, more, *options, words=("script.py",)):
    (bench.place / "script.py").write_text(script(BAD, more))
    return subprocess.run(
        [sys.executable, "-m", "cfa.cloudops.cli", "run", *options, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("options", "reached"), [([], True), (["--check"], False)])
def test_run_check(bench, options, reached):
    """`cloudops run` ends with status 1; with `--check` the script does not go on after failures."""
    done = run_command(bench, "client.monitor_job('j')\nprint('goes on')", *options)
    assert done.returncode == 1, done.stderr
    assert ("goes on" in done.stdout) == reached


@pytest.mark.parametrize("leave", ["sys.exit(3)", "raise SystemExit(3)"])
@pytest.mark.parametrize("options", [[], ["--check"]])
def test_run_keeps_the_status(bench, options, leave):
    """`cloudops run` ends with the script's own status, also with `--check`."""
    done = run_command(bench, leave, *options)
    assert done.returncode == 3, done.stderr


def test_run_check_of_several_programs(bench):
    """With `cloudops run --check` failed tasks also decide over the status that a shell sees."""
    shell = f"{sys.executable} script.py && echo goes on"
    done = run_command(bench, "", "--check", words=["--", "sh", "-c", shell])
    assert done.returncode == 1, done.stderr
    assert "goes on" not in done.stdout
