"""The command line on every backend, from the script to the sweep, in processes of its own."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cfa.cloudops.backends import load_executor
from cfa.cloudops.service.store import Store

PROGRAM = [sys.executable, "-m", "cfa.cloudops.cli"]
LIMIT_S = 60

SCRIPT = """
import sys
from cfa.cloudops import CloudClient

image, *commands = sys.argv[1:]
client = CloudClient()
client.create_blob_container("input-test")
client.create_pool("pool", container_image_name=image, mounts=[("input-test", "data")],
                   task_slots_per_node=2)
client.create_job("job", pool_name="pool")
for command in commands:
    client.add_task(command)
"""

GOOD = "sh -c 'echo good; echo from-$AZ_BATCH_TASK_ID >/data/out.txt'"
BAD = "sh -c 'echo reason >&2; exit 3'"
#: Runs until a file appears in the mounted container.
WAITS = "sh -c 'echo begun; until [ -e /data/go ]; do sleep 0.05; done; echo ended'"


def cloudops(*arguments, status=0, **more):
    """Runs a command and checks its status; its standard output and standard error."""
    done = subprocess.run(
        [*PROGRAM, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        **more,
    )
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done.stdout, done.stderr


def document(*arguments):
    return json.loads(cloudops(*arguments, "--json")[0])


def until(what, condition):
    """Poll until a condition gives something true."""
    end = time.monotonic() + LIMIT_S
    while not (found := condition()):
        assert time.monotonic() < end, f"waited too long for {what}"
        time.sleep(0.02)  # bounded
    return found


@pytest.fixture
def script(workdir):
    (workdir / "script.py").write_text(SCRIPT)
    return "script.py"


@pytest.fixture
def ended(workdir):
    """Ends what a test left running, so that the next one starts clean."""
    yield
    (workdir / "input-test").mkdir(exist_ok=True)
    (workdir / "input-test" / "go").touch()
    if (workdir / ".cloudops" / "store.db").exists():
        for job in document("job", "list"):
            cloudops("job", "delete", job["spec"]["id"])


pytestmark = pytest.mark.usefixtures("ended")


def test_run_and_look(workdir, script, image):
    """A cloud script runs unedited; its pool, job, tasks and output can be looked at and deleted."""
    out, err = cloudops("run", script, image, GOOD, BAD, status=1)
    assert "job--1 | good" in out
    assert "job--2 | reason" in err
    assert "1 succeeded, 1 failed" in err
    written = workdir / "input-test" / "out.txt"
    assert written.read_text() == "from-job--1\n"
    assert written.stat().st_uid == os.getuid()

    [job] = document("job", "list")
    assert (job["counts"]["succeeded"], job["counts"]["failed"]) == (1, 1)
    assert document("pool", "show", "pool")["spec"]["slots_per_node"] == 2
    assert "input-test at /data" in cloudops("pool", "show", "pool")[0]
    assert "2: 1 succeeded, 1 failed" in cloudops("job", "show", "job")[0]
    assert [task["result"] for task in document("task", "list", "job")] == ["success", "failure"]
    assert [task["id"] for task in document("task", "list", "job", "--failed")] == ["job--2"]
    shown, _ = cloudops("task", "show", "job", "job--2")
    for words in ("FailureExitCode", "exit code 3", "reason", ".cloudops/root/workitems/job"):
        assert words in shown
    shown, _ = cloudops("status")
    assert "Its last lines: cloudops task show job job--2" in shown
    assert "Running" not in shown
    assert cloudops("logs", "job") == ("job--1 | good\n", "job--2 | reason\n")
    assert cloudops("logs", "job", "job--2", "--stderr") == ("reason\n", "")
    assert cloudops("logs", "-f", "job", "job--1") == ("good\n", "")
    out, err = cloudops("job", "monitor", "job", status=1)
    assert "1 failed" in out
    assert "exit code 3" not in out
    assert err.count("exit code 3") == 1

    assert cloudops("task", "delete", "job", "job--2")[0] == "deleted task job--2\n"
    cloudops("job", "monitor", "job")
    assert cloudops("job", "delete", "job")[0] == "deleted job job\n"
    assert cloudops("pool", "delete", "pool")[0] == "deleted pool pool\n"
    assert document("job", "list") == []
    assert document("pool", "list") == []


def test_detach_follow_monitor(workdir, script, image):
    """A detached job is followed and monitored; the exit status is 7 when time is over, 0 at a good
    end."""
    _, err = cloudops("run", "--detach", script, image, WAITS)
    assert "detached; 1 task of job goes on" in err
    _, err = cloudops("job", "monitor", "job", "--timeout", "0.005", status=7)
    assert "did not complete within" in err
    with subprocess.Popen(
        [*PROGRAM, "logs", "-f", "job"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == b"job--1 | begun\n"
        (workdir / "input-test" / "go").touch()
        assert follower.stdout.read() == b"job--1 | ended\n"
        assert follower.wait(LIMIT_S) == 0
    out, _ = cloudops("job", "monitor", "job")
    assert "1 succeeded" in out


def test_terminate(workdir, script, image):
    """A task and a job are ended; a job with a task that never ran is not good."""
    cloudops("run", "--detach", script, image, WAITS, WAITS)
    until("both tasks", lambda: document("job", "list")[0]["counts"]["running"] == 2)
    shown, _ = cloudops()
    assert shown.count("sh -c 'echo begun;") == 2
    assert "agent      running" in shown
    cloudops("task", "terminate", "job", "job--1")
    until("its end", lambda: document("task", "show", "job", "job--1")["state"] == "completed")
    assert cloudops("job", "terminate", "job")[0] == "terminated job job\n"
    out, _ = cloudops("job", "monitor", "job", status=1)
    assert "UserTerminate" in out
    assert "2 failed" in out


@pytest.mark.thorough
def test_sweep_after_a_kill(workdir, script, image, backend):
    """A killed agent's node is listed, swept, and its task runs again under the next agent."""
    cloudops("run", "--detach", script, image, WAITS)
    until("the task", lambda: document("job", "list")[0]["counts"]["running"] == 1)
    assert "an agent runs in" in cloudops("sweep")[1]
    report = document("doctor")
    assert report["agent"]["state"] == "running"
    os.kill(report["agent"]["pid"], signal.SIGKILL)
    until("its end", lambda: document("doctor")["agent"]["state"] == "none")

    out, _ = cloudops("sweep", "--dry-run")
    assert "would remove running node" in out
    out, _ = cloudops("sweep")
    assert "removed running node" in out
    assert "agent.sock" in out
    store = Store(workdir / ".cloudops" / "store.db")
    identifier = store.meta("workspace")
    store.close()
    executor = load_executor(backend.executor)
    try:
        assert not executor.list_nodes(identifier)
    finally:
        executor.close()
    assert "nothing to remove" in cloudops("sweep")[1]

    (workdir / "input-test" / "go").touch()
    cloudops("job", "monitor", "job")
    assert document("task", "show", "job", "job--1")["requeue_count"] == 1


def test_sweep_of_a_deleted_workspace(workdir, script, image, backend, monkeypatch):
    """Containers of a workspace that was deleted under a killed agent go with `sweep --all`."""
    if backend.engine is None:
        pytest.skip("processes are no containers: the next reader of their directory is gone")
    (workdir / "other").mkdir()
    monkeypatch.chdir(workdir / "other")
    cloudops("run", "--detach", f"../{script}", image, "sleep 600")
    until("the task", lambda: document("job", "list")[0]["counts"]["running"] == 1)
    workspace = workdir / "other" / ".cloudops"
    store = Store(workspace / "store.db")
    identifier = store.meta("workspace")
    store.close()
    os.kill(document("doctor")["agent"]["pid"], signal.SIGKILL)
    until("its end", lambda: document("doctor")["agent"]["state"] == "none")
    shutil.rmtree(workspace)
    monkeypatch.chdir(workdir)
    executor = load_executor(backend.executor)
    try:
        assert executor.workspaces()[identifier] == str(workspace)
        cloudops("sweep", "--all", "--dry-run")
        assert executor.list_nodes(identifier)
        out, _ = cloudops("sweep", "--all")
        assert f"of {workspace}, which is gone" in out
        assert not executor.list_nodes(identifier)
    finally:
        executor.close()


def test_doctor(workdir, backend):
    """The doctor finds the backend, says how, and exits with 0."""
    report = document("doctor")
    assert report["usable"] is True
    assert report["chosen"] == backend.executor
    [engine] = [one for one in report["engines"] if one["name"] == backend.executor]
    assert engine["state"] == "ready"
    assert engine["found"]["version"] == backend.capabilities.version
    assert f"Tasks run on {backend.executor}." in cloudops("doctor")[0]
    assert not (workdir / ".cloudops").exists()


def test_doctor_tries_a_container(workdir, script, image, backend):
    """The doctor starts a container from the image of a pool and leaves none behind."""
    cloudops("run", script, image)
    report = document("doctor")
    [engine] = [one for one in report["engines"] if one["name"] == backend.executor]
    if backend.engine is None:
        assert engine["trial"] is None
        return
    assert engine["trial"] == {"started": True, "image": image, "why": ""}
    names = backend.engine.run("ps", "--all", "--format", "{{.Names}}", timeout_s=60).stdout
    assert "cloudops-doctor" not in names


# --- what is the same on every backend

ALONE = pytest.mark.parametrize("backend", ["subprocess-nosandbox"], indirect=True)


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *arguments):
        pid, self._descriptor = pty.fork()
        if pid == 0:
            os.environ.update(TERM="xterm", COLUMNS="120", CI="")
            os.execv(sys.executable, [*PROGRAM, *arguments])
        self._pid = pid
        self.shown = ""

    def read_until(self, text):
        """Read until a text was shown; '' reads to the end."""
        end = time.monotonic() + LIMIT_S
        while not text or text not in self.shown:
            assert time.monotonic() < end, f"no {text!r} in {self.shown!r}"
            if select.select([self._descriptor], [], [], 1)[0]:
                try:
                    self.shown += os.read(self._descriptor, 4096).decode(errors="replace")
                except OSError:
                    return  # the end

    def ctrl_c(self):
        os.write(self._descriptor, b"\x03")

    def wait(self):
        self.read_until("")
        os.close(self._descriptor)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


@ALONE
def test_ctrl_c_while_tasks_are_shown(workdir, script, image):
    """Ctrl-C at a terminal while `run` shows the tasks detaches, says how to go on, ends by SIGINT."""
    terminal = Terminal("run", script, image, WAITS)
    terminal.read_until("begun")
    terminal.ctrl_c()
    assert terminal.wait() == -signal.SIGINT
    assert "Follow: cloudops logs -f job" in terminal.shown
    assert "Traceback" not in terminal.shown
    assert document("job", "list")[0]["counts"]["running"] == 1


@ALONE
def test_ctrl_c_while_following(workdir, script, image):
    """Ctrl-C ends `logs -f` and `job monitor` by SIGINT and without a traceback; the tasks go on."""
    cloudops("run", "--detach", script, image, WAITS)
    for arguments, sign in (
        (["logs", "-f", "job"], "begun"),
        (["job", "monitor", "job"], "0 of 1 done"),
    ):
        terminal = Terminal(*arguments)
        terminal.read_until(sign)
        terminal.ctrl_c()
        assert terminal.wait() == -signal.SIGINT
        assert "Traceback" not in terminal.shown
    assert document("job", "list")[0]["counts"]["running"] == 1


@ALONE
def test_monitor_on_a_terminal(workdir, script, image):
    """On a terminal `job monitor` shows how far the job is, and leaves failures and the summary."""
    cloudops("run", "--detach", script, image, WAITS, BAD)
    terminal = Terminal("job", "monitor", "job")
    terminal.read_until("1 failed")
    (workdir / "input-test" / "go").touch()
    assert terminal.wait() == 1
    assert "\x1b[" in terminal.shown
    assert re.search(r"job completed \(AllTasksComplete\); tasks 2: 1 succeeded", terminal.shown)


@ALONE
def test_failures_that_the_script_has_seen(workdir, image):
    """Tasks that failed count for `run`, also when the script watched them and ends well."""
    more = "client.monitor_job('job')\n"
    (workdir / "script.py").write_text(SCRIPT + more)
    cloudops("run", "script.py", image, GOOD, BAD, status=1)
    (workdir / "script.py").write_text(SCRIPT.replace('"job"', '"second"') + "sys.exit(5)\n")
    cloudops("run", "script.py", image, GOOD, BAD, status=5)


@ALONE
def test_agent_in_the_foreground(workdir, script, image):
    """`cloudops agent --stay` serves clients and does not leave when idle; Ctrl-C ends it."""
    with subprocess.Popen(
        [*PROGRAM, "agent", "--stay"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "CLOUDOPS_AGENT_IDLE_S": "0"},
    ) as process:
        assert process.stderr is not None
        try:
            until(
                "the agent",
                lambda: (document("doctor")["agent"] or {}).get("pid") == process.pid,
            )
            cloudops("agent", status=4)
            cloudops("run", script, image, GOOD)
            assert document("doctor")["agent"]["pid"] == process.pid
            process.send_signal(signal.SIGINT)
            assert process.wait(LIMIT_S) == 130
            assert b"Traceback" not in process.stderr.read()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


@ALONE
def test_the_swap_needs_nothing_set(workdir, script, image, monkeypatch):
    """Without CLOUDOPS_BACKEND the cloud's client refuses a plain run, and `cloudops run` goes."""
    monkeypatch.delenv("CLOUDOPS_BACKEND")
    done = subprocess.run(
        [sys.executable, script, image, GOOD],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 1
    assert "CLOUDOPS_BACKEND" in done.stderr
    Path(".env").write_text("CLOUDOPS_BACKEND=subprocess\n")
    out, _ = cloudops("run", script, image, GOOD)
    assert "job--1 | good" in out
