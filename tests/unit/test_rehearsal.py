"""Rehearsal: what a strict client refuses, what it warns of, and the report."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from cfa.cloudops import rehearsal
from cfa.cloudops.errors import JobNotFoundError, StrictError
from cfa.cloudops.local import CloudClient
from cfa.cloudops.model.sizes import GIB
from cfa.cloudops.model.values import (
    Isolation,
    JobSpec,
    Mount,
    PoolSpec,
    TaskSpec,
    Usage,
)
from cfa.cloudops.rehearsal import Finding, Rehearsal, Severity, commands, rules

IMAGE = "docker.io/library/python:3.10-slim"


def ids(found) -> list[str]:
    """Rules of findings, with their severity's first letter."""
    return [f"{one.severity[0]}:{one.rule}" for one in found]


def pool(**values) -> PoolSpec:
    return PoolSpec(**{"id": "p", "backend": "b", "vm_size": "standard_d4ads_v5"} | values)


class Tasks:
    """A service that knows what tasks took."""

    def __init__(self, gib: float | None = None, error: Exception | None = None) -> None:
        peak = None if gib is None else int(gib * GIB)
        self.usage = {"t": Usage(peak_memory_bytes=peak)}
        self.error = error

    def task_usage(self, job_id: str) -> dict[str, Usage]:
        if self.error:
            raise self.error
        return self.usage


@pytest.fixture
def rehearse() -> Iterator[Rehearsal]:
    """A rehearsal whose report is not shown."""
    made = Rehearsal(Tasks(), "/nowhere/report")
    yield made
    made.close()


@pytest.fixture
def strict(workdir, monkeypatch) -> Iterator[CloudClient]:
    """A strict client whose tasks run as plain processes; nothing runs, as the pool has no nodes."""
    monkeypatch.setenv("CLOUDOPS_SUBPROCESS_SANDBOX", "off")
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    made = CloudClient(strict=True, at_exit="detach")
    yield made
    made.close()


# --- rules


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("input-test", []),
        ("abc", []),
        ("a" * 63, []),
        ("ab", ["r:container-name"]),
        ("a" * 64, ["r:container-name"]),
        ("Input", ["r:container-name"]),
        ("in_put", ["r:container-name"]),
        ("in--put", ["r:container-name"]),
        ("-input", ["r:container-name"]),
        ("input-", ["r:container-name"]),
        ("in.put", ["r:container-name"]),
    ],
)
def test_container_names(name, expected):
    """A container's name follows the storage account's rule."""
    assert ids(rules.container_name(name)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a/b.csv", []), ("a.", ["w:blob-name"]), ("a./b", ["w:blob-name"]), ("...a", [])],
)
def test_blob_names(name, expected):
    """No part of a blob's name ends in a dot."""
    assert ids(rules.blob_name(name)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, []),
        ("myregistry.azurecr.io/model:1", []),
        ("docker.io/library/python:3.10-slim", []),
        ("registry:5000/model", []),
        ("python:3.10-slim", ["w:image-registry"]),
        ("rocker/r-ver:4", ["w:image-registry"]),
        ("localhost/model", ["r:image-registry"]),
        ("localhost:5000/model", ["r:image-registry"]),
    ],
)
def test_images(name, expected):
    """An image's name says a registry that nodes reach; Docker Hub's may be meant or not."""
    assert ids(rules.image(name, "The pool p")) == expected


@pytest.mark.parametrize(
    ("values", "mounts", "expected"),
    [
        ({}, None, []),
        ({"mounts": (Mount("input", "data"),)}, [("input", "data")], ["w:mount-form"]),
        ({"mounts": (Mount("input", "data"),)}, [{"source": "input", "target": "data"}], []),
        ({"mounts": (Mount("input", "a/b"),)}, ["input"], ["r:mount-target"]),
        ({"mounts": (Mount("In_put", "data"),)}, ["input"], ["r:container-name"]),
        (
            {"mounts": tuple(Mount(f"input-{n}", f"d{n}") for n in range(11))},
            [],
            ["r:mount-count"],
        ),
        ({"vm_size": "nonsense"}, None, ["w:vm-size"]),
        ({"vm_size": "standard_d3s_v3"}, None, ["w:vm-version"]),
        ({"slots_per_node": 16}, None, []),
        ({"slots_per_node": 17}, None, ["r:task-slots"]),
        ({"slots_per_node": 257, "vm_size": "nonsense"}, None, ["w:vm-size", "r:task-slots"]),
        ({"autoscale_formula": "a = 1;" * 100}, None, []),
        ({"autoscale_formula": "a = 1;" * 101}, None, ["r:autoscale-formula"]),
        ({"autoscale_formula": "a" * 8193}, None, ["r:autoscale-formula"]),
    ],
)
def test_pools(values, mounts, expected):
    """A pool's mounts, size, slots and formula stay within the service's limits."""
    assert ids(rules.pool_rules(pool(**values), mounts)) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((None, None), []),
        ((timedelta(minutes=1), timedelta(minutes=1)), []),
        ((timedelta(seconds=59), None), ["r:schedule-interval"]),
        ((None, timedelta(seconds=5)), ["r:schedule-interval"]),
        ((timedelta(hours=2), timedelta(hours=1)), ["w:schedule-window"]),
    ],
)
def test_intervals(given, expected):
    """A schedule's window and interval have a minute at least."""
    assert ids(rules.intervals("s", *given)) == expected


def test_jobs_and_tasks():
    """Retries, logs, images, mounts and times of jobs and tasks."""
    task = TaskSpec(command_line="true")
    assert ids(rules.retries(JobSpec(id="j", pool_id="p", max_task_retries=-1))) == [
        "w:task-retries"
    ]
    assert ids(rules.retries(JobSpec(id="j", pool_id="p", max_task_retries=3))) == []
    log = JobSpec(id="j", pool_id="p", log_container="Logs_")
    assert ids(rules.log_container(log)) == ["r:container-name"]
    assert ids(rules.task_image(pool(), task)) == ["r:no-image"]
    assert ids(rules.task_image(pool(image=IMAGE), task)) == []
    assert ids(rules.task_image(None, task)) == []
    assert ids(rules.task_mounts(TaskSpec(command_line="true", mounts=(Mount("A_b", "x"),)))) == [
        "r:container-name"
    ]
    assert ids(rules.task_time(TaskSpec(command_line="true", timeout_s=181 * 86400.0))) == [
        "w:task-timeout"
    ]
    assert ids(rules.collection([task] * 100)) == []
    assert ids(rules.collection([task] * 101)) == ["w:collection-size"]
    graph = [task] * 100 + [TaskSpec(command_line="true", depends_on_positions=(0,))]
    assert ids(rules.collection(graph)) == []


# --- commands


@pytest.mark.parametrize(
    "command",
    [
        "python main.py --input /data/x.csv --rate=0.5",
        "sh -c 'cat /data/*.csv | sort > out.txt && echo $HOME'",
        '/bin/bash -lc "cd /x; ls"',
        'python -c \'print("a|b" > "c", [1])\'',
        "curl https://x.org/a?b=1&c=2",
        "Rscript fit.R --formula 'y ~ x' --expr=a>b",
        r"echo \$HOME \* ",
        "grep --regex=a*b file",
        "echo 'not closed",
    ],
)
def test_commands_without_a_shell(command):
    """What is quoted, belongs to a shell's own script or means nothing to one is left alone."""
    assert ids(commands.shell_syntax(command)) == []


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        ("cat a | sort", ["|"]),
        ("make && make install", ["&&"]),
        ("make || true", ["||"]),
        ("echo a > out.txt", [">"]),
        ("echo a >out.txt 2>&1", [">out.txt", "2>&1"]),
        ("prog < in.txt", ["<"]),
        ("a; b", [";"]),
        ("sleep 5 &", ["&"]),
        ("echo $HOME", ["a variable"]),
        ('echo "${HOME}/x"', ["a variable"]),
        ("echo $(date)", ["a variable"]),
        ("echo `date`", ["`"]),
        ("ls *.csv", ["a pattern of file names"]),
        ("ls data/[ab].csv", ["a pattern of file names"]),
        ("ls ~/data", ["~"]),
        ("cd /data", ["cd"]),
        ("A=1 prog", ["A=1"]),
        ("bash script.sh | tee log", ["|"]),
    ],
)
def test_commands_that_need_a_shell(command, keys):
    """Syntax that only a shell understands is found, with a warning that says what happens."""
    found = list(commands.shell_syntax(command))
    assert [one.key for one in found] == keys
    assert all(one.severity is Severity.WARN and "sh -c" in one.do for one in found)


def test_host_paths(workdir, monkeypatch):
    """Files below the current and the home directory are not on nodes, unless mounted."""
    script = workdir / "main.py"
    script.touch()
    mounts = (Mount("input", "data"),)
    assert [one.key for one in commands.host_paths(f"python {script} /data/x", mounts)] == [
        str(script)
    ]
    assert ids(commands.host_paths(f"sh -c 'cat \"{script}\"'", ())) == ["w:host-path"]
    assert ids(commands.host_paths(f"python --file={script}", ())) == ["w:host-path"]
    for command in (
        "python /app/main.py",
        f"python {workdir}/none.py",
        "ls ./a/b https://x.org/home",
        "/usr/bin/env python",
    ):
        assert ids(commands.host_paths(command, ())) == []
    inside = (Mount("input", str(workdir)[1:]),)
    assert ids(commands.host_paths(f"python {script}", inside)) == []
    assert ids(commands.host_paths("cat /" + "x" * 5000, ())) == []


# --- one client


def test_strict_is_a_setting(workdir, monkeypatch):
    """`CLOUDOPS_STRICT` and `strict=` make a rehearsal, with a container a task unless told."""
    plain = CloudClient(backend="subprocess")
    plain.close()
    assert plain.rehearsal is None
    assert plain._settings.isolation is Isolation.JOB
    monkeypatch.setenv("CLOUDOPS_STRICT", "1")
    for isolation, expected in ((None, Isolation.TASK), ("job", Isolation.JOB)):
        made = CloudClient(backend="subprocess", isolation=isolation)
        made.close()
        assert made.rehearsal is not None
        assert made._settings.isolation is expected
    without = CloudClient(backend="subprocess", strict=False)
    without.close()
    assert without.rehearsal is None
    with pytest.raises(ValueError, match="CLOUDOPS_STRICT='maybe'"):
        CloudClient(strict="maybe")


def test_nothing_is_loaded_without_it(workdir):
    """A client that does not rehearse does not even load the rules."""
    code = (
        "import sys; from cfa.cloudops.local import CloudClient; CloudClient(backend='subprocess')"
        ".close(); print([name for name in sys.modules if 'rehearsal' in name])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.promise(
    "CloudClient",
    "`CLOUDOPS_STRICT=1` rehearses: what the cloud would refuse is refused here.",
    local="`ValueError`, nothing is changed, and the report says what would happen on Azure",
    cloud="the same, by the service itself",
)
@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda c: c.create_blob_container("My_Data"), "container-name"),
        (lambda c: c.create_pool("q", mounts=["My_Data"]), "container-name"),
        (lambda c: c.create_pool("q", container_image_name="localhost/x"), "image-registry"),
        (lambda c: c.create_pool("q", task_slots_per_node=99), "task-slots"),
        (lambda c: c.create_job("k", "p", save_logs_to_blob="Logs_"), "container-name"),
        (lambda c: c.add_task("j", "true"), "no-image"),
        (lambda c: c.add_task_collection("j", [{"command_line": "true"}]), "no-image"),
        (
            lambda c: c.create_job_schedule(
                "s", "p", "true", recurrence_interval=timedelta(seconds=2)
            ),
            "schedule-interval",
        ),
    ],
)
def test_refusals(strict, workdir, call, rule):
    """What the cloud refuses raises a ValueError that says so, changes nothing, and is reported."""
    (workdir / "Logs_").mkdir()
    strict.create_pool("p", autoscale=False, low_priority_nodes=0)
    strict.create_job("j", "p")
    with pytest.raises(StrictError, match=r"\w\. \w") as caught:
        call(strict)
    assert isinstance(caught.value, ValueError)
    assert {one.rule for one in strict.rehearsal.findings} - {"memory-limit"} == {rule}
    assert rule in strict.rehearsal.report()
    assert len(strict._batch.list_pools()) == len(strict._batch.list_jobs()) == 1
    assert strict._batch.get_job("j").counts.total == 0
    assert strict._blobs.list_containers() == ["Logs_"]


@pytest.mark.promise(
    "CloudClient",
    "`CLOUDOPS_STRICT=1` tells of what the cloud takes and then does otherwise.",
    local="goes on, warns once, and is in the report",
    cloud="taken silently",
    difference="none of these is said there",
)
def test_warnings(strict, workdir, capsys):
    """What the cloud takes goes on, is logged once, and counted in the report."""
    (workdir / "odd.").touch()
    strict.create_blob_container("input")
    strict.upload_files("odd.", "input")
    strict.async_upload_folder(".", "input", include_extensions="nothing")
    strict.create_pool(
        "p", [("input", "data")], "python:3.10-slim", autoscale=False, low_priority_nodes=0
    )
    strict.create_job("j", "p", task_retries=-1)
    for n in range(3):
        strict.add_task("j", f"echo {n} | sort")
    found = {one.rule: one.count for one in strict.rehearsal.findings}
    assert found == {
        "blob-name": 1, "mount-form": 1, "image-registry": 1, "memory-limit": 1, "task-retries": 1,
        "shell-syntax": 3,
    }  # fmt: skip
    out = capsys.readouterr().out
    assert out.count("On Azure: The command 'echo 0 | sort' has |, but no shell.") == 1
    assert "echo 1" not in out
    assert "(3 times)" in strict.rehearsal.report()
    assert strict._batch.get_job("j").counts.total == 3


def test_memory_of_one_vm(strict):
    """A rehearsal gives a task the memory of one VM at most, however many nodes the pool has."""
    strict.create_pool("p", vm_size="standard_f1s_v2", autoscale=False, low_priority_nodes=2)
    memory = strict._batch.get_pool("p").spec.resources.memory_bytes
    assert memory is None or memory == 2 * GIB


def test_memory_that_is_not_limited(strict):
    """Where nobody limits memory, a pool gives one finding that says so; calling again adds none."""
    for _ in range(2):
        strict.create_pool("p", container_image_name=IMAGE, low_priority_nodes=0, autoscale=False)
    (found,) = strict.rehearsal.findings
    assert (found.rule, found.severity, found.count) == ("memory-limit", Severity.WARN, 2)
    assert "subprocess" in found.what
    assert "16 GiB of standard_d4ads_v5" in found.on_azure
    assert "docker or podman" in found.do


@pytest.mark.parametrize(
    ("limits", "size", "expected"),
    [
        (False, "standard_f1s_v2", ["memory-limit"]),
        (True, "standard_f1s_v2", []),
        (False, "nonsense", ["vm-size"]),
    ],
)
def test_memory_limits(rehearse, limits, size, expected):
    """Backends that enforce limits of memory, and sizes without a known one, give no such finding."""
    rehearse.pool(pool(vm_size=size), None, limits_memory=limits)
    assert [one.rule for one in rehearse.findings if one.rule != "vm-version"] == expected


# --- the report


def test_report_order(rehearse):
    """Refusals come first; the report says how many there are, and what to do about each."""
    rehearse.job(JobSpec(id="j", pool_id="p", max_task_retries=-1))
    with pytest.raises(StrictError):
        rehearse.container("A")
    lines = rehearse.report().splitlines()
    assert lines[0] == "cloudops rehearsal: 1 refused, 1 to look at"
    assert lines[1].startswith("  refuse container-name: 'A'")
    assert lines[2].startswith("    on Azure: ")
    assert lines[3].startswith("    do: ")
    assert lines[4].startswith("  warn task-retries: ")


def test_report_of_nothing():
    """A script without findings hears that."""
    assert "nothing found" in rehearsal.report([])


def test_report_is_shown_once(capsys):
    """Closing shows the report; the end of the script does not show it again."""
    made = Rehearsal(Tasks())
    made.close()
    made.close()
    assert capsys.readouterr().err.count("cloudops rehearsal") == 1


@pytest.mark.parametrize(
    ("size", "used", "expected"),
    [
        ("standard_f1s_v2", 1.9, []),
        ("standard_f1s_v2", 2.0, ["task-memory"]),
        ("standard_f1s_v2", None, []),
        ("nonsense", 99, []),
    ],
)
def test_memory(capsys, size, used, expected):
    """At the end the report says which tasks took all the memory that a VM of the pool has."""
    made = Rehearsal(Tasks(used))
    made.tasks("j", pool(image=IMAGE, vm_size=size), [TaskSpec(command_line="true")])
    made.close()
    assert [one.rule for one in made.findings] == expected
    assert ("took all 2 GiB" in capsys.readouterr().err) is bool(expected)


def test_memory_of_a_deleted_job(capsys):
    """A job that is gone is no reason to show no report."""
    made = Rehearsal(Tasks(error=JobNotFoundError("gone")))
    made.tasks("j", pool(image=IMAGE), [TaskSpec(command_line="true")])
    made.close()
    assert "nothing found" in capsys.readouterr().err


def test_reports_of_several_clients(tmp_path):
    """What several clients found is one report, each finding once."""
    path = tmp_path / "cloudops-run-report"
    path.touch()
    for _ in range(2):
        made = Rehearsal(Tasks(), str(path))
        made.tasks("j", pool(image=IMAGE), [TaskSpec(command_line="a | b")])
        made.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    (found,) = rehearsal.read_report([*lines, {"status": 0}])
    assert isinstance(found, Finding)
    assert (found.rule, found.count, found.severity) == ("shell-syntax", 2, Severity.WARN)


SCRIPT = """
from cfa.cloudops import CloudClient
print("said")
client = CloudClient()
client.create_pool("p", container_image_name="python:3.10-slim", autoscale=False, low_priority_nodes=0)
client.create_job("j", "p")
client.create_blob_container(NAME)
"""


def run(workdir: Path, *options: str, name: str) -> subprocess.CompletedProcess[str]:
    Path("script.py").write_text(SCRIPT.replace("NAME", repr(name)))
    return subprocess.run(
        [sys.executable, "-m", "cfa.cloudops.cli", "run", *options, "script.py"],
        capture_output=True, text=True, timeout=60, check=False,
        env=os.environ | {"CLOUDOPS_BACKEND": "subprocess", "CLOUDOPS_AT_EXIT": "detach"},
    )  # fmt: skip


def test_run_strict(workdir):
    """`cloudops run --strict` prints the report when the script has ended; warnings are no failure."""
    done = run(workdir, "--strict", name="data")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "said")
    assert done.stderr.count("cloudops rehearsal: 0 refused, 2 to look at") == 1
    assert "warn image-registry" in done.stderr


def test_run_strict_as_json(workdir):
    """With `--json` standard output is the findings; a refusal fails the script."""
    done = run(workdir, "--strict", "--json", name="My_Data")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert [one["rule"] for one in found] == ["container-name", "image-registry", "memory-limit"]
    assert set(found[0]) >= {"rule", "severity", "what", "on_azure", "do", "count"}
    assert "said" in done.stderr
    assert "StrictError" in done.stderr


def test_run_without_strict(workdir):
    """Without it nothing is checked or reported; `--json` alone is refused."""
    done = run(workdir, name="My_Data")
    assert (done.returncode, "rehearsal" in done.stderr) == (0, False)
    assert run(workdir, "--json", name="data").returncode == 2


def test_every_rule_is_documented():
    """The how-to page lists each rule with its severity, and no others."""
    root = Path(__file__).parents[2]
    sources = "".join(
        path.read_text() for path in (root / "src/cfa/cloudops/rehearsal").glob("*.py")
    )
    calls = re.findall(r'(refuse|warn)\(\s*"([a-z-]+)"', sources)
    rows = re.findall(
        r"^\| `([a-z-]+)` \| (refuse|warn) \|",
        (root / "docs/how-to/rehearse.md").read_text(),
        re.MULTILINE,
    )
    assert {(rule, severity) for severity, rule in calls} == set(rows)
