"""What is taken from files that tasks left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from cfa.cloudops import privileges
from cfa.cloudops.beneath import Place
from cfa.cloudops.privileges import strip_privileges


def strip(top: Path, since: float = 0) -> tuple[int, list[str]]:
    with Place.open(top) as place:
        return strip_privileges(place, since)


def program(path: Path, mode: int = 0o4755) -> Path:
    path.write_bytes(b"\x7fELF")
    path.chmod(mode)
    return path


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.mark.parametrize(
    ("before", "after"),
    [(0o4755, 0o755), (0o2755, 0o755), (0o6711, 0o711), (0o4000, 0), (0o4111, 0o111)],
)
def test_bits_go(tmp_path: Path, before: int, after: int) -> None:
    """Both bits go, the permissions stay, also of a file that nobody may read."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    found = program(tmp_path / "a" / "b" / "x", before)
    assert strip(tmp_path) == (1, [])
    assert mode(found) == after
    assert found.read_bytes() == b"\x7fELF" if after & 0o400 else True


def test_others_stay(tmp_path: Path) -> None:
    """Plain files, sticky ones, and the bits of directories are left alone."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o2775)
    plain = program(tmp_path / "shared" / "plain", 0o755)
    sticky = program(tmp_path / "sticky", 0o1644)
    assert strip(tmp_path) == (0, [])
    assert [mode(path) for path in (tmp_path / "shared", plain, sticky)] == [0o2775, 0o755, 0o1644]


def test_old_ones_stay(tmp_path: Path) -> None:
    """What was there before keeps its bits, whatever time of it a task has set since."""
    program(tmp_path / "old")
    after = time.time() + 60
    assert strip(tmp_path, after) == (0, [])
    assert mode(tmp_path / "old") == 0o4755
    new = program(tmp_path / "new")
    os.utime(new, (1, 1))
    assert strip(tmp_path, time.time() - 30)[0] == 2


def test_links_and_pipes(tmp_path: Path) -> None:
    """Links are not followed, pipes and sockets not waited for."""
    outside = tmp_path / "outside"
    outside.mkdir()
    victim = program(outside / "victim")
    top = tmp_path / "top"
    top.mkdir()
    (top / "link").symlink_to(victim)
    (top / "directory").symlink_to(outside)
    (top / "loop").symlink_to("loop")
    os.mkfifo(top / "pipe")
    (top / "pipe").chmod(0o6666)
    inside = program(top / "inside")
    assert strip(top) == (1, [])
    assert (mode(victim), mode(inside), mode(top / "pipe")) == (0o4755, 0o755, 0o6666)


def test_swapped_for_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that becomes a link between the look and the change is no way to another file."""
    victim = program(tmp_path / "victim")
    top = tmp_path / "top"
    top.mkdir()
    target = program(top / "x")
    grip = privileges.grip

    def swap(directory: int, name: str) -> AbstractContextManager[int]:
        if name == "x":
            target.unlink()
            target.symlink_to(victim)
        return grip(directory, name)

    monkeypatch.setattr(privileges, "grip", swap)
    assert strip(top) == (0, [])
    assert mode(victim) == 0o4755


def deepen(top: Path, levels: int, closed: int | None = None) -> None:
    """Nested directories with a program in each before and behind the way down."""
    back = os.open(".", os.O_RDONLY)
    try:
        os.chdir(top)
        for _ in range(levels):
            for name in ("a", "d", "z"):
                os.mkdir(name)
            for name in ("a/x", "z/x"):
                program(Path(name))
            os.chdir("d")
        for _ in range(levels):
            os.chdir("..")
            if closed is not None:
                os.chmod("d", closed)
    finally:
        os.fchdir(back)
        os.close(back)


@pytest.mark.thorough
@pytest.mark.parametrize("closed", [None, 0, 0o400])
def test_deep(tmp_path: Path, closed: int | None) -> None:
    """A tree deeper than a path can be long needs few descriptors; its modes are given back."""
    deepen(tmp_path, 1200, closed)
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128));"
        "from cfa.cloudops.beneath import Place;"
        "from cfa.cloudops.privileges import strip_privileges;"
        "p = Place.open(sys.argv[1]); print(strip_privileges(p, 0)); print(strip_privileges(p, 0))"
    )
    argv = [sys.executable, "-c", code, str(tmp_path)]
    told = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
    assert told == "(2400, [])\n(0, [])\n"
    if closed is not None:
        assert mode(tmp_path / "d") == closed
    with Place.open(tmp_path) as place:
        place.remove_tree("d")


def test_moved_away_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that is moved while we are in it leads nowhere else, and what was missed is told."""
    monkeypatch.setattr(privileges, "_HELD", 0)
    outside = tmp_path / "outside"
    (outside / "b").mkdir(parents=True)
    victim = program(outside / "b" / "victim")
    top = tmp_path / "top"
    (top / "d" / "a").mkdir(parents=True)
    (top / "d" / "b").mkdir()
    program(top / "d" / "b" / "x")
    look = privileges._Walk._look
    for name in "ab":
        program(top / "d" / name / "first")

    def move(walk: privileges._Walk, level: privileges._Level, entry: os.DirEntry[str]) -> None:
        look(walk, level, entry)
        if level.name in ("a", "b") and (top / "d" / level.name).exists():
            (top / "d" / level.name).rename(outside / "moved")

    monkeypatch.setattr(privileges._Walk, "_look", move)
    changed, refused = strip(top)
    assert changed >= 1
    assert refused == (["d/a"] if (top / "d" / "a").exists() else ["d/b"])
    assert mode(victim) == 0o4755


@pytest.mark.root
def test_of_somebody_else(tmp_path: Path) -> None:
    """What belongs to somebody else is named, by an ordinary user; the rest is done."""
    for path in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        path.chmod(0o755)
    top = tmp_path / "top"
    (top / "d").mkdir(parents=True)
    (top / "closed").mkdir(mode=0o700)
    program(top / "d" / "theirs")
    mine = program(top / "d" / "mine", 0o755)
    os.chown(mine, 4321, 4321)
    mine.chmod(0o4755)
    code = (
        "import os, sys; sys.path[:0] = sys.argv[2].split(os.pathsep);"
        "from cfa.cloudops.beneath import Place;"
        "from cfa.cloudops.privileges import strip_privileges;"
        "p = Place.open(sys.argv[1]); os.setgroups([]); os.setgid(4321); os.setuid(4321);"
        "found = strip_privileges(p, 0); print(found[0], *sorted(found[1]))"
    )
    argv = [sys.executable, "-c", code, str(top), os.pathsep.join(filter(None, sys.path))]
    told = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
    assert told == "1 closed d/theirs\n"
    assert mode(mine) == 0o755
    assert mode(top / "closed") == 0o700
