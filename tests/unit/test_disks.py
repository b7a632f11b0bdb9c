"""Full disks, disks for reading only, and file systems that cannot hold a workspace."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cfa.cloudops.cli import doctor
from cfa.cloudops.errors import DiskFullError, StoreError, StoreUnreadableError
from cfa.cloudops.service import disks, link
from cfa.cloudops.service import store as store_module
from cfa.cloudops.service.link import Link
from cfa.cloudops.service.store import Store
from cfa.cloudops.service.workspace import Workspace


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a small disk of the test's own."""
    place = tmp_path / "disk"
    place.mkdir()
    mounts = []

    def mount(options: str) -> Path:
        argv = ["mount", "-t", "tmpfs", "-o", options, "none", str(place)]
        if not shutil.which("mount"):
            pytest.skip("no program mounts")
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mount: {done.stderr.strip()}")
        mounts.append(place)
        return place

    yield mount
    for one in mounts:
        subprocess.run(["umount", "-l", str(one)], check=True)


def failing(call: Callable[[], object]) -> StoreError:
    with pytest.raises(StoreError) as caught:
        call()
    return caught.value


@pytest.mark.root
def test_no_inodes(mounted: Callable[..., Path]) -> None:
    """A disk that can hold no more files is full, and it is said of what."""
    disk = mounted("size=4m,nr_inodes=10")
    for number in range(7):
        (disk / str(number)).touch()
    error = failing(Workspace(disk / "w").create)
    assert isinstance(error, DiskFullError)
    assert "no inodes left" in error.message
    shutil.rmtree(disk / "w")
    with contextlib.suppress(OSError):
        for number in range(7, 10):
            (disk / str(number)).touch()
    error = failing(lambda: Store(disk / "s.db"))
    assert isinstance(error, DiskFullError)
    assert "no inodes left" in error.message


@pytest.mark.root
def test_nearly_full(mounted: Callable[..., Path]) -> None:
    """A disk with room for a file, but not for a store, is full."""
    disk = mounted("size=1m")
    (disk / "fill").write_bytes(bytes((1 << 20) - (100 << 10)))
    error = failing(lambda: Store(disk / "s.db"))
    assert isinstance(error, DiskFullError)
    assert "No space is left on the disk." in error.message


@pytest.mark.root
def test_read_only_disk(mounted: Callable[..., Path]) -> None:
    """A store on a disk that is mounted for reading only is refused in words."""
    disk = mounted("size=4m")
    Workspace(disk / "w").create()
    Store(disk / "w/store.db").close()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for call in (lambda: Store(disk / "w/store.db"), Workspace(disk / "v").create):
        error = failing(call)
        assert isinstance(error, StoreUnreadableError)
        assert "ead-only" in error.message or "for reading only" in error.message
        assert "CLOUDOPS_HOME" in error.hint


class Refusing(sqlite3.Connection):
    """A database on a file system without shared memory."""

    def execute(self, sql: str, *more: object) -> sqlite3.Cursor:  # type: ignore[override]
        if "journal_mode" in sql:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMMAP
            raise error
        return super().execute(sql, *more)


def no_shared_memory(monkeypatch: pytest.MonkeyPatch, *, said: bool) -> None:
    """Let the file system refuse a write-ahead log, by an error or by another journal."""
    connect = sqlite3.connect

    def other(path: Path, **more: object) -> sqlite3.Connection:
        if said:
            return connect(path, factory=Refusing, **more)
        return connect(f"file:{path}?vfs=unix-dotfile", uri=True, **more)

    monkeypatch.setattr(store_module.sqlite3, "connect", other)


@pytest.mark.parametrize("said", [True, False])
def test_no_write_ahead_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bool) -> None:
    """A file system that cannot hold a store is named as the cause, with what to do."""
    no_shared_memory(monkeypatch, said=said)
    error = failing(lambda: Store(tmp_path / "s.db"))
    assert isinstance(error, StoreUnreadableError)
    assert f"The file system of {tmp_path} cannot hold a store" in error.message
    assert "CLOUDOPS_HOME" in error.hint


def no_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "mkfifo", refuse)


def test_no_pipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without pipes and sockets is known; this one has them."""
    assert disks.unfit(tmp_path) == ""
    no_pipes(monkeypatch)
    assert "cannot hold pipes and sockets" in disks.unfit(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cause", ["pipes", "log"])
def test_doctor_tries_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    """The doctor says that a file system cannot hold a workspace."""
    report = doctor.Report(python="", program="", system="", packages={})
    doctor._write_workspace(tmp_path / "w", report)
    assert not [problem for problem in report.problems if problem.fatal]
    if cause == "pipes":
        no_pipes(monkeypatch)
    else:
        no_shared_memory(monkeypatch, said=True)
    doctor._write_workspace(tmp_path / "w", report)
    [problem] = [problem for problem in report.problems if problem.fatal]
    assert "cannot hold" in problem.what
    assert "CLOUDOPS_HOME" in problem.advice
    assert list(tmp_path.iterdir()) == []


def agent_that_ends(log: Path, words: str) -> Callable[[Workspace], int]:
    program = f"open({str(log)!r}, 'w').write({words!r}); raise SystemExit(1)"

    def spawn(_: Workspace) -> int:
        return os.posix_spawn(sys.executable, [sys.executable, "-c", program], dict(os.environ))

    return spawn


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("OSError: [Errno 28] No space left on device: 'x'", DiskFullError),
        ("PermissionError: [Errno 1] Operation not permitted", StoreUnreadableError),
    ],
)
def test_agents_that_cannot_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, kind: type[StoreError]
) -> None:
    """An agent that ends for lack of space, or of what a file system has, is explained by that."""
    workspace = Workspace(tmp_path / "w")
    workspace.create()
    monkeypatch.setattr(link, "spawn", agent_that_ends(workspace.log, words))
    no_pipes(monkeypatch)
    with contextlib.closing(Link(workspace)) as line, pytest.raises(kind):
        line.wait(1)
