"""Saving logs: what is taken of a task's directory, and what a failure does to the rest."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from cfa.cloudops.backends import load_storage
from cfa.cloudops.beneath import Place
from cfa.cloudops.errors import BackendUnavailableError
from cfa.cloudops.model.uploads import Upload
from cfa.cloudops.model.values import JobSpec
from cfa.cloudops.provider.blob import BlobProvider, LocalFile
from cfa.cloudops.service import outputs
from cfa.cloudops.service.outputs import Owed, Result, save

SPEC = JobSpec(id="j", pool_id="p", log_container="kept", log_folder="logs")


def owed(place: Path, number: int) -> Owed:
    """A task that has said its number."""
    task = place / "tasks" / f"t{number}"
    task.mkdir()
    for name in ("stdout.txt", "stderr.txt"):
        (task / name).write_text(f"{number}\n")
    return Owed(number, f"t{number}", "2026-03-01")


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Place]:
    """The job's."""
    (tmp_path / "tasks").mkdir()
    with Place.open(tmp_path / "tasks") as place:
        yield place


@pytest.fixture
def storage(tmp_path: Path) -> BlobProvider:
    """Directories below `tmp_path`, with the container `kept`."""
    found = load_storage(f"file://{tmp_path}")
    found.create_container("kept")
    return found


def blobs(storage: BlobProvider) -> list[str]:
    return [blob.name for blob in storage.list_blobs("kept")]


def test_layout(storage: BlobProvider, tmp_path: Path, directory: Place) -> None:
    """Both streams lie below folder, day and task; without a folder at the root."""
    assert save(storage, 1, SPEC, directory, [owed(tmp_path, 1)]) == Result(1, saved=[1])
    bare = JobSpec(id="j", pool_id="p", log_container="kept", log_folder="")
    assert save(storage, 1, bare, directory, [owed(tmp_path, 2)]) == Result(1, saved=[2])
    assert blobs(storage) == [
        "2026-03-01/t2/stderr.txt",
        "2026-03-01/t2/stdout.txt",
        "logs/2026-03-01/t1/stderr.txt",
        "logs/2026-03-01/t1/stdout.txt",
    ]


@pytest.mark.parametrize(
    ("condition", "failed", "saved"),
    [
        ("taskcompletion", False, True),
        ("taskcompletion", True, True),
        ("tasksuccess", True, False),
        ("taskfailure", True, True),
        ("taskfailure", False, False),
    ],
)
def test_own_upload(
    storage: BlobProvider, tmp_path: Path, directory: Place, condition, failed, saved
) -> None:
    """A task may say itself where its logs go, and after which end."""
    owed(tmp_path, 1)
    upload = Upload(
        container="kept",
        blobs=[("stdout.txt", "a/out.log")],
        condition=condition,
        storage=f"file://{tmp_path}",
    )
    assert Upload.of(upload.text()) == upload
    task = Owed(1, "t1", "2026-03-01", failed, upload)
    spec = JobSpec(id="j", pool_id="p")
    assert save(storage, 1, spec, directory, [task]) == Result(1, saved=[1])
    assert blobs(storage) == (["a/out.log"] if saved else [])


def test_only_plain_files(storage: BlobProvider, tmp_path: Path, directory: Place) -> None:
    """A task may have left a link, a pipe or nothing where its output was: there is no log then."""
    task = owed(tmp_path, 1)
    (tmp_path / "secret").write_text("x")
    for name in ("stdout.txt", "stderr.txt"):
        directory.unlink(f"t1/{name}")
    os.symlink(tmp_path / "secret", tmp_path / "tasks/t1/stdout.txt")
    os.mkfifo(tmp_path / "tasks/t1/stderr.txt")
    gone = Owed(2, "t2", "2026-03-01")
    assert save(storage, 1, SPEC, directory, [task, gone]) == Result(1, saved=[1, 2])
    assert blobs(storage) == []


def test_one_failure_does_not_hinder_the_others(
    storage: BlobProvider, tmp_path: Path, directory: Place
) -> None:
    """A blob that cannot be written is named; logs of all other tasks are saved."""
    tasks = [owed(tmp_path, number) for number in (1, 2, 3)]
    (tmp_path / "kept/logs/2026-03-01/t2/stdout.txt/x").mkdir(parents=True)
    found = save(storage, 1, SPEC, directory, tasks)
    assert (found.saved, list(found.failed), found.hopeless) == ([1, 3], [2], "")
    assert "t2/stdout.txt" in found.failed[2]
    assert "logs/2026-03-01/t3/stdout.txt" in blobs(storage)


def test_container_that_is_gone(storage: BlobProvider, tmp_path: Path, directory: Place) -> None:
    """Without the container nothing is tried."""
    storage.delete_container("kept")
    found = save(storage, 1, SPEC, directory, [owed(tmp_path, 1)])
    assert (found.saved, found.failed) == ((), {})
    assert "'kept'" in found.hopeless


def test_storage_that_takes_long_to_fail(
    storage: BlobProvider, tmp_path: Path, directory: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not every task is waited for when a storage that does not answer takes its time."""
    tried = []

    def unreachable(container: str, sources: Mapping[str, LocalFile]) -> None:
        tried.append(list(sources))
        raise BackendUnavailableError("No answer.")

    monkeypatch.setattr(storage, "upload_many", unreachable)
    monkeypatch.setattr(outputs, "_ONE_BY_ONE_S", -1)
    found = save(storage, 1, SPEC, directory, [owed(tmp_path, number) for number in range(5)])
    assert (found.hopeless, found.saved, len(tried)) == ("No answer.", (), 2)
