"""What lies below a directory that others may change is reached by descriptors alone."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time

import pytest

from cfa.cloudops import beneath
from cfa.cloudops.beneath import Place, WrongTypeError


@pytest.fixture(params=["openat2", "without openat2"])
def kernel(request, monkeypatch):
    """With the kernel's own way, and as where it has none."""
    if request.param == "without openat2":
        monkeypatch.setattr(beneath, "_openat2", lambda: None)
    return request.param


@pytest.fixture
def place(tmp_path, kernel):
    """A directory with something inside, and a secret beside it."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("secret")
    top = tmp_path / "top"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "file").write_text("inside")
    with Place.open(top) as opened:
        yield opened


def test_reads_below(place):
    assert place.read("a/file", 100) == b"inside"
    assert place.read("a/file", 3, 2) == b"sid"
    with place.enter("a") as a:
        assert sorted(a.names()) == ["b", "file"]
        assert a.read("file", 2) == b"in"
    with place.enter("") as same:
        assert os.path.samestat(os.fstat(same.fileno()), os.fstat(place.fileno()))


@pytest.mark.parametrize("way", ["out/file", "a/out/file", "../secret/file", "a/../../secret/file"])
@pytest.mark.parametrize("links", [False, True])
def test_no_way_out(place, tmp_path, way, links):
    """Neither a link nor `..` leads out, whether links are followed or not."""
    os.symlink(tmp_path / "secret", tmp_path / "top" / "out")
    os.symlink("../../secret", tmp_path / "top" / "a" / "out")
    with pytest.raises(OSError):  # noqa: PT011  which one depends on the kernel
        os.close(place.file(way, links=links))
    with pytest.raises(OSError):  # noqa: PT011
        place.enter(way.rpartition("/")[0], make=True, links=links).close()


def test_absolute_way_refused(place, tmp_path):
    with pytest.raises(OSError, match="secret"):
        place.file(f"{tmp_path}/secret/file")


@pytest.mark.parametrize("target", ["a", "./a", "a/../a", "{top}/a", "again"])
def test_links_that_stay_inside(place, tmp_path, target):
    """Relative and absolute links are followed where that is asked for."""
    os.symlink("a", tmp_path / "top" / "again")
    os.symlink(target.format(top=tmp_path / "top"), tmp_path / "top" / "link")
    os.close(place.file("link/file", links=True))
    with pytest.raises(OSError):  # noqa: PT011
        place.file("link/file")


@pytest.mark.parametrize("target", ["../b", "../../../../a/b", "../../../b/../../a/./b/"])
def test_link_that_leads_up(place, tmp_path, target):
    """Back through the directories that it came through, not by `..`."""
    deep = tmp_path / "top" / "a" / "x" / "y" / "z"
    deep.mkdir(parents=True)
    (tmp_path / "top" / "a" / "x" / "y" / "b").mkdir()
    (tmp_path / "top" / "b").mkdir()
    os.symlink(target, deep / "up")
    with place.enter("a/x/y/z/up/new", make=True, links=True) as entered:
        found = os.fstat(entered.fileno())
    assert os.path.samestat(found, (deep / "up" / "new").stat())


def test_links_that_lead_to_and_fro(place, tmp_path):
    """Hundreds of times up and down again, and that many times over, do not keep us for long."""
    top = tmp_path / "top"
    way = "/".join(["d"] * 400)
    place.enter(way, make=True).close()
    with place.enter(way) as deep:
        os.mkdir("d", dir_fd=deep.fileno())
        for number in range(40):
            deep.link_to("d/../" * 700 + f"l{number + 1}", f"l{number}")
    begin = time.monotonic()
    with pytest.raises(OSError, match="Too many levels"):
        place.enter(f"{way}/l0", make=True, links=True)
    assert time.monotonic() - begin < 5
    assert top.is_dir()


def test_link_to_a_file(place, tmp_path):
    os.symlink("a/file", tmp_path / "top" / "link")
    os.close(place.file("link", links=True))
    with pytest.raises(WrongTypeError):
        place.file("link")


def test_circle(place, tmp_path):
    os.symlink("two", tmp_path / "top" / "one")
    os.symlink("one", tmp_path / "top" / "two")
    with pytest.raises(OSError, match=r"symbolic links|ordinary"):
        place.file("one", links=True)


@pytest.mark.parametrize(
    "kind", ["pipe", "directory", "link", "socket", pytest.param("device", marks=pytest.mark.root)]
)
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY])
def test_only_ordinary_files(place, tmp_path, kind, flags):
    """Anything else is refused at once, for reading and for writing."""
    path = tmp_path / "top" / "it"
    with socket.socket(socket.AF_UNIX) as line:
        match kind:
            case "pipe":
                os.mkfifo(path)
            case "directory":
                path.mkdir()
            case "link":
                path.symlink_to("/dev/zero")
            case "socket":
                line.bind(str(path))
            case "device":
                os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
        began = time.monotonic()
        with pytest.raises(WrongTypeError):
            place.file("it", flags)
        assert time.monotonic() - began < 1


def test_write_replaces_what_is_there(place, tmp_path):
    """A link or pipe in the place of a file to be written is replaced, not written through."""
    victim = tmp_path / "secret" / "file"
    os.symlink(victim, tmp_path / "top" / "link")
    os.mkfifo(tmp_path / "top" / "pipe")
    for name in ("link", "pipe", "new"):
        place.write(name, b"mine")
        assert place.read(name, 10) == b"mine"
    assert victim.read_text() == "secret"


def test_makes_the_way(place):
    with place.enter("x/y/z", make=True) as z:
        z.write("f", b"1")
    assert place.read("x/y/z/f", 9) == b"1"
    assert place.make("w")
    assert not place.make("w")


def test_remove_tree(place, tmp_path):
    """Links in it are removed, not followed; odd permissions and depth do not matter."""
    top = tmp_path / "top"
    (top / "a" / "b" / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(top / "a" / "pipe")
    (top / "a" / "closed").mkdir()
    (top / "a" / "closed" / "f").write_text("")
    (top / "a" / "closed").chmod(0)
    (top / "a").chmod(0o500)
    place.remove_tree("a")
    assert place.names() == []
    place.remove_tree("a")
    assert (tmp_path / "secret" / "file").read_text() == "secret"


def test_remove_link(place, tmp_path):
    os.symlink(tmp_path / "secret", tmp_path / "top" / "link")
    place.remove_tree("link")
    assert (tmp_path / "secret" / "file").exists()
    assert not place.exists("link")


@pytest.mark.thorough
def test_remove_deep_tree(place):
    """A tree deeper than descriptors and recursion reach is removed."""
    here = os.dup(place.fileno())
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        lower = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = lower
    os.close(here)
    place.remove_tree("d")
    assert place.names() == ["a"]


def test_directory_that_is_closed_again_and_again(place, tmp_path):
    """Its owner gets in, whatever somebody does to its permissions all the while."""
    os.mkdir(tmp_path / "top" / "shut")
    held = os.open(tmp_path / "top" / "shut", os.O_RDONLY)
    over = threading.Event()

    def close() -> None:
        while not over.is_set():
            os.fchmod(held, 0)

    closing = threading.Thread(target=close)
    closing.start()
    try:
        for _ in range(300):
            place.regain("shut").close()
    finally:
        over.set()
        closing.join()
        os.fchmod(held, 0o700)
        os.close(held)


def test_remove_deep_tree_of_closed_directories(place, tmp_path):
    """One whose directories their owner may neither read nor write goes as well."""
    ways = ["deep" + "/d" * level for level in range(80)]
    place.enter(ways[-1], make=True).close()
    for way in reversed(ways):
        os.chmod(tmp_path / "top" / way, 0)
    place.remove_tree("deep")
    assert not place.exists("deep")


def test_remove_says_what_it_could_not(place, tmp_path):
    if os.getuid() == 0:
        pytest.skip("root may remove everything")
    (tmp_path / "top" / "a" / "b" / "f").write_text("")
    (tmp_path / "top").chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            place.remove_tree("a")
    finally:
        (tmp_path / "top").chmod(0o700)


def test_remove_what_may_not_be_written(place, tmp_path):
    """A directory without permissions is removed by force, and otherwise left."""
    if os.getuid() == 0:
        pytest.skip("root may remove everything")
    locked = tmp_path / "top" / "a" / "b"
    (locked / "f").write_text("")
    locked.chmod(0o500)
    with pytest.raises(PermissionError):
        place.remove_tree("a", force=False)
    assert (locked / "f").exists()
    place.remove_tree("a")
    assert not place.exists("a")


def test_flipping_link(place, tmp_path):
    """A name that is now a directory inside and now a link out never leads out."""
    top, stop = tmp_path / "top", threading.Event()
    (top / "flip").mkdir()
    (top / "flip" / "file").write_text("inside")
    os.symlink(tmp_path / "secret", top / "link")

    def flip() -> None:
        while not stop.is_set():
            os.rename(top / "flip", top / "aside")
            os.rename(top / "link", top / "flip")
            os.rename(top / "flip", top / "link")
            os.rename(top / "aside", top / "flip")

    flipper = threading.Thread(target=flip)
    flipper.start()
    outside = good = 0
    try:
        for _ in range(10_000):
            for links in (False, True):
                try:
                    found = place.file("flip/file", links=links)
                except OSError:
                    continue
                outside += os.read(found, 10) != b"inside"
                good += 1
                os.close(found)
    finally:
        stop.set()
        flipper.join()
    assert good
    assert not outside
