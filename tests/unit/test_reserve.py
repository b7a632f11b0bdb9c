"""The reserve of disk space."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from cfa.cloudops.errors import DiskFullError, NodeError
from cfa.cloudops.service import reserve
from cfa.cloudops.service import store as store_module
from cfa.cloudops.service.disks import no_space, shortage
from cfa.cloudops.service.store import Store
from cfa.cloudops.service.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "home")
    made.create()
    return made


def allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_kept(workspace: Workspace) -> None:
    """Blocks of the log, pages of the store and spare files are there, and kept but once."""
    with closing(Store(workspace.store)) as store:
        for _ in range(2):
            reserve.keep(store, workspace.home)
            assert store.free_bytes() >= 1 << 20
            assert allocated(workspace.store.with_name("store.db-wal")) >= 4 << 20
            assert len(os.listdir(workspace.home / "reserve")) == 8
        size = workspace.store.with_name("store.db-wal").stat().st_size
        reserve.keep(store, workspace.home)
        assert workspace.store.with_name("store.db-wal").stat().st_size == size
        store.set_meta("a", "b")
    with closing(Store(workspace.store)) as store:
        assert store.meta("a") == "b"


def test_lent(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk spare files become SQLite's own, when no process has the store open."""
    with closing(Store(workspace.store)) as store:
        reserve.keep(store, workspace.home)
        store.set_meta("a", "b")
    spare = (workspace.home / "reserve" / "0.wal").stat().st_ino
    monkeypatch.setattr(reserve, "no_space", lambda _: True)
    with closing(reserve.open_store(workspace)) as store:
        assert store.meta("a") == "b"
        assert workspace.store.with_name("store.db-wal").stat().st_ino == spare
        store.set_meta("a", "c")
        assert len(os.listdir(workspace.home / "reserve")) == 6
        with closing(reserve.open_store(workspace)) as other:  # it is in use: nothing is exchanged
            assert other.meta("a") == "c"
        assert len(os.listdir(workspace.home / "reserve")) == 6
        reserve.keep(store, workspace.home)
        assert len(os.listdir(workspace.home / "reserve")) == 8


def test_not_lent_while_another_process_has_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another process has open stays at its place."""
    with closing(Store(workspace.store)) as store:
        reserve.keep(store, workspace.home)
    script = (
        "import sys; from pathlib import Path; from cfa.cloudops.service.store import Store\n"
        "store = Store(Path(sys.argv[1])); print(flush=True); input(); store.set_meta('a', 'b')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, workspace.store],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        before = workspace.store.with_name("store.db-shm").stat().st_ino
        monkeypatch.setattr(reserve, "no_space", lambda _: True)
        with closing(reserve.open_store(workspace)) as store:
            assert workspace.store.with_name("store.db-shm").stat().st_ino == before
            other.communicate("go\n")
            assert other.returncode == 0
            assert store.meta("a") == "b"


def test_shortage() -> None:
    """What is short is told by the number of an error; other errors are none."""
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EAGAIN):
        assert shortage(OSError(number, "x"))
    assert shortage(DiskFullError("x"))
    assert not shortage(OSError(errno.EACCES, "x"))
    assert not shortage(ValueError("x"))


def test_shortage_behind_another_error() -> None:
    """An error of ours that was made of one that says what is short says so, too."""

    def ours(number: int) -> BaseException:
        try:
            try:
                raise OSError(number, "x")
            except OSError:
                raise NodeError("x") from None
        except NodeError as error:
            return error

    assert shortage(ours(errno.EMFILE)) == shortage(OSError(errno.EMFILE, "x"))
    assert not shortage(ours(errno.EACCES))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A disk is full when a file cannot be written or made, whatever it says of itself."""
    assert not no_space(tmp_path)

    def refuse(*_: object) -> int:
        raise OSError(number, "full")

    with monkeypatch.context() as patched:
        patched.setattr(store_module.os, "write", refuse)
        assert no_space(tmp_path)
    assert not no_space(tmp_path / "missing")
