"""The storage contract on directories and on fsspec's memory filesystem."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import fsspec.asyn
import pytest

from cfa.cloudops.errors import (
    BackendNotInstalledError,
    BackendUnavailableError,
    UnknownBackendError,
)
from cfa.cloudops.provider.blob import BlobProvider
from cfa.cloudops.testing.storage import StorageContract
from cloudops_fsspec import FsspecBlobs


@pytest.fixture(scope="module", autouse=True)
def _no_thread_of_fsspec() -> Iterator[None]:
    """fsspec starts one thread for its asynchronous filesystems and never stops it: do it here."""
    yield
    thread, loop = fsspec.asyn.iothread[0], fsspec.asyn.loop[0]
    if loop is not None:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
        fsspec.asyn.iothread[0] = fsspec.asyn.loop[0] = None


class TestDirectory(StorageContract):
    """A root that is a directory of this machine."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[BlobProvider]:
        storage = FsspecBlobs(f"file://{tmp_path}/root")
        yield storage
        storage.close()


class TestMemory(StorageContract):
    """A root that only fsspec can reach, and that no node can bind."""

    @pytest.fixture
    def storage(self) -> Iterator[BlobProvider]:
        root = uuid.uuid4().hex
        storage = FsspecBlobs(f"memory://{root}")
        yield storage
        storage.close()
        memory = fsspec.filesystem("memory")
        if memory.isdir(f"/{root}"):
            memory.rm(f"/{root}", recursive=True)  # what is locked as well

    def test_is_no_directory(self, storage: BlobProvider) -> None:
        """A container in memory cannot be bound into a node."""
        storage.create_container("box")
        assert storage.local_path("box") is None


class TestGenericMove(StorageContract):
    """A filesystem without atomic writes of its own: written aside, then moved."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[BlobProvider]:
        storage = FsspecBlobs(f"dir::file://{tmp_path}/root")
        yield storage
        storage.close()


@pytest.mark.parametrize("url", ["nonsense://x", "nonsense:x"])
def test_unknown_protocol(url: str) -> None:
    """A protocol that fsspec does not know is refused by name."""
    with pytest.raises(UnknownBackendError, match="nonsense"):
        FsspecBlobs(url)


def test_protocol_not_installed() -> None:
    """A protocol whose package is missing is another error, and names the package."""
    with pytest.raises(BackendNotInstalledError, match="adlfs"):
        FsspecBlobs("abfs://box/x")


def test_plain_path_and_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain path, `file:` with a relative path and `~` name a directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for url, path in (
        (str(tmp_path / "a"), tmp_path / "a"),
        ("file:b", tmp_path / "b"),
        ("file:", tmp_path),
        ("file://~/c", tmp_path / "home" / "c"),
    ):
        storage = FsspecBlobs(url)
        storage.create_container("box")
        assert (path / "box").is_dir()


def test_directories_do_not_import_fsspec(tmp_path: Path) -> None:
    """A root on this machine does not pay for importing fsspec."""
    code = (
        "import sys; from cloudops_fsspec import FsspecBlobs; "
        f"FsspecBlobs('file://{tmp_path}').create_container('box'); "
        "assert 'fsspec' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (
            TypeError("org is missing"),
            UnknownBackendError,
            r"s3:// \(extra s3\), gs:// \(extra gcs\)",
        ),
        (OSError(-2, "Name not known"), BackendUnavailableError, "does not answer: Name not known"),
        (ImportError("Install s3fs."), BackendNotInstalledError, r"'cfa-cloudops\[s3\]'"),
    ],
)
def test_urls_that_do_not_do(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception], says: str
) -> None:
    """A URL that is not enough, and a server that does not answer, are no fault of this package."""

    def fail(_url: str, **_options: object) -> None:
        raise error

    monkeypatch.setattr("fsspec.core.url_to_fs", fail)
    with pytest.raises(kind, match=says):
        FsspecBlobs("s3://x")
