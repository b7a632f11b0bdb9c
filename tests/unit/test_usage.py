"""What tasks took: reading a slot's account and taking differences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cfa.cloudops.model.values import Usage
from cfa.cloudops.service import usage
from cfa.cloudops.service.store import Store
from cfa.cloudops.service.usage import Reading
from cfa.cloudops.service.workspace import Workspace, read_exit


def account(token: str, slot: str, cpu: str = "0m0.1s 0m0.0s") -> str:
    return f"{token} 0\n{slot}\n0m9.0s 0m9.0s\n{cpu}\n"


@pytest.fixture
def job(tmp_path: Path) -> Iterator[tuple[Store, Workspace]]:
    """A workspace with the job `j`, without tasks."""
    workspace = Workspace(tmp_path)
    workspace.create()
    with closing(Store(workspace.store)) as store:
        store.execute(
            "INSERT INTO job (number, id, pool, state, definition, auto_complete, created) "
            "VALUES (1, 'j', 'p', 'active', '{}', 1, 0)"
        )
        yield store, workspace


def add(job: tuple[Store, Workspace], number: int, text: str, node: str = "n") -> None:
    """A completed task `t<number>` that left `text` as its exit."""
    store, workspace = job
    store.execute(
        "INSERT INTO task (number, job, id, state, command, retries, release, attempt, node, created) "
        "VALUES (?, 1, ?, 3, 'x', 0, 0, 1, ?, 0)",
        (number, f"t{number}", node),
    )
    directory = workspace.task_directory("j", f"t{number}")
    directory.mkdir(parents=True)
    (directory / "exit").write_text(text)


def test_differences(job: tuple[Store, Workspace]) -> None:
    """A task's time is what its slot's account grew by; without the one before it is unknown."""
    add(job, 1, account("1.1", "77 1", "0m0.25s 0m0.25s"))
    add(job, 2, account("2.1", "77 2", "1m0.50s 0m1.00s"))
    add(job, 3, account("3.1", "77 4", "1m9.00s 0m1.00s"))
    add(job, 4, account("4.1", "77 5", "1m9.00s 0m1.25s"))
    add(job, 5, account("5.1", "77 1", "0m7.00s 0m0.00s"), node="other")
    assert usage.of_job(*job, 1) == {
        "t1": Usage(cpu_s=0.5),
        "t2": Usage(cpu_s=61.0),
        "t3": Usage(cpu_s=None),
        "t4": Usage(cpu_s=0.25),
        "t5": Usage(cpu_s=7.0),
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.1 0\n",
        "1.1 0\n77 1 \n",
        "1.1 0\n77 1 \n0m0.0s 0m0.0s\n0m0.0s 0m",
        "1.2 0\n77 1 \n0m0.0s 0m0.0s\n0m0.0s 0m0.0s\n",
        "1.1 0\nx 1\n0m0.0s 0m0.0s\n0m0.0s 0m0.0s\n",
        "1.1 0\n77 1\n\nuser 0.1\n",
    ],
)
def test_accounts_that_are_none(job: tuple[Store, Workspace], text: str) -> None:
    """A file that is cut off, of another try or of a stranger says nothing."""
    add(job, 1, text)
    assert usage.of_job(*job, 1) == {}


def test_forms_of_shells(tmp_path: Path) -> None:
    """`times` as dash, bash in a country with commas, and busybox write it; memory may follow."""
    for cpu in ("0m1.500000s 0m0.000000s", "0m1,500s 0m0,000s", "0m1.50s 0m0.00s"):
        (tmp_path / "exit").write_text(account("1.1", "7 3 4096", cpu))
        found = usage.read(str(tmp_path / "exit"), "1.1")
        assert found == Reading(shell="7", count=3, cpu_s=1.5, peak_memory_bytes=4096)
        assert read_exit(tmp_path, "1.1") == "0"
