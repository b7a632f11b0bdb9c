"""The client's blob calls, on real files in temporary directories."""

from __future__ import annotations

import inspect
import io
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cfa.cloudops.client import copies as module
from cfa.cloudops.client.blobs import BlobMixin
from cfa.cloudops.errors import (
    AmbiguousCallError,
    BlobContainerNotFoundError,
    BlobNotFoundError,
    CloudOpsError,
    ConflictError,
    FileAccessError,
    InvalidInputError,
    InvalidNameError,
    LocalFileNotFoundError,
    PoolNotFoundError,
    UnsafePathError,
)
from cfa.cloudops.local import CloudClient
from cfa.cloudops.model.values import Mount, Pool, PoolSpec
from cfa.cloudops.settings import load as load_settings
from cloudops_fsspec import FsspecBlobs


class Client(BlobMixin):
    """A client of nothing but blobs."""

    mounts: Any
    pool_name: Any
    _batch: Any
    _settings: Any

    def __init__(self, url: str) -> None:
        self._blobs = FsspecBlobs(url)


@pytest.fixture(params=["file", "memory"])
def client(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    """A client in an empty working directory, with the container `box`."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    url = f"file://{tmp_path}/root" if request.param == "file" else f"memory://{tmp_path.name}"
    client = Client(url)
    client.create_blob_container("box")
    yield client
    for container in client._blobs.list_containers():
        client._blobs.delete_container(container)


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client whose containers are folders of the working directory, as by default."""
    monkeypatch.chdir(tmp_path)
    client = Client("file:")
    client.create_blob_container("box")
    return client


def make(*files: str, data: str = "") -> None:
    """Files below the working directory, each holding its own name or `data`."""
    for file in files:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(data or file)


def read(client: Client, blob: str) -> str:
    """The text of a blob."""
    client.download_file(blob, "fetched", "box")
    return Path("fetched").read_text()


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("create_blob_container", "name"),
        (
            "upload_files",
            (
                "files, container_name, local_root_dir='.', location_in_blob='.', legal_hold=False, "
                "immutability_lock_days=0"
            ),
        ),
        (
            "upload_folders",
            (
                "folder_names, container_name, include_extensions=None, exclude_extensions=None, "
                "exclude_patterns=None, location_in_blob='.', force_upload=False, "
                "create_new_folder=False, legal_hold=False, immutability_lock_days=0"
            ),
        ),
        ("list_blob_files", "blob_container=None"),
        (
            "download_file",
            "src_path, dest_path, container_name=None, do_check=True, check_size=True",
        ),
        (
            "download_folder",
            (
                "src_path, dest_path, container_name, include_extensions=None, "
                "exclude_extensions=None, verbose=True, check_size=True"
            ),
        ),
        (
            "update_blob_protection",
            "files, container_name, legal_hold=False, read_only=False",
        ),
        (
            "async_upload_folder",
            (
                "folders, container_name, include_extensions=None, exclude_extensions=None, "
                "location_in_blob='.', max_concurrent_uploads=20, legal_hold=False, "
                "immutability_lock_days=0, read_only=False"
            ),
        ),
        (
            "async_download_folder",
            (
                "src_path, dest_path, container_name, include_extensions=None, "
                "exclude_extensions=None, check_size=True, max_concurrent_downloads=20"
            ),
        ),
        ("delete_blob_file", "blob_name, container_name"),
        ("delete_blob_folder", "folder_path, container_name"),
    ],
)
def test_signatures(method: str, parameters: str) -> None:
    """Names, order and defaults of parameters are those of the cloud client."""
    function = getattr(BlobMixin, method)
    given = [
        name if p.default is p.empty else f"{name}={p.default!r}"
        for name, p in inspect.signature(function).parameters.items()
        if name != "self"
    ]
    assert ", ".join(given) == parameters
    assert "Raises:" in function.__doc__


class TestContainers:
    """create_blob_container."""

    @pytest.mark.promise(
        "create_blob_container",
        "A container that exists is left as it is.",
        local="no error",
    )
    def test_again_is_no_error(self, client: Client) -> None:
        """A container that exists is left as it is."""
        make("a")
        client.upload_files("a", "box")
        client.create_blob_container("box")
        assert client.list_blob_files("box") == ["a"]

    @pytest.mark.promise(
        "create_blob_container",
        "What a container is.",
        local="a folder of the current directory, or of `CLOUDOPS_STORAGE`",
        cloud="a container of the storage account",
        difference="files can be looked at and put there by hand",
    )
    def test_is_a_folder_here(self, local: Client, tmp_path: Path) -> None:
        """By default a container is a folder of the current directory, owned by the caller."""
        local.create_blob_container("input-test")
        assert (tmp_path / "input-test").is_dir()
        assert (tmp_path / "input-test").stat().st_uid == os.getuid()

    @pytest.mark.promise(
        "create_blob_container",
        "A name that cannot be is an error.",
        local="paths and hidden names are refused",
        cloud="3 to 63 lower-case letters, digits and hyphens, else refused",
        difference="more names are taken here; a rehearsal applies the cloud's rule",
    )
    @pytest.mark.parametrize("name", ["", "..", "/tmp/x", "a/b", "a\0b", "../x", ".git", None, 3])
    def test_bad_name(self, client: Client, name: Any) -> None:
        """A name that is a path, or no name, is refused and nothing is made."""
        with pytest.raises(InvalidNameError):
            client.create_blob_container(name)
        assert client._blobs.list_containers() == ["box"]

    def test_file_in_the_way(self, local: Client) -> None:
        """A file of that name is a conflict and stays."""
        make("notes")
        with pytest.raises(ConflictError):
            local.create_blob_container("notes")
        assert Path("notes").read_text() == "notes"


class TestUploadFiles:
    """upload_files."""

    @pytest.mark.promise(
        "upload_files",
        "One file or several.",
        local="text, path, list and tuple",
        cloud="text and list; a tuple fails",
        difference="tuples only here",
    )
    @pytest.mark.parametrize(
        "wrap", [str, Path, lambda f: [f], lambda f: (f,), lambda f: [Path(f)]]
    )
    def test_one(self, client: Client, wrap: Callable[[str], Any]) -> None:
        """A text, a path, a list and a tuple are all accepted."""
        make("main.py")
        client.upload_files(wrap("main.py"), container_name="box")
        assert client.list_blob_files("box") == ["main.py"]
        assert read(client, "main.py") == "main.py"

    @pytest.mark.promise(
        "upload_files",
        "The path below `local_root_dir` is kept in the name.",
        local="`location_in_blob/<path>`",
    )
    def test_keeps_folders_and_honours_the_root(self, client: Client) -> None:
        """The path below `local_root_dir` is kept; the root itself is not in the name."""
        make("src/a/x.csv", "src/b/x.csv")
        client.upload_files(["a/x.csv", "./b//x.csv"], "box", "src", "data")
        assert client.list_blob_files("box") == ["data/a/x.csv", "data/b/x.csv"]
        assert read(client, "data/b/x.csv") == "src/b/x.csv"

    @pytest.mark.parametrize("location", [".", "", "/", " "])
    def test_root_location(self, client: Client, location: str) -> None:
        """A dot, nothing, and a slash all mean the container's root."""
        make("a")
        client.upload_files("a", "box", location_in_blob=location)
        assert client.list_blob_files("box") == ["a"]

    def test_absolute_root(self, client: Client, tmp_path: Path) -> None:
        """`local_root_dir` may be absolute, or lead upwards."""
        make("x/a")
        client.upload_files("a", "box", local_root_dir=os.path.abspath("x"))
        client.upload_files("a", "box", local_root_dir="../work/x", location_in_blob="/up/")
        assert client.list_blob_files("box") == ["a", "up/a"]

    @pytest.mark.promise(
        "upload_files",
        "A blob that exists is replaced.",
        local="replaced",
    )
    def test_overwrites(self, client: Client) -> None:
        """A blob that exists is replaced."""
        make("a", data="old old old")
        client.upload_files("a", "box")
        make("a", data="new")
        client.upload_files("a", "box")
        assert read(client, "a") == "new"

    @pytest.mark.promise(
        "upload_files",
        "A missing file is a `FileNotFoundError`.",
        local="before anything is uploaded",
        cloud="part-way: earlier files stay uploaded",
        difference="all or none here, part-way there",
    )
    def test_missing_file_uploads_nothing(self, client: Client) -> None:
        """All files are looked up first: with one missing none is uploaded."""
        make("a", "b")
        with pytest.raises(LocalFileNotFoundError, match="/none'") as caught:
            client.upload_files(["a", "none", "b"], "box", ".")
        assert isinstance(caught.value, FileNotFoundError)
        assert client.list_blob_files("box") == []

    def test_folder_is_refused(self, client: Client) -> None:
        """A folder among the files is refused, with the call that takes it."""
        make("a", "d/b")
        with pytest.raises(InvalidInputError, match="upload_folders"):
            client.upload_files(["a", "d"], "box")
        assert client.list_blob_files("box") == []

    @pytest.mark.promise(
        "upload_files",
        "Absolute paths and paths that lead upwards.",
        local="refused with `ValueError`",
        cloud="an absolute path becomes the blob's name",
        difference="use `local_root_dir`",
    )
    @pytest.mark.parametrize("file", ["/etc/hostname", "../up", "a/../b", "a\0", ""])
    def test_unsafe_path(self, client: Client, file: str) -> None:
        """Paths that cannot be names in a container are refused before anything is copied."""
        make("a", "b", "../up")
        with pytest.raises(UnsafePathError):
            client.upload_files(["a", file], "box")
        assert client.list_blob_files("box") == []

    @pytest.mark.parametrize("location", ["../x", "a/../..", "x\0"])
    def test_unsafe_location(self, client: Client, location: str) -> None:
        """A location out of the container is refused."""
        make("a")
        with pytest.raises(UnsafePathError):
            client.upload_files("a", "box", location_in_blob=location)
        assert client.list_blob_files("box") == []

    @pytest.mark.parametrize("files", [None, 3, [3], b"a", {"a": "b"}])
    def test_no_files_at_all(self, client: Client, files: Any) -> None:
        """What is neither a text nor several is refused by type."""
        with pytest.raises(InvalidInputError):
            client.upload_files(files, "box")

    def test_nothing(self, client: Client) -> None:
        """An empty list is no work."""
        client.upload_files([], "box")

    def test_keeps_the_program_bit_and_privacy(self, local: Client) -> None:
        """A program stays one and a private file stays private."""
        make("run.sh", "key")
        Path("run.sh").chmod(0o755)
        Path("key").chmod(0o600)
        local.upload_files(["run.sh", "key"], "box")
        assert os.access("box/run.sh", os.X_OK)
        assert Path("box/key").stat().st_mode & 0o777 == 0o600


class TestUploadFolders:
    """upload_folders."""

    @pytest.mark.promise(
        "upload_folders",
        "The folder's name and all below it are kept; the local paths are returned.",
        local="`location_in_blob/<folder>/...`",
    )
    def test_keeps_structure_and_says_what(self, client: Client) -> None:
        """The folder's own name and all below it are kept; local paths are returned."""
        make("data/a.csv", "data/in/a.csv", "data/in/.hidden", "other/b")
        result = client.upload_folders(["data", "./other/"], "box", location_in_blob=".")
        assert sorted(result) == ["./other/b", "data/a.csv", "data/in/.hidden", "data/in/a.csv"]
        assert client.list_blob_files("box") == sorted(
            ["data/a.csv", "data/in/.hidden", "data/in/a.csv", "other/b"]
        )
        assert read(client, "data/in/a.csv") == "data/in/a.csv"

    @pytest.mark.parametrize("wrap", [str, Path, lambda f: [f], lambda f: (f,)])
    def test_one(self, client: Client, wrap: Callable[[str], Any]) -> None:
        """A text, a path, a list and a tuple are all accepted."""
        make("data/in/a")
        assert client.upload_folders(wrap("data/in"), "box") == ["data/in/a"]
        assert client.list_blob_files("box") == ["data/in/a"]

    @pytest.mark.promise(
        "upload_folders",
        "Extensions compare the last suffix, with case; `exclude_patterns` choose by the path.",
        local="substrings and globs",
        cloud="documented as globs, work as substrings",
        difference="`*.csv` excludes nothing there",
    )
    @pytest.mark.parametrize(
        ("filters", "names"),
        [
            ({"include_extensions": "csv"}, ["a.csv"]),
            ({"include_extensions": [".csv", "gz"]}, ["a.csv", "x.csv.gz"]),
            ({"include_extensions": ("CSV",)}, ["b.CSV"]),
            ({"exclude_extensions": ".csv"}, ["README", "b.CSV", "sub/tmp.txt", "x.csv.gz"]),
            ({"exclude_extensions": ["csv", "CSV", "gz", "txt"]}, ["README"]),
            ({"exclude_patterns": "sub/"}, ["README", "a.csv", "b.CSV", "x.csv.gz"]),
            ({"exclude_patterns": ["*.csv", "tmp"]}, ["README", "b.CSV", "x.csv.gz"]),
            ({"exclude_patterns": "d/sub/*"}, ["README", "a.csv", "b.CSV", "x.csv.gz"]),
            ({"exclude_patterns": "[ab].*"}, ["README", "sub/tmp.txt", "x.csv.gz"]),
            ({"include_extensions": "csv", "exclude_patterns": "a"}, []),
        ],
    )
    def test_filters(self, client: Client, filters: Any, names: list[str]) -> None:
        """Extensions compare the last suffix with case; patterns are substrings and globs."""
        make(*(f"d/{name}" for name in ("README", "a.csv", "b.CSV", "x.csv.gz", "sub/tmp.txt")))
        result = client.upload_folders("d", "box", **filters)
        assert client.list_blob_files("box") == [f"d/{name}" for name in names]
        assert sorted(result) == [f"d/{name}" for name in names]

    @pytest.mark.promise(
        "upload_folders",
        "Including and excluding extensions in one call is an error.",
        local="`ValueError`",
        cloud="a plain `Exception`",
        difference="the type of the error",
    )
    def test_both_filters(self, client: Client) -> None:
        """Including and excluding extensions in one call is refused, as is an empty pattern."""
        make("d/a")
        with pytest.raises(ValueError, match="both"):
            client.upload_folders("d", "box", "csv", "txt")
        with pytest.raises(InvalidInputError, match="empty"):
            client.upload_folders("d", "box", exclude_patterns=["x", ""])
        assert client.list_blob_files("box") == []

    @pytest.mark.promise(
        "upload_folders",
        "A first upload to the root of a container.",
        local="works, with a warning unless `create_new_folder`",
        cloud="`ValueError` unless `create_new_folder`",
        difference="pass `create_new_folder=True` on the cloud",
    )
    def test_new_folder_at_the_root_warns(
        self, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A first upload works and warns of the new folder; `create_new_folder` is silent."""
        make("d/a", "e/a")
        client.upload_folders("d", "box")
        assert "d is a new folder of box" in caplog.text
        caplog.clear()
        client.upload_folders("d", "box")
        client.upload_folders("e", "box", create_new_folder=True)
        assert not caplog.records

    @pytest.mark.promise(
        "upload_folders",
        "A `location_in_blob` that does not exist is a `ValueError`, unless `create_new_folder`.",
        local="folders count",
        cloud="a prefix counts: `run1` is satisfied by `run1000/x`",
        difference="a defect of version 0.8.0, not repeated here",
    )
    def test_missing_location(self, client: Client, caplog: pytest.LogCaptureFixture) -> None:
        """A location that does not exist is an error, unless it is to be made; a folder whose name
        only starts alike does not count."""
        make("d/a")
        client.upload_folders("d", "box", location_in_blob="run1000", create_new_folder=True)
        assert "new folder" in caplog.text
        with pytest.raises(ValueError, match="run1"):
            client.upload_folders("d", "box", location_in_blob="run1")
        client.upload_folders("d", "box", location_in_blob=" /run1000/ ")
        assert client.list_blob_files("box") == ["run1000/d/a"]

    def test_empty_folder_as_location(self, local: Client) -> None:
        """A folder that the user made in the container is one, although it has no blobs."""
        make("d/a")
        Path("box/run1").mkdir()
        local.upload_folders("d", "box", location_in_blob="run1")
        assert local.list_blob_files("box") == ["run1/d/a"]

    @pytest.mark.promise(
        "upload_folders",
        "A folder that is missing, or a file, is an error.",
        local="before anything is copied",
        cloud="a warning, then `TypeError`",
        difference="a defect of version 0.8.0, not repeated here",
    )
    def test_missing_folder(self, client: Client) -> None:
        """A folder that is missing, or a file, is refused before anything is copied."""
        make("d/a", "file")
        with pytest.raises(LocalFileNotFoundError, match="'none'"):
            client.upload_folders(["d", "none"], "box")
        with pytest.raises(InvalidInputError, match="upload_files"):
            client.upload_folders(["d", "file"], "box")
        assert client.list_blob_files("box") == []

    @pytest.mark.parametrize("folder", ["/etc", "..", "d/..", "d/../d", "d\0"])
    def test_unsafe_folder(self, client: Client, folder: str) -> None:
        """Folders that cannot be names in a container are refused."""
        make("d/a")
        with pytest.raises(UnsafePathError):
            client.upload_folders(["d", folder], "box")
        assert client.list_blob_files("box") == []

    def test_links_in_the_source(
        self, client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Links to files are read; links to folders, pipes and dangling links are named and left
        out."""
        make("../elsewhere/secret", "d/a")
        Path("d/file").symlink_to("../../elsewhere/secret")
        Path("d/folder").symlink_to("../../elsewhere")
        Path("d/dangling").symlink_to("none")
        Path("d/circle").symlink_to("circle")
        os.mkfifo("d/pipe")
        client.upload_folders("d", "box")
        assert client.list_blob_files("box") == ["d/a", "d/file"]
        for name in ("d/folder", "d/dangling", "d/circle", "d/pipe"):
            assert name in caplog.text

    def test_current_directory(self, local: Client) -> None:
        """The current directory can be uploaded to a container in it, without the container."""
        make("a", "d/b", "box/old")
        local.upload_folders(".", "box")
        assert local.list_blob_files("box") == ["a", "d/b", "old"]

    def test_workspace_is_left_out(self, local: Client, tmp_path: Path) -> None:
        """The workspace of the service is not uploaded with the folder that it is in."""
        make(".cloudops/store.db", "a", "sub/.cloudops/mine")
        local._settings = load_settings(
            default_backend="auto", environment={"CLOUDOPS_HOME": str(tmp_path / ".cloudops")}
        )
        local.upload_folders(".", "box")
        assert local.list_blob_files("box") == ["a", "sub/.cloudops/mine"]
        with pytest.raises(InvalidInputError, match="workspace"):
            local.upload_folders(".cloudops", "box")

    def test_container_into_itself(self, local: Client) -> None:
        """A container is not uploaded into itself."""
        make("box/a")
        with pytest.raises(InvalidInputError, match="itself"):
            local.upload_folders("box", "box")

    @pytest.mark.promise(
        "upload_folders",
        "Above 50 files a question is asked, unless `force_upload`.",
        local="only at a terminal; else it goes on and says so",
        cloud="always: a script without a terminal stops",
        difference="nobody is asked here without a terminal",
    )
    def test_many_files_without_terminal(
        self, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Above 50 files nothing is asked when there is no terminal, and the log says so."""
        make(*(f"d/{number}" for number in range(51)))
        caplog.set_level(logging.INFO)
        monkeypatch.setattr(sys, "stdin", io.StringIO(""))
        assert len(client.upload_folders("d", "box")) == 51
        assert "51 files" in caplog.text
        assert "not a terminal" in caplog.text

    def test_question_that_nobody_sees(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A script whose output goes to a file is not asked; with a terminal for errors it is asked
        there."""
        make(*(f"d/{number}" for number in range(51)))
        monkeypatch.setattr(sys, "stdin", Terminal())
        monkeypatch.setattr(sys, "stdout", io.StringIO())
        monkeypatch.setattr(sys, "stderr", io.StringIO())
        assert len(client.upload_folders("d", "box")) == 51
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        assert client.upload_folders("d", "box") == []
        assert "51 files" in terminal.getvalue()

    def test_many_files_in_the_background(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A script in the background of a terminal is not asked: the question would stop it."""
        make(*(f"d/{number}" for number in range(51)))
        monkeypatch.setattr(sys, "stdin", Terminal())
        monkeypatch.setattr(sys, "stderr", Terminal())
        monkeypatch.setattr(Terminal, "fileno", lambda self: 0, raising=False)
        monkeypatch.setattr(os, "tcgetpgrp", lambda descriptor: os.getpgrp() + 1)
        monkeypatch.setattr("builtins.input", lambda text: pytest.fail(text))
        assert len(client.upload_folders("d", "box")) == 51

    @pytest.mark.parametrize(
        ("answer", "count"), [("y", 51), ("Y", 51), ("n", 0), ("", 0), ("yes!", 0)]
    )
    def test_many_files_at_a_terminal(
        self, client: Client, monkeypatch: pytest.MonkeyPatch, answer: str, count: int
    ) -> None:
        """At a terminal only `y` or `Y` goes on; filters count, `force_upload` does not ask."""
        make(*(f"d/{number}" for number in range(51)), "d/x.csv")
        asked: list[str] = []

        def answering(text: str) -> str:
            asked.append(text)
            return answer

        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        monkeypatch.setattr(sys, "stderr", Terminal())
        monkeypatch.setattr("builtins.input", answering)
        assert client.upload_folders("d", "box", include_extensions="csv") == ["d/x.csv"]
        assert not asked
        assert len(client.upload_folders("d", "box", exclude_extensions="csv")) == count
        assert len(asked) == 1
        assert len(client.upload_folders("d", "box", force_upload=True)) == 52
        assert len(asked) == 1


class Terminal(io.StringIO):
    """Something that says it is a terminal."""

    def isatty(self) -> bool:
        """It is."""
        return True


class Pools:
    """Just the look-up of a pool."""

    def get_pool(self, pool_id: str) -> Pool:
        """One called `pool`, with the container `box` mounted."""
        if pool_id != "pool":
            raise PoolNotFoundError(f"There is no pool {pool_id!r}.")
        spec = PoolSpec(id="pool", backend="none", mounts=(Mount("box", "data"),))
        return Pool(spec=spec, state="active", created=datetime.now(UTC))


class TestList:
    """list_blob_files."""

    @pytest.mark.promise(
        "list_blob_files",
        "All names of a container, flat, without a slash in front.",
        local="sorted",
    )
    def test_all_below(self, client: Client) -> None:
        """Names are flat, sorted, without folders and without a slash in front."""
        make("d/b/c", "d/a", "x")
        client.upload_folders("d", "box")
        client.upload_files("x", "box")
        assert client.list_blob_files("box") == ["d/a", "d/b/c", "x"]

    @pytest.mark.promise(
        "list_blob_files",
        "Without a container: those of the client's mounts.",
        local="an empty list when there are none",
        cloud="three different crashes in version 0.8.0; documented is `None`",
        difference="a defect of version 0.8.0, not repeated here",
    )
    @pytest.mark.parametrize(
        "mounts",
        [
            ["box", "two"],
            [("box", "data"), ["two", "out"]],
            [{"source": "box", "target": "data"}, ("two", "two")],
            (Mount("box", "a"), Mount("two", "b"), Mount("two", "c")),
        ],
    )
    def test_all_mounts(self, client: Client, mounts: Any) -> None:
        """Without a container the blobs of all mounts are listed, whatever form they have."""
        make("a", "b")
        client.create_blob_container("two")
        client.upload_files("a", "box")
        client.upload_files("b", "two")
        client.mounts = mounts
        assert client.list_blob_files() == ["a", "b"]

    @pytest.mark.parametrize("mounts", [None, [], "unset", ["gone"], [("box", "a", "b")], [None]])
    def test_no_mounts(self, client: Client, mounts: Any, caplog: pytest.LogCaptureFixture) -> None:
        """Without a container and usable mounts nothing is listed, and the log says what to do."""
        make("a")
        client.upload_files("a", "box")
        if mounts != "unset":
            client.mounts = mounts
        assert client.list_blob_files() == []
        assert "Name a container" in caplog.text

    def test_mounts_of_the_pool(self, client: Client, caplog: pytest.LogCaptureFixture) -> None:
        """Before a task is added, the mounts of the client's pool are listed; a pool that is gone
        has none."""
        make("a")
        client.upload_files("a", "box")
        client.pool_name = "pool"
        client._batch = Pools()
        assert client.list_blob_files() == ["a"]
        client.pool_name = "gone"
        assert client.list_blob_files() == []
        assert "gone" in caplog.text


class TestDownload:
    """download_file and download_folder."""

    @pytest.fixture(autouse=True)
    def _blobs(self, client: Client) -> None:
        make("out/a.txt", "out/noext", "out/sub/b.csv", "out2/c", "out.d/e")
        client.upload_folders(["out", "out2", "out.d"], "box")

    @pytest.mark.promise(
        "download_file",
        "A blob is written to exactly the target; folders are made, a file there is replaced.",
        local="absolute or relative",
    )
    def test_file(self, client: Client, tmp_path: Path) -> None:
        """A blob is written to exactly the target, absolute or relative, folders made."""
        client.download_file("out/a.txt", "x/y/z.txt", "box")
        assert Path("x/y/z.txt").read_text() == "out/a.txt"
        client.download_file("out/noext", tmp_path / "abs" / "n", "box", False, False)
        assert (tmp_path / "abs" / "n").read_text() == "out/noext"

    def test_file_replaces(self, client: Client) -> None:
        """A file at the target is replaced."""
        make("target", data="a much longer text than before")
        client.download_file("out/a.txt", "target", "box")
        assert Path("target").read_text() == "out/a.txt"

    @pytest.mark.promise(
        "download_file",
        "A blob that is not there is a `ValueError`.",
        local="with `do_check` or without; nothing is made",
        cloud="with `do_check`; else the SDK's error",
        difference="the type of the error",
    )
    @pytest.mark.parametrize("check", [True, False])
    def test_missing_blob(self, client: Client, check: bool) -> None:
        """A blob that is not there is a ValueError, checked before or not, and makes nothing."""
        for blob in ("none", "out", "out/a.txt/x", "out/su"):
            with pytest.raises(ValueError, match="blob"):
                client.download_file(blob, "new/target", "box", check, check)
        assert not Path("new").exists()

    def test_bad_arguments(self, client: Client) -> None:
        """No container, unsafe names and targets that are folders are typed errors."""
        with pytest.raises(AmbiguousCallError):
            client.download_file("out/a.txt", "target")
        for blob in ("../a", "/out/a.txt", "a\0", ""):
            with pytest.raises(UnsafePathError):
                client.download_file(blob, "target", "box")
        Path("folder/in").mkdir(parents=True)
        for target in ("folder", "folder/", "", "a\0b"):
            with pytest.raises(CloudOpsError):
                client.download_file("out/a.txt", target, "box")
        assert not Path("target").exists()

    def test_file_in_the_way(self, client: Client) -> None:
        """A target below a file is a conflict; the file stays."""
        make("file")
        with pytest.raises(ConflictError):
            client.download_file("out/a.txt", "file/x", "box")
        assert Path("file").read_text() == "file"

    @pytest.mark.promise(
        "download_file",
        "`check_size` asks above 1 GB.",
        local="only at a terminal; else it goes on",
        cloud="always: a script without a terminal stops",
        difference="nobody is asked here without a terminal",
    )
    def test_devices_and_pipes_stay(self, client: Client) -> None:
        """A target that is no ordinary file, such as /dev/null, is refused and stays what it is."""
        os.mkfifo("pipe")
        Path("link").symlink_to("pipe")
        make("a")
        client.upload_files("a", "box")
        for target in ("pipe", "link"):
            with pytest.raises(InvalidInputError, match="pipe"):
                client.download_file("a", target, "box")
        assert Path("pipe").is_fifo()
        assert Path("link").is_symlink()

    def test_missing_folder_of_a_blob(self, client: Client) -> None:
        """The error names the blob that was asked for, also where its folder is missing."""
        for call in (
            lambda: client.download_file("none/at/all", "x", "box"),
            lambda: client.delete_blob_file("none/at/all", "box"),
            lambda: client.update_blob_protection("none/at/all", "box"),
        ):
            with pytest.raises(BlobNotFoundError, match="'none/at/all'"):
                call()

    def test_large_file_asks(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        """Above the limit a terminal is asked; without one the download goes on."""
        monkeypatch.setattr(module, "ASK_ABOVE_FILE_BYTES", 3)
        monkeypatch.setattr(module, "ASK_ABOVE_FOLDER_BYTES", 3)
        monkeypatch.setattr(sys, "stdin", Terminal("n"))
        monkeypatch.setattr(sys, "stderr", Terminal())
        monkeypatch.setattr("builtins.input", lambda text: "n")
        client.download_file("out/a.txt", "asked", "box")
        client.download_folder("out", "asked", "box")
        assert not Path("asked").exists()
        client.download_file("out/a.txt", "unasked", "box", check_size=False)
        monkeypatch.setattr(sys, "stdin", None)
        client.download_folder("out", "folder", "box")
        assert Path("unasked").is_file()
        assert Path("folder/out/a.txt").is_file()

    def test_end_of_input_is_no(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        """A terminal that is closed at the question says no."""
        monkeypatch.setattr(module, "ASK_ABOVE_FILE_BYTES", 3)
        monkeypatch.setattr(sys, "stdin", Terminal(""))
        monkeypatch.setattr(sys, "stderr", Terminal())

        def closed(text: str) -> str:
            raise EOFError

        monkeypatch.setattr("builtins.input", closed)
        client.download_file("out/a.txt", "asked", "box")
        assert not Path("asked").exists()

    @pytest.mark.promise(
        "download_folder",
        "Whole names are kept below the target: `out` into `dst` gives `dst/out/a.txt`.",
        local="all blobs",
        cloud="blobs without a dot in their names are left out",
        difference="a defect of version 0.8.0, not repeated here",
    )
    def test_folder(self, client: Client) -> None:
        """Whole names are kept below the target, blobs without a dot included, neighbours not."""
        client.download_folder("out", "dst", "box")
        found = sorted(str(p) for p in Path("dst").rglob("*") if p.is_file())
        assert found == ["dst/out/a.txt", "dst/out/noext", "dst/out/sub/b.csv"]
        assert Path("dst/out/noext").read_text() == "out/noext"

    def test_whole_container(self, client: Client) -> None:
        """A dot is the whole container."""
        client.download_folder(".", "dst", "box")
        assert Path("dst/out.d/e").read_text() == "out.d/e"

    @pytest.mark.promise(
        "download_folder",
        "Filters by extension work as in uploads.",
        local="with the last suffix, and case",
    )
    @pytest.mark.parametrize(
        ("filters", "names"),
        [
            ({"include_extensions": "csv"}, ["b.csv"]),
            ({"exclude_extensions": [".csv", "txt"]}, ["noext"]),
            ({"include_extensions": "none"}, []),
        ],
    )
    def test_folder_filters(self, client: Client, filters: Any, names: list[str]) -> None:
        """Filters by extension work as in uploads."""
        client.download_folder("out/", "dst", "box", **filters)
        assert sorted(p.name for p in Path("dst").rglob("*") if p.is_file()) == names

    @pytest.mark.promise(
        "download_folder",
        "A folder without blobs is a `ValueError`.",
        local="also when another name starts alike; so are both filters in one call",
        cloud="a bare prefix counts: then nothing is fetched, and nothing said",
        difference="a defect of version 0.8.0, not repeated here",
    )
    def test_folder_errors(self, client: Client) -> None:
        """A folder without blobs, a bare prefix, both filters and unsafe paths are ValueErrors."""
        for folder in ("none", "ou", "out/a.txt"):
            with pytest.raises(BlobNotFoundError) as caught:
                client.download_folder(folder, "dst", "box")
            assert isinstance(caught.value, ValueError)
        with pytest.raises(ValueError, match="both"):
            client.download_folder("out", "dst", "box", "a", "b")
        for folder in ("..", "/out", "out/../.."):
            with pytest.raises(UnsafePathError):
                client.download_folder(folder, "dst", "box")
        assert not Path("dst").exists()

    def test_verbose_logs_each_file(self, client: Client, caplog: pytest.LogCaptureFixture) -> None:
        """`verbose` names every file in the log."""
        caplog.set_level(logging.INFO)
        client.download_folder("out", "dst", "box", verbose=False)
        assert "noext" not in caplog.text
        client.download_folder("out", "dst", "box")
        assert "dst/out/noext" in caplog.text


class TestDelete:
    """delete_blob_file and delete_blob_folder."""

    @pytest.fixture(autouse=True)
    def _blobs(self, client: Client) -> None:
        make("out/a", "out/b/c", "out2/d", "out.d/e")
        client.upload_folders(["out", "out2", "out.d"], "box")

    @pytest.mark.promise(
        "delete_blob_file",
        "One blob goes; again it is an error.",
        local="`BlobNotFoundError`, a `ValueError`",
        cloud="the SDK's error",
        difference="the type of the error",
    )
    def test_file(self, client: Client) -> None:
        """One blob goes; again it is not found."""
        client.delete_blob_file("out/a", "box")
        assert client.list_blob_files("box") == ["out.d/e", "out/b/c", "out2/d"]
        with pytest.raises(BlobNotFoundError):
            client.delete_blob_file("out/a", "box")

    def test_folder_is_no_file(self, client: Client) -> None:
        """A folder is not deleted as a blob."""
        with pytest.raises(BlobNotFoundError):
            client.delete_blob_file("out", "box")
        assert len(client.list_blob_files("box")) == 4

    @pytest.mark.promise(
        "delete_blob_folder",
        "A folder goes with all below it.",
        local="neighbours whose names start alike stay; nothing there is no error",
        cloud="`out` also deletes `out2/...`",
        difference="a defect of version 0.8.0, not repeated here",
    )
    def test_folder(self, client: Client) -> None:
        """A folder goes with all below it; neighbours whose names start alike stay."""
        client.delete_blob_folder("out/", "box")
        client.delete_blob_folder("out", "box")
        client.delete_blob_folder("never/there", "box")
        assert client.list_blob_files("box") == ["out.d/e", "out2/d"]

    @pytest.mark.promise(
        "delete_blob_folder",
        "An empty path deletes nothing.",
        local="`ValueError`",
        cloud="every blob of the container is deleted",
        difference="a defect of version 0.8.0, not repeated here",
    )
    @pytest.mark.parametrize("path", ["", ".", "/", "..", "out/../..", "/out", "a\0"])
    def test_unsafe(self, client: Client, path: str) -> None:
        """Nothing is deleted for a path that is empty or leads elsewhere."""
        with pytest.raises(UnsafePathError):
            client.delete_blob_folder(path, "box")
        with pytest.raises(UnsafePathError):
            client.delete_blob_file(path, "box")
        assert len(client.list_blob_files("box")) == 4


def test_unknown_container(client: Client) -> None:
    """Every call names an unknown container, those there are, and what to do; nothing is made."""
    make("d/a")
    for call in (
        lambda: client.upload_files("d/a", "none"),
        lambda: client.upload_folders("d", "none"),
        lambda: client.list_blob_files("none"),
        lambda: client.download_file("a", "target", "none"),
        lambda: client.download_folder("a", "target", "none"),
        lambda: client.async_upload_folder("d", "none"),
        lambda: client.async_download_folder("a", "target", "none"),
        lambda: client.update_blob_protection("a", "none"),
        lambda: client.delete_blob_file("a", "none"),
        lambda: client.delete_blob_folder("a", "none"),
    ):
        with pytest.raises(
            BlobContainerNotFoundError, match=r"'none'.*: box.*create_blob"
        ) as caught:
            call()
        assert isinstance(caught.value, ValueError)
    assert client._blobs.list_containers() == ["box"]
    assert not Path("target").exists()


@pytest.mark.skipif(os.getuid() == 0, reason="the superuser may read and write everything")
def test_forbidden_files(local: Client, tmp_path: Path) -> None:
    """What may not be read or written is a PermissionError of ours, and nothing changes."""
    make("d/a", "closed")
    local.upload_folders("d", "box")
    Path("closed").chmod(0)
    Path("box/d").chmod(0o500)
    try:
        for call in (
            lambda: local.upload_files("closed", "box"),
            lambda: local.upload_folders("d", "box"),
            lambda: local.delete_blob_file("d/a", "box"),
            lambda: local.delete_blob_folder("d", "box"),
            lambda: local.download_file("d/a", "/cloudops-forbidden/x", "box"),
        ):
            with pytest.raises(FileAccessError) as caught:
                call()
            assert isinstance(caught.value, PermissionError)
        assert local.list_blob_files("box") == ["d/a"]
    finally:
        Path("box/d").chmod(0o700)


# --- faults

UPLOAD = """
import sys
from cloudops_fsspec import FsspecBlobs
blobs = FsspecBlobs(sys.argv[1])
print("ready", flush=True)
if sys.argv[2] == "one":
    blobs.upload(sys.argv[3], "box", "large")
else:
    blobs.upload_many("box", {f"new/{n}": sys.argv[3] for n in range(2000)})
print("done", flush=True)
"""


def files_below(path: Path) -> list[Path]:
    """All files below a directory, ours and hidden ones included."""
    return [Path(top) / name for top, _, names in os.walk(path) for name in names]


def kill_in_the_middle(root: Path, kind: str, source: Path, begun: Callable[[], bool]) -> None:
    """Start an upload in a process of its own and SIGKILL it once `begun()` holds."""
    process = subprocess.Popen(
        [sys.executable, "-c", UPLOAD, f"file://{root}", kind, str(source)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        deadline = time.monotonic() + 60
        while not begun():
            assert time.monotonic() < deadline, "the upload did not begin"
            assert process.poll() is None, "the upload ended too early"
        process.send_signal(signal.SIGKILL)
        said, _ = process.communicate(timeout=60)
        assert said.split() == [b"ready"], "the upload was over before it was killed"
    finally:
        process.kill()
        process.communicate(timeout=60)


def temporaries(box: Path) -> list[Path]:
    """What an upload that runs, or a killed one, has in the container's root."""
    return list(box.glob(".cloudops-*.part"))


@pytest.mark.promise(
    "upload_files",
    "An upload that is killed leaves no blob in part.",
    local="the old one stays",
    cloud="the same: blobs are written as a whole",
)
def test_killed_upload_leaves_the_old_blob(tmp_path: Path) -> None:
    """SIGKILL in the middle of a large file leaves the old blob; its remains are never listed and,
    when nobody asks for them for a day, are removed by the next who meets them."""
    root, source = tmp_path / "root", tmp_path / "source"
    storage = FsspecBlobs(f"file://{root}")
    storage.create_container("box")
    source.write_bytes(b"old")
    storage.upload(source, "box", "large")
    with source.open("wb") as file:
        file.truncate(4 << 30)  # a hole: no space in the source, much time to copy
    kill_in_the_middle(
        root, "one", source, lambda: any(p.stat().st_size for p in temporaries(root / "box"))
    )
    (left,) = temporaries(root / "box")
    assert [blob.name for blob in storage.list_blobs("box")] == ["large"]
    storage.download("box", "large", tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == b"old"
    assert left.exists()
    os.utime(left, (0, 0))
    assert [blob.name for blob in storage.list_blobs("box")] == ["large"]
    assert temporaries(root / "box") == []


def test_killed_upload_of_a_folder_leaves_nothing(tmp_path: Path) -> None:
    """SIGKILL in the middle of a new folder leaves no blob of it; what was copied is not seen, and
    goes when nobody asks for it for a day."""
    root, source = tmp_path / "root", tmp_path / "source"
    storage = FsspecBlobs(f"file://{root}")
    storage.create_container("box")
    source.write_bytes(b"x" * 100_000)
    kill_in_the_middle(root, "many", source, lambda: len(files_below(root)) > 20)
    (left,) = temporaries(root / "box")
    assert list(storage.list_blobs("box")) == []
    os.utime(left, (0, 0))
    FsspecBlobs(f"file://{root}").upload(source, "box", "a")
    assert temporaries(root / "box") == []
    assert [blob.name for blob in storage.list_blobs("box")] == ["a"]


def test_living_upload_is_not_cleaned_away(tmp_path: Path) -> None:
    """Listing while another process uploads neither shows nor removes what it writes."""
    root, source = tmp_path / "root", tmp_path / "source"
    storage = FsspecBlobs(f"file://{root}")
    storage.create_container("box")
    source.write_bytes(os.urandom(64 << 20))
    process = subprocess.Popen(
        [sys.executable, "-c", UPLOAD, f"file://{root}", "one", str(source)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        deadline = time.monotonic() + 60
        while process.poll() is None:
            assert time.monotonic() < deadline
            assert [b.size for b in storage.list_blobs("box")] in ([], [64 << 20])
        assert process.communicate(timeout=60)[0].split() == [b"ready", b"done"]
    finally:
        process.kill()
        process.communicate(timeout=60)
    assert [blob.size for blob in storage.list_blobs("box")] == [64 << 20]


FULL = """
import os, resource, sys
from pathlib import Path
from cfa.cloudops.errors import DiskFullError
from cloudops_fsspec import FsspecBlobs

work = Path(sys.argv[1])
blobs = FsspecBlobs(f"file://{work}/small")
blobs.create_container("box")
(work / "old").write_bytes(b"old")
(work / "large").write_bytes(b"x" * (3 << 20))
if sys.argv[2] == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
blobs.upload(work / "old", "box", "a")


def full(call):
    try:
        call()
    except DiskFullError as error:
        assert error.hint and isinstance(error, OSError)
    else:
        raise AssertionError("no error")


full(lambda: blobs.upload(work / "large", "box", "a"))
full(lambda: blobs.upload(work / "large", "box", "new/b"))
full(lambda: blobs.upload_many("box", {"c/small": work / "old", "c/large": work / "large"}))
full(lambda: blobs.upload_many("box", {f"a{n}": work / "large" for n in range(300)}))
assert [(b.name, b.size) for b in blobs.list_blobs("box")] == [("a", 3)]
left = [name for _, _, names in os.walk(work / "small") for name in names]
assert left == ["a"], left

other = FsspecBlobs(f"file://{work}/roomy")
other.create_container("box")
if sys.argv[2] == "mount":
    other.upload(work / "large", "box", "large")
    (work / "small" / "target").write_bytes(b"old")
    full(lambda: other.download("box", "large", work / "small" / "target"))
    assert (work / "small" / "target").read_bytes() == b"old"
    assert sorted(os.listdir(work / "small")) == ["box", "target"]
"""


@pytest.mark.promise(
    "upload_files",
    "A disk that is full is an error, and loses nothing.",
    local="`DiskFullError`; the old blob stays",
    cloud="storage has no such limit",
    difference="ours only",
)
def test_full_disk(tmp_path: Path) -> None:
    """On a disk that is full, writing is a DiskFullError; the old blob stays, no part is left."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("there is no unshare to mount a small disk in a namespace of its own")
    (tmp_path / "small").mkdir()
    flags = ["--mount"] if os.getuid() == 0 else ["--map-root-user", "--mount"]
    mount = 'mount -t tmpfs -o size=1m cfa-test "$1/small" || exit 77; exec "$2" -c "$3" "$1" mount'
    done = subprocess.run(
        [unshare, *flags, "sh", "-c", mount, "sh", str(tmp_path), sys.executable, FULL],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr


def test_file_size_limit(tmp_path: Path) -> None:
    """A limit on the size of files, where no disk can be mounted, has the same effect."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), "limit"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr


def test_names_that_azure_refuses(workdir, caplog):
    """A name that this machine accepts and Azure does not gets a warning."""
    client = CloudClient(backend="subprocess")
    logging.getLogger("cfa.cloudops").addHandler(caplog.handler)
    client.create_blob_container("good-name")
    client.create_blob_container("In_Bad")
    logging.getLogger("cfa.cloudops").removeHandler(caplog.handler)
    assert ["Azure refuses 'In_Bad'" in one for one in caplog.messages] == [True]
