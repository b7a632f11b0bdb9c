"""Graphs, parameter files and TOML files, as users run them, on every backend."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cfa.cloudops.errors import BlobContainerNotFoundError
from cfa.cloudops.local import Task, run_tasks
from cfa.cloudops.model.values import TaskResult

LIMIT_S = 60


@pytest.mark.promise(
    "run_dag",
    ("A graph runs in its order, siblings side by side; a failure stops only what depends on it."),
    local="ids by task are returned",
    cloud="`None` is returned",
    difference="the result is ours only",
)
def test_graph(bench):
    """A graph runs in its order, siblings without waiting for one another; failure stops only what
    depends on it."""
    client = bench.ready(max_parallel=4)
    pulls = [Task(f"echo {name}") for name in "abc"]
    process = Task("echo process", dep=pulls)
    good, bad = Task("echo good"), Task("false")
    report, never = Task("echo report"), Task("echo never")
    process >> [good, bad]
    good >> report
    never.after([good, bad])
    ids = client.run_dag(never, report, bad, good, process, *pulls, job_name="j")
    assert len(set(ids.values())) == 8
    tasks = bench.finished(client)
    for task in ids:
        for parent in task.deps:
            if tasks[ids[task]].started is not None:
                assert tasks[ids[parent]].ended <= tasks[ids[task]].started
    failed = {ids[bad], ids[never]}
    assert {one.id for one in tasks.values() if one.result is TaskResult.FAILURE} == failed
    assert tasks[ids[never]].started is None
    assert bench.output(client, ids[report]) == "report\n"


@pytest.mark.promise(
    "add_tasks_from_yaml",
    (
        "Each parameter set of a YAML file becomes a task; the ids are returned; keywords are"
        " those of `add_task`."
    ),
    local="a list of ids",
    cloud="`AttributeError` in version 0.8.0; documented is a list of ids",
    difference="a defect of version 0.8.0, not repeated here",
)
def test_parameter_file(bench):
    """Each parameter set becomes a task, and a value with blanks reaches it as one argument."""
    client = bench.ready()
    (bench.place / "p.yaml").write_text(
        "version: v0.3\n"
        "parameters:\n"
        "  method: {vary: [newton, brent]}\n"
        "  bounds: {fix: [0.0, 1.0], if: {equals: {method: brent}}}\n"
        "  check(flag): {fix: x, if: {equals: {method: brent}}}\n"
    )
    command = "sh -c 'for word; do echo \"<$word>\"; done' sh"
    ids = client.add_tasks_from_yaml("j", command, "p.yaml", name_suffix="y", timeout=5)
    assert ids == ["j-y-1", "j-y-2"]
    bench.finished(client)
    assert bench.output(client, ids[0]).split("\n") == [
        "<--method>", "<brent>", "<--bounds>", "<[0.0, 1.0]>", "<--check>", ""
    ]  # fmt: skip
    assert bench.output(client, ids[1]) == "<--method>\n<newton>\n"


SCRIPT = """
from cfa.cloudops.local import CloudClient, run_experiment, run_tasks
client = CloudClient()
client.create_blob_container("input-test")
client.create_pool("p", mounts=["input-test"], container_image_name={image!r})
client.close()
run_experiment("experiment.toml")
run_tasks("tasks.toml", max_parallel=4)
"""
EXPERIMENT = """
[upload]
container_name = "input-test"
location_in_blob = "data"
folders = ["input"]
files = ["show.sh"]

[job]
job_name = "grid"
pool_name = "p"
monitor_job = true

[experiment]
base_cmd = "sh /input-test/data/show.sh {a} {b}"
a = [1, 2]
b = ["x", "y"]
"""
TASKS = """
[job]
job_name = "three tasks"
pool_name = "p"

[[task]]
name = "first"
cmd = "sh -c 'exit 3'"
run_dependent_tasks_on_fail = true

[[task]]
name = "second"
cmd = "echo second"
depends_on = "first"

[[task]]
name = "another_one"
cmd = "echo another"
depends_on = ["first", "second"]
"""


@pytest.mark.promise(
    "run_experiment",
    (
        "One call uploads, makes the job, adds a task for each combination and, with "
        "`monitor_job`, waits."
    ),
    local="files are in place before tasks start",
    cloud="a first upload into a missing folder fails in version 0.8.0",
    difference="a defect of version 0.8.0, not repeated here",
)
@pytest.mark.promise(
    "run_tasks",
    ("`[[task]]` with `name`, `depends_on` and `run_dependent_tasks_on_fail` run in their order."),
    local="`depends_on` may be one text",
)
def test_toml_files(bench):
    """A script of two calls uploads, runs a grid to its end, then a list in strict order, and stays
    for its output."""
    (bench.place / "input").mkdir()
    (bench.place / "input" / "word.txt").write_text("hello\n")
    # Without a sandbox, paths in commands are mapped, those inside of scripts are not.
    root = "" if bench.backend.capabilities.private_paths else str(bench.place)
    (bench.place / "show.sh").write_text(f"cat {root}/input-test/data/input/word.txt\necho $1 $2\n")
    (bench.place / "experiment.toml").write_text(EXPERIMENT)
    (bench.place / "tasks.toml").write_text(TASKS)
    status, out, err = bench.run(SCRIPT.format(image=bench.image))
    assert status == 0, err
    assert "'success': 4" in out
    client = bench.client()
    grid = [f"grid--{number}" for number in range(1, 5)]
    shown = [bench.output(client, task, "grid") for task in grid]
    assert shown == [f"hello\n{a} {b}\n" for a in (1, 2) for b in "xy"]
    first, second, third = bench.finished(client, "threetasks").values()
    assert first.exit_code == 3
    assert first.ended <= second.started
    assert second.ended <= third.started
    assert "threetasks--3 | another" in out


def test_refused_tasks_leave_no_job(bench):
    """When the tasks of a file are refused, the job that was made for them goes, so that the same
    file can be run again."""
    bench.client().create_pool("p", container_image_name=bench.image)
    mounts = '\nmount_pairs = [{source = "absent", target = "t"}]\n'
    (bench.place / "tasks.toml").write_text(TASKS + mounts)
    with pytest.raises(BlobContainerNotFoundError, match="'absent'"):
        run_tasks("tasks.toml")
    assert bench.client().check_job_status("threetasks") == "does not exist"


def test_commands(bench):
    """`run-tasks` waits, and its exit status tells that a task failed; `add-tasks-from-yaml` prints
    ids and does not wait."""
    client = bench.client()
    client.create_pool("p", container_image_name=bench.image)
    (bench.place / "tasks.toml").write_text(TASKS)
    (bench.place / "p.yaml").write_text("schema: v0.4\nexperiment: [{x: 1}, {y: 2}]\n")
    done = cloudops("run-tasks", "tasks.toml")
    assert done.returncode == 1, done.stderr
    assert "added 3 tasks to threetasks" in done.stderr
    assert "'success': 2" in done.stdout
    done = cloudops("add-tasks-from-yaml", "-j", "threetasks", "-c", "echo", "-fp", "p.yaml")
    assert (done.returncode, done.stdout) == (0, "threetasks--4\nthreetasks--5\n"), done.stderr
    bench.finished(client, "threetasks")
    assert bench.output(client, "threetasks--5", "threetasks") == "--y 2\n"
    again = cloudops("run-tasks", "tasks.toml")
    assert again.returncode == 4
    assert "[job] job_name: the job 'three tasks' exists" in again.stderr


def cloudops(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cfa.cloudops.cli", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
