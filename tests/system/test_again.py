"""A script is edited and run again: what becomes of the job of the run before."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from attrs import evolve

from cfa.cloudops.errors import AmbiguousCallError, InvalidInputError, JobExistsError
from cfa.cloudops.local import CloudClient
from cfa.cloudops.model.values import TaskCounts

ONE = pytest.mark.parametrize("backend", ["subprocess-nosandbox"], indirect=True)
UP = "sh -c 'echo up; until [ -e gate ]; do sleep 0.05; done'"
SCRIPT = """\
from cfa.cloudops.local import CloudClient
client = CloudClient()
client.create_pool("p", mounts=["data"], container_image_name="busybox")
client.create_job("j", "p")
client.add_task("j", "echo said")
"""

pytestmark = ONE


@pytest.fixture(autouse=True)
def no_warnings(monkeypatch):
    """That there is no sandbox is tested elsewhere."""
    monkeypatch.setenv("LOG_LEVEL", "error")


def outcome(bench, job="j"):
    """Ids and results of a job's tasks, in a client of its own."""
    return {name: str(task.result) for name, task in bench.finished(bench.client(), job).items()}


@pytest.mark.promise(
    "create_job",
    "What becomes of a job of this name can be chosen for a whole script.",
    local="`existing_job`, or `CLOUDOPS_EXISTING_JOB`: `error`, `resume`, `replace`, `force-replace`",
    cloud="`exist_ok` only",
    difference="`CloudClient(existing_job=...)` is ignored by the cloud's client",
)
@pytest.mark.parametrize("way", ["argument", "client", "environment"])
def test_replace(bench, monkeypatch, way):
    """`replace` deletes the job of an earlier run with its tasks and makes it anew."""
    first = bench.ready(task_retries=3)
    first.add_task("j", "true")
    first.add_task("j", "true")
    bench.finished(first)
    if way == "environment":
        monkeypatch.setenv("CLOUDOPS_EXISTING_JOB", "replace")
    client = bench.client(existing_job="replace") if way == "client" else bench.client()
    client.create_job("j", "p", existing_job="replace" if way == "argument" else None)
    assert client._batch.get_job("j").spec.max_task_retries == 0
    assert client.add_task("j", "false") == "j--1"
    assert outcome(bench) == {"j--1": "failure"}


def test_resume(bench, monkeypatch):
    """`resume` goes on with the job of an earlier run, as it is."""
    first = bench.ready(task_retries=3)
    first.add_task("j", "true")
    monkeypatch.setenv("CLOUDOPS_EXISTING_JOB", "resume")
    client = bench.client()
    client.create_job("j", "p")
    assert client.add_task("j", "true") == "j--2"
    assert client._batch.get_job("j").spec.max_task_retries == 3
    assert outcome(bench) == {"j--1": "success", "j--2": "success"}


def test_the_script_wins(bench, monkeypatch):
    """What the script says of a job wins over the setting."""
    first = bench.ready()
    first.add_task("j", "true")
    monkeypatch.setenv("CLOUDOPS_EXISTING_JOB", "replace")
    client = bench.client()
    client.create_job("j", "p", exist_ok=True)
    assert client.add_task("j", "true") == "j--2"
    with pytest.raises(JobExistsError):
        bench.client().create_job("j", "p", existing_job="error")


def test_replace_is_about_earlier_runs(bench):
    """The setting `replace` spares a job that the same client made: making it twice is a mistake."""
    client = bench.client(existing_job="replace")
    client.create_pool("p", container_image_name=bench.image)
    client.create_job("j", "p")
    client.add_task("j", "true")
    with pytest.raises(JobExistsError):
        client.create_job("J", "p")
    assert outcome(bench) == {"j--1": "success"}
    client.create_job("j", "p", existing_job="replace")
    assert client._batch.task_counts("j").total == 0


@pytest.mark.promise(
    "create_job",
    "`replace` refuses a job whose tasks run or are about to.",
    local="`JobExistsError`; `force-replace` ends them",
    cloud="there is no such choice",
    difference="ours only",
)
def test_replace_refuses_what_runs(bench):
    """`replace` leaves a job alone whose tasks run; `force-replace` ends them."""
    first = bench.ready()
    first.add_task("j", UP)
    bench.running(first, "j--1")
    client = bench.client()
    with pytest.raises(JobExistsError, match="1 running") as caught:
        client.create_job("j", "p", existing_job="replace")
    assert "cloudops job terminate j" in str(caught.value)
    assert "existing_job='force-replace'" in str(caught.value)
    assert "CLOUDOPS_EXISTING_JOB" not in str(caught.value)  # the call wins over it
    assert "cloudops run" not in str(caught.value)  # which would start the tests
    assert client._batch.task_counts("j").running == 1
    client.create_job("j", "p", existing_job="force-replace")
    assert client._batch.task_counts("j").total == 0


def test_replace_after_terminate(bench):
    """A job that was ended is replaced, whatever was left of it."""
    first = bench.ready()
    first.add_task("j", UP)
    first.add_task("j", "true", depends_on="j--1")
    bench.running(first, "j--1")
    first._batch.terminate_job("j")
    client = bench.client()
    client.create_job("j", "p", existing_job="replace")
    assert client._batch.task_counts("j").total == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"pool_name": "nowhere"}, ValueError),
        ({"pool_name": "p", "task_retries": -5}, InvalidInputError),
        ({"pool_name": "p", "save_logs_to_blob": "nowhere"}, ValueError),
    ],
)
def test_bad_arguments_delete_nothing(bench, arguments, error):
    """A call that can never work leaves the old job as it was."""
    first = bench.ready()
    first.add_task("j", "true")
    bench.finished(first)
    with pytest.raises(error):
        bench.client().create_job("j", existing_job="replace", **arguments)
    assert outcome(bench) == {"j--1": "success"}


def test_bad_choices(bench):
    """A word that is no choice, and two choices at once, are refused."""
    client = bench.ready()
    with pytest.raises(InvalidInputError, match="error, resume, replace, force-replace"):
        client.create_job("j", "p", existing_job="keep")
    with pytest.raises(AmbiguousCallError, match="exist_ok"):
        client.create_job("j", "p", exist_ok=True, existing_job="replace")
    client.create_job("j", "p", exist_ok=True, existing_job="resume")


def cloudops(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "cfa.cloudops.cli", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_message_names_the_command(bench):
    """A second run says by which command the script runs afresh, and that command works."""
    (bench.place / "data").mkdir()
    assert bench.run(SCRIPT)[0] == 0
    status, out, err = bench.run(SCRIPT)
    assert (status, out) == (1, "")
    assert re.search(r"cloudops run --fresh \S+/script\.py", err)
    assert "CLOUDOPS_EXISTING_JOB=resume" in err
    assert "existing_job='replace'" in err
    status, out, err = cloudops("run", "--fresh", "script.py")
    assert (status, out) == (0, "j--1 | said\n"), err


def test_arguments_are_for_the_script(bench):
    """Tasks do not see the arguments of their script, which may be secret."""
    (bench.place / "data").mkdir()
    (bench.place / "script.py").write_text(SCRIPT.replace("echo said", "env"))
    status, out, err = cloudops("run", "script.py", "--token", "hush")
    assert status == 0, err
    assert "AZ_BATCH_JOB_ID=j" in out
    assert "hush" not in out
    _, _, err = cloudops("run", "script.py", "--token", "hush")
    assert "cloudops run --fresh script.py --token hush, or" in err


def test_fresh_and_force(bench):
    """`--fresh` refuses a job whose tasks run; `--force` ends them, and needs `--fresh`."""
    first = bench.ready()
    first.add_task("j", UP)
    bench.running(first, "j--1")
    (bench.place / "data").mkdir()
    (bench.place / "script.py").write_text(SCRIPT)
    status, _, err = cloudops("run", "--fresh", "script.py", "my data")
    assert status == 1
    assert "1 running" in err
    assert "cloudops run --fresh --force script.py 'my data'. In the script: existing_job=" in err
    status, _, err = cloudops("run", "--force", "script.py")
    assert status == 2
    assert "--fresh" in err
    status, out, err = cloudops("run", "--fresh", "--force", "script.py")
    assert (status, out) == (0, "j--1 | said\n"), err


@pytest.mark.promise(
    "add_task",
    "A job that its script could not fill does not stand in the way of the next run.",
    local="a job that got no task is removed when its script ends with an error",
    cloud="it stays",
    difference="here the script can be run again",
)
@pytest.mark.parametrize(
    "script",
    [
        SCRIPT,
        SCRIPT.replace('client.add_task("j", "echo said")', "1 / 0"),
        SCRIPT.replace(
            'client.add_task("j", "echo said")',
            "import sys\n"
            "try:\n"
            '    client.add_task("j", "echo said")\n'
            "except ValueError as error:\n"
            "    sys.exit(str(error))\n",
        ),
        SCRIPT.replace('client.add_task("j", "echo said")', "import sys; sys.exit('no data')"),
        pytest.param(
            SCRIPT.replace('client.add_task("j", "echo said")', "raise SystemExit('no data')"),
            marks=pytest.mark.skipif(
                sys.version_info < (3, 12), reason="Python cannot tell what SystemExit says"
            ),
        ),
    ],
    ids=["add_task", "elsewhere", "caught", "sys.exit", "SystemExit"],
)
def test_a_failed_addition_is_no_trap(bench, script):
    """A script that could add no task leaves no job behind: mend what it says and run it again."""
    status, _, err = bench.run(script)
    assert status == 1
    assert "the job j, which has no tasks, was removed" in err
    assert bench.client().check_job_status("j") == "does not exist"
    (bench.place / "data").mkdir()
    assert bench.run(SCRIPT)[:2] == (0, "j--1 | said\n")


@pytest.mark.parametrize("more", ["", "import sys; sys.exit(0)", "import sys; sys.exit()"])
def test_an_empty_job_stays(bench, more):
    """A script that ends well may leave its job to one that adds the tasks."""
    (bench.place / "data").mkdir()
    status, _, err = bench.run(SCRIPT.replace('client.add_task("j", "echo said")', more))
    assert (status, err) == (0, "")
    assert bench.client().check_job_status("j") == "active"


def test_a_job_with_tasks_stays(bench):
    """A script that fails after it has added tasks says how to run it again afresh."""
    (bench.place / "data").mkdir()
    status, out, err = bench.run(SCRIPT + "raise RuntimeError('mine')\n")
    assert (status, out) == (1, "j--1 | said\n")
    assert re.search(r"the job j stays\. .* afresh: cloudops run --fresh \S+/script\.py\n", err)
    status, _, err = bench.run(
        SCRIPT + "raise RuntimeError('mine')\n", CLOUDOPS_EXISTING_JOB="replace"
    )
    assert status == 1
    assert "afresh" not in err


def test_an_empty_job_is_kept_by_who_wants_it(bench):
    """A script that makes a job for others, and ends well, leaves it."""
    made = SCRIPT.replace('client.add_task("j", "echo said")', "")
    assert bench.run(made)[0] == 0
    assert bench.client().check_job_status("j") == "active"


def test_a_rehearsal_that_ended_early_is_no_all_clear(bench):
    """A rehearsal whose script dies at the job of its first run says that it did not see the rest."""
    (bench.place / "data").mkdir()
    (bench.place / "script.py").write_text(SCRIPT)
    assert "ended early" not in cloudops("run", "--strict", "script.py")[2]
    status, _, err = cloudops("run", "--strict", "script.py")
    assert status == 1
    assert "JobExistsError" in err
    assert "The script ended early: what it did not reach was not looked at." in err
    assert "ended early" in bench.run(SCRIPT, CLOUDOPS_STRICT="1")[2]


def test_an_interrupted_run(bench):
    """Ctrl-C before there was a task leaves no job; after that the tasks go on, as is said."""
    (bench.place / "data").mkdir()
    wait = "import time\nprint('ready', flush=True)\ntime.sleep(60)\n"
    for text, there in (
        (SCRIPT.replace('client.add_task("j", "echo said")', wait), "does not exist"),
        (SCRIPT.replace("echo said", "sleep 30") + wait, "active"),
    ):
        process = bench.script(text)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGINT
        assert bench.client().check_job_status("j") == there
        assert ("detached; 1 task of j goes on." in err) == (there == "active")
        assert "afresh" not in err
    bench.client().delete_job("j")


TWO_STEPS = """\
from cfa.cloudops.local import CloudClient

def step(name):
    client = CloudClient(at_exit="detach")
    client.create_pool("p", container_image_name="busybox")
    try:
        client.create_job("j", "p")
    except RuntimeError:
        pass
    client.add_task("j", "true", name_suffix=name)
    client.monitor_job("j")

step("one")
step("two")
"""


def run_fresh(bench, *words):
    return subprocess.run(
        [sys.executable, "-m", "cfa.cloudops.cli", "run", "--fresh", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_fresh_is_about_earlier_runs(bench):
    """What one client of a run has made is not replaced by another one of the same run."""
    (bench.place / "two.py").write_text(TWO_STEPS)
    for _ in range(2):
        done = run_fresh(bench, "two.py")
        assert done.returncode == 0, done.stderr
        assert set(outcome(bench)) == {"j-one-1", "j-two-2"}


def test_fresh_wins_over_exist_ok(bench):
    """A script that goes on with its job begins afresh when a person says so; all of it in one job."""
    text = SCRIPT.replace(', mounts=["data"]', "").replace(
        '("j", "p")', '("j", "p", exist_ok=True)'
    )
    (bench.place / "one.py").write_text(text)
    command = f"{sys.executable} one.py; {sys.executable} one.py"
    for _ in range(2):
        done = run_fresh(bench, "--", "sh", "-c", command)
        assert done.returncode == 0, done.stderr
        assert set(outcome(bench)) == {"j--1", "j--2"}


def test_fresh_wins(bench):
    """`cloudops run --fresh` and `--force` win over what the script says, of its client or its job."""
    (bench.place / "data").mkdir()
    for words in ("exist_ok=True", "existing_job='error'", "existing_job='resume'", "client"):
        text = SCRIPT.replace('("j", "p")', f'("j", "p", {words})')
        if words == "client":
            text = SCRIPT.replace("Client()", "Client(existing_job='error')")
        (bench.place / "one.py").write_text(text)
        for _ in range(2):
            done = run_fresh(bench, "one.py")
            assert done.returncode == 0, done.stderr
            assert set(outcome(bench)) == {"j--1"}
    first = bench.client()
    first.add_task("j", UP)
    bench.running(first, "j--2")
    assert "1 running" in run_fresh(bench, "one.py").stderr
    done = run_fresh(bench, "--force", "one.py")
    assert (done.returncode, done.stdout) == (0, "j--1 | said\n"), done.stderr


def test_force_of_the_script_stays(bench):
    """`--fresh` takes nothing from a script that ends what runs."""
    (bench.place / "data").mkdir()
    for text in (
        SCRIPT.replace('("j", "p")', '("j", "p", existing_job="force-replace")'),
        SCRIPT.replace("Client()", "Client(existing_job='force-replace')"),
    ):
        first = bench.ready()
        bench.running(first, first.add_task("j", UP))
        (bench.place / "one.py").write_text(text)
        done = run_fresh(bench, "one.py")
        assert (done.returncode, done.stdout) == (0, "j--1 | said\n"), done.stderr
        first.delete_job("j")


LOOP = """\
import os
from cfa.cloudops.local import CloudClient
client = None
for rate in ("1", "2"):
    if client is None or os.environ.get("CLIENTS"):
        client = CloudClient(CLIENT)
    client.create_pool("p", container_image_name="busybox")
    client.create_job("j", "pCALL)
    client.add_task("j", f"echo {rate}")
    client.monitor_job("j")
"""


@pytest.mark.promise(
    "create_job",
    "`replace`, as a setting, replaces only what was there before the run.",
    local="a name made twice in a run is an error; `existing_job` in the call replaces",
    cloud="there is no such choice",
    difference="ours only",
)
@pytest.mark.parametrize("clients", ["", "1"], ids=["one client", "several"])
@pytest.mark.parametrize("way", ["client", "environment", "fresh", "run", "nothing"])
def test_a_loop_that_makes_a_job_twice(bench, way, clients):
    """The setting spares what the run itself has made, and the error says what helps then."""
    mine = "existing_job='replace'" if way in ("client", "run") else ""
    (bench.place / "loop.py").write_text(LOOP.replace("CLIENT)", f"{mine})").replace("CALL", '"'))
    words = {"fresh": ["run", "--fresh", "loop.py"], "run": ["run", "loop.py"]}.get(way)
    environment = {"CLIENTS": clients}
    if way == "environment":
        environment["CLOUDOPS_EXISTING_JOB"] = "replace"
    for _ in range(1 if way == "nothing" else 2):
        done = subprocess.run(
            [sys.executable, *(["-m", "cfa.cloudops.cli", *words] if words else ["loop.py"])],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1, done.stdout
        error = done.stderr[done.stderr.index("JobExistsError: ") :].splitlines()[0]
        assert "This run has created it" in error
        assert "existing_job='replace' in this call" in error
        assert "--fresh" not in error
        assert "CLOUDOPS_EXISTING_JOB" not in error
        assert outcome(bench) == {"j--1": "success"}


WORKER = """\
import multiprocessing
from cfa.cloudops.local import CloudClient
def work():
    CloudClient().create_job("j", "p")
if __name__ == "__main__":
    client = CloudClient()
    client.create_pool("p", container_image_name="busybox")
    client.create_job("j", "p")
    client.add_task("j", "echo kept")
    client.monitor_job("j")
    worker = multiprocessing.get_context("START").Process(target=work)
    worker.start()
    worker.join()
"""


@pytest.mark.usefixtures("short_tmp")
@pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
def test_a_worker_that_makes_the_job_of_its_script(bench, monkeypatch, start):
    """A worker process is of the run, too, however it was started: it does not replace the run's job."""
    monkeypatch.setenv("CLOUDOPS_EXISTING_JOB", "replace")
    for _ in range(2):  # the second run replaces the job of the first
        _, _, err = bench.run(WORKER.replace("START", start))
        assert err.count("JobExistsError: ") == 1, err
        assert "This run has created it" in err
        assert outcome(bench) == {"j--1": "success"}


@pytest.mark.parametrize("fresh", [False, True], ids=["python", "fresh"])
def test_a_loop_that_asks_for_it(bench, fresh):
    """A call that says `replace` replaces what the run itself has made."""
    text = LOOP.replace("CLIENT)", ")").replace("CALL", '", existing_job="replace"')
    (bench.place / "loop.py").write_text(text)
    if fresh:
        done = run_fresh(bench, "loop.py")
        assert done.returncode == 0, done.stderr
    else:
        assert bench.run(text)[0] == 0
    assert outcome(bench) == {"j--1": "success"}
    assert bench.client().read_task_output("j", "j--1") == "2\n"


def test_advice_is_about_what_counts(bench):
    """Where the script says `error`, the advice names no variable, which would not count."""
    (bench.place / "data").mkdir()
    assert bench.run(SCRIPT)[0] == 0
    for text, ways in (
        (SCRIPT.replace("Client()", "Client(existing_job='error')"), "exist_ok=True"),
        (SCRIPT.replace('"p")', '"p", existing_job="error")'), "existing_job='resume'"),
    ):
        _, _, err = bench.run(text)
        error = err[err.index("JobExistsError: ") :].splitlines()[0]
        assert "cloudops run --fresh " in error
        assert "CLOUDOPS_EXISTING_JOB" not in error
        assert error.endswith(f"In the script: existing_job='replace' or {ways}.")


def test_a_left_behind_shell_is_not_fresh(bench, monkeypatch):
    """What outlives its `cloudops run --fresh` replaces nothing."""
    bench.ready().add_task("j", "true")
    monkeypatch.setenv("CLOUDOPS_RUN_REPORT", str(bench.place / "gone"))
    monkeypatch.setenv("CLOUDOPS_RUN_FRESH", "replace")
    with pytest.raises(JobExistsError):
        bench.client().create_job("j", "p")


def test_a_run_keeps_exist_ok(bench):
    """Only `--fresh` wins over `exist_ok`, not a client's setting below a plain `cloudops run`."""
    (bench.place / "data").mkdir()
    (bench.place / "one.py").write_text(
        SCRIPT.replace("Client()", "Client(existing_job='replace')").replace(
            '"p")', '"p", exist_ok=True)'
        )
    )
    for ids in ({"j--1"}, {"j--1", "j--2"}):
        assert cloudops("run", "one.py")[0] == 0
        assert set(outcome(bench)) == ids


def test_a_pull_is_no_problem(bench, monkeypatch):
    """A job whose image is being pulled is about to run: `replace` refuses."""
    client = bench.ready()
    get_job = client._batch.get_job

    def pulling(job_id):
        job = get_job(job_id)
        return evolve(job, problem="It pulls.", pulling="x", counts=TaskCounts(active=1))

    monkeypatch.setattr(client._batch, "get_job", pulling)
    with pytest.raises(JobExistsError, match="1 waiting"):
        client.create_job("j", "p", existing_job="replace")


def test_a_shared_job_stays(bench):
    """A job that is made with `exist_ok` may be another script's as well: nobody removes it."""
    bench.ready().close()
    text = "client.create_job('s', 'p', exist_ok=True)\nraise SystemError\n"
    head = "from cfa.cloudops.local import CloudClient\nclient = CloudClient()\n"
    (bench.place / "bad.py").write_text(head + text)
    done = subprocess.run([sys.executable, "bad.py"], capture_output=True, text=True, check=False)
    assert "SystemError" in done.stderr
    assert bench.client().check_job_status("s") == "active"


def test_a_run_is_nothing_to_tasks(bench):
    """Tasks have neither the variables of a run nor its scripts on their PATH."""
    text = SCRIPT.replace(', mounts=["data"]', "").replace(
        '"echo said"', "\"sh -c 'env; command -v create_job; true'\""
    )
    (bench.place / "one.py").write_text(text)
    done = run_fresh(bench, "one.py")
    assert done.returncode == 0, done.stderr
    assert "AZ_BATCH_TASK_ID" in done.stdout
    assert "CLOUDOPS_RUN" not in done.stdout
    assert "create_job" not in done.stdout


def test_who_stops_waiting_ends(bench):
    """A script whose `monitor_job` waited long enough does not wait again at its end."""
    text = SCRIPT.replace(', mounts=["data"]', "").replace('"echo said"', '"sleep 30"')
    (bench.place / "late.py").write_text(f"{text}client.monitor_job('j', timeout=0.02)\n")
    began = time.monotonic()
    done = subprocess.run([sys.executable, "late.py"], capture_output=True, text=True, check=False)
    assert time.monotonic() - began < 15
    assert "WaitTimeoutError" in done.stderr
    assert "1 task of j goes on" in done.stderr
    assert done.returncode == 1
    bench.client().delete_job("j")


def test_numbers_are_not_used_again(bench):
    """What was deleted leaves its number to nobody: what still knows a number means the same row."""
    client = bench.ready()
    jobs, tasks = [], []
    for _ in range(3):
        client.create_job("j", "p", existing_job="replace")
        client.add_task("j", "true")
        client.add_task("j", "true")
        bench.finished(client)
        client._batch.delete_task("j", "j--2")
        client.add_task("j", "true")
        bench.finished(client)
        jobs += client._batch._store.rows("SELECT number FROM job")
        tasks += client._batch._store.rows("SELECT number FROM task")
    assert jobs == [(2,), (3,), (4,)]
    assert tasks == [(1,), (3,), (4,), (6,), (7,), (9,)]


def test_deletions_beside_additions(bench):
    """A job is deleted though another one is made at once."""
    bench.ready().delete_job("j")

    def again(name):
        with contextlib.closing(CloudClient(at_exit="detach")) as client:
            for _ in range(8):
                client.create_job(name, "p", existing_job="replace")

    with ThreadPoolExecutor(3) as threads:
        for done in [threads.submit(again, f"j{number}") for number in range(3)]:
            done.result(60)
