"""`monitor_job` tells the truth: in what it shows, returns and raises, and by the exit status."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import pytest

from cfa.cloudops import batch_helpers
from cfa.cloudops.errors import TasksFailedError

pytestmark = pytest.mark.parametrize("backend", ["subprocess-nosandbox"], indirect=True)

BAD = "sh -c 'echo the reason >&2; exit 3'"
SCRIPT = """\
import atexit, sys
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


def test_raised_failures_end_a_script(bench):
    """A script that raises for failures ends with status 1."""
    status, _, err = bench.run(script(BAD, "client.monitor_job('j', raise_on_failure=True)"))
    assert status == 1
    assert "TasksFailedError: Of the tasks of the job 'j', 1 failed: j--2." in err


@pytest.mark.parametrize(("options", "reached"), [([], True), (["--check"], False)])
def test_run_check(bench, options, reached):
    """`cloudops run` ends with status 1; with `--check` the script does not go on after failures."""
    (bench.place / "script.py").write_text(script(BAD, "client.monitor_job('j')\nprint('goes on')"))
    done = subprocess.run(
        [sys.executable, "-m", "cfa.cloudops.cli", "run", *options, "script.py"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert ("goes on" in done.stdout) == reached
