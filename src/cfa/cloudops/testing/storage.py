"""The conformance kit for storage: inherit `StorageContract`, give one fixture, run pytest.

    class TestMine(StorageContract):
        @pytest.fixture
        def storage(self, tmp_path):
            storage = MyBlobs(f"mine://{tmp_path}")
            yield storage
            storage.close()

`storage` is a `BlobProvider` with an empty root, a new one for every item. Where it `protects`, one
item leaves a blob that is locked for three days. Adjust the attributes of
the class to what the storage promises beyond that.

Every item is one promise of `cfa.cloudops.provider.blob`, numbered S1, S2, ... in its docstring.
Items about directories of this host are skipped where `local_path` names none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from cfa.cloudops.beneath import Place
from cfa.cloudops.errors import (
    BlobContainerNotFoundError,
    BlobNotFoundError,
    CloudOpsError,
    ConflictError,
    InvalidInputError,
    LocalFileNotFoundError,
    ProtectedBlobError,
    UnsafePathError,
    UnsupportedError,
)
from cfa.cloudops.provider.blob import BlobProvider, FileBeneath
from cfa.cloudops.provider.executor import PROVIDER_API

#: Names that some program somewhere gets wrong; all are blobs on the cloud.
ODD_NAMES = (
    "a b.txt",
    "50%.csv",
    "q?x#y&z=1.txt",
    "[a]*{b}.txt",
    "-rf",
    "~",
    ".hidden",
    "no suffix/and.a.dot/x",
    "ümlaut/数据/🙂.txt",
    'quote\'s and "more".txt',
    "deep/" * 20 + "x",
    "n" * 200,
)
#: Large enough that a copy has a middle.
LARGE = 8 << 20


class StorageContract:
    """See the module."""

    #: Names that this storage cannot keep, for instance because its filesystem forbids them.
    forbidden_names: ClassVar[frozenset[str]] = frozenset()
    #: How far the storage's clock may be from ours.
    clock_skew: ClassVar[timedelta] = timedelta(minutes=5)

    @pytest.fixture
    def storage(self) -> BlobProvider:
        """The implementer's: a provider with an empty root."""
        raise NotImplementedError("give a fixture called storage")

    @pytest.fixture
    def box(self, storage: BlobProvider) -> str:
        """A container, empty."""
        storage.create_container("box")
        return "box"

    @pytest.fixture
    def outside(self, storage: BlobProvider, box: str, tmp_path: Path) -> Path:
        """A directory with `secret.txt`, and links to both in the container: `out`, `leak.txt`."""
        directory = _directory(storage, box)
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "secret.txt").write_bytes(b"secret")
        (directory / "out").symlink_to(outside)
        (directory / "leak.txt").symlink_to(outside / "secret.txt")
        return outside

    # --- identity

    def test_states_its_name_and_interface(self, storage: BlobProvider) -> None:
        """S1 The provider states its name and the interface version it was written for."""
        assert storage.name
        assert storage.api == PROVIDER_API

    def test_closes_twice(self, storage: BlobProvider) -> None:
        """S2 `close` may be called twice."""
        storage.close()
        storage.close()

    # --- containers

    def test_empty_root_has_no_containers(self, storage: BlobProvider) -> None:
        """S3 An empty root has no containers."""
        assert storage.list_containers() == []
        assert not storage.container_exists("box")

    def test_lists_containers_sorted(self, storage: BlobProvider) -> None:
        """S4 Containers are there once made, empty ones as well, and are listed by name."""
        for name in ("zebra", "ant-1", "mouse"):
            storage.create_container(name)
        assert storage.list_containers() == ["ant-1", "mouse", "zebra"]
        assert all(storage.container_exists(name) for name in ("zebra", "ant-1", "mouse"))
        assert not storage.container_exists("ant")

    def test_creating_again_keeps_the_blobs(
        self, storage: BlobProvider, box: str, tmp_path: Path
    ) -> None:
        """S5 Making a container that exists leaves it as it is."""
        _put(storage, box, "a", b"1", tmp_path)
        storage.create_container(box)
        assert _get(storage, box, "a", tmp_path) == b"1"

    def test_deletes_a_container(self, storage: BlobProvider, box: str, tmp_path: Path) -> None:
        """S6 Deleting a container takes its blobs along, and no other container."""
        storage.create_container("box2")
        _put(storage, "box2", "keep", b"2", tmp_path)
        _put(storage, box, "a/b", b"1", tmp_path)
        storage.delete_container(box)
        assert storage.list_containers() == ["box2"]
        assert _get(storage, "box2", "keep", tmp_path) == b"2"
        storage.create_container(box)
        assert _names(storage, box) == []

    def test_missing_container_is_a_typed_error(
        self, storage: BlobProvider, tmp_path: Path
    ) -> None:
        """S7 Every call on a container that is not there says so, and makes nothing."""
        source, target = tmp_path / "source", tmp_path / "target"
        source.write_bytes(b"x")
        for call in (
            lambda: storage.delete_container("none"),
            lambda: list(storage.list_blobs("none")),
            lambda: list(storage.list_blobs("none", "folder")),
            lambda: storage.upload(source, "none", "a"),
            lambda: storage.upload_many("none", {"a": source, "b/c": source}),
            lambda: storage.download("none", "a", target),
            lambda: storage.download_many("none", {"a": target}),
            lambda: storage.delete("none", "a"),
            lambda: storage.delete_folder("none", "a"),
            lambda: storage.properties("none", "a"),
        ):
            with pytest.raises(BlobContainerNotFoundError):
                call()
        assert storage.list_containers() == []
        assert not target.exists()

    # --- contents

    @pytest.mark.parametrize(
        "data",
        [b"", b"\n", bytes(range(256)) * 3, b"\0" * 70_000, os.urandom(3 << 20)],
        ids=["empty", "line", "binary", "zeros", "large"],
    )
    def test_keeps_bytes(
        self, storage: BlobProvider, box: str, tmp_path: Path, data: bytes
    ) -> None:
        """S8 What was stored comes back byte for byte, and its size is known."""
        _put(storage, box, "dir/a.bin", data, tmp_path)
        assert _get(storage, box, "dir/a.bin", tmp_path) == data
        assert storage.properties(box, "dir/a.bin").size == len(data)

    @pytest.mark.parametrize("name", ODD_NAMES, ids=range(len(ODD_NAMES)))
    def test_keeps_odd_names(
        self, storage: BlobProvider, box: str, tmp_path: Path, name: str
    ) -> None:
        """S9 Blanks, signs, other scripts and long paths in names change nothing."""
        if name in self.forbidden_names:
            pytest.skip("this storage forbids the name")
        _put(storage, box, name, b"odd", tmp_path)
        assert _names(storage, box) == [name]
        assert _get(storage, box, name, tmp_path) == b"odd"
        storage.delete(box, name)
        assert _names(storage, box) == []

    def test_names_have_case(self, storage: BlobProvider, box: str, tmp_path: Path) -> None:
        """S10 Names of blobs are compared with case."""
        _put(storage, box, "a", b"1", tmp_path)
        _put(storage, box, "A", b"2", tmp_path)
        assert _get(storage, box, "a", tmp_path) == b"1"

    def test_replaces_a_blob(self, storage: BlobProvider, box: str, tmp_path: Path) -> None:
        """S11 Storing under a taken name replaces the blob, a longer one by a shorter one too."""
        _put(storage, box, "a", b"long " * 1000, tmp_path)
        _put(storage, box, "a", b"short", tmp_path)
        assert _get(storage, box, "a", tmp_path) == b"short"
        assert _names(storage, box) == ["a"]

    def test_knows_the_time(self, storage: BlobProvider, box: str, tmp_path: Path) -> None:
        """S12 `modified` is the time of storing, with its zone."""
        _put(storage, box, "a", b"1", tmp_path)
        found = storage.properties(box, "a")
        assert found.name == "a"
        assert found.modified.tzinfo is not None
        assert abs(datetime.now(UTC) - found.modified) < self.clock_skew

    # --- listing

    def test_lists_sorted_by_whole_name(
        self, storage: BlobProvider, box: str, tmp_path: Path
    ) -> None:
        """S13 All blobs are listed, folders open, in the order of their whole names."""
        wanted = ["a", "b-/x", "b.txt", "b/x", "b/y/z", "b0", "c/d/e/f"]
        for name in reversed(wanted):
            _put(storage, box, name, name.encode(), tmp_path)
        found = list(storage.list_blobs(box))
        assert [blob.name for blob in found] == wanted
        assert [blob.size for blob in found] == [len(name) for name in wanted]

    def test_lists_a_folder(self, storage: BlobProvider, box: str, tmp_path: Path) -> None:
        """S14 A folder lists what is below it: not its neighbours, not a blob of its name."""
        for name in ("out/a", "out/b/c", "out2/d", "out.d/e", "x/out/f", "blob"):
            _put(storage, box, name, b"1", tmp_path)
        assert _names(storage, box, "out") == ["out/a", "out/b/c"]
        assert _names(storage, box, "out/b") == ["out/b/c"]
        assert _names(storage, box, "none") == []
        assert _names(storage, box, "blob") == []

    # --- errors

    def test_missing_blob_is_a_typed_error(
        self, storage: BlobProvider, box: str, tmp_path: Path
    ) -> None:
        """S15 A blob that is not there, or is only a folder, is a typed error; nothing changes."""
        _put(storage, box, "folder/a", b"1", tmp_path)
        target = tmp_path / "target"
        target.write_bytes(b"old")
        for name in ("none", "none/none", "folder", "folder/a/b"):
            for call in (
                lambda name=name: storage.download(box, name, target),
                lambda name=name: storage.properties(box, name),
                lambda name=name: storage.delete(box, name),
            ):
                with pytest.raises(BlobNotFoundError):
                    call()
        assert target.read_bytes() == b"old"
        assert _names(storage, box) == ["folder/a"]

    def test_bad_source_is_a_typed_error(
        self, storage: BlobProvider, box: str, tmp_path: Path
    ) -> None:
        """S16 A source that is missing or no file is a typed error; the old blob stays."""
        _put(storage, box, "a", b"old", tmp_path)
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        with pytest.raises(LocalFileNotFoundError):
            storage.upload(tmp_path / "none", box, "a")
        with pytest.raises(InvalidInputError):
            storage.upload(tmp_path, box, "a")
        with pytest.raises(InvalidInputError):
            storage.upload(pipe, box, "a")
        assert _names(storage, box) == ["a"]
        assert _get(storage, box, "a", tmp_path) == b"old"

    def test_blob_and_folder_of_one_name(
        self, storage: BlobProvider, box: str, tmp_path: Path
    ) -> None:
        """S17 A blob named as a folder, and the reverse: both are kept, or the second is refused."""
        _put(storage, box, "blob", b"1", tmp_path)
        _put(storage, box, "folder/x", b"2", tmp_path)
        with contextlib.suppress(ConflictError):
            _put(storage, box, "blob/below", b"3", tmp_path)
        with contextlib.suppress(ConflictError):
            _put(storage, box, "folder", b"4", tmp_path)
        assert _get(storage, box, "blob", tmp_path) == b"1"
        assert _get(storage, box, "folder/x", tmp_path) == b"2"
        with contextlib.suppress(BlobNotFoundError):
            assert _get(storage, box, "blob/below", tmp_path) == b"3"

    # --- downloading

    def test_download_makes_folders_and_replaces(
        self, storage: BlobProvider, box: str, tmp_path: Path
    ) -> None:
        """S18 A download makes the folders above its target and replaces a file; nothing else is
        left there."""
        _put(storage, box, "a", b"new", tmp_path)
        target = tmp_path / "x" / "y" / "a.txt"
        storage.download(box, "a", target)
        target.write_bytes(b"something longer")
        storage.download(box, "a", target)
        assert target.read_bytes() == b"new"
        assert os.listdir(target.parent) == ["a.txt"]

    def test_download_to_a_folder_is_refused(
        self, storage: BlobProvider, box: str, tmp_path: Path
    ) -> None:
        """S19 A target that is a folder is a typed error; it stays as it was."""
        _put(storage, box, "a", b"new", tmp_path)
        target = tmp_path / "folder"
        target.mkdir()
        (target / "keep").touch()
        with pytest.raises(CloudOpsError):
            storage.download(box, "a", target)
        assert os.listdir(target) == ["keep"]

    # --- deleting

    def test_deletes_one_blob(self, storage: BlobProvider, box: str, tmp_path: Path) -> None:
        """S20 Deleting takes one blob, and its folder can be used again."""
        for name in ("d/a", "d/ab", "e/only"):
            _put(storage, box, name, b"1", tmp_path)
        storage.delete(box, "d/a")
        storage.delete(box, "e/only")
        assert _names(storage, box) == ["d/ab"]
        with pytest.raises(BlobNotFoundError):
            storage.delete(box, "d/a")
        _put(storage, box, "e/again", b"1", tmp_path)
        assert _names(storage, box) == ["d/ab", "e/again"]

    def test_deletes_a_folder(self, storage: BlobProvider, box: str, tmp_path: Path) -> None:
        """S21 Deleting a folder takes all below it and nothing beside; a missing one is no error."""
        for name in ("out/a", "out/b/c", "out2/d", "out.d/e", "top"):
            _put(storage, box, name, b"1", tmp_path)
        storage.delete_folder(box, "out")
        storage.delete_folder(box, "out")
        storage.delete_folder(box, "none/at/all")
        storage.delete_folder(box, "top")
        assert _names(storage, box) == ["out.d/e", "out2/d", "top"]

    # --- many

    def test_stores_many(self, storage: BlobProvider, box: str, tmp_path: Path) -> None:
        """S22 Many files are stored and fetched in one call, new folders and taken names mixed."""
        _put(storage, box, "old/0", b"old", tmp_path)
        sources: dict[str, Path] = {}
        for number in range(700):
            name = f"{('old', 'new', 'new/sub', 'other/x/y')[number % 4]}/{number}"
            sources[name] = tmp_path / f"source-{number}"
            sources[name].write_bytes(str(number).encode() * 10)
        sources["top"] = sources["old/0"]
        storage.upload_many(box, {name: str(path) for name, path in sources.items()})
        assert _names(storage, box) == sorted(sources)
        targets = {name: tmp_path / "fetched" / name for name in sources}
        storage.download_many(box, targets)
        for name, target in targets.items():
            assert target.read_bytes() == sources[name].read_bytes()

    def test_many_with_a_missing_one(self, storage: BlobProvider, box: str, tmp_path: Path) -> None:
        """S23 One missing file fails the call; what was stored is whole, and no traces are listed."""
        source = tmp_path / "source"
        source.write_bytes(b"whole")
        sources: dict[str, Path] = {f"d/{number}": source for number in range(300)}
        sources["d/150"] = tmp_path / "none"
        with pytest.raises(LocalFileNotFoundError):
            storage.upload_many(box, sources)
        assert set(_names(storage, box)) <= set(sources) - {"d/150"}
        assert {blob.size for blob in storage.list_blobs(box)} <= {5}

    def test_nothing_is_no_work(self, storage: BlobProvider, box: str) -> None:
        """S24 No files to store or fetch is no error."""
        storage.upload_many(box, {})
        storage.download_many(box, {})
        assert _names(storage, box) == []

    # --- several at once

    def test_readers_see_whole_blobs(self, storage: BlobProvider, box: str, tmp_path: Path) -> None:
        """S25 While a blob is replaced, readers get the old or the new one, and listings show the
        blob alone, with one of the two sizes."""
        contents = [bytes([number]) * (LARGE >> number) for number in (0, 1)]
        known = {hashlib.sha256(data).digest() for data in contents}
        sources = [tmp_path / "0", tmp_path / "1"]
        for source, data in zip(sources, contents, strict=True):
            source.write_bytes(data)
        storage.upload(sources[0], box, "a")
        done = threading.Event()

        def write() -> None:
            try:
                for number in range(20):
                    storage.upload(sources[number % 2], box, "a")
            finally:
                done.set()

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            reads = 0
            while reads < 3 or not done.is_set():
                storage.download(box, "a", tmp_path / "read")
                assert hashlib.sha256((tmp_path / "read").read_bytes()).digest() in known
                listed = list(storage.list_blobs(box))
                assert [blob.name for blob in listed] == ["a"]
                assert listed[0].size in {len(data) for data in contents}
                reads += 1
            writing.result()

    def test_serves_threads(self, storage: BlobProvider, box: str, tmp_path: Path) -> None:
        """S26 Calls from several threads, in the same new folders, do not disturb one another."""

        def work(number: int) -> bytes:
            own = tmp_path / str(number)
            own.mkdir()
            for turn in range(5):
                _put(storage, box, f"shared/{turn}/{number}", b"%d" % number, own)
            storage.delete(box, f"shared/0/{number}")
            return _get(storage, box, f"shared/4/{number}", own)

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(8))) == [b"%d" % number for number in range(8)]
        wanted = [f"shared/{turn}/{number}" for turn in range(1, 5) for number in range(8)]
        assert _names(storage, box) == sorted(wanted)

    # --- protection

    def test_protects_or_says_that_it_cannot(
        self, storage: BlobProvider, box: str, tmp_path: Path
    ) -> None:
        """S27 A legal hold keeps a blob from being deleted or replaced until it is cleared; storage
        that does not say that it protects refuses every kind of protection."""
        _put(storage, box, "a", b"1", tmp_path)
        if not storage.protects:
            with pytest.raises(UnsupportedError):
                storage.protect(box, "a", legal_hold=True)
            assert not storage.protection(box, "a")
            return
        assert not storage.protection(box, "a")
        storage.protect(box, "a", legal_hold=True)
        assert storage.protection(box, "a").legal_hold
        calls: tuple[Callable[[], None], ...] = (
            lambda: storage.delete(box, "a"),
            lambda: _put(storage, box, "a", b"2", tmp_path),
            lambda: storage.check_replaceable(box, ["b", "a"]),
        )
        for call in calls:
            with pytest.raises(ProtectedBlobError, match="legal hold"):
                call()
        assert _get(storage, box, "a", tmp_path) == b"1"
        storage.protect(box, "a", legal_hold=False)
        assert not storage.protection(box, "a")
        _put(storage, box, "a", b"3", tmp_path)
        storage.delete(box, "a")

    # --- directories of this host

    def test_local_path_is_the_container(
        self, storage: BlobProvider, box: str, tmp_path: Path
    ) -> None:
        """S28 A directory named by `local_path` is the container: both ways, and ours."""
        directory = _directory(storage, box)
        _put(storage, box, "d/from-us", b"1", tmp_path)
        assert (directory / "d" / "from-us").read_bytes() == b"1"
        (directory / "new").mkdir()
        (directory / "new" / "from-task").write_bytes(b"2")
        assert _get(storage, box, "new/from-task", tmp_path) == b"2"
        assert _names(storage, box) == ["d/from-us", "new/from-task"]
        for path in (directory, directory / "d", directory / "d" / "from-us"):
            assert path.stat().st_uid == os.getuid()
            assert path.stat().st_gid == tmp_path.stat().st_gid

    def test_links_out_are_not_listed(self, storage: BlobProvider, box: str, outside: Path) -> None:
        """S29 Links that lead out of the container, or nowhere, are not listed or followed."""
        directory = _directory(storage, box)
        (directory / "circle").symlink_to("circle")
        (directory / "dangling").symlink_to("none")
        (directory / "folder").mkdir()
        (directory / "folder" / "up").symlink_to("..")
        (directory / "a").write_bytes(b"1")
        assert _names(storage, box) == ["a"]
        assert outside.is_dir()

    def test_links_out_are_not_read(
        self, storage: BlobProvider, box: str, outside: Path, tmp_path: Path
    ) -> None:
        """S30 Nothing outside the container is read through a link."""
        for name in ("leak.txt", "out/secret.txt"):
            with pytest.raises(UnsafePathError):
                storage.download(box, name, tmp_path / "stolen")
            with pytest.raises(UnsafePathError):
                storage.properties(box, name)
        with pytest.raises(UnsafePathError):
            list(storage.list_blobs(box, "out"))
        assert not (tmp_path / "stolen").exists()
        assert (outside / "secret.txt").read_bytes() == b"secret"

    def test_links_out_are_not_written(
        self, storage: BlobProvider, box: str, outside: Path, tmp_path: Path
    ) -> None:
        """S31 Nothing outside the container is written or deleted through a link."""
        source = tmp_path / "source"
        source.write_bytes(b"evil")
        for name in ("out/secret.txt", "out/new", "out/new/folder/x"):
            with pytest.raises(UnsafePathError):
                storage.upload(source, box, name)
            with pytest.raises(UnsafePathError):
                storage.upload_many(box, {name: source, "fine": source})
        with pytest.raises(UnsafePathError):
            storage.delete(box, "out/secret.txt")
        with contextlib.suppress(UnsafePathError):
            storage.delete_folder(box, "out")
        storage.upload(source, box, "leak.txt")  # replaces the link, not what it names
        assert (outside / "secret.txt").read_bytes() == b"secret"
        assert os.listdir(outside) == ["secret.txt"]
        storage.delete_container(box)
        assert (outside / "secret.txt").read_bytes() == b"secret"

    def test_container_may_be_a_link(
        self, storage: BlobProvider, box: str, outside: Path, tmp_path: Path
    ) -> None:
        """S32 A container may be a link that the root's owner made; deleting it leaves the folder."""
        link = _directory(storage, box).parent / "elsewhere"
        link.symlink_to(outside)
        assert storage.list_containers() == sorted([box, "elsewhere"])
        storage.download("elsewhere", "secret.txt", tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == b"secret"
        storage.delete_container("elsewhere")
        assert (outside / "secret.txt").read_bytes() == b"secret"
        assert storage.list_containers() == [box]

    def test_links_inside_are_followed(
        self, storage: BlobProvider, box: str, tmp_path: Path
    ) -> None:
        """S33 A link to a file of the same container is a blob; deleting it leaves the file."""
        directory = _directory(storage, box)
        _put(storage, box, "d/real", b"1", tmp_path)
        (directory / "alias").symlink_to("d/real")
        assert _names(storage, box) == ["alias", "d/real"]
        assert _get(storage, box, "alias", tmp_path) == b"1"
        storage.delete(box, "alias")
        assert _names(storage, box) == ["d/real"]

    # --- protection, where there is any

    def test_one_held_blob_stops_a_call_about_many(
        self, storage: BlobProvider, box: str, tmp_path: Path
    ) -> None:
        """S34 A call about many blobs, one of them held, changes none; other blobs are free."""
        _protects(storage)
        for name in ("d/a", "d/held", "d/z", "d2/x"):
            _put(storage, box, name, b"old", tmp_path)
        storage.protect(box, "d/held", legal_hold=True)
        source = tmp_path / "source"
        source.write_bytes(b"new")
        sources = {f"d/{number}": source for number in range(100)} | {"d/held": source}
        calls: tuple[Callable[[], None], ...] = (
            lambda: storage.upload_many(box, sources),
            lambda: storage.delete_folder(box, "d"),
            lambda: storage.delete_container(box),
        )
        for call in calls:
            with pytest.raises(ProtectedBlobError, match="d/held"):
                call()
        assert _names(storage, box) == ["d/a", "d/held", "d/z", "d2/x"]
        assert _get(storage, box, "d/a", tmp_path) == b"old"
        _put(storage, box, "d/a", b"new", tmp_path)
        storage.delete(box, "d/z")
        storage.delete_folder(box, "d2")
        assert _names(storage, box) == ["d/a", "d/held"]
        storage.protect(box, "d/held", legal_hold=False)
        storage.delete_container(box)

    def test_lock_is_never_shortened(self, storage: BlobProvider, box: str, tmp_path: Path) -> None:
        """S35 A lock can be made longer, not shorter, and is not lifted with a hold."""
        _protects(storage)
        _put(storage, box, "a", b"1", tmp_path)
        now = datetime.now(UTC)
        storage.protect(box, "a", legal_hold=True, lock_until=now + timedelta(days=2))
        with pytest.raises(ProtectedBlobError, match="shorter"):
            storage.protect(box, "a", lock_until=now + timedelta(days=1))
        storage.protect(box, "a", lock_until=now + timedelta(days=3))
        storage.protect(box, "a", legal_hold=False)
        found = storage.protection(box, "a")
        assert found.locked_until == now + timedelta(days=3)
        assert not found.legal_hold
        with pytest.raises(ProtectedBlobError, match="locked until"):
            storage.delete(box, "a")
        with pytest.raises(ProtectedBlobError, match="locked until"):
            _put(storage, box, "a", b"2", tmp_path)

    def test_lock_ends(self, storage: BlobProvider, box: str, tmp_path: Path) -> None:
        """S36 After its time a lock stops nothing."""
        _protects(storage)
        for name in ("deleted", "replaced"):
            _put(storage, box, name, b"1", tmp_path)
            storage.protect(box, name, lock_until=datetime.now(UTC) - timedelta(seconds=1))
        storage.delete(box, "deleted")
        _put(storage, box, "replaced", b"2", tmp_path)
        assert not storage.protection(box, "replaced")
        storage.delete_container(box)

    def test_sealed_blob(self, storage: BlobProvider, box: str, tmp_path: Path) -> None:
        """S37 A sealed blob is not replaced and can be deleted; then its name is free."""
        _protects(storage)
        _put(storage, box, "a", b"1", tmp_path)
        storage.protect(box, "a", seal=True)
        storage.protect(box, "a", legal_hold=False)
        with pytest.raises(ProtectedBlobError, match="sealed"):
            _put(storage, box, "a", b"2", tmp_path)
        storage.delete(box, "a")
        _put(storage, box, "a", b"3", tmp_path)
        assert not storage.protection(box, "a")

    def test_protection_is_not_seen(self, storage: BlobProvider, box: str, tmp_path: Path) -> None:
        """S38 What keeps protection is no blob, no container, and no file of the container."""
        _protects(storage)
        _put(storage, box, "d/a", b"1", tmp_path)
        storage.protect(box, "d/a", legal_hold=True, seal=True)
        assert storage.list_containers() == [box]
        assert _names(storage, box) == ["d/a"]
        directory = storage.local_path(box)
        if directory is not None:
            assert [path.name for path in directory.rglob("*")] == ["d", "a"]
        storage.protect(box, "d/a", legal_hold=False)

    def test_protecting_what_is_not_there(
        self, storage: BlobProvider, box: str, tmp_path: Path
    ) -> None:
        """S39 Only blobs that are there are protected, and a new one of the name is not."""
        _protects(storage)
        with pytest.raises(BlobNotFoundError):
            storage.protect(box, "none", legal_hold=True)
        with pytest.raises(BlobContainerNotFoundError):
            storage.protect("none", "a", legal_hold=True)
        _put(storage, box, "none", b"1", tmp_path)
        assert not storage.protection(box, "none")
        storage.protect(box, "none", lock_until=datetime.now(UTC) - timedelta(seconds=1))
        storage.delete(box, "none")
        _put(storage, box, "none", b"1", tmp_path)
        assert not storage.protection(box, "none")

    def test_protecting_at_once(self, storage: BlobProvider, box: str, tmp_path: Path) -> None:
        """S40 Many threads, or one call, protect many blobs, and each is protected."""
        _protects(storage)
        blobs = [f"d/{number}" for number in range(40)]
        for blob in blobs:
            _put(storage, box, blob, b"1", tmp_path)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda blob: storage.protect(box, blob, legal_hold=True), blobs))
        assert all(storage.protection(box, blob).legal_hold for blob in blobs)
        with pytest.raises(ProtectedBlobError):
            storage.delete_folder(box, "d")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda blob: storage.protect(box, blob, legal_hold=False), blobs))
        storage.protect_many(box, blobs, legal_hold=True)
        assert all(storage.protection(box, blob).legal_hold for blob in blobs)
        storage.protect_many(box, blobs, legal_hold=False)
        storage.delete_folder(box, "d")
        assert _names(storage, box) == []

    # --- progress, where it is told

    def test_tells_progress(self, storage: BlobProvider, box: str, tmp_path: Path) -> None:
        """S41 Files and bytes that are told while many are copied add up to all of them."""
        if not storage.reports_progress:
            pytest.skip("this storage tells no progress")
        source = tmp_path / "source"
        source.write_bytes(b"x" * 1000)
        told: list[tuple[int, int]] = []
        blobs = [f"d/{number}" for number in range(300)]

        def tell(files: int, size: int) -> None:
            told.append((files, size))

        storage.upload_many(box, dict.fromkeys(blobs, source), progress=tell)
        assert (sum(n for n, _ in told), sum(size for _, size in told)) == (300, 300_000)
        told.clear()
        storage.download_many(box, {blob: tmp_path / blob for blob in blobs}, progress=tell)
        assert (sum(n for n, _ in told), sum(size for _, size in told)) == (300, 300_000)

    # --- files below an open directory

    def test_takes_files_beneath_a_directory(
        self, storage: BlobProvider, box: str, tmp_path: Path
    ) -> None:
        """S42 A source below an open directory is stored; one that is a link, or reached through
        one, or no ordinary file, is a typed error and not read."""
        top = tmp_path / "top"
        (top / "d").mkdir(parents=True)
        (top / "d" / "file").write_bytes(b"1")
        (tmp_path / "secret").write_bytes(b"secret")
        (top / "link").symlink_to(tmp_path / "secret")
        (top / "out").symlink_to(tmp_path)
        os.mkfifo(top / "pipe")
        with Place.open(top) as place:
            storage.upload(FileBeneath(place, "d/file"), box, "a")
            storage.upload_many(
                box, {name: FileBeneath(place, "d/file") for name in ("b", "new/c", "new/d/e")}
            )
            assert _names(storage, box) == ["a", "b", "new/c", "new/d/e"]
            for name in ("a", "b", "new/c", "new/d/e"):
                assert _get(storage, box, name, tmp_path) == b"1"
            for way in ("link", "out/secret", "../secret", "pipe", "d", "none"):
                with pytest.raises((InvalidInputError, LocalFileNotFoundError)):
                    storage.upload(FileBeneath(place, way), box, "a")
                with pytest.raises((InvalidInputError, LocalFileNotFoundError)):
                    storage.upload_many(box, {"f": FileBeneath(place, way)})
            assert place.names()  # still open
        assert _names(storage, box) == ["a", "b", "new/c", "new/d/e"]

    def test_fetches_to_files_beneath_a_directory(
        self, storage: BlobProvider, box: str, tmp_path: Path
    ) -> None:
        """S43 A target below an open directory is written, its folders made; a link or a pipe of its
        name is replaced, and one on the way is a typed error."""
        top, outside = tmp_path / "top", tmp_path / "outside"
        top.mkdir()
        outside.mkdir()
        (outside / "file").write_bytes(b"old")
        (top / "link").symlink_to(outside / "file")
        (top / "out").symlink_to(outside)
        os.mkfifo(top / "pipe")
        _put(storage, box, "a", b"1", tmp_path)
        with Place.open(top) as place:
            storage.download(box, "a", FileBeneath(place, "d/e/file"))
            storage.download_many(box, {"a": FileBeneath(place, "link")})
            storage.download(box, "a", FileBeneath(place, "pipe"))
            for way in ("out/file", "out/new/file", "../outside/file"):
                with pytest.raises(CloudOpsError):
                    storage.download(box, "a", FileBeneath(place, way))
        for name in ("d/e/file", "link", "pipe"):
            assert not (top / name).is_symlink()
            assert (top / name).read_bytes() == b"1"
        assert [(path.name, path.read_bytes()) for path in outside.iterdir()] == [("file", b"old")]


def _protects(storage: BlobProvider) -> None:
    if not storage.protects:
        pytest.skip("this storage protects nothing")


def _put(storage: BlobProvider, container: str, blob: str, data: bytes, tmp_path: Path) -> None:
    source = tmp_path / "put"
    source.write_bytes(data)
    storage.upload(source, container, blob)


def _get(storage: BlobProvider, container: str, blob: str, tmp_path: Path) -> bytes:
    target = tmp_path / "got"
    storage.download(container, blob, target)
    return target.read_bytes()


def _names(storage: BlobProvider, container: str, folder: str = "") -> list[str]:
    return [blob.name for blob in storage.list_blobs(container, folder)]


def _directory(storage: BlobProvider, container: str) -> Path:
    directory = storage.local_path(container)
    if directory is None:
        pytest.skip("the container is no directory of this host")
    return directory
