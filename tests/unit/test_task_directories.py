"""How the directory of a task is made where others may have put something."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cfa.cloudops.beneath import Place
from cfa.cloudops.service.workspace import prepare_task


def fill(place: Path) -> None:
    (place / "a").mkdir(parents=True)
    (place / "a" / "file").write_text("x")


def prepare(job: Path, *, new: bool) -> list[str]:
    with Place.open(job) as opened:
        return prepare_task(opened, "t", new=new)


def test_nothing_in_the_way(tmp_path):
    """A first try makes the directory; a further one keeps what is in it, but for the streams."""
    assert prepare(tmp_path, new=True) == []
    assert os.listdir(tmp_path / "t") == ["wd"]
    for name in ("stdout.txt", "stderr.txt", "kept", "wd/kept"):
        (tmp_path / "t" / name).write_text("x")
    assert prepare(tmp_path, new=False) == []
    assert sorted(os.listdir(tmp_path / "t")) == ["kept", "wd"]
    assert os.listdir(tmp_path / "t" / "wd") == ["kept"]


@pytest.mark.parametrize("mode", [0o755, 0])
def test_full_directory_is_put_aside(tmp_path, mode):
    """What takes long to remove is only renamed."""
    fill(tmp_path / "t")
    (tmp_path / "t").chmod(mode)
    (aside,) = prepare(tmp_path, new=True)
    assert sorted(os.listdir(tmp_path)) == sorted([aside, "t"])
    assert os.listdir(tmp_path / "t") == ["wd"]
    (tmp_path / aside).chmod(0o755)
    assert (tmp_path / aside / "a" / "file").exists()


@pytest.mark.parametrize("mode", [0o755, 0])
def test_full_streams_are_put_aside(tmp_path, mode):
    """So are directories in the place of streams, before a further try."""
    prepare(tmp_path, new=True)
    for name in ("stdout.txt", "stderr.txt"):
        fill(tmp_path / "t" / name)
        (tmp_path / "t" / name).chmod(mode)
    (tmp_path / "t" / "wd").rmdir()
    (tmp_path / "t" / "wd").write_text("x")
    aside = prepare(tmp_path, new=False)
    assert len(aside) == 2
    assert sorted(os.listdir(tmp_path)) == sorted([*aside, "t"])
    assert os.listdir(tmp_path / "t") == ["wd"]
    assert (tmp_path / "t" / "wd").is_dir()


@pytest.mark.parametrize("new", [True, False])
def test_file_in_the_way(tmp_path, new):
    """A file or a link goes at once."""
    os.symlink("/", tmp_path / "t")
    assert prepare(tmp_path, new=new) == []
    assert os.listdir(tmp_path / "t") == ["wd"]
    assert not (tmp_path / "t").is_symlink()
