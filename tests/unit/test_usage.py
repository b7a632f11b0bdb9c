"""What tasks took: reading a slot's account and taking differences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cfa.cloudops.model.values import Usage
from cfa.cloudops.service import journal, usage
from cfa.cloudops.service.journal import Record, Secrets
from cfa.cloudops.service.store import Store
from cfa.cloudops.service.workspace import Workspace

SECRETS = Secrets("11" * 32)


def account(token: str, slot: str, cpu: str = "0m0.1s 0m0.0s", node: str = "n") -> str:
    return f"\n= {token} {SECRETS.of(node, token)} 0 {slot}\n0m9.0s 0m9.0s\n{cpu}\n"


@pytest.fixture
def job(tmp_path: Path) -> Iterator[tuple[Store, Workspace]]:
    """A workspace with the job `j`, without tasks."""
    workspace = Workspace(tmp_path)
    workspace.create()
    (workspace.home / "key").write_text("11" * 32)
    with closing(Store(workspace.store)) as store:
        store.execute(
            "INSERT INTO job (number, id, pool, state, definition, auto_complete, created) "
            "VALUES (1, 'j', 'p', 'active', '{}', 1, 0)"
        )
        yield store, workspace


def add(job: tuple[Store, Workspace], number: int, text: str, node: str = "n") -> None:
    """A completed task `t<number>` that left `text` in a journal of its node."""
    store, workspace = job
    store.execute(
        "INSERT INTO task (number, job, id, state, command, retries, release, attempt, node, created) "
        "VALUES (?, 1, ?, 3, 'x', 0, 0, 1, ?, 0)",
        (number, f"t{number}", node),
    )
    if not workspace.node_directory(node).exists():
        workspace.prepare_node(node, [])
        workspace.close_box(node)
        store.execute(
            "INSERT INTO node (id, job, backend, name, opened) VALUES (?, 1, 'x', 'x', 0)", (node,)
        )
    with (workspace.node_directory(node) / "journal" / "1").open("a") as file:
        file.write(text)


def test_differences(job: tuple[Store, Workspace]) -> None:
    """A task's time is what its slot's account grew by; without the one before it is unknown."""
    add(job, 1, account("1.1", "77 1", "0m0.25s 0m0.25s"))
    add(job, 2, account("2.1", "77 2", "1m0.50s 0m1.00s"))
    add(job, 3, account("3.1", "77 4", "1m9.00s 0m1.00s"))
    add(job, 4, account("4.1", "77 5", "1m9.00s 0m1.25s"))
    add(job, 5, account("5.1", "77 1", "0m7.00s 0m0.00s", "other"), node="other")
    expected = {
        "t1": Usage(cpu_s=0.5),
        "t2": Usage(cpu_s=61.0),
        "t3": Usage(cpu_s=None),
        "t4": Usage(cpu_s=0.25),
        "t5": Usage(cpu_s=7.0),
    }
    assert usage.of_job(*job, 1) == expected
    store, workspace = job
    for node in ("n", "other"):  # when the nodes are gone it is the same
        with workspace.open_journals(node) as journals, workspace.open_accounts() as accounts:
            journal.keep(journals, accounts, 1, node)
        assert usage.of_job(*job, 1) == expected
        workspace.remove_node(node)
        store.execute("UPDATE node SET ended = 1 WHERE id = ?", (node,))
    assert usage.of_job(*job, 1) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n= 1.1\n",
        account("1.1", "77 1").replace("77 1", "77"),
        account("1.1", "77 1").replace("77 1", "x 1"),
        account("1.1", "77 1").replace("77 1", "77 1\n= 2.1"),
        account("1.1", "77 1").partition("\n0m")[0],
        account("1.2", "77 1"),
        account("1.1", "77 1", node="other"),
        account("1.1", "77 1").replace(SECRETS.of("n", "1.1"), "0" * 32),
    ],
)
def test_accounts_that_are_none(job: tuple[Store, Workspace], text: str) -> None:
    """A record that is cut off, of another try or node, or without its secret says nothing."""
    add(job, 1, text)
    found = usage.of_job(*job, 1)
    assert found.get("t1", Usage(cpu_s=None)).cpu_s is None


def test_torn_record(job: tuple[Store, Workspace]) -> None:
    """What a full disk cut off does not spoil what comes after it."""
    whole = account("1.1", "77 1", "0m1.0s 0m0.0s")
    add(job, 1, whole[:20] + whole)
    assert usage.of_job(*job, 1) == {"t1": Usage(cpu_s=1.0)}


@pytest.mark.parametrize("cpu", ["0m1.500000s 0m0.000000s", "0m1,500s 0m0,000s", "0m1.50s 0m0.00s"])
def test_forms_of_shells(cpu: str) -> None:
    """`times` as dash, bash in a country with commas, and busybox write it; memory may follow."""
    text = account("1.1", "7 3 4096", cpu)
    assert list(journal.records(text.encode().split(b"\n"), "n", SECRETS)) == [
        Record("1.1", "0", "7", 3, 4096, 1.5)
    ]
