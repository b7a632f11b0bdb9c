"""Graphs of tasks: how they are made, put in order, run in one call, drawn."""

from __future__ import annotations

import graphlib
import pickle
import sys
import time
import uuid
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfa.cloudops.client.dags import DagMixin
from cfa.cloudops.client.tasks import TaskIds
from cfa.cloudops.dag import Task, graph, labels
from cfa.cloudops.errors import (
    AmbiguousCallError,
    DependencyCycleError,
    ExtraNotInstalledError,
    FileAccessError,
    InvalidInputError,
    LocalFileNotFoundError,
)
from cfa.cloudops.local import CloudClient
from cfa.cloudops.model.values import TaskSpec
from cfa.cloudops.service import additions

MANY = 10_000


class Recorder(DagMixin):
    """The part of a client that `run_dag` uses; keeps what it was asked to add."""

    def __init__(self):
        self.calls = []

    def add_task_collection(self, job_name, tasks, name_suffix=""):
        self.calls.append((job_name, tasks))
        return TaskIds(f"{job_name}--{number}" for number in range(1, len(tasks) + 1))


@pytest.fixture
def client():
    return Recorder()


class TestTask:
    """The class `Task`."""

    def test_id(self):
        """An id is kept, else random; it is what a task looks like."""
        assert repr(Task("c", "mine")) == "mine"
        assert uuid.UUID(Task("c").id).version == 4
        assert Task("c", "a") != Task("c", "a")

    def test_number_as_id(self, client, tmp_path):
        """A number as an id stays one, and can be shown, run and drawn."""
        tasks = [Task("c", 5)]
        assert tasks[0].id == 5
        assert repr(tasks) == "[5]"
        assert len(client.run_dag(tasks, job_name="j")) == 1
        CloudClient.generate_dag(client, tasks, file_name=tmp_path / "d.txt")
        assert (tmp_path / "d.txt").read_text() in ("+-- 5\n", "5\n")

    @pytest.mark.promise(
        "Task",
        (
            "`before`, `after`, `set_upstream`, `set_downstream`, one task or a list, said once "
            "or twice."
        ),
        local="all mean the same",
    )
    @pytest.mark.parametrize(
        "wire",
        [
            lambda a, b: b.after(a),
            lambda a, b: a.before(b),
            lambda a, b: b.set_upstream(a),
            lambda a, b: a.set_downstream(b),
            lambda a, b: a >> b,
            lambda a, b: b << a,
            lambda a, b: a >> (b,),
            lambda a, b: (a,) >> b,
            lambda a, b: b << [a],
            lambda a, b: [b] << a,
            lambda a, b: b.after(one for one in [a]),
        ],
    )
    def test_spellings(self, wire):
        """Every way to say that one task comes after another means the same, said once or twice."""
        first, second = Task("a"), Task("b")
        for _ in range(2):
            wire(first, second)
        assert second.deps == [first]
        assert first.deps == []

    @pytest.mark.promise(
        "Task",
        "`>>` and `<<` chain tasks and lists.",
        local="as in Airflow",
        cloud="not defined",
        difference="ours only",
    )
    def test_chain(self):
        """`>>` and `<<` can be chained, with lists between."""
        a, b, c, d = (Task(name) for name in "abcd")
        a >> [b, c] >> d
        assert (b.deps, c.deps, d.deps) == ([a], [a], [b, c])
        e, f, g = (Task(name) for name in "efg")
        e << f << g
        assert (e.deps, f.deps) == ([f], [g])

    @pytest.mark.promise(
        "Task",
        "`dep` is one task or several.",
        local="copied; a tuple is taken too",
        cloud="the caller's list is kept; a tuple is taken for a task",
        difference="pass a list for the cloud",
    )
    def test_dep(self):
        """`dep` takes one task, a list or a tuple, and does not change with the list."""
        a, b = Task("a"), Task("b")
        given_list = [a]
        assert Task("c", dep=a).deps == [a]
        assert Task("c", dep=(a, b)).deps == [a, b]
        task = Task("c", dep=given_list)
        task.after(b)
        assert given_list == [a]
        assert Task("c", dep=[]).deps == []

    def test_deps_is_a_list(self):
        """Scripts may change or set `deps`."""
        a, b, c = Task("a"), Task("b"), Task("c")
        c.deps.append(a)
        assert c.deps == [a]
        c.deps = [b]
        assert c.deps == [b]

    @pytest.mark.promise(
        "Task",
        "What is not a task cannot be depended on.",
        local="`TypeError` at once",
        cloud="an error in `run_dag`",
        difference="here it is said earlier",
    )
    @pytest.mark.parametrize("wrong", ["prepare", b"x", 3, ["prepare"], {"a": 1}])
    def test_not_a_task(self, wrong):
        """What is not a task is refused at once, and nothing is changed."""
        task = Task("c")
        for attempt in (
            lambda: Task("d", dep=wrong),
            lambda: task.after(wrong),
            lambda: task >> wrong,
        ):
            with pytest.raises(AmbiguousCallError, match="not a Task") as caught:
                attempt()
            assert isinstance(caught.value, TypeError)
        assert task.deps == []

    def test_id_put_into_deps(self, client):
        """A string that a script put into `deps` itself is refused before anything is added."""
        task = Task("c")
        task.deps.append("prepare")
        with pytest.raises(TypeError, match="'prepare' is not a Task"):
            client.run_dag(task, job_name="j")
        assert not client.calls


class TestRun:
    """`run_dag`."""

    def test_one_call_in_order(self, client):
        """All tasks go into one call, each below what it depends on, with the common keywords."""
        a, b, c = Task("a"), Task("b"), Task("c")
        a >> b >> c
        ids = client.run_dag(c, b, a, job_name="j", timeout=5, name_suffix="s")
        [(job, tasks)] = client.calls
        assert job == "j"
        assert [task["command_line"] for task in tasks] == ["a", "b", "c"]
        assert [list(task["depends_on_positions"]) for task in tasks] == [[], [0], [1]]
        assert all(task["timeout"] == 5 and task["name_suffix"] == "s" for task in tasks)
        assert ids == {a: "j--1", b: "j--2", c: "j--3"}

    def test_independent_tasks(self, client):
        """Tasks that do not depend on one another come as they were given."""
        tasks = [Task(str(number)) for number in range(20)]
        client.run_dag(*tasks, job_name="j")
        assert [one["command_line"] for one in client.calls[0][1]] == [one.cmd for one in tasks]

    @pytest.mark.promise(
        "run_dag",
        "Tasks with equal ids.",
        local="stay two tasks",
        cloud="are taken for each other",
        difference="give ids that differ, or none",
    )
    def test_equal_ids(self, client):
        """Tasks with equal ids stay two tasks, and ids are not changed."""
        a, b = Task("a", "same"), Task("b", "same")
        c = Task("c", dep=[a, b])
        ids = client.run_dag(a, b, c, job_name="j")
        assert len(set(ids.values())) == 3
        assert list(client.calls[0][1][2]["depends_on_positions"]) == [0, 1]
        assert (a.id, b.id) == ("same", "same")

    def test_twice_given(self, client):
        """A task that is given twice, also in a list, runs once."""
        a = Task("a")
        assert client.run_dag(a, [a], (a,), job_name="j") == {a: "j--1"}

    @pytest.mark.promise(
        "run_dag",
        "A dependency that was left out of the call runs too.",
        local="with a warning; its own dependencies are not followed",
        cloud="its own dependencies are not followed",
        difference="the warning",
    )
    def test_left_out(self, client, caplog):
        """A dependency that was left out runs too; what that depends on does not, with a warning."""
        a, b, c = Task("a"), Task("b", "b-id"), Task("c")
        a >> b >> c
        client.run_dag(c, job_name="j")
        assert [one["command_line"] for one in client.calls[0][1]] == ["b", "c"]
        assert "b-id (b) is added only because" in caplog.text

    def test_left_out_between(self, client, caplog):
        """A left-out task between two given ones keeps its place."""
        a, b, c = Task("a"), Task("b"), Task("c")
        a >> b >> c
        client.run_dag(c, a, job_name="j")
        assert [one["command_line"] for one in client.calls[0][1]] == ["a", "b", "c"]
        assert not caplog.records

    @pytest.mark.promise(
        "run_dag",
        "A circle is a `graphlib.CycleError`, before anything is added.",
        local="the second argument lists the circle",
    )
    @pytest.mark.parametrize("size", [1, 2, 5])
    def test_cycle(self, client, size):
        """A circle is refused before anything is added, as `graphlib` would say it."""
        tasks = [Task(f"c{number}", f"t{number}") for number in range(size)]
        for number, task in enumerate(tasks):
            task.after(tasks[number - 1])
        with pytest.raises(graphlib.CycleError, match="t0 ") as caught:
            client.run_dag(*tasks, job_name="j")
        assert isinstance(caught.value, DependencyCycleError)
        circle = caught.value.args[1]
        assert circle[0] is circle[-1]
        assert set(circle) == set(tasks)
        assert all(one in other.deps for one, other in pairwise(circle))
        assert not client.calls

    def test_names_in_a_cycle(self, client):
        """The error names tasks as their author does: by id where one was given, else by command."""
        first, second = Task("fit a"), Task("fit b", "second")
        first >> second >> first
        with pytest.raises(DependencyCycleError) as caught:
            client.run_dag(first, second, job_name="j")
        assert "'fit a' -> second (fit b) -> 'fit a'" in str(caught.value) or (
            "second (fit b) -> 'fit a' -> second (fit b)" in str(caught.value)
        )

    def test_html(self, client):
        """A notebook shows a column of names only where there are names, and tasks that have not run."""
        first = Task("fit <a>")
        html = client.run_dag(first, Task("b", dep=first), job_name="j")._repr_html_()
        assert "<th>id</th><th>command</th>" in html
        assert "<th>task</th>" not in html
        named = Task("b", "merge", dep=first)
        assert "<td>merge</td>" in client.run_dag(first, named, job_name="j")._repr_html_()
        assert "<td>fit &lt;a&gt;</td>" in first._repr_html_()
        assert "runs after" not in first._repr_html_()
        assert "merge" in named._repr_html_()
        assert "Task(&#x27;fit &lt;a&gt;&#x27;)" in named._repr_html_()

    @pytest.mark.parametrize("keyword", ["depends_on", "command_line", "retries"])
    def test_unknown_keyword(self, client, keyword):
        """Keywords that cannot hold for every task are refused."""
        with pytest.raises(TypeError, match=f"no keyword '{keyword}'"):
            client.run_dag(Task("a"), job_name="j", **{keyword: "x"})
        assert not client.calls

    def test_no_job(self, client):
        """`job_name` is needed, whatever a page of the cloud client says."""
        with pytest.raises(TypeError, match="job_name"):
            client.run_dag(Task("a"), job_id="j")

    @given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=80), st.randoms())
    def test_any_graph(self, pairs, random):
        """Whatever the edges and the order of arguments, dependencies come first and none is lost."""
        tasks = [Task(str(number)) for number in range(31)]
        for one, other in pairs:
            if one != other:
                tasks[max(one, other)].after(tasks[min(one, other)])
        shuffled = random.sample(tasks, len(tasks))
        client = Recorder()
        order = list(client.run_dag(*shuffled, job_name="j"))
        assert set(order) == set(tasks)
        for place, (task, spec) in enumerate(zip(order, client.calls[0][1], strict=True)):
            parents = [order[position] for position in spec["depends_on_positions"]]
            assert parents == task.deps
            assert all(position < place for position in spec["depends_on_positions"])

    @pytest.mark.thorough
    @pytest.mark.promise(
        "run_dag",
        "A graph may be large.",
        local="ten thousand tasks in one call",
        cloud="a request for each task",
        difference="all or none here, part-way there",
    )
    def test_many(self, client):
        """Ten thousand tasks that meet in one, wired one by one, take less than two seconds."""
        start = time.process_time()
        last = Task("last")
        tasks = [Task("one") for _ in range(MANY)]
        for task in tasks:
            last.after(task)
        assert len(client.run_dag(*tasks, last, job_name="j")) == MANY + 1
        assert time.process_time() - start < 2

    def test_cycle_error_travels(self):
        """The error keeps its circle when it is sent to another process."""
        error = pickle.loads(pickle.dumps(DependencyCycleError("m", "h", ["a", "a"])))
        assert (str(error), error.args[1]) == ("m h", ["a", "a"])


class TestPositions:
    """`depends_on_positions`, in the store; no agent runs."""

    @pytest.fixture
    def client(self, workdir):
        """A client with the job `j`, on a pool that has no nodes."""
        client = CloudClient(backend="subprocess")
        client.create_pool("p", autoscale=False, low_priority_nodes=0)
        client.create_job("j", "p")
        yield client
        client.close()

    def add(self, client, specs):
        with client._batch._store.transaction():
            return additions.add(client._batch._store, "j", specs)

    def test_many(self, client):
        """Ten thousand tasks between two are added within a few seconds, whatever their ids' length."""
        specs = [
            TaskSpec(command_line="first"),
            *(TaskSpec(command_line="x", depends_on_positions=(0,)) for _ in range(MANY)),
            TaskSpec(command_line="last", depends_on_positions=tuple(range(1, MANY + 1))),
        ]
        start = time.process_time()
        ids = self.add(client, specs)
        assert time.process_time() - start < 5
        tasks = list(client._batch.list_tasks("j"))
        assert [task.id for task in tasks] == ids
        assert [tasks[0].waits_for, tasks[1].waits_for, tasks[-1].waits_for] == [0, 1, MANY]

    def test_after_others(self, client):
        """Positions are those of one call, however many tasks the job had; ids can be used beside."""
        self.add(client, [TaskSpec(command_line="old"), TaskSpec(command_line="old")])
        spec = TaskSpec(command_line="c", depends_on_positions=(0,), depends_on=("j--1", "j--3"))
        self.add(client, [TaskSpec(command_line="new"), spec])
        assert client._batch.get_task("j", "j--4").waits_for == 2

    def test_cycle(self, client):
        """A circle adds nothing, and the error names ids."""
        specs = [
            TaskSpec(command_line="a", depends_on_positions=(1,)),
            TaskSpec(command_line="b", depends_on_positions=(0,)),
        ]
        with pytest.raises(graphlib.CycleError) as caught:
            self.add(client, specs)
        assert set(caught.value.args[1]) == {"j--1", "j--2"}
        assert client._batch.task_counts("j").total == 0

    @pytest.mark.parametrize(
        ("positions", "says"),
        [([1], "position 1 of a call with 1"), ([-1], "position -1"), ("x", "not a list of int")],
    )
    def test_wrong(self, client, positions, says):
        """Positions outside of the call, and what is none, are refused; nothing is added."""
        task = {"command_line": "a", "depends_on_positions": positions}
        with pytest.raises(ValueError, match=says):
            client.add_task_collection("j", [task])
        assert client._batch.task_counts("j").total == 0

    def test_all_or_none(self, client):
        """One command that cannot be split keeps the whole graph out."""
        tasks = [Task("echo a"), Task("echo 'b")]
        with pytest.raises(InvalidInputError, match="cannot be split"):
            client.run_dag(*tasks, job_name="j")
        assert client._batch.task_counts("j").total == 0


class TestLabels:
    """What a drawing calls a task."""

    def test_names(self):
        """The nearest variable's name, names with `_` last, else the id."""
        a, b, c, d = Task("a"), Task("b"), Task("c"), Task("d", "d-id")
        near = {"_": a, "fit": a, "_12": b, "other": 3}
        assert labels([a, b, c, d], near, {"far": a, "c": c}) == ["fit", "_12", "c", "d-id"]

    @pytest.mark.promise(
        "generate_dag",
        "Tasks are labelled with the caller's variables; `Task.id` is not changed.",
        local="else with their ids",
        cloud="ids become the names; a task in a list is a `ValueError`",
        difference="a defect of version 0.8.0, not repeated here",
    )
    def test_of_the_caller(self, client, tmp_path):
        """`generate_dag` finds the caller's variables, and leaves ids as they were."""
        prep = Task("p", "one")
        listed = [Task("x", "two", prep)]
        client.generate_dag(prep, *listed, GLOBAL, file_name=tmp_path / "dag.mmd")
        text = (tmp_path / "dag.mmd").read_text()
        assert '["prep"]' in text
        assert '["two"]' in text
        assert '["GLOBAL"]' in text
        assert (prep.id, listed[0].id) == ("one", "two")


GLOBAL = Task("g")


class TestDraw:
    """`generate_dag`, by the ending of the file."""

    @pytest.fixture
    def tasks(self):
        prep, fit_a, fit_b, merge = (Task(name, name) for name in ("prep", "fa", "fb", "merge"))
        prep >> [fit_a, fit_b] >> merge
        return [prep, fit_a, fit_b, merge, Task("alone", "alone")]

    @pytest.mark.promise(
        "generate_dag",
        "`.txt` is a drawing in plain text.",
        local="with every task, also one without edges",
        cloud="tasks without edges are left out",
        difference="a defect of version 0.8.0, not repeated here",
    )
    def test_text(self, client, tasks, tmp_path):
        """Text is plain ASCII for plain ids, and has every task, also one without edges."""
        pytest.importorskip("networkx")
        client.generate_dag(*tasks, file_name=str(tmp_path / "dag.txt"))
        text = (tmp_path / "dag.txt").read_text(encoding="ascii")
        assert text.splitlines()[0] == "+-- prep"
        assert "L-> fb" in text
        assert "+-- alone" in text
        assert "merge <- fb" in text

    def test_mermaid(self, client, tasks, tmp_path):
        """A Mermaid flowchart has each task and each edge once."""
        client.generate_dag(*tasks, file_name=tmp_path / "dag.mmd")
        assert (tmp_path / "dag.mmd").read_text().splitlines() == [
            "flowchart TD",
            '    t1["prep"]',
            '    t2["alone"]',
            '    t3["fa"]',
            '    t4["fb"]',
            '    t5["merge"]',
            "    t1 --> t3",
            "    t1 --> t4",
            "    t3 --> t5",
            "    t4 --> t5",
        ]

    def test_odd_labels(self, client, tmp_path):
        """Signs that mean something to Mermaid are escaped, and a label stays on its line."""
        client.generate_dag(Task("c", 'a"] --> <b>\n#x'), file_name=tmp_path / "d.mmd")
        line = (tmp_path / "d.mmd").read_text().splitlines()[1]
        assert line == '    t1["a#34;] --#62; #60;b#62; #35;x"]'

    @pytest.mark.parametrize("ending", ["txt", "mmd", "svg", "png"])
    def test_signs_that_no_format_holds(self, client, tmp_path, monkeypatch, ending):
        """Control characters, lone surrogates and empty ids do not break a drawing."""
        if ending in ("svg", "png"):
            pytest.importorskip("matplotlib")
            monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "config"))
        path = tmp_path / f"d.{ending}"
        client.generate_dag(
            [Task("c", "a\x00b"), Task("c", "\ud800"), Task("c", "")], file_name=path
        )
        if ending == "svg":
            ElementTree.parse(path)  # else it is not well-formed
        elif ending != "png":
            text = path.read_text()
            assert "a b" in text
            assert '""' not in text

    def test_equal_labels(self, client, tmp_path):
        """Tasks with equal labels are drawn as two."""
        client.generate_dag(Task("c", "x"), Task("d", "x"), file_name=tmp_path / "d.txt")
        assert (tmp_path / "d.txt").read_text() in ("+-- x\n+-- x\n", "x\nx\n")

    @pytest.mark.promise(
        "generate_dag",
        "`.svg`, `.png` and `.mmd` are pictures and Mermaid.",
        local="pictures need `cfa-cloudops[draw]`",
        cloud="always text",
        difference="ours only",
    )
    def test_pictures(self, client, tasks, tmp_path, monkeypatch):
        """Pictures are written; the text of an SVG is text, and the same graph gives the same file."""
        pytest.importorskip("matplotlib")
        monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "config"))
        tasks.append(Task("c", "cost $x_1$ & <b>"))
        for name in ("one.svg", "two.SVG", "three.png"):
            client.generate_dag(*tasks, file_name=tmp_path / name)
        svg = (tmp_path / "one.svg").read_text()
        assert ">merge<" in svg
        assert "cost $x_1$ &amp; &lt;b&gt;" in svg
        assert svg == (tmp_path / "two.SVG").read_text()
        assert (tmp_path / "three.png").read_bytes().startswith(b"\x89PNG")

    def test_text_without_the_extra(self, client, tasks, tmp_path, monkeypatch):
        """Without networkx a text lists the tasks, each with those that it depends on."""
        monkeypatch.setitem(sys.modules, "networkx", None)
        client.generate_dag(*tasks, file_name=tmp_path / "dag.txt")
        assert (tmp_path / "dag.txt").read_text().splitlines() == [
            "prep", "alone", "fa <- prep", "fb <- prep", "merge <- fa, fb",
        ]  # fmt: skip

    def test_without_the_extra(self, client, tasks, tmp_path, monkeypatch):
        """Without matplotlib the error says what to install, and no file appears."""
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(ImportError, match=r"pip install 'cfa-cloudops\[draw\]'") as caught:
            client.generate_dag(*tasks, file_name=tmp_path / "dag.svg")
        assert isinstance(caught.value, ExtraNotInstalledError)
        assert not list(tmp_path.iterdir())

    def test_unknown_ending(self, client, tasks, tmp_path):
        """An unknown ending is refused; none means text."""
        with pytest.raises(InvalidInputError, match=r"'\.pdf' is not known.*\.mmd"):
            client.generate_dag(*tasks, file_name=tmp_path / "dag.pdf")
        client.generate_dag(*tasks, file_name=tmp_path / "dag")
        assert (tmp_path / "dag").read_text().startswith("+-- prep")

    def test_no_folder(self, client, tasks, tmp_path):
        """A folder that does not exist is named."""
        with pytest.raises(LocalFileNotFoundError, match="folder does not exist"):
            client.generate_dag(*tasks, file_name=tmp_path / "no" / "dag.txt")

    def test_folder_as_file(self, client, tasks, tmp_path):
        """What cannot be written is named, with the reason."""
        (tmp_path / "dag.txt").mkdir()
        with pytest.raises(FileAccessError, match=r"dag\.txt' cannot be written: Is a directory"):
            client.generate_dag(*tasks, file_name=tmp_path / "dag.txt")

    def test_cycle(self, client, tmp_path):
        """A circle is no such graph, and nothing is written."""
        a, b = Task("a"), Task("b")
        a >> b >> a
        with pytest.raises(graphlib.CycleError):
            client.generate_dag(a, b, file_name=tmp_path / "dag.txt")
        assert not list(tmp_path.iterdir())

    def test_nothing(self, client, tmp_path):
        """No tasks make an empty drawing."""
        client.generate_dag(file_name=tmp_path / "dag.mmd")
        assert (tmp_path / "dag.mmd").read_text() == "flowchart TD\n"

    @pytest.mark.thorough
    @pytest.mark.parametrize("ending", ["txt", "mmd", "svg", "png"])
    @pytest.mark.parametrize("shape", ["chain", "fan", "layers", "ladder"])
    def test_many(self, client, tmp_path, monkeypatch, shape, ending):
        """Ten thousand tasks are drawn in seconds, in files of a size that can be opened."""
        if ending in ("svg", "png"):
            pytest.importorskip("matplotlib")
            monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "config"))
        tasks = [Task(str(number), str(number)) for number in range(MANY)]
        if shape == "chain":
            for one, other in pairwise(tasks):
                one >> other
        elif shape == "fan":
            tasks[0] >> tasks[1:-1] >> tasks[-1]
        elif shape == "ladder":
            for number in range(2, MANY):
                tasks[number].after([tasks[number - 1], tasks[number - 2]])
        else:
            for number in range(100, MANY):
                tasks[number].after([tasks[number - 100], tasks[number - 99]])
        start = time.process_time()
        client.generate_dag(*tasks, file_name=tmp_path / f"dag.{ending}")
        assert time.process_time() - start < (2 if ending in ("txt", "mmd") else 6)
        assert (tmp_path / f"dag.{ending}").stat().st_size < 12_000_000

    def test_order_is_kept(self):
        """The graph's positions point at parents."""
        a, b = Task("a"), Task("b")
        b >> a
        found = graph([a, b])
        assert found.tasks == (b, a)
        assert found.parents == ((), (0,))
