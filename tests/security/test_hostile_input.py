"""Files, names and settings that were made to break a reader: refused in a sentence, and quickly."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from cfa.cloudops import dag, parameters, plans, settings
from cfa.cloudops.documents import read_json, read_toml, read_yaml
from cfa.cloudops.errors import (
    DependencyCycleError,
    InvalidInputError,
    InvalidNameError,
    SettingError,
    UnsafePathError,
)
from cfa.cloudops.model import names, references
from cfa.cloudops.model.values import JobSpec, TaskSpec
from cfa.cloudops.service import additions
from cfa.cloudops.service.ledger import insert_job
from cfa.cloudops.service.store import Store

LONG = "9" * 5000
DEEP = "[" * 100_000
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 40)
)


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "file"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    ("read", "text", "said"),
    [
        (read_toml, f"a = {LONG}", "not valid TOML.*digits"),
        (read_toml, f"a = {DEEP}", "nested too deeply"),
        (read_toml, "a = " + "{b = " * 50_000, "nested too deeply"),
        (read_json, LONG, "not valid JSON.*digits"),
        (read_json, DEEP, "nested too deeply"),
        (read_yaml, f"a: {LONG}", "not valid YAML.*digits"),
        (read_yaml, f"a: {DEEP}", "nested too deeply"),
        (read_yaml, "time: 1:30", "1:30 in line 1 would be read as a base-60 number"),
        (read_yaml, "a:\n- 190:20:30.15", "190:20:30.15 in line 2"),
        (read_yaml, BOMB, "aliases stand for"),
    ],
)
def test_documents(
    file: Callable[[str], Path], read: Callable[[Path, str], object], text: str, said: str
) -> None:
    """Numbers without end, nesting without end and what YAML takes for something else."""
    with pytest.raises(InvalidInputError, match=said) as caught:
        read(file(text), "file")
    assert len(str(caught.value)) < 6000


def test_times_in_quotes(file: Callable[[str], Path]) -> None:
    """What is in quotes is text, as before."""
    assert read_yaml(file("a: '1:30'\nb: x:1\nc: 2024-01-01 01:30:00\n"), "file")["a"] == "1:30"


VARY = "schema: v0.3\nparameters:\n" + "".join(
    f"  p{n}: {{vary: [{', '.join(map(str, range(10)))}]}}\n" for n in range(10)
)
GRID = "schema: v0.1\ngrid_parameters:\n" + "".join(
    f"  p{n}: [{', '.join(map(str, range(10)))}]\n" for n in range(10)
)
PRODUCT = "schema: v0.4\nexperiment:\n  product:\n" + "".join(
    f"  - [{', '.join(f'{{p{n}: {value}}}' for value in range(10))}]\n" for n in range(10)
)


@pytest.mark.parametrize("text", [VARY, GRID, PRODUCT])
def test_products_of_parameter_sets(file: Callable[[str], Path], text: str) -> None:
    """Ten thousand million sets are refused before they are made."""
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInputError, match=r"[0-9,]{9,} parameter sets, and 1,000,000"):
            parameters.parameter_sets(file(text))
        assert tracemalloc.get_traced_memory()[1] < 500_000_000
    finally:
        tracemalloc.stop()


def test_products_of_experiments(file: Callable[[str], Path]) -> None:
    """The grid of an experiment has the same bound, and says how many commands it would be."""
    grid = "".join(f"p{n} = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n" for n in range(10))
    text = f"[job]\njob_name = 'j'\npool_name = 'p'\n[experiment]\nbase_cmd = 'x'\n{grid}"
    with pytest.raises(InvalidInputError, match="10,000,000,000 parameter sets"):
        plans.experiment(file(text))


def test_circles_of_many_tasks(tmp_path: Path) -> None:
    """A circle of 100,000 tasks is named by its first ones; the whole of it is in the error."""
    tasks = [dag.Task(f"command {number}", id=f"task{number}") for number in range(100_000)]
    for one, other in zip(tasks, [*tasks[1:], tasks[0]], strict=True):
        one >> other
    with pytest.raises(DependencyCycleError, match=r"-> \.\.\. and 99,991 more") as caught:
        dag.graph(tasks)
    assert len(str(caught.value)) < 1000
    assert len(caught.value.args[1]) == 100_001
    store = Store(tmp_path / "s.db")
    specs = [
        TaskSpec(command_line="true", depends_on_positions=((number + 1) % 10_000,))
        for number in range(10_000)
    ]

    def add() -> None:
        with store.transaction():
            insert_job(store, JobSpec(id="j", pool_id="p"), 0.0)
            additions.add(store, "j", specs)

    with pytest.raises(DependencyCycleError, match=r"\.\.\. and 9,991 more") as caught:
        add()
    store.close()
    assert len(str(caught.value)) < 1000


def test_messages_are_bounded() -> None:
    """An error cannot be longer than people read, whatever name is in it."""
    error = InvalidInputError("begin " + "x" * 4_000_000 + " end", "y" * 4_000_000)
    assert len(str(error)) < 11_000
    assert error.message.startswith("begin x")
    assert error.message.endswith("x end")
    assert "3,995,010 more characters" in error.message
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    with pytest.raises(InvalidNameError) as caught:
        names.job_id("/" * 4_000_000)
    assert len(str(caught.value)) < 6000


@pytest.mark.parametrize(
    "name", [".", "..", "/", "-", ":", "@", "a b", "a\udcffb", "a\nb", "x" * 5000]
)
def test_names_of_images(name: str) -> None:
    """What no engine takes for an image is refused before one is asked."""
    with pytest.raises(InvalidNameError, match="name of an image"):
        references.image(name)


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("", None),
        (None, None),
        ("python:3.10-slim", "python:3.10-slim"),
        ("docker://r.io:5000/a/b@sha256:00ff", "r.io:5000/a/b@sha256:00ff"),
        ("localhost/X_y.z", "localhost/X_y.z"),
    ],
)
def test_good_names_of_images(name: str | None, bare: str | None) -> None:
    """Servers, levels, tags and digests pass; a scheme is taken away."""
    assert references.image(name) == bare


@pytest.mark.parametrize("target", ["a\nb", "a\tb", "a\x1b[31mb", "a/\u202eb", "\x7f"])
def test_mount_targets(target: str) -> None:
    """A mount target with signs that nobody sees is refused."""
    with pytest.raises(UnsafePathError, match="cannot be seen"):
        names.mount_target(target)


@pytest.mark.parametrize("add", ["depends_on", "image"])
def test_text_that_is_none(tmp_path: Path, add: str) -> None:
    """Undecodable bytes in a name that goes to the store are the caller's error."""
    store = Store(tmp_path / "s.db")
    value = ("a\udcffb",) if add == "depends_on" else "a\udcffb"
    with store.transaction():
        insert_job(store, JobSpec(id="j", pool_id="p"), 0.0)

    def try_it() -> None:
        with store.transaction():
            additions.add(store, "j", [TaskSpec(command_line="true", **{add: value})])

    with pytest.raises(InvalidInputError, match="undecodable bytes"):
        try_it()
    with store.transaction():
        additions.add(store, "j", [TaskSpec(command_line="true")])
    store.close()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CLOUDOPS_HOME", "~nouser/x", "a user who does not exist"),
        ("CLOUDOPS_STORAGE", "~nouser/x", "a user who does not exist"),
        ("CLOUDOPS_STORAGE", "file:~nouser", "a user who does not exist"),
        ("CLOUDOPS_MAX_PARALLEL", LONG, "whole number"),
    ],
)
def test_settings(name: str, value: str, said: str) -> None:
    """Settings that lead nowhere are errors that name the variable."""
    with pytest.raises(SettingError, match=f"{name}=(.|\n)*{said}"):
        settings.load(default_backend="auto", environment={name: value})
