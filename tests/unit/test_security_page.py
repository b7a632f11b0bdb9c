"""The page on security promises nothing that no test shows."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "security.md"
#: What a column of tests may name: `file::test` or `file::Class::test`.
_NAMED = re.compile(r"`([\w/.]+\.py(?:::\w+)+)`")
#: Where a promise may hold.
_WHERE = re.compile(
    r"everywhere|strict|sandbox|Podman as root|containers(, sandbox)?|containers that enforce it"
)


def lines() -> list[str]:
    """The page without its comments."""
    return re.sub(r"<!--.*?-->", "", PAGE.read_text(), flags=re.DOTALL).splitlines()


def rows() -> list[dict[str, str]]:
    """The rows of all tables with a column of tests, by the heads of their columns."""
    found = []
    head: list[str] = []
    for line in lines():
        if not line.startswith("|"):
            head = []
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not head:
            head = cells
        elif set(line) - set("|-: ") and head[-1] == "Test":
            assert len(cells) == len(head), line
            found.append(dict(zip(head, cells, strict=True)))
    return found


@functools.cache
def names(path: Path) -> frozenset[str]:
    """The tests in a file: functions, and methods as `Class::test`."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            inner = (one.name for one in node.body if isinstance(one, ast.FunctionDef))
            found.update(f"{node.name}::{name}" for name in inner)
    return frozenset(found)


def test_every_line_has_a_test() -> None:
    """Each row of a table of promises names at least one test, and nothing else, in its last column."""
    assert len(rows()) > 60
    for row in rows():
        assert _NAMED.search(row["Test"]), row
        assert not _NAMED.sub("", row["Test"]).strip(), row


def test_named_tests_exist() -> None:
    """Every test that the page names exists, be it in a table or in its text."""
    named = _NAMED.findall("\n".join(lines()))
    assert len(set(named)) > 60
    for text in named:
        place, _, name = text.partition("::")
        assert (ROOT / place).is_file(), text
        assert name in names(ROOT / place), text
        assert name.rpartition("::")[2].startswith("test_"), text


def test_every_promise_says_where() -> None:
    """A promise is a sentence, says where it holds in the words that the page explains, and how."""
    promises = [row for row in rows() if "Promise" in row]
    assert len(promises) > 50
    for row in promises:
        assert row["Promise"].endswith("."), row
        assert _WHERE.fullmatch(row["Where"]), row
        assert row["How"], row
    assert len({row["Promise"] for row in promises}) == len(promises)


@pytest.mark.parametrize("path", sorted((ROOT / "tests" / "security").glob("test_*.py")), ids=str)
def test_tests_of_security_are_on_the_page(path: Path) -> None:
    """A file of tests of security that the page does not name has no promise that it shows."""
    assert f"`{path.relative_to(ROOT).as_posix()}::" in "\n".join(lines())
