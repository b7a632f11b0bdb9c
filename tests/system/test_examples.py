"""The examples: each runs alone in a copy of its directory, on every backend, and shows what it says."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from cfa.cloudops.model.values import TaskResult

EXAMPLES = Path(__file__).parents[2] / "examples"
LIMIT_S = 100


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, python_image: str) -> None:
    """Examples name the image of `python_image` themselves; the command line is on PATH."""
    assert python_image == "python:3.10-slim"
    monkeypatch.setenv("LOG_LEVEL", "error")
    monkeypatch.setenv("CLOUDOPS_REGISTRY", "none")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def example(bench):
    """Runs an example in the current directory, a copy of its own; what it printed."""

    def run(name: str, *command: str) -> str:
        shutil.copytree(EXAMPLES / name, bench.place, dirs_exist_ok=True)
        ran = subprocess.run(
            command or (sys.executable, "run.py"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert ran.returncode == 0, f"{ran.stdout}{ran.stderr}\n{bench.describe(bench.client())}"
        assert "Traceback" not in ran.stderr
        return ran.stdout

    return run


def outputs(job: str) -> dict[str, str]:
    """What `monitor_job` saved: text by `<task id>_<stream>`."""
    return {path.stem: path.read_text() for path in Path(f"{job}_output").iterdir()}


def tasks(bench, job: str):
    """The tasks of a job by id, all of them completed."""
    return bench.finished(bench.client(), job)


def in_order(before, after) -> bool:
    """Whether one task ended before another started."""
    return before.ended <= after.started


@pytest.fixture
def built_image(bench) -> Iterator[str]:
    """The image that an example builds; removed afterwards."""
    name = "myregistry.azurecr.io/getting-started:latest"
    yield name
    if bench.containers:
        bench.backend.engine.run("rmi", "--force", name, timeout_s=60)


@pytest.mark.promise(
    "examples/01-getting-started",
    (
        "The walk-through runs to its end: two successes, a greeting line from each task, "
        "nothing left."
    ),
    local="a build only where there are images, no push without a login",
    cloud="the image is pushed first",
    difference="what is pushed",
)
def test_getting_started(example, bench, built_image):
    """The walk-through greets each user in a task of its own and leaves neither job nor pool."""
    shown = example("01-getting-started")
    assert "'success': 2, 'fail': 0" in shown
    assert outputs("getting-started-job") == {
        "getting-started-job--1_stdout": "Hello, Ada!\n",
        "getting-started-job--1_stderr": "",
        "getting-started-job--2_stdout": "Hello, Grace!\n",
        "getting-started-job--2_stderr": "",
    }
    assert (f"Built {built_image}" in shown) == bench.containers
    client = bench.client()
    assert client.check_job_status("getting-started-job") == "does not exist"
    with pytest.raises(ValueError, match="getting-started-pool"):
        client.delete_pool("getting-started-pool")


@pytest.mark.promise(
    "examples/02-fan-out",
    "Tasks of the states run side by side, and the total is made strictly after all of them.",
    local="`<job>_output` has both streams of each task",
)
def test_fan_out(example, bench):
    """The tasks of the states run side by side, and the total is made strictly after all of them."""
    assert "total: 123425864" in example("02-fan-out")
    *states, total = tasks(bench, "population").values()
    assert len(states) == 5
    assert all(in_order(state, total) for state in states)
    saved = outputs("population")
    assert len(saved) == 12
    assert saved["population--1_stdout"] == "CA: 39538223\n"
    assert saved["population--6_stdout"] == "123425864\n"


@pytest.mark.promise(
    "examples/03-graph-from-notebook",
    (
        "Seven tasks run in the order of their graph, which is drawn with the names of the "
        "variables."
    ),
    local="`example_dag.txt`",
)
def test_graph_from_notebook(example, bench):
    """Seven tasks run in the order of the graph, which is drawn with the names of the variables."""
    shown = example("03-graph-from-notebook")
    drawn = Path("example_dag.txt").read_text()
    assert drawn in shown
    for name in ("pull_cases", "pull_deaths", "pull_census", "process", "model_a", "report"):
        assert name in drawn
    steps = {task.command_line.split()[2]: task for task in tasks(bench, "example-dag").values()}
    assert len(steps) == 7
    for task in steps.values():
        assert all(in_order(steps[parent], task) for parent in task.command_line.split()[3:])
    assert Path("input-test/results/report").read_text() == "6"


@pytest.mark.promise(
    "examples/04-graph",
    "Every way to wire tasks gives chains that run in order.",
    local="arrows too",
    cloud="without `>>`",
    difference="arrows are ours only",
)
def test_graph(example, bench):
    """Chains wired in every way that there is run in their order."""
    shown = example("04-graph")
    assert "the task a ran as words--1" in shown
    for job in ("chains", "words"):
        steps = {task.command_line.split()[2]: task for task in tasks(bench, job).values()}
        assert len(steps) == 5
        assert all(task.result is TaskResult.SUCCESS for task in steps.values())
        links = [(task, name) for task in steps.values() for name in task.command_line.split()[3:]]
        assert len(links) == (3 if job == "chains" else 4)
        assert all(in_order(steps[name], task) for task, name in links)


@pytest.mark.promise(
    "examples/05-experiment",
    "A grid of 27 tasks from TOML, its files uploaded before and its logs saved after.",
    local="one call",
    cloud="the first upload needs an existing folder in version 0.8.0",
    difference="a defect of version 0.8.0, not repeated here",
)
def test_experiment(example, bench):
    """A grid of 3 x 3 x 3 runs with the files that were uploaded; its logs are in the container."""
    shown = example("05-experiment")
    assert "'success': 27" in shown
    assert "27 logs" in shown
    commands = [task.command_line for task in tasks(bench, "grid").values()]
    assert commands[0].endswith("vars.py --rate 0.10 --days 7 --place north")
    assert commands[1].endswith("--rate 0.10 --days 7 --place south")
    assert commands[26].endswith("--rate 0.50 --days 28 --place west")
    for name in ("data/population.csv", "input/title.txt", "vars.py"):
        assert Path("input-test/data", name).is_file()
    said = Path("output-test/grid", today(), "grid--1", "stdout.txt").read_text()
    assert said == "cases by exponential growth: rate 0.1 days 7 north -> 2\n"


@pytest.mark.promise(
    "examples/06-parameter-file",
    "Four parameter sets of a YAML file become four tasks.",
    local="from TOML or directly, the same commands",
    cloud="fails in version 0.8.0",
    difference="a defect of version 0.8.0, not repeated here",
)
def test_parameter_file(example, bench):
    """Four parameter sets become four tasks with their arguments, in the order of the file."""
    shown = example("06-parameter-file")
    assert re.findall(r"^direct--\d (.*)$", shown, re.MULTILINE) == [
        "--method|brent|--bounds|[0.0, 1.0]|--check",
        *(f"--method|newton|--start_point|{point}" for point in (0.25, 0.5, 0.75)),
    ]
    direct = [task.command_line for task in tasks(bench, "direct").values()]
    assert [task.command_line for task in tasks(bench, "solvers").values()] == direct


@pytest.mark.promise(
    "examples/07-task-list",
    ("Named tasks of a TOML file run in strict order, the last one although one before it failed."),
    local="`run_dependent_tasks_on_fail` on the one that fails",
)
def test_task_list(example, bench):
    """Named tasks run in strict order, the last one although one before it failed."""
    assert "in this order: first second another_one\n" in example("07-task-list")
    first, second, last = tasks(bench, "steps").values()
    assert in_order(first, second)
    assert in_order(second, last)
    assert [task.exit_code for task in (first, second, last)] == [0, 3, 0]


@pytest.mark.promise(
    "examples/08-local-swap",
    (
        "The script of one changed import sees a folder here as its mounted container, and "
        "shows what its task printed."
    ),
    local='`[("input-test", "data")]` is at `/data`',
    cloud="pairs are dropped silently",
    difference="write a mapping for both worlds",
)
def test_local_swap(example):
    """The script of one changed import shows what its task printed, with a folder here mounted."""
    assert example("08-local-swap") == (
        "example-job--1 | hello from a task\nexample-job--1 | the container is this folder\n"
    )


@pytest.mark.promise(
    "examples/08-local-swap",
    "Not even the import need change.",
    local="`CLOUDOPS_BACKEND=docker`, `podman` or `subprocess`",
    cloud="the same, without the variable",
)
def test_swap_by_variable_alone(example, bench):
    """Not even the import need change: the cloud's runs here with CLOUDOPS_BACKEND set."""
    shutil.copytree(EXAMPLES / "08-local-swap", bench.place, dirs_exist_ok=True)
    text = Path("run.py").read_text()
    Path("cloud.py").write_text(text.replace("cfa.cloudops.local import", "cfa.cloudops import"))
    assert "hello from a task" in example("08-local-swap", sys.executable, "cloud.py")


@pytest.mark.promise(
    "examples/09-logs",
    (
        "Both streams of every task, failed ones included, lie in the container by date and "
        "task, and can be fetched."
    ),
    local="when `monitor_job` returns",
)
def test_logs(example):
    """Both streams of every task, failed ones included, are in the container by date and task."""
    example("09-logs")
    names = [
        f"logs/{today()}/log-job--{task}/{stream}.txt"
        for task in (1, 2)
        for stream in ("stderr", "stdout")
    ]
    for root in ("output-test", "logs-copy"):
        found = {
            path.relative_to(root).as_posix(): path.read_text()
            for path in Path(root).rglob("*.txt")
        }
        assert sorted(found) == names
        assert list(map(found.get, names))[1:3] == ["42\n", "this one fails, twice\n"]


@pytest.mark.promise(
    "examples/10-results",
    "What the job wrote is here when the call returns: a file and a folder.",
    local="files without a dot too",
    cloud="files without a dot are left out",
    difference="a defect of version 0.8.0, not repeated here",
)
def test_results(example):
    """What the job wrote is here when the call returns: a file and a folder."""
    example("10-results")
    out = Path("outputs")
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert found == ["logs/model.log", "logs/no-suffix", "results/output.csv"]
    assert (out / "results/output.csv").read_text().startswith("day,cases\n0,1\n")


@pytest.mark.promise(
    "examples/11-monitoring",
    "Six files of output for three tasks, a table of statistics, and states as JSON.",
    local="with blocking or without",
)
def test_monitoring(example):
    """Three tasks give six files of output, a table of statistics and their states."""
    shown = example("11-monitoring")
    assert "'success': 2, 'fail': 1" in shown
    assert re.findall(r"^watched--\d .*$", shown, re.MULTILINE) == [
        "watched--1 completed 0",
        "watched--2 completed 0",
        "watched--3 completed 5",
    ]
    assert len(outputs("watched")) == 6
    with open("job-stats.csv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="|"))
    assert [(row["task_id"], row["exit_code"]) for row in rows] == [
        ("watched--1", "0"),
        ("watched--2", "0"),
        ("watched--3", "5"),
    ]


@pytest.mark.promise(
    "create_pool",
    "A mapping renames a container for the tasks of a pool.",
    local='`{"source": "model-input", "target": "input"}` is at `/input`',
)
@pytest.mark.promise(
    "examples/12-mounts",
    "Containers are where a pool, and where one task, wants them.",
    local="by name, by mapping, by `mount_pairs`",
    cloud="`source` of `mount_pairs` is the name of the pool's mount",
    difference="use names that agree: mounts and containers",
)
def test_mounts(example):
    """Mounts are where a pool, and where one task, wants them."""
    shown = example("12-mounts")
    assert "model-output ['doubled.txt']\nother-output ['doubled.txt']\n" in shown
    for container in ("model-output", "other-output"):
        assert Path(container, "doubled.txt").read_text() == "2 4 6"


@pytest.mark.promise(
    "examples/13-fixed-pool",
    "Three nodes of two slots run six tasks at the same time.",
    local="on this machine",
    cloud="on three machines",
    difference="`CLOUDOPS_MAX_PARALLEL` must allow it",
)
def test_fixed_pool(example):
    """Three nodes of two slots run six tasks at the same time."""
    assert "'success': 6" in example("13-fixed-pool")
    met = {name: text for name, text in outputs("meeting-job").items() if "stdout" in name}
    assert met == {f"{n}_stdout": f"task-{n - 1} met the others\n" for n in range(1, 7)}


@pytest.mark.promise(
    "add_task_collection",
    "Tasks without an image have the pool's; a job that has tasks takes more.",
    local="numbering goes on",
    cloud="an image is required for each task",
    difference="name the image for the cloud",
)
@pytest.mark.promise(
    "examples/14-many-tasks",
    "Hundreds of tasks are added in one call, and later ones depend on them.",
    local="one step",
    cloud="requests of 100",
    difference="not one step on the cloud",
)
def test_many_tasks(example, bench):
    """Hundreds of tasks are added in one call, and later ones depend on them."""
    shown = example("14-many-tasks")
    assert "added 200 tasks, from many--1 to many--200" in shown
    assert "then many-later-201 many-later-202 many-later-203" in shown
    found = tasks(bench, "many")
    assert len(found) == 203
    assert bench.output(bench.client(), "many--200", "many") == "200\n"
    assert bench.output(bench.client(), "many-later-203", "many") == "after many--3\n"
    assert in_order(found["many--3"], found["many-later-203"])


@pytest.mark.promise(
    "examples/15-schedules",
    "Jobs come by the clock until the schedule is deleted, and none before its time.",
    local="every second, to watch",
    cloud="every minute at most",
    difference="see `create_job_schedule`",
)
def test_schedules(example, bench):
    """Jobs come by the clock until their schedule is deleted, and none before its time."""
    shown = example("15-schedules")
    for number in (1, 2, 3):
        assert f"test-schedule:job-{number} is complete" in shown
    assert "tomorrow:job-1 does not exist" in shown
    client = bench.client()
    for number in (1, 2, 3):
        job = f"test-schedule:job-{number}"
        assert bench.output(client, "test-schedule-job", job) == f"this is {job}\n"
    with pytest.raises(ValueError, match="test-schedule"):
        client.suspend_job_schedule("test-schedule")


@pytest.mark.promise(
    "examples/16-shell",
    "Commands in a row, each a process of its own, mean the same job.",
    local=(
        "`cloudops create_job ...` and so on; ids are printed, `monitor_job` tells of failure"
        " by its status"
    ),
    cloud="each name is a command; numbering begins again in each, and the status is 0",
    difference="`cloudops` before the name",
)
def test_shell(example, bench):
    """Three processes and more work on one job, print its ids and its output, and delete it."""
    shown = example("16-shell", "sh", "run.sh").splitlines()
    assert [line for line in shown if line.startswith("shell-job--")] == [
        "shell-job--1",
        "shell-job--2",
        "shell-job--1 | hello from task one",
        "shell-job--2 | hello from task two",
    ]
    assert bench.client().check_job_status("shell-job") == "does not exist"


@pytest.mark.promise(
    "examples/17-ci",
    (
        "The cloud's login flag is harmless in CI, and the script's status says whether a "
        "task failed."
    ),
    local="nobody logs in",
    cloud="logs in as the CI's own identity",
    difference="no credentials are needed here",
)
def test_ci(example, bench):
    """The cloud's login flag is harmless, and the script's status says whether the task failed."""
    example("17-ci")
    Path("task.py").write_text("raise SystemExit(4)\n")
    bench.client().delete_job("ci-job")
    ran = subprocess.run(
        [sys.executable, "run.py"], capture_output=True, text=True, timeout=LIMIT_S
    )
    assert ran.returncode == 1
    failed = json.loads(ran.stderr.rpartition("failed: ")[2].replace("'", '"'))
    assert failed == [{"id": "ci-job--1", "state": "completed", "exit_code": 4}]


def today() -> str:
    return datetime.now().astimezone().strftime("%Y-%m-%d")


def test_quickstart(bench, monkeypatch):
    """The example of the readme sweeps six rates and reports them, in a directory of its own."""
    monkeypatch.setenv("TMPDIR", str(bench.place))
    ran = subprocess.run(
        [sys.executable, EXAMPLES / "quickstart.py"],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert ran.returncode == 0, ran.stderr
    assert "7 succeeded, 0 failed" in ran.stderr
    assert len(re.findall(r"\| report: 0\.0\d ", ran.stdout)) == 6
    (made,) = bench.place.glob("cloudops-quickstart-*")
    assert len(list((made / "sweep").glob("result-*.txt"))) == 6


@pytest.mark.promise(
    "CloudClient",
    'A script with `existing_job="replace"` is edited and run again in the same directory.',
    local="each example runs twice in a row",
    cloud="a second run meets the jobs of the first",
    difference="delete the jobs on the cloud, or name them anew",
)
@pytest.mark.parametrize("backend", ["subprocess-nosandbox"], indirect=True)
@pytest.mark.parametrize(
    "name", [path.name for path in sorted(EXAMPLES.iterdir()) if path.is_dir()]
)
def test_twice_in_a_row(example, name):
    """Each example runs a second time in the directory of its first run, and ends as well as then."""
    command = ("sh", "run.sh") if (EXAMPLES / name / "run.sh").exists() else ()
    for _ in range(2):
        example(name, *command)
