"""Paths in command lines are mapped where they are certainly meant, and nowhere else."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfa.cloudops.errors import InvalidInputError
from cfa.cloudops.service.paths import map_command

MAPPING = [("/data", "/host/in"), ("/data/deep", "/host/deep"), ("/out", "/host/out")]


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("/data", "/host/in"),
        ("/data/", "/host/in/"),
        ("/data/x.csv", "/host/in/x.csv"),
        ("/data/deep", "/host/deep"),
        ("/data/deep/x", "/host/deep/x"),
        ("/data/deeper/x", "/host/in/deeper/x"),
        ("--in=/data/x", "--in=/host/in/x"),
        ("/data:/out", "/host/in:/host/out"),
        ("a,/data,/out/b", "a,/host/in,/host/out/b"),
        ("open('/data/x', \"/out\")", "open('/host/in/x', \"/host/out\")"),
        ("cat </data/x >/out/y 2>/out/z", "cat </host/in/x >/host/out/y 2>/host/out/z"),
        ("cd /data && ls\n/out", "cd /host/in && ls\n/host/out"),
        ("(cd /data); x=`ls /out`", "(cd /host/in); x=`ls /host/out`"),
        ("{/data,/out}", "{/host/in,/host/out}"),
        ('say \\"/data\\"', 'say \\"/host/in\\"'),
        ("/database", "/database"),
        ("/data.csv", "/data.csv"),
        ("/data-old/x", "/data-old/x"),
        ("/data_2", "/data_2"),
        ("/data*", "/data*"),
        ("/dataß", "/dataß"),
        ("x/data", "x/data"),
        ("./data", "./data"),
        ("../data/x", "../data/x"),
        ("/x/data", "/x/data"),
        ("//data", "//data"),
        ("$HOME/data", "$HOME/data"),
        ("file:///data", "file:///data"),
        ("-I/data", "-I/data"),
        ("", ""),
        ("data", "data"),
        ("/", "/"),
    ],
)
def test_token(token: str, expected: str) -> None:
    """A prefix is replaced where it stands as a whole path, the longest first."""
    assert map_command(["prog", token], MAPPING) == ["prog", expected]


def test_program_itself() -> None:
    """The program may lie in a mount as well."""
    assert map_command(["/data/run.sh", "x"], MAPPING) == ["/host/in/run.sh", "x"]


def test_not_mapped_twice() -> None:
    """What was put in is not mapped again."""
    assert map_command(["/a/x", "/b/x"], [("/a", "/b"), ("/b", "/a")]) == ["/b/x", "/a/x"]


def test_ends_of_the_mapping() -> None:
    """Slashes at the end of either path change nothing; an empty mapping changes nothing."""
    assert map_command(["/data/x", "/data"], [("/data/", "/host/in/")]) == [
        "/host/in/x",
        "/host/in",
    ]
    assert map_command(["/data"], []) == ["/data"]


@pytest.mark.parametrize("path", ["data", "", "/", "//", "//x"])
def test_bad_mapping(path: str) -> None:
    """A relative path and the root directory are refused."""
    with pytest.raises(InvalidInputError, match="cannot be mapped"):
        map_command(["x"], [(path, "/host")])


@pytest.mark.parametrize("shell", [["sh", "-c"], ["/bin/bash", "-euc"], ["env", "sh", "-e", "-c"]])
@pytest.mark.parametrize(
    "script",
    [
        "printf %s /data/x",
        "printf %s '/data/x'",
        'printf %s "/data/x"',
        "printf %s \\' >/dev/null; printf %s /data/x",
        "printf %s \"it's\" >/dev/null; printf %s '/data/x'",
        'v=/data/x; printf %s "$v"',
        'printf %s "$(printf %s /data/x)"',
    ],
)
@pytest.mark.parametrize("target", ["/a/my work", "/a/it's", '/a/a"b', "/a/$HOME", "/a/b\\c"])
def test_quoting_in_a_script(shell: list[str], script: str, target: str) -> None:
    """In a shell's script the new path keeps its meaning, whatever characters it has."""
    if "$(" in script:  # a script in a script: what must be quoted is known to the shell only
        target = "/a/plain"
    tokens = map_command([*shell, script], [("/data", target)])
    done = subprocess.run(tokens, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == f"{target}/x"


def test_no_quoting_elsewhere() -> None:
    """Outside a shell's script a token is taken as it is."""
    assert map_command(["python", "-c", "/data"], [("/data", "/a b")]) == ["python", "-c", "/a b"]
    assert map_command(["-c", "/data"], [("/data", "/a b")]) == ["-c", "/a b"]


_NAMES = st.text("abcdxyz._-", min_size=1, max_size=6).filter(lambda name: name.strip("."))


@given(st.lists(st.text(max_size=30), max_size=5))
def test_nothing_to_do(tokens: list[str]) -> None:
    """Tokens that do not hold the path stay as they are."""
    assert map_command(tokens, [("/path-of-a-mount", "/x")]) == tokens


@given(_NAMES, _NAMES, st.lists(_NAMES, max_size=3), st.sampled_from(["", "--x=", "a:", "'", " "]))
def test_whole_names_only(mount: str, other: str, rest: list[str], before: str) -> None:
    """`/mount/rest` is mapped and `/other/rest` is not, unless both are the same name."""
    mapping = [(f"/{mount}", "/host")]
    tail = "".join(f"/{name}" for name in rest)
    assert map_command([f"{before}/{mount}{tail}"], mapping) == [f"{before}/host{tail}"]
    if other != mount:
        assert map_command([f"{before}/{other}{tail}"], mapping) == [f"{before}/{other}{tail}"]


@given(st.lists(st.text("/ab=: '", max_size=20), max_size=4))
def test_there_and_back(tokens: list[str]) -> None:
    """Mapping to a name that does not occur, and back, gives the same tokens."""
    there = map_command(tokens, [("/a", "/zz")])
    assert map_command(there, [("/zz", "/a")]) == tokens
