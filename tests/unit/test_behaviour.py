"""The behaviour table is complete and up to date."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import pytest

from cfa.cloudops.local import CloudClient

ROOT = Path(__file__).parents[2]
#: The methods of the cloud's client.
CLOUD_METHODS = 38
#: Methods that it does not have.
ADDED = {"close", "list_jobs", "list_pools", "list_tasks", "read_task_output"}


@pytest.fixture(scope="module")
def behaviour() -> ModuleType:
    """`tests/behaviour.py`."""
    spec = importlib.util.spec_from_file_location("behaviour", ROOT / "tests" / "behaviour.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_up_to_date(behaviour):
    """The page is what the tests say; `python tests/behaviour.py` writes it."""
    assert behaviour.main(["--check"]) == 0


def test_complete(behaviour):
    """Every public method of the client and every example has a row, and nothing else is listed."""
    promised = {promise.subject for promise in behaviour.collect()}
    methods = {name for name, one in inspect.getmembers(CloudClient, callable) if name[0] != "_"}
    assert len(methods - ADDED) == CLOUD_METHODS
    examples = {f"examples/{path.name}" for path in (ROOT / "examples").iterdir() if path.is_dir()}
    others = {"CloudClient", "Task", "run_experiment", "run_tasks"}
    assert promised == methods | examples | others
    assert {name for group in behaviour.SUBJECTS.values() for name in group} == promised


def test_rows_name_tests(behaviour):
    """The test of each row exists, in a module that imports nothing that is missing."""
    rows = [line for line in behaviour.PAGE.read_text().splitlines() if line.startswith("| ")]
    named = [row.rsplit("`", 2)[1] for row in rows if row.endswith("` |")]
    assert len(named) > 100
    for test in named:
        path, *names = test.split("::")
        text = (ROOT / path).read_text()
        for name in names:
            assert f"class {name}" in text or f"def {name}(" in text, test


def test_sentences(behaviour):
    """A promise is a sentence, no two rows of a subject say the same, and what differs is said."""
    promises = behaviour.collect()
    assert [one.text for one in promises if not one.text.endswith(".")] == []
    pairs = [(one.subject, one.text) for one in promises]
    assert [pair for pair in pairs if pairs.count(pair) > 1] == []
    assert [one for one in promises if "" in (one.local, one.cloud)] == []
    other = [one for one in promises if not one.cloud.startswith(("the same", "as above"))]
    assert [one for one in other if not one.difference] == []


GOOD = '"add_task", "It adds.", local="an id"'
BAD = [
    (f"@pytest.mark.promise({GOOD})\ndef helper(): ...", "not a test"),
    (f"class Bench:\n    @pytest.mark.promise({GOOD})\n    def test_a(self): ...", "not a test"),
    (
        f"def test_a():\n    @pytest.mark.promise({GOOD})\n    def test_b(): ...",
        "decorates no test",
    ),
    (f"pytestmark = pytest.mark.promise({GOOD})", "decorates no test"),
    ('@pytest.mark.promise("add_tasks", "It adds.", local="x")\ndef test_a(): ...', "SUBJECTS"),
    ('@pytest.mark.promise("add_task", "It adds.")\ndef test_a(): ...', "local="),
    (f"@pytest.mark.promise({GOOD}, clout='x')\ndef test_a(): ...", "local="),
    ('@pytest.mark.promise("add_task", TEXT, local="x")\ndef test_a(): ...', "plain texts"),
]


@pytest.mark.parametrize(("text", "says"), BAD, ids=range(len(BAD)))
def test_markers_that_make_no_row(behaviour, tmp_path, text, says):
    """A marker that would be lost is an error with its place, not a missing row."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text(f"import pytest\n{text}\n")
    with pytest.raises(behaviour.PromiseError, match=says) as caught:
        behaviour.collect(tmp_path / "tests")
    assert str(caught.value).startswith("tests/test_it.py:")


def test_out_of_date(behaviour, tmp_path, monkeypatch, capsys):
    """A page that is not what the tests say is told of, and written again."""
    monkeypatch.setattr(behaviour, "PAGE", tmp_path / "reference" / "behaviour.md")
    assert behaviour.main(["--check"]) == 1
    assert "out of date" in capsys.readouterr().out
    assert behaviour.main([]) == 0
    assert behaviour.main(["--check"]) == 0


def test_a_row(behaviour, tmp_path):
    """A row has all five cells; bars in them are escaped, and what is left out is filled in."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text(
        "import pytest\n"
        "class TestIt:\n"
        "    @pytest.mark.parametrize('x', [1])\n"
        "    @pytest.mark.promise('add_task', 'No `|`.', local='a' 'b', difference='d')\n"
        "    def test_a(self, x): ...\n"
    )
    lines = behaviour.page(behaviour.collect(tmp_path / "tests")).splitlines()
    assert [line for line in lines if line.startswith("| 1 |")] == [
        "| 1 | No `\\|`. | ab | the same | d | `tests/test_it.py::TestIt::test_a` |"
    ]
    assert "### `add_task`" in lines
