"""What is read of journals: of the right slots and attempts, within bounds."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfa.cloudops.beneath import Place
from cfa.cloudops.service import journal
from cfa.cloudops.service.journal import Secrets
from cfa.cloudops.service.workspace import Workspace

SECRETS = Secrets("22" * 32)


def record(attempt: str, code: str = "0", secret: str = "", node: str = "n") -> str:
    return f"\n= {attempt} {secret or SECRETS.of(node, attempt)} {code} 12 1\n0m0s\n0m1.0s 0m0.0s\n"


@pytest.fixture
def journals(tmp_path: Path) -> Iterator[Place]:
    """A directory of journals."""
    with Place.open(tmp_path) as place:
        yield place


def test_only_journals_of_the_slots(journals: Place, tmp_path: Path, monkeypatch) -> None:
    """Files that a task made beside the journals are not even opened."""
    for number in range(1, 3000):
        (tmp_path / str(number)).write_text(record("7.1"))
    (tmp_path / "3").write_text(record("8.1", "4"))
    opened = []
    read = Place.read
    monkeypatch.setattr(Place, "read", lambda *given: opened.append(given[1]) or read(*given))
    assert journal.outcomes(journals, "n", SECRETS, {"8.1": 3}) == {"8.1": "4"}
    assert opened == ["3"]


def test_without_slots(journals: Place, tmp_path: Path) -> None:
    """An attempt whose slot is not known is found; pipes, links and others' attempts say nothing."""
    (tmp_path / "2").write_text(record("8.1", "4") + record("9.1", "0"))
    (tmp_path / "5").write_text(record("8.1", "0", node="other") + record("8.1", "0", "0" * 16))
    (tmp_path / "6").symlink_to(tmp_path / "2")
    os.mkfifo(tmp_path / "7")
    (tmp_path / "8").mkdir()
    assert journal.outcomes(journals, "n", SECRETS, {"8.1": 0}) == {"8.1": "4"}


@pytest.mark.parametrize(
    "code", ["--5", "+5", "5x", "", "9" * 11, "9" * 5000, "\u0665", "missing!", "0 0 0 0"]
)
def test_codes_that_no_launcher_writes(code: str) -> None:
    """A record with the right secret and another code than a launcher's is none."""
    lines = record("1.1", code).encode().split(b"\n")
    assert [one.code for one in journal.records(lines, "n", SECRETS)] in ([], ["0"])


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_whatever_stands_there(before: bytes, code: bytes) -> None:
    """Any bytes, with a right secret among them, give records of the right form or none."""
    head = f"\n= 1.1 {SECRETS.of('n', '1.1')} ".encode()
    for one in journal.records(
        (before + head + code + b" 12 1\n" + before).split(b"\n"), "n", SECRETS
    ):
        assert journal.CODE.fullmatch(one.code)
        assert int(one.count) >= 0


def test_memory(journals: Place, tmp_path: Path) -> None:
    """A journal of many short lines takes little memory to read."""
    (tmp_path / "1").write_bytes(b"ab\n" * (2 << 20) + record("1.1").encode())
    tracemalloc.start()
    try:
        assert [one.attempt for one in journal.accounts(journals, "n", SECRETS)] == ["1.1"]
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_results_of_an_earlier_version(tmp_path: Path) -> None:
    """What an earlier launcher wrote beside a task is taken, for the nodes that it served, once."""
    workspace = Workspace(tmp_path)
    workspace.create()
    task = tmp_path / "root/workitems/j/job-1/t"
    task.mkdir(parents=True)
    (task / "exit").write_text("1.1 3\n12 1\n")
    assert workspace.former_outcome("old", "j", "t", "1.1") is None
    (tmp_path / "root/volatile/old").mkdir(parents=True)
    assert workspace.former_outcome("old", "j", "t", "1.1") == "3"
    assert workspace.former_outcome("old", "j", "t", "1.2") is None
    (task / "exit").write_text("1.1 --3\n")
    assert workspace.former_outcome("old", "j", "t", "1.1") is None
    (task / "exit").unlink()
    os.mkfifo(task / "exit")
    assert workspace.former_outcome("old", "j", "t", "1.1") is None
    workspace.remove_former_nodes()
    assert not (tmp_path / "root/volatile").exists()
