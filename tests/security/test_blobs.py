"""What a task does in a container that it may write never leads a blob call out of it, and never
holds it up."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cfa.cloudops import beneath
from cfa.cloudops.errors import BlobContainerNotFoundError, CloudOpsError, ConflictError
from cloudops_fsspec import FsspecBlobs, _resume

#: Of each call, for each way of swapping, with and without `openat2`: more than 20,000 together.
ATTEMPTS = 500
LONGEST_S = 30
INSIDE, SECRET = b"inside", b"a secret of the host"
#: Exchanges two names as fast as the kernel can, until it is killed.
FLIPPER = """
import ctypes, os, sys
exchange = ctypes.CDLL(None, use_errno=True).renameat2
one, other = map(os.fsencode, sys.argv[1:])
parent = os.getppid()
print("ready", flush=True)
while os.getppid() == parent:
    for _ in range(1000):
        exchange(-100, one, -100, other, 2)
"""


class Scene:
    """A container in which `flip` leads inside at one moment, and out at the next.

    Args:
        shape: what leads inside: a `folder`, a `link` to one, or a `blob`. What leads out is a link.
    """

    def __init__(self, tmp_path: Path, shape: str) -> None:
        self.storage = FsspecBlobs(f"file://{tmp_path}/root")
        self.storage.create_container("box")
        self.box = tmp_path / "root" / "box"
        self.outside = tmp_path / "outside"
        self.local = tmp_path / "local"
        self.local.mkdir()
        self.source = self.local / "source"
        self.source.write_bytes(b"uploaded")
        for folder in (self.outside, self.box / "real"):
            (folder / "sub").mkdir(parents=True)
        for name in ("file", "sub/file", "only-outside"):
            (self.outside / name).write_bytes(SECRET)
        self.real = os.open(self.box / "real", os.O_RDONLY | os.O_DIRECTORY)
        self.restore()
        self.blob = "flip" if shape == "blob" else "flip/file"
        if shape == "folder":
            (self.box / "real").rename(self.box / "flip")
        elif shape == "link":
            (self.box / "flip").symlink_to("real")
        else:
            (self.box / "flip").write_bytes(INSIDE)
        (self.box / "twin").symlink_to(self.outside / "file" if shape == "blob" else self.outside)
        (self.box / "steady").write_bytes(INSIDE)
        self.before = self.tree()

    def restore(self) -> None:
        """Put back what a call deleted, in the folder inside, wherever that is now."""
        for name in ("file", "keep", "sub/file", "sub/keep"):
            with contextlib.suppress(FileExistsError):
                os.mkdir("sub", dir_fd=self.real)
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, dir_fd=self.real)
            os.write(file, INSIDE)
            os.close(file)

    def tree(self) -> dict[str, bytes]:
        """What is outside."""
        return {
            str(path): path.read_bytes() if path.is_file() else b""
            for path in self.outside.rglob("*")
        }

    def attack(self, call: Callable[[], None]) -> None:
        """Make a call again and again; each does its work inside or is refused in words."""
        tries = refusals = 0
        deadline = time.monotonic() + LONGEST_S
        # On a busy machine it may take a while until the other process has a turn.
        while tries < ATTEMPTS or (refusals in (0, tries) and time.monotonic() < deadline):
            tries += 1
            try:
                call()
            except CloudOpsError:
                refusals += 1
        assert self.tree() == self.before
        assert 0 < refusals < tries


@contextlib.contextmanager
def flipping(one: Path, other: Path) -> Iterator[None]:
    """Exchange two names meanwhile."""
    with subprocess.Popen(
        [sys.executable, "-c", FLIPPER, str(one), str(other)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield
            assert process.poll() is None
        finally:
            process.kill()


@pytest.fixture(params=["openat2", "without openat2"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the kernel's own way to stay below a directory, and as where it has none."""
    if request.param == "without openat2":
        monkeypatch.setattr(beneath, "_openat2", lambda: None)


@pytest.fixture
def scene(tmp_path: Path, request: pytest.FixtureRequest, kernel: None) -> Iterator[Scene]:
    """Three of them: see `Scene`."""
    scene = Scene(tmp_path, getattr(request, "param", "folder"))
    with flipping(scene.box / "flip", scene.box / "twin"):
        yield scene
    os.close(scene.real)


read = pytest.mark.parametrize("scene", ["folder", "link", "blob"], indirect=True)
changed = pytest.mark.parametrize("scene", ["folder", "link"], indirect=True)


# --- links that change


@read
def test_download(scene: Scene) -> None:
    """A download never reads outside the container."""
    target = scene.local / "target"

    def call() -> None:
        scene.storage.download("box", scene.blob, target)
        assert target.read_bytes() == INSIDE

    scene.attack(call)


@read
def test_download_many(scene: Scene) -> None:
    """A download of many never reads outside the container."""
    targets = {"steady": scene.local / "a", scene.blob: scene.local / "b"}

    def call() -> None:
        scene.storage.download_many("box", targets)
        assert (scene.local / "b").read_bytes() == INSIDE

    scene.attack(call)


@read
def test_properties(scene: Scene) -> None:
    """What is known of a blob is never that of a file outside."""

    def call() -> None:
        assert scene.storage.properties("box", scene.blob).size == len(INSIDE)

    scene.attack(call)


@read
def test_list(scene: Scene) -> None:
    """A listing never shows what is outside."""

    def call() -> None:
        for folder in ("", "flip"):
            for blob in scene.storage.list_blobs("box", folder):
                assert "only-outside" not in blob.name
                assert blob.size == len(INSIDE)
        scene.storage.properties("box", scene.blob)  # so that it is refused at times

    scene.attack(call)


@changed
def test_upload(scene: Scene) -> None:
    """An upload never writes outside the container, also where it makes folders."""
    names = itertools.cycle(["flip/file", "flip/new", "flip/other/new", "flip/sub/file"])
    scene.attack(lambda: scene.storage.upload(scene.source, "box", next(names)))


@changed
def test_upload_many(scene: Scene) -> None:
    """An upload of many never writes outside the container, also where it makes folders."""
    number = 0

    def call() -> None:
        nonlocal number
        number += 1
        names = ("flip/file", f"flip/{number}/a", f"flip/{number}/b/c")
        scene.storage.upload_many("box", dict.fromkeys(names, scene.source))

    scene.attack(call)


@changed
def test_delete(scene: Scene) -> None:
    """A deletion never deletes outside the container."""
    names = itertools.cycle(["flip/file", "flip/sub/file"])

    def call() -> None:
        scene.storage.delete("box", next(names))
        scene.restore()

    scene.attack(call)


@changed
def test_delete_folder(scene: Scene) -> None:
    """A deletion of a folder never deletes outside the container."""

    def call() -> None:
        scene.storage.delete_folder("box", "flip/sub")
        scene.restore()

    scene.attack(call)


@pytest.mark.usefixtures("kernel")
def test_delete_folder_that_changes(tmp_path: Path) -> None:
    """Of a folder that changes into a link out, the folder or the link is deleted, and nothing
    outside."""
    scene = Scene(tmp_path, "folder")
    stock, above, rests = tmp_path / "stock", scene.box / "above", tmp_path / "rests"
    rests.mkdir()
    for number in range(ATTEMPTS):
        (stock / f"{number}" / "flip" / "sub").mkdir(parents=True)
        (stock / f"{number}" / "flip" / "sub" / "file").write_bytes(INSIDE)
        (stock / f"{number}" / "twin").symlink_to(scene.outside)
    with flipping(above / "flip", above / "twin"):
        for number in range(ATTEMPTS):
            (stock / f"{number}").rename(above)
            with contextlib.suppress(CloudOpsError):
                scene.storage.delete_folder("box", ("above", "above/flip")[number % 2])
            if above.exists():
                above.rename(rests / f"{number}")
    os.close(scene.real)
    assert scene.tree() == scene.before


@changed
def test_protection(scene: Scene) -> None:
    """Protecting a blob never looks or writes outside the container."""
    held = itertools.cycle([True, False])

    def call() -> None:
        scene.storage.protect("box", "flip/file", legal_hold=next(held))
        scene.storage.protection("box", "flip/file")

    scene.attack(call)


# --- what is neither a file nor a folder


def make_pipe(path: Path) -> None:
    """A pipe that nobody reads or writes."""
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    """The end of a socket that nobody listens to."""
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):
        made.bind(path.name)


def make_device(path: Path) -> None:
    """A device that gives zeros for ever."""
    try:
        os.mknod(path, 0o20666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only the superuser makes devices")


@pytest.fixture(params=[make_pipe, make_socket, make_device])
def strange(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    """Makes something strange."""
    made: Callable[[Path], None] = request.param
    return made


@pytest.fixture
def storage(tmp_path: Path) -> FsspecBlobs:
    """Storage with the container `box`."""
    storage = FsspecBlobs(f"file://{tmp_path}/root")
    storage.create_container("box")
    return storage


@pytest.fixture
def box(tmp_path: Path, storage: FsspecBlobs) -> Path:
    """Its directory."""
    return tmp_path / "root" / "box"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file to upload."""
    path = tmp_path / "source"
    path.write_bytes(b"uploaded")
    return path


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["strange", "strange/below"])
def test_strange_blob(
    storage: FsspecBlobs,
    box: Path,
    source: Path,
    tmp_path: Path,
    strange: Callable[[Path], None],
    name: str,
) -> None:
    """What is no file is no blob, holds nothing up, and is not followed as a folder."""
    strange(box / "strange")
    (box / "alias").symlink_to("strange")
    (box / "blob").write_bytes(b"x")
    alias = name.replace("strange", "alias")
    for blob in (name, alias):
        calls: tuple[Callable[[], object], ...] = (
            lambda blob=blob: storage.download("box", blob, tmp_path / "target"),
            lambda blob=blob: storage.download_many("box", {blob: tmp_path / "target"}),
            lambda blob=blob: storage.properties("box", blob),
            lambda blob=blob: storage.protect("box", blob, legal_hold=True),
        )
        for call in calls:
            with pytest.raises(CloudOpsError):
                call()
    assert not (tmp_path / "target").exists()
    assert [found.name for found in storage.list_blobs("box")] == ["blob"]
    assert list(storage.list_blobs("box", "strange")) == []
    storage.delete_folder("box", "strange")
    if name == "strange":
        storage.upload(source, "box", name)
        assert (box / "strange").read_bytes() == b"uploaded"
        storage.delete("box", "strange")
    else:
        with pytest.raises(ConflictError):
            storage.upload(source, "box", name)
        with pytest.raises(ConflictError):
            storage.upload_many("box", {name: source, "strange/more": source})
        storage.delete("box", "strange")
    storage.delete_container("box")


@pytest.mark.timeout(20)
def test_strange_container(
    storage: FsspecBlobs, tmp_path: Path, source: Path, strange: Callable[[Path], None]
) -> None:
    """What is no directory is no container."""
    strange(tmp_path / "root" / "strange")
    assert storage.list_containers() == ["box"]
    assert not storage.container_exists("strange")
    with pytest.raises(ConflictError):
        storage.create_container("strange")
    calls: tuple[Callable[[], object], ...] = (
        lambda: storage.upload(source, "strange", "a"),
        lambda: storage.download("strange", "a", tmp_path / "target"),
        lambda: list(storage.list_blobs("strange")),
        lambda: storage.delete_container("strange"),
    )
    for call in calls:
        with pytest.raises(BlobContainerNotFoundError):
            call()


@pytest.mark.timeout(20)
def test_strange_record(
    storage: FsspecBlobs, box: Path, source: Path, strange: Callable[[Path], None]
) -> None:
    """What is no file is no record of protection, and is not taken for none."""
    storage.upload(source, "box", "a")
    storage.protect("box", "a", legal_hold=True)
    (record,) = box.parent.glob(".cloudops-protection/box/*.json")
    record.unlink()
    strange(record)
    with pytest.raises(CloudOpsError):
        storage.protection("box", "a")
    with pytest.raises(CloudOpsError):
        storage.delete("box", "a")
    assert (box / "a").exists()


@pytest.mark.timeout(20)
def test_strange_temporaries(
    storage: FsspecBlobs,
    box: Path,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    strange: Callable[[Path], None],
) -> None:
    """What is put in the place of files that we are about to make is passed by or removed."""
    monkeypatch.setattr(_resume, "FROM_BYTES", 1)
    name = f".cloudops-resume-{_resume._boot()}-{_resume.identity(source.stat())}.part"
    for folder in (box, box / "d"):
        folder.mkdir(exist_ok=True)
        strange(folder / name)
        strange(folder / ".cloudops-1-2-3.part")
    storage.upload(source, "box", "a")
    storage.upload_many("box", {"b": source, "d/c": source})
    assert [blob.name for blob in storage.list_blobs("box")] == ["a", "b", "d/c"]
    if strange is not make_socket:  # which cannot be opened
        assert not (box / ".cloudops-1-2-3.part").exists()
    # The folder in which a new one is made out of sight, and what is noted there.
    strange(box / _resume.folder_name("new"))
    storage.upload_many("box", {"new/c": source})
    hidden = box / _resume.folder_name("newer")
    hidden.mkdir()
    strange(hidden / _resume.JOURNAL)
    storage.upload_many("box", {"newer/c": source})
    assert [blob.name for blob in storage.list_blobs("box")] == [
        "a",
        "b",
        "d/c",
        "new/c",
        "newer/c",
    ]
    strange(box / name.replace(".cloudops-resume-", ".cloudops-"))
    storage.delete_container("box")


# --- depth


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """Hardly more than are open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(map(int, os.listdir("/proc/self/fd")))
    with contextlib.ExitStack() as gaps:  # lower numbers that are free
        while gaps.enter_context(open(os.devnull)).fileno() < most:
            pass
        resource.setrlimit(resource.RLIMIT_NOFILE, (most + 80, hard))
        yield
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def deep(top: Path, levels: int) -> None:
    """Folders in one another, with a file in each."""
    here = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here))
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


@pytest.mark.thorough
@pytest.mark.usefixtures("few_descriptors", "kernel")
def test_deep_folders(storage: FsspecBlobs, box: Path, source: Path, tmp_path: Path) -> None:
    """Thousands of folders in one another are listed as far as blobs can be, and deleted."""
    deep(box, 3000)
    found = [blob.name for blob in storage.list_blobs("box")]
    assert 200 < len(found) < 3000
    storage.download("box", found[0], tmp_path / "target")
    storage.download("box", found[-1], tmp_path / "target")
    storage.upload(source, "box", f"{'e/' * 200}x")
    assert len(list(storage.list_blobs("box", "d"))) == len(found) - 1
    storage.delete_folder("box", "d")
    assert [blob.name for blob in storage.list_blobs("box")] == [f"{'e/' * 200}x", "file"]
    deep(box / "e", 1500)
    storage.delete_container("box")
    assert not box.exists()


@pytest.mark.thorough
@pytest.mark.usefixtures("few_descriptors", "kernel")
def test_deep_stage(storage: FsspecBlobs, box: Path, source: Path) -> None:
    """Thousands of folders in one another, put where a new folder is made, hinder nothing."""
    hidden = box / _resume.folder_name("new")
    hidden.mkdir()
    deep(hidden, 3000)
    storage.upload_many("box", {"new/a": source, "new/b/c": source})
    assert {"new/a", "new/b/c"} <= {blob.name for blob in storage.list_blobs("box")}
    storage.delete_container("box")
