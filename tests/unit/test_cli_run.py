"""`cloudops run`, `job monitor` and `logs`, without an engine."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from attrs import evolve

from cfa.cloudops.cli import logs, monitor, programs
from cfa.cloudops.cli.scripts import SCRIPTS
from cfa.cloudops.client import view as view_module
from cfa.cloudops.client.farewell import Farewell
from cfa.cloudops.client.view import STREAMS, OutputView
from cfa.cloudops.errors import AgentError, JobNotFoundError, WaitTimeoutError
from cfa.cloudops.model import written
from cfa.cloudops.model.tail import last_lines
from cfa.cloudops.model.values import (
    Event,
    Failure,
    Job,
    JobSpec,
    JobState,
    Task,
    TaskCounts,
    TaskResult,
    TaskState,
)
from cfa.cloudops.settings import REPORT_VARIABLE

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROGRAM = [sys.executable, "-m", "cfa.cloudops.cli"]


def cloudops(*arguments):
    return subprocess.run(
        [*PROGRAM, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class FakeBatch:
    """A service that answers from what the test puts into it; each wait takes the next job."""

    def __init__(self, *jobs, tasks=(), events=(), files=None):
        self.jobs = list(jobs)
        self.tasks = list(tasks)
        self.events = list(events)
        self.files = dict(files or {})
        self.waits = []

    def get_job(self, job_id):
        if not self.jobs:
            raise JobNotFoundError(f"There is no job {job_id!r}.")
        return self.jobs[0]

    def get_task(self, job_id, task_id):
        return next(task for task in self.tasks if task.id == task_id)

    def list_jobs(self):
        return self.jobs[:1]

    def list_tasks(self, job_id):
        return iter(self.tasks)

    def list_events(self, job_id, after=0):
        return [event for event in self.events if event.number > after]

    def read_task_file(self, job_id, task_id, name, offset=0, limit=1 << 20):
        return self.files.get((task_id, name), b"")[offset : offset + limit]

    def task_counts(self, job_id):
        return self.get_job(job_id).counts

    def wait_for_change(self, timeout_s):
        self.waits.append(timeout_s)
        if len(self.jobs) > 1:
            del self.jobs[0]
        return True

    def close(self):
        pass


def job(state=JobState.ACTIVE, **counts):
    return Job(
        spec=JobSpec(id="j", pool_id="p"), state=state, created=NOW, counts=TaskCounts(**counts)
    )


def task(identifier, result=None):
    return Task(
        id=identifier,
        job_id="j",
        command_line="x",
        state=TaskState.ACTIVE if result is None else TaskState.COMPLETED,
        result=result,
        failure=Failure(code="FailureExitCode", message="It ended with exit code 3.")
        if result is TaskResult.FAILURE
        else None,
        created=NOW,
    )


GOOD, BAD, NEVER = task("a", TaskResult.SUCCESS), task("b", TaskResult.FAILURE), task("c")


# --- run


def test_script_is_as_if_python_ran_it(workdir):
    """A script finds its arguments, its `__main__`, its directory on the path, this interpreter."""
    (workdir / "scripts").mkdir()
    (workdir / "scripts" / "helper.py").write_text("word = 'helped'\n")
    (workdir / "scripts" / "s.py").write_text(
        "import json, os, sys, __main__, helper\n"
        "print(json.dumps([sys.argv, __name__, __main__.__file__, sys.path[0], sys.executable,\n"
        "                  helper.word, os.environ['CLOUDOPS_BACKEND']]))\n"
    )
    done = cloudops("run", "scripts/s.py", "--backend", "x", "-h", "--", "two words")
    assert done.returncode == 0, done.stderr
    directory = str(workdir / "scripts")
    assert json.loads(done.stdout) == [
        ["scripts/s.py", "--backend", "x", "-h", "--", "two words"],
        "__main__",
        f"{directory}/s.py",
        directory,
        sys.executable,
        "helped",
        "auto",
    ]


def test_module(workdir):
    """`-m` runs a module as Python does; what follows its name is the module's."""
    (workdir / "package").mkdir()
    (workdir / "package" / "__main__.py").write_text(
        "import json, sys; print(json.dumps([sys.argv[1:], sys.path[0], __package__]))\n"
    )
    done = cloudops("run", "--backend", "subprocess", "-m", "package", "-m", "--strict", "--", "x")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["-m", "--strict", "--", "x"], str(workdir), "package"]


def test_program(workdir):
    """After `--` any program runs, with the settings, and its exit status is that of the command."""
    done = cloudops(
        "run", "--backend", "subprocess", "--", "sh", "-c", 'echo "$CLOUDOPS_BACKEND $*"; exit 4', "--",
        "-m", "--", "two words",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (4, "subprocess -m -- two words\n")


@pytest.mark.parametrize(
    ("name", "text", "executable", "shown"),
    [
        ("r.sh", "#!/bin/sh\necho shell", True, "shell"),
        ("r", "#!/usr/bin/env -S sh -e\necho shell", True, "shell"),
        ("r.py", "#!/bin/sh\nprint('python')", True, "python"),
        ("r", "#!/usr/bin/env python3\nprint('python')", True, "python"),
        ("r", "#! /no/such/pypy3\nprint('python')", True, "python"),
        ("r", "print('python')", True, "python"),
        ("r.txt", "print('python')", False, "python"),
        ("r", "#!\nprint('python')", False, "python"),
        ("r", "", False, ""),
    ],
)
def test_what_runs_a_script(workdir, name, text, executable, shown):
    """Python does, unless an executable script names another program in its first line."""
    (workdir / name).write_text(f"{text}\n")
    (workdir / name).chmod(0o755 if executable else 0o644)
    for word in (name, f"./{name}", str(workdir / name)):
        done = cloudops("run", word)
        assert (done.returncode, done.stdout.strip()) == (0, shown), done.stderr


def test_what_no_file_has(workdir):
    """A pipe, which can be read only once, and a directory are for Python; a binary runs by itself."""
    os.mkfifo(workdir / "pipe")
    writer = threading.Thread(target=(workdir / "pipe").write_text, args=("print(3)",), daemon=True)
    writer.start()
    assert cloudops("run", "pipe").stdout == "3\n"
    (workdir / "package").mkdir()
    (workdir / "package" / "__main__.py").write_text("print(4)")
    assert cloudops("run", "package").stdout == "4\n"
    shutil.copy(shutil.which("true"), workdir / "binary")
    assert cloudops("run", "binary").returncode == 0


@pytest.mark.parametrize(
    ("name", "text", "status", "says"),
    [
        ("r.sh", "echo", 2, "'r.sh' is not a script for Python.\n  Run: cloudops run -- sh r.sh\n"),
        ("a b.R", "echo", 2, "  Run: cloudops run -- Rscript 'a b.R'\n"),
        ("-r.sh", "echo", 2, "  Run: cloudops run -- sh ./-r.sh\n"),
        ("n.ipynb", "{}", 2, "  Run: cloudops run -- jupyter execute n.ipynb\n"),
        ("r", "#!/usr/bin/perl -w\n", 2, "  Run: cloudops run -- /usr/bin/perl -w r\n"),
        ("r", "#!/usr/bin/env -S bash -e\n", 2, "  Run: cloudops run -- bash -e r\n"),
        ("r", "#!/usr/bin/env -S A=1 sh\n", 2, "  Run: cloudops run -- env A=1 sh r\n"),
        ("r", "#!\x1b[31m\n", 2, "  Make it executable: chmod +x r\n"),
    ],
)
def test_scripts_for_other_programs(workdir, name, text, status, says):
    """A script that is not executable, or names no program, is not run; how to run it is said."""
    (workdir / name).write_text(text)
    done = cloudops("run", f"./{name}" if name.startswith("-") else name)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.endswith(says)


@pytest.mark.parametrize("first", ["#!/no/such/program", "#!/etc/passwd", "echo"])
def test_programs_that_do_not_start(workdir, first):
    """An error says why a program cannot be started."""
    (workdir / "r").write_text(f"{first}\n")
    (workdir / "r").chmod(0o755)
    done = cloudops("run", "--", "./r")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("cloudops: './r' cannot be started: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("nope.py",), 3, "There is no script 'nope.py'"),
        (("sh", "-c", "true"), 3, "To run a program: cloudops run -- sh"),
        (("--", "no-such-program"), 3, "There is no program 'no-such-program'"),
        (("-m", "--", "json.tool"), 2, "cloudops run -m json.tool"),
        (("--",), 2, "Missing argument"),
        (("-m", "no_such_module"), 1, "No module named no_such_module"),
        (("--no-such-option", "x.py"), 2, "No such option"),
    ],
)
def test_nothing_to_run(workdir, words, status, says):
    """What cannot be run is named, with what to write instead."""
    done = cloudops("run", *words)
    assert (done.returncode, done.stdout) == (status, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


class TestScriptsAsPrograms:
    """The scripts of the cloud's package, for what `cloudops run` runs."""

    def test_all(self):
        """There is a program for each script but `test`, which is a program of the system."""
        found = {path.name: path for path in programs.SCRIPTS.iterdir()}
        assert set(found) == set(SCRIPTS) - {"test"}
        assert {os.access(path, os.X_OK) for path in found.values()} == {True}
        assert len({path.read_bytes() for path in found.values()}) == 1

    def test_in_a_shell(self, workdir):
        """A shell script calls them by name, with their own letters and this Python."""
        (workdir / "run.sh").write_text(
            "set -e\ncreate_pool -n p\ncreate_job -n j -pn p\nadd_task -jn j -c 'echo \"$1\"'\n"
            "monitor_job -n j >/dev/null\ncheck_job_status -n j\ntest -d .cloudops\n"
        )
        (workdir / "cfa").mkdir()  # no package of this directory comes before ours
        done = cloudops("run", "--backend", "subprocess", "--", "sh", "run.sh")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "complete"
        done = cloudops("run", "--", "check_job_status", "-n", "j")
        assert (done.returncode, done.stdout) == (0, "complete\n")

    @pytest.mark.parametrize("before", [[], [str(programs.SCRIPTS)]], ids=["once", "nested"])
    def test_own_programs(self, workdir, monkeypatch, before):
        """A program of the user's comes before the script of its name; each directory is there once."""
        own = workdir / "bin"
        own.mkdir()
        (own / "hello").write_text("#!/bin/sh\necho mine\n")
        (own / "hello").chmod(0o755)
        path = [str(own), *os.environ["PATH"].split(os.pathsep), *before]
        monkeypatch.setenv("PATH", os.pathsep.join(path))
        for words in (["hello"], ["sh", "-c", "hello"]):
            done = cloudops("run", "--backend", "subprocess", "--", *words)
            assert (done.returncode, done.stdout) == (0, "mine\n")
        done = cloudops("run", "--backend", "subprocess", "--", "sh", "-c", 'echo "$PATH"')
        found = done.stdout.strip().split(os.pathsep)
        assert found == list(dict.fromkeys([*path, str(programs.SCRIPTS)]))


SHOW = """
import json, os
print(json.dumps({n: v for n, v in os.environ.items() if n.startswith("CLOUDOPS_")}))
"""


@pytest.mark.parametrize(
    ("before", "after", "environment", "expected"),
    [
        ([], [], {}, {"CLOUDOPS_BACKEND": "auto", "CLOUDOPS_AT_EXIT": None}),
        ([], [], {"CLOUDOPS_BACKEND": "subprocess"}, {"CLOUDOPS_BACKEND": "subprocess"}),
        (
            [],
            ["--backend", "subprocess", "--max-parallel", "3", "--detach"],
            {"CLOUDOPS_BACKEND": "docker"},
            {
                "CLOUDOPS_BACKEND": "subprocess",
                "CLOUDOPS_MAX_PARALLEL": "3",
                "CLOUDOPS_AT_EXIT": "detach",
                "CLOUDOPS_STORAGE": None,
            },
        ),
        (["--home", "there"], [], {}, {"CLOUDOPS_HOME": "{work}/there"}),
        (
            ["--dotenv", "my.env"],
            [],
            {},
            {
                "CLOUDOPS_BACKEND": "subprocess",
                "CLOUDOPS_ISOLATION": "task",
                "CLOUDOPS_REGISTRY": "none",
            },
        ),
    ],
)
def test_settings_reach_the_script(workdir, monkeypatch, before, after, environment, expected):
    """Options beat the environment, which beats `.env`; the backend is always set."""
    (workdir / "my.env").write_text(
        "CLOUDOPS_BACKEND=subprocess\nCLOUDOPS_ISOLATION=task\nCLOUDOPS_REGISTRY=none\n"
    )
    (workdir / "s.py").write_text(SHOW)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = cloudops(*before, "run", *after, "s.py")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for name, value in expected.items():
        assert found.get(name) == (value and value.format(work=workdir))


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("pass", 0),
        ("raise SystemExit(9)", 9),
        ("1 / 0", 1),
        ("import os; os.kill(os.getpid(), 9)", 137),
        ("import os; os.kill(os.getpid(), 2)", -2),
        ("import os; os.kill(os.getpid(), 15)", 143),
        ("import sys; sys.exit(130)", 130),
    ],
)
def test_exit_status_is_the_scripts(workdir, code, status):
    """Without tasks the exit status is the script's; 128 and the signal's number after one. After a
    SIGINT it is a SIGINT, so that a shell stops as well."""
    (workdir / "s.py").write_text(code)
    done = cloudops("run", "s.py")
    assert done.returncode == status
    assert "cfa/cloudops/cli" not in done.stderr, "the traceback is the script's alone"


REPORTS = f"""
import os, sys
with open(os.environ["{REPORT_VARIABLE}"], "a") as file:
    file.write(sys.argv[1])
sys.exit(int(sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("lines", "own", "status"),
    [
        ([(0, 0, 0)], 0, 0),
        ([(0, 0, 0), (2, 0, 0)], 0, 1),
        ([(0, 1, 0)], 0, 1),
        ([(1, 0, 130)], 0, 130),
        ([(0, 0, 6)], 0, 6),
        ([(2, 0, 0)], 4, 4),
    ],
)
def test_failed_tasks_are_not_success(workdir, lines, own, status):
    """A script that ends well with tasks that failed or never ran has status 1; its own wins."""
    (workdir / "s.py").write_text(REPORTS)
    text = "".join(
        json.dumps({"failed": failed, "unrun": unrun, "status": wrong}) + "\n"
        for failed, unrun, wrong in lines
    )
    assert cloudops("run", "s.py", text, str(own)).returncode == status
    assert not list(Path(tempfile.gettempdir()).glob("cloudops-run-*")), "a report is left"


WAITS = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(21))
signal.signal(signal.SIGINT, lambda *_: sys.exit(22))
print("ready", flush=True)
while True:
    time.sleep(0.05)  # not pause: a signal that comes just before it is no end of it
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 21), (signal.SIGINT, 22)])
def test_signals_are_for_the_script(workdir, number, status):
    """Who ends `cloudops run` ends the script, which may do it in its own way."""
    (workdir / "s.py").write_text(WAITS)
    with subprocess.Popen(
        [*PROGRAM, "run", "s.py"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(30) == status


# --- what a client reports


@pytest.fixture
def farewell(workdir, monkeypatch):
    """Makes farewells that report into a file; they are cancelled, and so report, by `end`."""
    report = workdir / "cloudops-run-report"
    report.touch()
    monkeypatch.setenv(REPORT_VARIABLE, str(report))
    made = []

    def make(batch):
        made.append(Farewell(batch, "wait"))
        return made[-1]

    yield make, lambda: [json.loads(line) for line in report.read_text().splitlines()]
    report.unlink()
    for one in made:
        one.cancel()


@pytest.mark.parametrize(
    ("jobs", "tasks", "expected"),
    [
        ([job(JobState.COMPLETED, succeeded=1, failed=1)], [GOOD, BAD], (1, 0)),
        ([job(JobState.COMPLETED, succeeded=1, active=1)], [GOOD, NEVER], (0, 1)),
        ([job(JobState.COMPLETED, failed=1, active=1)], [BAD, NEVER], (1, 1)),
        ([job(failed=1, active=1)], [BAD, NEVER], (1, 0)),
        ([job(JobState.COMPLETED, succeeded=1)], [GOOD], (0, 0)),
        ([], [], (0, 0)),
    ],
)
def test_report(farewell, jobs, tasks, expected):
    """A client reports how many of its own tasks failed, and how many will never run."""
    make, reports = farewell
    one = make(FakeBatch(*jobs, tasks=[*tasks, task("others", TaskResult.FAILURE)]))
    one.expect("j", ["a", "b", "c"])
    one.cancel()
    assert reports() == [{"failed": expected[0], "unrun": expected[1], "status": 0}]


def test_report_of_what_was_seen_already(farewell):
    """Tasks whose end the script has watched count in the report, though nothing is shown."""
    make, reports = farewell
    one = make(FakeBatch(job(JobState.COMPLETED, failed=1), tasks=[BAD]))
    one.expect("j", ["b"])
    one.forget("j")
    one.cancel()
    assert reports() == [{"failed": 1, "unrun": 0, "status": 0}]


def test_report_of_an_error(farewell, monkeypatch):
    """A report that cannot be made says so by the error's status."""
    make, reports = farewell
    batch = FakeBatch()
    one = make(batch)
    one.expect("j", ["b"])

    def fail(job_id):
        raise AgentError("gone")

    monkeypatch.setattr(batch, "get_job", fail)
    one.cancel()
    assert reports() == [{"failed": 0, "unrun": 0, "status": AgentError.exit_status}]


def test_no_report_where_nobody_asks(farewell, workdir):
    """Without the variable, or when its file is gone, nothing is written."""
    make, _ = farewell
    os.environ[REPORT_VARIABLE] = str(workdir / "gone")
    one = make(FakeBatch(job(JobState.COMPLETED, failed=1), tasks=[BAD]))
    one.expect("j", ["b"])
    one.cancel()
    assert not (workdir / "gone").exists()


# --- monitor


@pytest.mark.parametrize(
    ("jobs", "status"),
    [
        ([job(active=1), job(running=1), job(JobState.COMPLETED, succeeded=1)], 0),
        ([job(active=2), job(JobState.COMPLETED, succeeded=1, failed=1)], 1),
        ([job(active=2), job(JobState.COMPLETED, succeeded=1, active=1)], 1),
        ([job()], 0),
    ],
)
def test_monitor_tells_the_truth(capsys, jobs, status):
    """`job monitor` is 0 only when every task succeeded; it tells of each failure once."""
    events = [event(1, "running", "b"), evolve(event(2, "completed", "b"), detail="failure")]
    batch = FakeBatch(*jobs, tasks=[GOOD, BAD], events=events[: 2 * jobs[-1].counts.failed])
    assert monitor.follow(batch, "j", None) == status
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1].startswith("j ")
    assert (shown.out + shown.err).count("It ended with exit code 3.") == jobs[-1].counts.failed


def test_monitor_shows_little_elsewhere(capsys):
    """Without a terminal a line is printed when it says something new, not at every look."""
    batch = FakeBatch(
        *[job(active=9 - n, succeeded=n) for n in range(9)], job(JobState.COMPLETED, succeeded=9)
    )
    assert monitor.follow(batch, "j", None) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["0.0 s: tasks 9: 9 waiting", "j completed; tasks 9: 9 succeeded"]


def test_monitor_shows_why_nothing_runs(capsys):
    """What keeps a job from running is shown."""
    stuck = evolve(job(active=1), problem="The pool 'p' does not exist.")
    assert monitor.follow(FakeBatch(stuck, job(JobState.COMPLETED, succeeded=1)), "j", None) == 0
    assert "The pool 'p' does not exist." in capsys.readouterr().out


def test_monitor_has_a_time_limit():
    """When the time is over an error with status 7 says how far the job is."""
    with pytest.raises(WaitTimeoutError, match="1 waiting") as caught:
        monitor.follow(FakeBatch(job(active=1)), "j", 0.0)
    assert caught.value.exit_status == 7


# --- output


def event(number, what, identifier="a"):
    return Event(number=number, time=NOW, task_id=identifier, what=what, detail="")


FILES = {("a", "stdout.txt"): b"out\nrest", ("a", "stderr.txt"): b"err\n"}


def test_logs_of_a_task_that_was_tried_twice(capsys):
    """What is left of a task's output is shown once, however often it was tried."""
    events = [event(n, what) for n, what in enumerate(["running", "retry", "running"], 1)]
    events.append(event(4, "completed"))
    batch = FakeBatch(job(failed=1), tasks=[GOOD], events=events, files=FILES)
    logs.show(batch, "j", [], ["stdout.txt", "stderr.txt"], wait=False)
    shown = capsys.readouterr()
    assert shown.out == "a | out\na | rest\n"
    assert shown.err == "a | err\n"


@pytest.mark.parametrize("stream", ["stdout.txt", "stderr.txt"])
def test_logs_of_one_stream(capsys, stream):
    """One stream alone goes to standard output; the lines of one task have no prefix."""
    batch = FakeBatch(job(running=1), tasks=[GOOD], events=[event(1, "running")], files=FILES)
    logs.show(batch, "j", ["a"], [stream], wait=False)
    expected = "out\nrest\n" if stream == "stdout.txt" else "err\n"
    assert capsys.readouterr() == (expected, "")


def test_logs_follow(capsys):
    """Following ends when the tasks are completed, also when the job goes on."""
    batch = FakeBatch(
        job(running=2),
        job(running=1, succeeded=1),
        tasks=[GOOD, NEVER],
        events=[event(1, "running"), event(2, "running", "c")],
        files=FILES,
    )

    def wait(timeout_s):
        batch.events.append(event(3, "completed"))
        batch.files["a", "stdout.txt"] += b" and more\n"

    batch.wait_for_change = wait
    logs.show(batch, "j", ["a"], ["stdout.txt"], wait=True)
    assert capsys.readouterr().out == "out\nrest and more\n"


@pytest.mark.parametrize(
    ("last", "named", "follows", "status"),
    [
        (job(succeeded=1), [], True, 0),
        (job(succeeded=1, failed=1), [], True, 1),
        (job(JobState.COMPLETED, succeeded=1, active=1), [], True, 1),
        (job(succeeded=1, failed=1), ["a"], True, 0),
        (job(succeeded=1, failed=1), ["a", "b"], True, 1),
        (job(succeeded=1, failed=1), [], False, 0),
    ],
)
def test_logs_follow_tells_the_truth(last, named, follows, status):
    """Following is 0 only when every task that was asked for succeeded; just showing always is."""
    batch = FakeBatch(last, tasks=[GOOD, BAD], files=FILES)
    assert logs.show(batch, "j", named, ["stdout.txt"], wait=follows) == status


def test_view_shows_the_last_try_of_a_task_it_follows():
    """Between two looks a retry shows the rest of the try before it."""
    out = io.StringIO()
    batch = FakeBatch(job(running=1), events=[event(1, "running")], files=FILES)
    view = OutputView(batch, out=out, err=io.StringIO())
    view.look("j")
    batch.events.append(event(2, "retry"))
    view.look("j")
    batch.events += [event(3, "running"), event(4, "completed")]
    view.look("j")
    assert out.getvalue() == "a | out\na | rest\n" * 2


@pytest.mark.timeout(20)
def test_view_shows_a_line_of_any_length(monkeypatch):
    """A line that comes in many pieces is put together once, in time that grows with its length."""
    monkeypatch.setattr(view_module, "_CHUNK", 256)
    text = b"first\n" + b"x" * 10_000_000 + b"\nlast"
    out = io.StringIO()
    batch = FakeBatch(
        job(succeeded=1), events=[event(1, "completed")], files={("a", "stdout.txt"): text}
    )
    OutputView(batch, out=out, err=io.StringIO(), prefix=False).look("j")
    assert out.getvalue() == text.decode() + "\n"


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 1 << 16, (1 << 16) + 1, 3_000_001])
def test_last_lines(size):
    """The last lines of what a task wrote are found however long it is, and are only shown."""
    data = b"x" * size + b"\nfirst\n50 %\rsecond\n\x1b[31mthird\n"
    batch = FakeBatch(files={("a", "stderr.txt"): data})
    found = last_lines(partial(batch.read_task_file, "j", "a", "stderr.txt"), 3, 1 << 12)
    assert [written.shown(line) for line in found] == ["first", "second", "third"]
    assert last_lines(partial(batch.read_task_file, "j", "b", "stderr.txt"), 3, 1 << 12) == []


def test_prefixes_have_one_width(capsys):
    """Prefixes have the width of the longest id, also of numbered tasks that are still to run."""
    events = [
        event(1, "running", "j--1"),
        event(2, "running", "j-long-2"),
        event(3, "running", "x"),
    ]
    files = {(name, "stdout.txt"): b"said\n" for name in ("j--1", "j-long-2", "x")}
    OutputView(FakeBatch(events=events, files=files)).look("j", 100)
    assert capsys.readouterr().out == "j--1       | said\nj-long-2   | said\nx          | said\n"


def test_prefixes_of_several_jobs(capsys):
    """Where several jobs are looked at, prefixes name the job that an id does not begin with."""
    files = {(name, "stdout.txt"): b"said\n" for name in ("a--1", "a-b--1", "x")}
    batch = FakeBatch(
        events=[event(n, "running", one[0]) for n, one in enumerate(files, 1)], files=files
    )
    for jobs in ((), ("a-b",)):
        OutputView(batch, jobs=jobs).look("a-b")
        assert capsys.readouterr().out == "a--1   | said\na-b--1 | said\nx      | said\n"
    OutputView(batch, jobs=("a", "a-b")).look("a-b")
    assert capsys.readouterr().out == "a-b/a--1 | said\na-b--1   | said\na-b/x    | said\n"
    OutputView(batch, jobs=("a", "a-b")).look("a")
    assert capsys.readouterr().out == "a--1     | said\na/a-b--1 | said\na/x      | said\n"


@pytest.mark.parametrize("streams", [STREAMS, ()])
def test_begun_lines(streams):
    """The line that a task has not ended is that of the stream it wrote to last, if there is one."""
    files = {("a", "stdout.txt"): b"1\nasks? ", ("a", "stderr.txt"): b"10 %\r20 %\r"}
    batch = FakeBatch(events=[event(1, "running")], files=files)
    view = OutputView(batch, out=io.StringIO(), err=Terminal(), streams=streams)
    view.look("j")
    assert view.begun("j", "a") == "20 %"
    batch.files["a", "stderr.txt"] += b"\n"
    view.look("j")
    assert view.begun("j", "a") == "asks?"
    batch.files["a", "stderr.txt"] += b"\x1b[31m30"
    view.look("j")
    assert view.begun("j", "a") == "30"
    assert view.begun("j", "b") == ""


class Terminal(io.StringIO):
    def isatty(self):
        return True
