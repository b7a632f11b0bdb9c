"""Statistics of a job, and what is fetched after it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from cfa.cloudops.errors import (
    BlobContainerNotFoundError,
    BlobNotFoundError,
    ConflictError,
    JobNotFoundError,
    LocalFileNotFoundError,
)

ONE = pytest.mark.parametrize("backend", ["subprocess-nosandbox"], indirect=True)
HEADER = (
    "task_id|command|creation|start|end|runtime|exit_code|pool|node_id|cpu_seconds|"
    "peak_memory_bytes|command_line\r\n"
)
#: Takes some processor time, and then none for a while.
WORK = "sh -c 'n=0; while [ $n -lt 300000 ]; do n=$((n + 1)); done; sleep 0.3'"


def table(name: str) -> dict[str, dict[str, str]]:
    """Rows of a table of statistics by task."""
    with open(name, newline="") as file:
        return {row["task_id"]: row for row in csv.DictReader(file, delimiter="|")}


@pytest.mark.promise(
    "download_job_stats",
    "A table with `|` between columns: the documented columns in their order.",
    local="then `cpu_seconds`, `peak_memory_bytes` and `command_line`",
    cloud="the documented columns",
    difference="three columns more",
)
def test_statistics(bench):
    """The cloud's columns in its order, then ours; each task has its own processor time."""
    client = bench.ready(task_retries=1)
    client.add_task("true")
    client.add_task(WORK)
    client.add_task("sh -c 'exit 3'")
    bench.finished(client)
    client.download_job_stats("j", "job-stats")
    with open("job-stats.csv", newline="") as file:
        assert file.readline() == HEADER
    rows = table("job-stats.csv")
    assert list(rows) == ["j--1", "j--2", "j--3"]
    assert [row["exit_code"] for row in rows.values()] == ["0", "0", "3"]
    assert (rows["j--2"]["command"], rows["j--2"]["pool"]) == ("sh", "p")
    assert rows["j--3"]["command_line"] == "sh -c 'exit 3'"
    assert rows["j--2"]["runtime"].startswith("0:0")
    assert rows["j--2"]["end"] >= rows["j--2"]["start"]
    used = {name: row["cpu_seconds"] for name, row in rows.items()}
    assert float(used["j--1"] or 0) < 0.1
    assert not used["j--2"] or 0.05 < float(used["j--2"]) < 20
    assert all(row["peak_memory_bytes"] == "" for row in rows.values())


@pytest.mark.promise(
    "download_job_stats",
    "`peak_memory_bytes` is that of the task alone.",
    local='known with `isolation="task"` in containers whose engine limits memory, else empty',
    cloud="there is no such column",
    difference="ours only",
)
def test_memory_of_a_task(bench):
    """Where each task has a container of its own, its highest memory is known, else left empty."""
    client = bench.ready(isolation="task")
    client.add_task("true")
    client.add_task("sh -c 'head -c 40000000 /dev/zero | tail -c 30000000 >/dev/null'")
    bench.finished(client)
    client.download_job_stats("j")
    small, large = (row["peak_memory_bytes"] for row in table("j-stats.csv").values())
    if bench.containers and small:  # a rootless engine may have no memory control group
        assert int(small) < 25e6 < int(large) < 500e6
    else:
        assert (small, large) == ("", "")


@ONE
def test_output_that_is_no_text(bench):
    """What `monitor_job` downloads is UTF-8 however long it is; what is no text is replaced."""
    client = bench.client()
    client.create_blob_container("d")
    client = bench.ready(mounts=["d"])
    said = (
        b"x" + "\N{EURO SIGN}".encode() * 500_000 + b"\xff\r\n"
    )  # over one piece, and cut within a sign
    Path("d/said").write_bytes(said)
    client.add_task("cat /d/said")
    client.monitor_job("j", download_task_output=True)
    assert Path("j_output/j--1_stdout.txt").read_bytes() == said.replace(
        b"\xff", "\N{REPLACEMENT CHARACTER}".encode()
    )
    assert Path("j_output/j--1_stderr.txt").read_bytes() == b""


@pytest.mark.promise(
    "download_job_stats",
    "`cpu_seconds` is that of the task alone.",
    local="of the processes that were waited for",
    cloud="there is no such column",
    difference="ours only",
)
@ONE
def test_processor_time(bench):
    """It is that of the task alone, however many its slot ran before."""
    client = bench.ready(max_parallel=1)
    for command in ("true", WORK, "true", "sleep 0.2", WORK):
        client.add_task(command)
    bench.finished(client)
    client.download_job_stats("j")
    used = [float(row["cpu_seconds"]) for row in table("j-stats.csv").values()]
    assert max(used[0], used[2], used[3]) < 0.1 < min(used[1], used[4]), used


@pytest.mark.promise(
    "download_job_stats",
    "Tasks that are not done are in the table.",
    local="with empty fields",
    cloud="`TypeError`, and a file in part",
    difference="a defect of version 0.8.0, not repeated here",
)
@ONE
def test_statistics_of_what_is_not_done(bench):
    """Fields that are not known yet are empty."""
    client = bench.ready(mark_complete_after_tasks_run=False)
    client.download_job_stats("j")
    assert Path("j-stats.csv").read_bytes().decode() == HEADER
    client.add_task("sh -c 'echo up; sleep 60'")
    client.add_task("true", depends_on="j--1")
    bench.running(client, "j--1")
    client.download_job_stats("j")
    rows = table("j-stats.csv")
    assert rows["j--1"]["start"]
    for name, columns in {
        "j--1": ("end", "runtime", "exit_code", "cpu_seconds"),
        "j--2": ("start", "end", "runtime", "exit_code", "node_id", "cpu_seconds"),
    }.items():
        assert [rows[name][column] for column in columns] == [""] * len(columns)
    client.delete_job("j")


@pytest.mark.promise(
    "download_after_job",
    "It waits for the job, then fetches files and folders to `<target>/<name of the blob>`.",
    local="the container says which is a folder",
    cloud="what has a dot in its name is taken for a file",
    difference="folders with a dot in their names work here",
)
def test_download_after_job(bench, capsys):
    """Files and folders are told apart by the container, not by a dot in their names."""
    client = bench.client()
    client.create_blob_container("output-test")
    client = bench.ready(mounts=["output-test"])
    client.add_task(
        "sh -c 'cd /output-test && mkdir -p results/v1.2 logs && echo a >results/output.csv && "
        "echo b >results/v1.2/README && echo c >logs/x.txt && echo d >logs/y'"
    )
    client.download_after_job(
        "j",
        ["results/output.csv", "results/v1.2", "logs/"],
        "./out/puts",
        "output-test",
        include_extensions=".txt",
    )
    found = {path.name: path.read_text() for path in Path("out/puts").rglob("*") if path.is_file()}
    assert found == {"output.csv": "a\n", "x.txt": "c\n"}  # the extension is about folders
    assert "elapsed time" not in capsys.readouterr().out
    client.download_after_job("j", "results/v1.2", "more", "output-test")
    assert Path("more/results/v1.2/README").read_text() == "b\n"
    client.download_after_job("j", "results/v1.2/README", "file", "output-test")
    assert Path("file/results/v1.2/README").read_text() == "b\n"


@pytest.mark.promise(
    "download_after_job",
    "A path that is not there is an error.",
    local=(
        "`ValueError` after all others were fetched; wrong arguments before the job is waited for"
    ),
    cloud="`ValueError` at the first one",
    difference="what else is there is fetched here",
)
@ONE
def test_download_after_job_with_mistakes(bench):
    """What can be seen before is said before the job is waited for; all that is there is fetched."""
    client = bench.client()
    client.create_blob_container("output-test")
    client = bench.ready(mounts=["output-test"])
    client.add_task("sh -c 'echo up; until [ -e /output-test/gate ]; do sleep 0.05; done; exit 3'")
    with pytest.raises(TypeError, match=r"download_folder.*nonsense"):
        client.download_after_job("j", ["gate"], "out", "output-test", nonsense=1)
    filters = {"include_extensions": "a", "exclude_extensions": "b"}
    with pytest.raises(ValueError, match="both given"):
        client.download_after_job("j", ["gate"], "out", "output-test", **filters)
    Path("file").touch()
    with pytest.raises(ConflictError, match="'file'"):
        client.download_after_job("j", ["gate"], "file", "output-test")
    with pytest.raises(BlobContainerNotFoundError):
        client.download_after_job("j", ["gate"], "out", "no-such-container")
    with pytest.raises(ValueError, match="leads out"):
        client.download_after_job("j", ["../gate"], "out", "output-test")
    with pytest.raises(JobNotFoundError):
        client.download_after_job("k", ["gate"], "out", "output-test")
    Path("output-test/gate").touch()
    with pytest.raises(BlobNotFoundError, match=r"'no\.csv', 'nothing/'"):
        client.download_after_job("j", ["no.csv", "gate", "nothing/"], "out", "output-test")
    assert Path("out/gate").exists()


@ONE
def test_results_that_cannot_be_written(bench):
    """A table or an output that cannot be written is a typed error that names the file."""
    client = bench.ready()
    client.add_task("true")
    bench.finished(client)
    with pytest.raises(LocalFileNotFoundError, match=r"none/table\.csv"):
        client.download_job_stats("j", "none/table")
    Path("j-stats.csv").mkdir()
    with pytest.raises(ConflictError, match=r"j-stats\.csv"):
        client.download_job_stats("j")
    Path("j_output").touch()
    with pytest.raises(ConflictError, match="j_output"):
        client.monitor_job("j", timeout=1, download_task_output=True)
