"""The client's calls that copy several files at once, and what shows their progress."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cfa.cloudops.client import async_copies, copies, progress
from cfa.cloudops.client.blobs import BlobMixin
from cfa.cloudops.errors import (
    BlobNotFoundError,
    DiskFullError,
    InvalidInputError,
    LocalFileNotFoundError,
    UnsafePathError,
)
from cfa.cloudops.provider.blob import LocalFile
from cloudops_fsspec import FsspecBlobs


class Client(BlobMixin):
    """A client of nothing but blobs."""

    def __init__(self, blobs: FsspecBlobs) -> None:
        self._blobs = blobs


@pytest.fixture(params=["file", "memory"])
def client(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    """A client with the container `box`, in a directory with a few files."""
    make(tmp_path / "work", "d/a.csv", "d/sub/b.txt", "d/sub/c", "e/x")
    monkeypatch.chdir(tmp_path / "work")
    url = f"file://{tmp_path}/root" if request.param == "file" else f"memory://{uuid.uuid4().hex}"
    client = Client(FsspecBlobs(url))
    client.create_blob_container("box")
    yield client
    client._blobs.delete_container("box")


def make(top: Path, *files: str) -> None:
    """Files that hold their own names."""
    for file in files:
        (top / file).parent.mkdir(parents=True, exist_ok=True)
        (top / file).write_text(file)


class Slow(FsspecBlobs):
    """Storage in which copies wait for one another, to see how many are under way."""

    def __init__(self, url: str, together: int) -> None:
        super().__init__(url)
        self.barrier = threading.Barrier(together)
        self.lock = threading.Lock()
        self.now = self.most = 0

    def wait(self) -> None:
        """Return when as many as expected are here."""
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.barrier.wait(30)
        with self.lock:
            self.now -= 1

    def upload(self, source: LocalFile, container: str, blob: str) -> None:
        """As ever, but together."""
        self.wait()
        super().upload(source, container, blob)

    def download(self, container: str, blob: str, target: LocalFile) -> None:
        """As ever, but together."""
        self.wait()
        super().download(container, blob, target)


class Failing(FsspecBlobs):
    """Storage that is full when a blob called `bad` comes."""

    def upload(self, source: LocalFile, container: str, blob: str) -> None:
        """As ever, but for one."""
        if blob.endswith("bad"):
            raise DiskFullError("No space.")
        super().upload(source, container, blob)


class Endless(FsspecBlobs):
    """Storage whose copies go on until their `progress` ends them."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.begun = threading.Event()
        self.broken_off = threading.Event()

    def copy(self, progress: Any) -> None:
        """Say again and again that something was copied."""
        self.begun.set()
        until = time.monotonic() + 30
        try:
            while time.monotonic() < until:
                progress(0, 1)
        except BaseException:
            self.broken_off.set()
            raise

    def upload_many(self, container: str, sources: Any, *, progress: Any = None) -> None:
        """Never done."""
        self.copy(progress)

    def download_many(self, container: str, targets: Any, *, progress: Any = None) -> None:
        """Never done."""
        self.copy(progress)


class TestUpload:
    """async_upload_folder."""

    @pytest.mark.promise(
        "async_upload_folder",
        "Blobs are named from inside the folder; the local paths are returned.",
        local="without the folder's own name",
        cloud="documented; `TypeError` in version 0.8.0",
        difference="a defect of version 0.8.0, not repeated here",
    )
    def test_names_and_result(self, client: Client) -> None:
        """Blobs are named from inside the folder; the local paths are returned."""
        assert sorted(client.async_upload_folder("d", "box")) == [
            "d/a.csv",
            "d/sub/b.txt",
            "d/sub/c",
        ]
        assert client.list_blob_files("box") == ["a.csv", "sub/b.txt", "sub/c"]
        client.download_file("sub/c", "fetched", "box")
        assert Path("fetched").read_text() == "d/sub/c"

    def test_location_and_several(self, client: Client, tmp_path: Path) -> None:
        """Several folders, absolute ones too, go to one location, which need not exist."""
        client.async_upload_folder(
            ["d", tmp_path / "work" / "e"], "box", location_in_blob="run-1/in"
        )
        assert client.list_blob_files("box") == [
            "run-1/in/a.csv",
            "run-1/in/sub/b.txt",
            "run-1/in/sub/c",
            "run-1/in/x",
        ]

    @pytest.mark.parametrize(
        ("filters", "names"),
        [
            ({"include_extensions": "csv"}, ["a.csv"]),
            ({"exclude_extensions": [".csv", "txt"]}, ["sub/c"]),
            ({"include_extensions": "none"}, []),
        ],
    )
    def test_filters(self, client: Client, filters: Any, names: list[str]) -> None:
        """Filters work as in other uploads; nothing chosen is no error."""
        assert len(client.async_upload_folder("d", "box", **filters)) == len(names)
        assert client.list_blob_files("box") == names

    def test_bad_calls_upload_nothing(self, client: Client) -> None:
        """Bad arguments raise their own errors, and nothing is uploaded."""
        make(Path("twin"), "a.csv")
        for error, call in (
            (InvalidInputError, {"folders": ["d", "twin"]}),
            (InvalidInputError, {"folders": "d/a.csv"}),
            (LocalFileNotFoundError, {"folders": ["d", "none"]}),
            (UnsafePathError, {"folders": "d", "location_in_blob": "../x"}),
            (InvalidInputError, {"folders": "d", "max_concurrent_uploads": 0}),
            (InvalidInputError, {"folders": "d", "max_concurrent_uploads": "many"}),
            (
                InvalidInputError,
                {"folders": "d", "include_extensions": "a", "exclude_extensions": "b"},
            ),
        ):
            with pytest.raises(error):
                client.async_upload_folder(container_name="box", **call)
        assert client.list_blob_files("box") == []

    @pytest.mark.promise(
        "async_upload_folder",
        "An error of one file is raised.",
        local="no other is begun, none is there in part",
        cloud="swallowed",
        difference="a defect of version 0.8.0, not repeated here",
    )
    def test_error_is_raised(self, client: Client) -> None:
        """An error of one file is raised, no other file is begun, and none is there in part."""
        make(Path("many"), "-bad", *(f"{number:03}" for number in range(1, 200)))
        client._blobs = Failing(client._blobs.url)
        with pytest.raises(DiskFullError):
            client.async_upload_folder("many", "box", max_concurrent_uploads=1)
        assert client.list_blob_files("box") == []


class TestDownload:
    """async_download_folder."""

    @pytest.mark.promise(
        "async_download_folder",
        "As `download_folder`; neighbours whose names start alike are not fetched.",
        local="whole folders",
        cloud="`data` also fetches `data2/...`",
        difference="a defect of version 0.8.0, not repeated here",
    )
    def test_names(self, client: Client) -> None:
        """Whole names are kept below the target; neighbours that start alike are not fetched."""
        client.upload_folders(["d", "e"], "box")
        client.async_upload_folder("e", "box", location_in_blob="d2")
        client.async_download_folder("d", "dst", "box")
        found = sorted(str(path) for path in Path("dst").rglob("*") if path.is_file())
        assert found == ["dst/d/a.csv", "dst/d/sub/b.txt", "dst/d/sub/c"]
        client.async_download_folder("./", "all", "box", exclude_extensions="csv")
        assert len([path for path in Path("all").rglob("*") if path.is_file()]) == 4

    @pytest.mark.promise(
        "async_download_folder",
        "Errors are raised.",
        local="each its own type",
        cloud="swallowed, with a line in the log",
        difference="a defect of version 0.8.0, not repeated here",
    )
    def test_errors(self, client: Client) -> None:
        """Nothing found, bad arguments and failing files are errors."""
        client.upload_folders("d", "box")
        with pytest.raises(BlobNotFoundError):
            client.async_download_folder("none", "dst", "box")
        with pytest.raises(InvalidInputError):
            client.async_download_folder("d", "dst", "box", max_concurrent_downloads=0)
        make(Path("dst"), "d/sub")  # a file where a folder must be
        with pytest.raises(RuntimeError):
            client.async_download_folder("d", "dst", "box")

    def test_asks(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        """Above the limit a terminal is asked, and no means no."""
        client.upload_folders("d", "box")
        monkeypatch.setattr(copies, "ASK_ABOVE_FOLDER_BYTES", 3)
        monkeypatch.setattr(sys, "stdin", Terminal())
        monkeypatch.setattr(sys, "stderr", Terminal())
        monkeypatch.setattr("builtins.input", lambda text: "n")
        client.async_download_folder("d", "dst", "box")
        assert not Path("dst").exists()


@pytest.mark.promise(
    "async_upload_folder",
    "`max_concurrent_uploads` files are copied at once.",
    local="truly",
)
@pytest.mark.parametrize("limit", [1, 5])
def test_as_many_at_once_as_allowed(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many files as allowed are under way at the same time, and never more."""
    monkeypatch.chdir(tmp_path)
    make(tmp_path, *(f"d/{number}" for number in range(20)))
    blobs = Slow(f"memory://{uuid.uuid4().hex}", limit)
    client = Client(blobs)
    client.create_blob_container("box")
    client.async_upload_folder("d", "box", max_concurrent_uploads=limit)
    assert blobs.most == limit
    blobs.most = 0
    client.async_download_folder(".", "dst", "box", max_concurrent_downloads=limit)
    assert blobs.most == limit
    assert len(os.listdir("dst")) == 20
    blobs.delete_container("box")


@pytest.mark.promise(
    "async_download_folder",
    "It works where an event loop runs, as in a notebook.",
    local="blocks until it is done",
    cloud="`RuntimeError`: it starts an event loop of its own",
    difference="a defect of version 0.8.0, not repeated here",
)
def test_in_a_running_event_loop(client: Client) -> None:
    """Both calls work where an event loop runs, as in a notebook."""

    async def cell() -> None:
        client.async_upload_folder("d", "box")
        client.async_download_folder(".", "dst", "box")

    asyncio.run(cell())
    assert Path("dst/sub/c").is_file()


@pytest.mark.parametrize(
    ("call", "arguments"),
    [("async_upload_folder", ["e", "box"]), ("async_download_folder", [".", "dst", "box"])],
)
def test_interrupt_ends_copies_under_way(
    call: str, arguments: list[str], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends large copies in their middle."""
    client.async_upload_folder("e", "box")
    monkeypatch.setattr(async_copies, "_LARGE", 1)
    blobs, ours = Endless(client._blobs.url), client._blobs
    blobs._blobs = ours._blobs
    client._blobs = blobs

    main = threading.get_ident()

    def interrupt() -> None:
        if blobs.begun.wait(20):
            signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            getattr(client, call)(*arguments)
    finally:
        thread.join()
    assert blobs.broken_off.wait(20)


# --- progress


class Terminal(io.StringIO):
    """Something that says it is a terminal."""

    def isatty(self) -> bool:
        """It is."""
        return True


@pytest.mark.parametrize("seen", [True, False])
def test_progress_of_every_copy(
    client: Client, monkeypatch: pytest.MonkeyPatch, seen: bool
) -> None:
    """At a terminal long copies show a bar that ends complete; elsewhere nothing is written."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    make(Path("many"), *(f"{number:03}" for number in range(60)))
    for title, call in (
        ("Uploading", lambda: client.upload_folders("many", "box", force_upload=True)),
        ("Uploading", lambda: client.async_upload_folder("many", "box")),
        ("Downloading", lambda: client.download_folder("many", "dst", "box")),
        ("Downloading", lambda: client.async_download_folder("many", "dst", "box")),
    ):
        stream = Terminal() if seen else io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        call()
        shown = stream.getvalue()
        if seen:
            assert f"{title} files" in shown
            assert "60/60 files" in shown
            assert "180/180 bytes" in shown
        else:
            assert shown == ""


def test_no_bar_for_little(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few small files are copied without a bar, one large one has it."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(sys, "stderr", Terminal())
    client.upload_folders("d", "box")
    assert sys.stderr.getvalue() == ""
    monkeypatch.setattr(progress, "_FROM_BYTES", 5)
    client.upload_files("d/a.csv", "box")
    assert "1/1 files" in sys.stderr.getvalue()


def test_bars_are_imported_late() -> None:
    """A program without a terminal does not pay for importing what draws bars."""
    code = (
        "import sys; from cfa.cloudops.local import CloudClient; assert 'rich' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_log_says_how_many(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """Both calls say in the log how many files were copied."""
    caplog.set_level(logging.INFO)
    client.async_upload_folder("d", "box")
    client.async_download_folder(".", "dst", "box")
    assert "uploaded 3 files to box" in caplog.text
    assert "downloaded 3 files from box" in caplog.text
