"""Copies that were broken off and are asked for again continue where they were, or begin anew."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cfa.cloudops.errors import LocalFileNotFoundError
from cloudops_fsspec import FsspecBlobs, _batches, _files, _resume


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FsspecBlobs:
    """Storage with the container `box`, in which files of 1000 bytes are large."""
    monkeypatch.setattr(_resume, "FROM_BYTES", 1000)
    monkeypatch.setattr(_files, "_CHUNK", 400)
    monkeypatch.setattr(_batches, "BATCH", 4)
    monkeypatch.setattr(_batches, "WORKERS", 1)
    storage = FsspecBlobs(f"file://{tmp_path}/root")
    storage.create_container("box")
    return storage


class Break:
    """Progress that breaks off after so many bytes, and counts those that are told after that."""

    def __init__(self, after: int, error: BaseException | None = None) -> None:
        self.left = after
        self.error = error or KeyboardInterrupt()

    def __call__(self, files: int, size: int) -> None:
        """Count, and raise once."""
        self.left -= size
        if self.left <= 0:
            raise self.error


class Copied:
    """Counts the bytes that are really copied."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.size = 0
        real = _files._copy_file_range

        def count(target: int, source: int) -> int:
            step = real(target, source)
            self.size += step
            return step

        monkeypatch.setattr(_files, "_copy_file_range", count)


def parts(top: Path) -> list[Path]:
    """What waits to be continued."""
    return list(top.rglob(".cloudops-resume-*"))


def large(path: Path, size: int = 2000) -> bytes:
    """A file of random bytes."""
    data = os.urandom(size)
    path.write_bytes(data)
    return data


def test_large_file_goes_on(
    storage: FsspecBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was copied of a large file is not copied again, in uploads and downloads alike."""
    data = large(tmp_path / "source")
    copied = Copied(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        storage.upload_many("box", {"a": tmp_path / "source"}, progress=Break(1200))
    assert copied.size == 1200
    assert list(storage.list_blobs("box")) == []
    told: list[int] = []
    storage.upload_many(
        "box", {"b": tmp_path / "source"}, progress=lambda files, size: told.append(size)
    )
    assert copied.size == 2000
    assert sum(told) == 2000
    assert (tmp_path / "root" / "box" / "b").read_bytes() == data
    assert parts(tmp_path) == []
    with pytest.raises(KeyboardInterrupt):
        storage.download_many("box", {"b": tmp_path / "got" / "b"}, progress=Break(1200))
    assert not (tmp_path / "got" / "b").exists()
    storage.download_many("box", {"b": tmp_path / "got" / "b"})
    assert copied.size == 4000
    assert (tmp_path / "got" / "b").read_bytes() == data
    assert os.listdir(tmp_path / "got") == ["b"]


def touch(path: Path) -> None:
    """Change a file's first byte and nothing else, its times of modification put back."""
    before = path.stat()
    with path.open("r+b") as file:
        byte = file.read(1)[0]
        file.seek(0)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path) -> None:
    """Another file of the same size and times."""
    before = path.stat()
    path.rename(path.with_suffix(".old"))
    large(path, before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [touch, replace])
def test_changed_large_file_begins_anew(
    storage: FsspecBlobs, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """A source that was changed meanwhile is copied from its beginning, whatever its size and time
    of modification say."""
    source = tmp_path / "source"
    large(source)
    with pytest.raises(KeyboardInterrupt):
        storage.upload_many("box", {"a": source}, progress=Break(1200))
    change(source)
    storage.upload_many("box", {"a": source})
    assert (tmp_path / "root" / "box" / "a").read_bytes() == source.read_bytes()


def test_other_boot_begins_anew(
    storage: FsspecBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the machine was started anew nothing is continued."""
    large(tmp_path / "source")
    with pytest.raises(KeyboardInterrupt):
        storage.upload_many("box", {"a": tmp_path / "source"}, progress=Break(1200))
    copied = Copied(monkeypatch)
    monkeypatch.setattr(_resume, "_boot", lambda: "other")
    storage.upload_many("box", {"a": tmp_path / "source"})
    assert copied.size == 2000


def test_fault_leaves_nothing(storage: FsspecBlobs, tmp_path: Path) -> None:
    """After a fault, which may be a full disk, nothing is kept, of files and of new folders."""
    large(tmp_path / "source")
    for blob in ("a", "new/a"):
        with pytest.raises(RuntimeError, match="broken"):
            storage.upload_many(
                "box",
                {blob: tmp_path / "source"},
                progress=Break(1200, RuntimeError("broken")),
            )
    with pytest.raises(LocalFileNotFoundError):
        storage.upload_many("box", {"x/a": tmp_path / "source", "x/b": tmp_path / "none"})
    assert list((tmp_path / "root").rglob("*")) == [tmp_path / "root" / "box"]


def test_two_at_once_do_not_share(storage: FsspecBlobs, tmp_path: Path) -> None:
    """While one call copies a large file, or a new folder, another copies it for itself."""
    data = large(tmp_path / "source")
    inner: list[str] = []

    def again(files: int, size: int) -> None:
        if not inner:
            inner.append("began")
            FsspecBlobs(storage.url).upload_many(
                "box", {"new/a": tmp_path / "source", "b": tmp_path / "source"}
            )
            inner.append("ended")

    storage.upload_many("box", {"new/a": tmp_path / "source"}, progress=again)
    assert inner == ["began", "ended"]
    for blob in ("new/a", "b"):
        assert (tmp_path / "root" / "box" / blob).read_bytes() == data
    assert parts(tmp_path) == []


def test_planted_link_is_not_written(storage: FsspecBlobs, tmp_path: Path) -> None:
    """A link under the name of what waits, to a file elsewhere, is not followed or continued."""
    data = large(tmp_path / "source")
    with pytest.raises(KeyboardInterrupt):
        storage.upload_many("box", {"a": tmp_path / "source"}, progress=Break(1200))
    (part,) = parts(tmp_path)
    for link in (os.symlink, os.link):
        victim = tmp_path / "victim"
        victim.write_text("precious")
        part.unlink()
        link(victim, part)
        storage.upload_many("box", {"a": tmp_path / "source"})
        assert victim.read_text() == "precious"
        assert (tmp_path / "root" / "box" / "a").read_bytes() == data


class TestFolder:
    """A new folder of small files and one large one."""

    @pytest.fixture
    def sources(self, tmp_path: Path) -> dict[str, Path]:
        """20 files of 10 bytes."""
        top = tmp_path / "sources"
        top.mkdir()
        found = {}
        for number in range(20):
            path = top / f"{number:02}"
            path.write_text(f"{number:10}")
            found[f"new/{'sub/' * (number % 2)}{number:02}"] = path
        return found

    def check(self, storage: FsspecBlobs, tmp_path: Path, sources: Any) -> None:
        """Exactly these blobs are there, with their contents."""
        assert [blob.name for blob in storage.list_blobs("box")] == sorted(sources)
        for blob, path in sources.items():
            assert (tmp_path / "root" / "box" / blob).read_bytes() == path.read_bytes()
        assert list((tmp_path / "root").rglob(".cloudops*")) == []

    def test_goes_on(
        self,
        storage: FsspecBlobs,
        tmp_path: Path,
        sources: dict[str, Path],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Complete files are not copied again; progress counts them."""
        with pytest.raises(KeyboardInterrupt):
            storage.upload_many("box", sources, progress=Break(95))
        assert list(storage.list_blobs("box")) == []
        copied = Copied(monkeypatch)
        told: list[tuple[int, int]] = []
        storage.upload_many("box", sources, progress=lambda *step: told.append(step))
        assert copied.size == 110
        assert (sum(n for n, _ in told), sum(size for _, size in told)) == (20, 200)
        self.check(storage, tmp_path, sources)

    def test_changed_files_and_other_files(
        self, storage: FsspecBlobs, tmp_path: Path, sources: dict[str, Path]
    ) -> None:
        """Of what was copied only what is unchanged and still wanted is used, over several
        attempts that are broken off."""
        with pytest.raises(KeyboardInterrupt):
            storage.upload_many("box", sources, progress=Break(195))
        touch(sources["new/00"])
        del sources["new/02"]
        with pytest.raises(KeyboardInterrupt):
            storage.upload_many("box", sources, progress=Break(185))
        again = {blob: path for blob, path in sources.items() if blob != "new/04"}
        with pytest.raises(KeyboardInterrupt):
            storage.upload_many("box", again, progress=Break(175))
        replace(sources["new/06"])
        storage.upload_many("box", sources)
        self.check(storage, tmp_path, sources)

    def test_a_file_where_a_folder_was(
        self, storage: FsspecBlobs, tmp_path: Path, sources: dict[str, Path]
    ) -> None:
        """What an earlier attempt called a folder may be a file in the next, and the reverse."""
        with pytest.raises(KeyboardInterrupt):
            storage.upload_many("box", sources, progress=Break(195))
        other = {"new/sub": sources["new/00"], "new/00/x": sources["new/02"]}
        storage.upload_many("box", other)
        self.check(storage, tmp_path, other)

    def test_large_file_in_a_new_folder(
        self, storage: FsspecBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A large file in a new folder goes on in its middle as well."""
        sources = {"new/large": tmp_path / "source"}
        large(tmp_path / "source")
        with pytest.raises(KeyboardInterrupt):
            storage.upload_many("box", sources, progress=Break(1200))
        copied = Copied(monkeypatch)
        storage.upload_many("box", sources)
        assert copied.size == 800
        self.check(storage, tmp_path, sources)

    def test_torn_journal(
        self, storage: FsspecBlobs, tmp_path: Path, sources: dict[str, Path]
    ) -> None:
        """A journal that ends in the middle of an entry, or is gone, costs copies and no contents."""
        for damage in (lambda path: os.truncate(path, 100), os.unlink):
            with pytest.raises(KeyboardInterrupt):
                storage.upload_many("box", sources, progress=Break(195))
            (journal,) = (tmp_path / "root").rglob(_resume.JOURNAL)
            damage(journal)
            for path in journal.parent.rglob("*"):
                if path.is_file() and path != journal:
                    path.write_text("half")
        storage.upload_many("box", sources)
        self.check(storage, tmp_path, sources)


PROGRAM = """
import os, signal, sys
from cloudops_fsspec import FsspecBlobs
blobs, top = FsspecBlobs(sys.argv[1]), sys.argv[2]
done = 0

def die(files, size):
    global done
    done += files
    if done >= 1500:
        os.kill(os.getpid(), signal.SIGKILL)

blobs.upload_many("box", {f"new/{n}": f"{top}/{n}" for n in os.listdir(top)}, progress=die)
"""


def test_killed_upload_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After SIGKILL of a real upload most of its files need no second copy, and all are right."""
    storage = FsspecBlobs(f"file://{tmp_path}/root")
    storage.create_container("box")
    top = tmp_path / "many"
    top.mkdir()
    for number in range(2000):
        (top / str(number)).write_text(str(number))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, storage.url, str(top)],
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == -9
    opened: list[Any] = []
    real = _files.open_source
    monkeypatch.setattr(_files, "open_source", lambda path: (opened.append(path), real(path))[1])
    storage.upload_many("box", {f"new/{n}": f"{top}/{n}" for n in os.listdir(top)})
    assert 500 <= len(opened) <= 900
    assert len(list(storage.list_blobs("box"))) == 2000
    for number in range(2000):
        assert (tmp_path / "root" / "box" / "new" / str(number)).read_text() == str(number)
