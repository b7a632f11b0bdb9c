"""Calls that list jobs, tasks and pools, and read a task's output; how all of it looks in a notebook."""

from __future__ import annotations

import pickle
import re
import sys
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest

from cfa.cloudops.errors import InvalidInputError, JobNotFoundError, TaskNotFoundError
from cfa.cloudops.local import CloudClient, Task

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}")


@pytest.fixture
def client(workdir, monkeypatch) -> Iterator[CloudClient]:
    """A client whose tasks run as plain processes, with a pool and a job."""
    monkeypatch.setenv("CLOUDOPS_SUBPROCESS_SANDBOX", "off")
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    made = CloudClient()
    made.create_pool("p", autoscale=False, low_priority_nodes=2)
    made.create_job("j", "p")
    yield made
    made.close()


@pytest.fixture
def done(client) -> CloudClient:
    """The client when two tasks of its job have ended, one of them badly."""
    client.add_task("j", "sh -c 'echo good; echo ümläut'")
    client.add_task("j", r"sh -c 'echo bad >&2; printf \\377; exit 3'", name_suffix="x")
    client.monitor_job("j", timeout=1)
    return client


# --- lists


@pytest.mark.promise(
    "list_jobs",
    "All jobs, oldest first.",
    local="values with ids, states, counts and times",
    cloud="no such call",
    difference="an addition",
)
@pytest.mark.promise(
    "list_pools",
    "All pools, oldest first.",
    local="values with ids, numbers of nodes and definitions",
    cloud="no such call",
    difference="an addition",
)
@pytest.mark.promise(
    "list_tasks",
    "Tasks of a job, in the order they were added.",
    local="values with ids, states, results, exit codes and times",
    cloud="no such call",
    difference="an addition",
)
def test_lists(done):
    """Jobs, pools and tasks come as values with their ids, states, counts and times."""
    done.create_job("other job", "p")
    assert [job.id for job in done.list_jobs()] == ["j", "otherjob"]
    [job, other] = done.list_jobs()
    assert (job.pool_id, job.state, job.counts.succeeded, job.counts.failed) == (
        "p", "completed", 1, 1,
    )  # fmt: skip
    assert (other.state, other.counts.total) == ("active", 0)
    [pool] = done.list_pools()
    assert (pool.id, pool.nodes, pool.spec.backend) == ("p", 2, "subprocess")
    [good, bad] = done.list_tasks("j")
    assert (good.id, good.state, good.result, good.exit_code) == ("j--1", "completed", "success", 0)
    assert (bad.result, bad.exit_code) == ("failure", 3)
    assert bad.failure is not None
    assert [task.id for task in done.list_tasks("other job")] == []
    assert done.jobs == {"j", "otherjob"}


@pytest.mark.promise(
    "read_task_output",
    "The text of a task's standard output or error, so far.",
    local="bytes that are no text are replaced",
    cloud="no such call",
    difference="an addition",
)
def test_output(done):
    """Each stream of a task comes as text; bytes that are no text are replaced."""
    good, bad = (task.id for task in done.list_tasks("j"))
    assert done.read_task_output("j", good) == "good\nümläut\n"
    assert done.read_task_output("j", good, "stderr") == ""
    assert done.read_task_output("j", bad, stream="stderr") == "bad\n"
    assert done.read_task_output("j", bad) == "\N{REPLACEMENT CHARACTER}"


def test_long_output(client):
    """Output that is longer than one piece comes whole."""
    task = client.add_task("j", "python3 -c \"print('ü' * 3_000_001)\"")
    client.monitor_job("j", timeout=1)
    assert client.read_task_output("j", task) == "ü" * 3_000_001 + "\n"


def test_nothing_there(client):
    """What does not exist, and a stream that no task has, are errors that say so."""
    with pytest.raises(JobNotFoundError):
        client.list_tasks("nosuch")
    with pytest.raises(JobNotFoundError):
        client.read_task_output("nosuch", "a")
    with pytest.raises(TaskNotFoundError):
        client.read_task_output("j", "nosuch")
    for stream in ("stdin", "../stdout", "stdout.txt", None):
        with pytest.raises(InvalidInputError, match="'stdout' or 'stderr'"):
            client.read_task_output("j", "a", stream)


# --- how it looks


def cells(html: str) -> list[list[str]]:
    """Texts of the rows of all tables in a piece of HTML, which must be well-formed."""
    root = ElementTree.fromstring(f"<root>{html}</root>")
    return [["".join(cell.itertext()) for cell in row] for row in root.iter("tr")]


def test_reprs(done):
    """What a console shows of each value fits a line and has the id, not the whole definition."""
    assert repr(done).startswith("CloudClient(backend='subprocess', home='")
    [job], [pool] = done.list_jobs(), done.list_pools()
    assert repr(job) == "Job(id='j', pool_id='p', state='completed', tasks=2, failed=1)"
    assert repr(pool) == "Pool(id='p', backend='subprocess', image=None, nodes=2, slots_per_node=1)"
    [good, bad] = done.list_tasks("j")
    assert repr(good) == "Task(id='j--1', state='completed', result='success', exit_code=0)"
    assert "exit_code=3" in repr(bad)


def test_html(done):
    """A notebook shows tables, one row for each job, task or pool."""
    header, row = cells(done.list_jobs()._repr_html_())
    assert dict(zip(header, row, strict=True)) == {
        "job": "j", "pool": "p", "state": "completed", "tasks": "2", "active": "0", "running": "0",
        "succeeded": "1", "failed": "1", "problem": "",
    }  # fmt: skip
    assert cells(done.list_jobs()[0]._repr_html_()) == [header, row]
    header, *rows = cells(done.list_tasks("j")._repr_html_())
    assert header == ["task", "state", "result", "exit code", "runtime", "command", "why"]
    assert [row[0] for row in rows] == [task.id for task in done.list_tasks("j")]
    assert rows[0][4].endswith(" s")
    header, row = cells(done.list_pools()._repr_html_())
    assert dict(zip(header, row, strict=True))["backend"] == "subprocess"
    shown = dict(cells(done._repr_html_()))
    assert shown["backend"] == "subprocess (environment)"
    assert shown["jobs of this client"] == "j"


def test_html_is_escaped(client):
    """What users and tasks write cannot become part of the page."""
    client.add_task("j", "echo '<script>alert(1)</script>' \x1b[31m&amp;")
    html = client.list_tasks("j")._repr_html_()
    assert "<script>" not in html
    assert "\x1b" not in html
    assert "echo '<script>alert(1)</script>' \\x1b[31m&amp;" in cells(html)[1]


def test_empty_lists(workdir, monkeypatch):
    """A list of nothing says so."""
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    with_nothing = CloudClient()
    assert with_nothing.list_jobs() == with_nothing.list_pools() == []
    assert "no jobs" in with_nothing.list_jobs()._repr_html_()
    with_nothing.close()


def test_secrets_are_not_shown(client):
    """Neither the text nor the HTML of a client has credentials."""
    made = CloudClient(azure_client_secret="hidden")
    made.close()
    assert "hidden" not in repr(made) + made._repr_html_() + repr(made.cred)


def test_graph_results(client):
    """What `run_dag` returns shows ids of tasks and commands, no random ids."""
    fit, merge = Task("python3 fit.py"), Task("python3 merge.py", "merge")
    fit.before(merge)
    found = client.run_dag(fit, merge, job_name="j")
    assert repr(found) == "{Task('python3 fit.py'): 'j--1', merge: 'j--2'}"
    assert found == {fit: "j--1", merge: "j--2"}
    assert cells(found._repr_html_()) == [
        ["task", "id", "command"],
        ["", "j--1", "python3 fit.py"],
        ["merge", "j--2", "python3 merge.py"],
    ]
    assert not UUID.search(repr(found) + found._repr_html_())
    assert str(fit) == fit.id


def test_result_of_a_job(done):
    """What `monitor_job` returns shows counts, and the tasks that failed; it can be pickled."""
    result = done.monitor_job("j", timeout=1)
    shown = cells(result._repr_html_())
    assert ["job", "j"] in shown
    assert ["fail", "1"] in shown
    assert shown[-1][0] == done.list_tasks("j")[1].id
    assert not UUID.search(result._repr_html_())
    copied = pickle.loads(pickle.dumps(result))
    assert copied == result
    assert copied.failed_tasks == result.failed_tasks


def test_graph_inline(client, workdir):
    """Without a file, `generate_dag` gives a drawing that a notebook shows."""
    pytest.importorskip("matplotlib")
    fit, merge = Task("fit"), Task("merge <now>", "<merge>")
    fit.before(merge)
    before = sorted(workdir.iterdir())
    drawn = client.generate_dag(fit, merge)
    assert str(drawn) == repr(drawn) == "+-- fit\n    !\n    merge"
    svg = drawn._repr_svg_()
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert sorted(workdir.iterdir()) == before


def test_graph_inline_without_the_extra(client, monkeypatch):
    """Where pictures cannot be made, a notebook shows the text."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    fit, merge = Task("fit", "fit"), Task("merge", "merge")
    fit.before(merge)
    drawn = client.generate_dag(fit, merge)
    assert drawn._repr_svg_() is None
    assert str(drawn) == "+-- fit\n    !\n    merge"
    monkeypatch.setitem(sys.modules, "networkx", None)
    assert str(drawn) == "fit\nmerge <- fit"
