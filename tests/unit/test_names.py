"""Names from users: what is accepted, what is refused, and that no path leaves its container."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cfa.cloudops.errors import InvalidNameError, UnsafePathError
from cfa.cloudops.model import names

#: Texts made of what paths are made of, far likelier to be harmful than plain random ones.
PATHLIKE = st.lists(
    st.sampled_from(
        ["..", ".", "/", "//", "\\", "a", "b.csv", " ", "~", "\0", "C:", "%2e%2e", "\ud800", "é"]
    ),
    max_size=12,
).map("".join)
TEXTS = st.one_of(
    PATHLIKE,
    st.text(max_size=300),
    st.text(st.characters(categories=("Cs", "Cc", "Ll", "Po")), max_size=80),
)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a", "a"),
        ("a/b.csv", "a/b.csv"),
        ("./a//b/", "a/b"),
        ("a/./b", "a/b"),
        (" a ", " a "),
        ("..a/b..", "..a/b.."),
        ("...", "..."),
        ("a\\b", "a\\b"),
        ("~/x", "~/x"),
        ("50%/a?b#c", "50%/a?b#c"),
        ("\udcff.csv", "\udcff.csv"),
        ("ü/数据", "ü/数据"),
        ("n" * 255, "n" * 255),
        ("a/" * 253 + "a", "a/" * 253 + "a"),
    ],
)
def test_blob_accepts(text: str, name: str) -> None:
    """A relative name is accepted and normalised."""
    assert names.blob(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "./",
        "/",
        "/a",
        "//a",
        "..",
        "../a",
        "a/..",
        "a/../b",
        "a/..//b",
        "a\x00b",
        "\x00",
        "C:\\a",
        "./C:/a",
        "C:",
        "c:/a",
        "..\\a",
        "a\\..\\b",
        "a/b\\..",
        "\\..\\a",
    ],
)
def test_blob_refuses_ways_out(text: str) -> None:
    """An absolute name, `..` between slashes of either kind, a NUL and no name at all are refused."""
    with pytest.raises(UnsafePathError) as caught:
        names.blob(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    "text", ["n" * 256, "é" * 128, "a/" * 600 + "b", "a/" * 254 + "b", "\ud800"]
)
def test_blob_refuses_what_no_store_keeps(text: str) -> None:
    """A name too long for the cloud or a file system, or that no file can have, is refused."""
    with pytest.raises(InvalidNameError):
        names.blob(text)


@pytest.mark.parametrize("value", [None, 1, b"a", Path("a"), ["a"]])
def test_names_are_text(value: object) -> None:
    """Anything but text is refused with a typed error."""
    for check in (names.blob, names.folder, names.blob_container, names.job_id, names.pool_id):
        with pytest.raises(InvalidNameError):
            check(value)  # type: ignore[arg-type]


@given(TEXTS)
@example("a/../../b")
@example("a\0/../b")
def test_no_accepted_blob_leaves_its_container(text: str) -> None:
    """Whatever `blob` accepts is a path below the container, however it is joined to it."""
    try:
        name = names.blob(text)
    except (InvalidNameError, UnsafePathError):
        return
    root = "/root/box"
    for path in (os.path.normpath(os.path.join(root, name)), os.path.normpath(f"{root}/{name}")):
        assert path.startswith(f"{root}/")
    assert "\0" not in name
    assert not os.path.isabs(name)
    assert not {"", ".", ".."} & set(name.split("/"))
    assert len(name) <= 1024
    os.fsencode(name)  # a file can have it


@given(TEXTS)
def test_blob_names_are_stable(text: str) -> None:
    """An accepted name is accepted again, unchanged, also as a folder."""
    try:
        name = names.blob(text)
    except (InvalidNameError, UnsafePathError):
        return
    assert names.blob(name) == name
    assert names.folder(f"{name}/") == name


@given(TEXTS)
def test_accepted_blobs_are_files_inside(text: str) -> None:
    """A file made under an accepted name really is in the container's directory."""
    try:
        name = names.blob(text)
    except (InvalidNameError, UnsafePathError):
        return
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory).resolve() / "box"
        root.mkdir()
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        assert root in path.resolve().parents
        assert os.listdir(directory) == ["box"]


@given(TEXTS)
def test_container_names_are_one_step(text: str) -> None:
    """An accepted container name is one visible directory name, and a file of it can exist."""
    try:
        name = names.blob_container(text)
    except InvalidNameError:
        return
    assert name == text
    assert "/" not in name
    assert not name.startswith(".")
    assert ".." not in name
    assert name.isascii()


@pytest.mark.parametrize("text", ["input-test", "Data_1", "a", "1", "a.b", "x" * 63])
def test_container_accepts(text: str) -> None:
    """Names of the cloud, and of folders that users have, are accepted."""
    assert names.blob_container(text) == text


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a/b", "-a", ".git", "a..b", "a.", "a b", "a\n", "ä", "x" * 64, "a\0"]
)
def test_container_refuses(text: str) -> None:
    """Paths, hidden names and other characters are refused."""
    with pytest.raises(InvalidNameError):
        names.blob_container(text)


@pytest.mark.parametrize(
    ("text", "target"),
    [("data", "data"), ("/data/", "data"), ("data/in", "data/in"), ("a b", "a b")],
)
def test_mount_target_accepts(text: str, target: str) -> None:
    """A target is a path below `/`, with or without slashes around it."""
    assert names.mount_target(text) == target


@pytest.mark.parametrize(
    "text",
    ["", "/", ".", "..", "a/../b", "etc", "/usr/x", "proc", "mnt", "mnt/batch/x", "a\0", "a:b"],
)
def test_mount_target_refuses(text: str) -> None:
    """A target that hides what a node needs, or leads elsewhere, is refused."""
    with pytest.raises(UnsafePathError):
        names.mount_target(text)


@pytest.mark.parametrize(
    ("check", "text", "name"),
    [
        (names.pool_id, "my pool", "my_pool"),
        (names.job_id, "my job", "myjob"),
        (names.task_id, "job--1", "job--1"),
        (names.name_suffix, "", ""),
        (names.name_suffix, "x" * 64, "x" * 64),
    ],
)
def test_ids_accept(check: Callable[[str], str], text: str, name: str) -> None:
    """Blanks are replaced as the cloud client does; else an id is as it is."""
    assert check(text) == name


@pytest.mark.parametrize("check", [names.pool_id, names.job_id, names.task_id])
@pytest.mark.parametrize("text", ["", "a/b", "ä", "a.b", "x" * 65, "a\n", "..", "a\0"])
def test_ids_refuse(check: Callable[[str], str], text: str) -> None:
    """An id that the service refuses is refused here."""
    with pytest.raises(InvalidNameError):
        check(text)


@pytest.mark.parametrize(
    ("text", "fault"), [("x" * 80, "80 characters"), ("a b", "letters, digits"), ("a\n", "letters")]
)
def test_name_suffix_refuses(text: str, fault: str) -> None:
    """The message says which rule is broken: the length or the characters."""
    with pytest.raises(InvalidNameError, match=fault):
        names.name_suffix(text)


def test_oci_container_name() -> None:
    """The container of a job is named after its image and the job."""
    assert names.oci_container("reg.io/a/b:1", "job") == "reg.io_a_b_1.job"
    assert names.oci_container("_x", "job") == "x.job"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "it has 0 characters."),
        ("x" * 65, "it has 65 characters."),
        ("a/b!c", "it has '!' and '/'."),
        ("a.b", "it has '.'."),
    ],
)
def test_what_is_wrong_with_an_id(text, what):
    """The message says what is wrong with this id, not what could be."""
    with pytest.raises(InvalidNameError) as caught:
        names.pool_id(text)
    assert what in caught.value.message
