"""The parts of the pages that are made from the package are up to date, and show what they should."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def generate() -> ModuleType:
    """`docs/generate.py`."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(generate, tmp_path, monkeypatch):
    """Pages of one's own."""
    monkeypatch.setattr(generate, "DOCS", tmp_path)
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setitem(generate.PARTS, "word", lambda level, *words: f"{'#' * level} {words}")
    return tmp_path


def test_up_to_date(generate, capsys):
    """The pages are what the package says; `python docs/generate.py` writes them anew."""
    assert generate.main(["--check"]) == 0, capsys.readouterr().out


def test_stale_page(generate, folder, capsys):
    """A page that is out of date is named, then written; what is written by hand stays."""
    page = folder / "page.md"
    page.write_text(
        "# Top\n\n```\n## no heading\n```\n\n<!-- begin word a b -->\nold\n<!-- end -->\n"
    )
    assert generate.main(["--check"]) == 1
    assert "page.md is out of date" in capsys.readouterr().out
    assert "old" in page.read_text()
    assert generate.main([]) == 0
    assert "## ('a', 'b')\n" in page.read_text()
    assert page.read_text().startswith(
        "# Top\n\n```\n## no heading\n```\n\n<!-- begin word a b -->\n"
    )
    assert generate.main(["--check"]) == 0


def test_parts_after_one_another(generate, folder):
    """Each part is one level below the heading that was written by hand, whatever parts are above."""
    page = folder / "page.md"
    page.write_text("## Top\n" + "<!-- begin word -->\n<!-- end -->\n" * 2)
    assert generate.main([]) == 0
    assert page.read_text().count("### ()\n") == 2


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<!-- begin word -->\nold\n<!-- begin word -->\n<!-- end -->\n", "one '<!-- end -->'"),
        ("<!-- begin word -->\n", "one '<!-- end -->'"),
        ("<!-- end -->\n", "one '<!-- end -->'"),
        ("<!-- begin wrd -->\n<!-- end -->\n", "no part 'wrd'; there are: commands, "),
    ],
)
def test_wrong_marks(generate, folder, text, fault):
    """A page with a mark that is missing or unknown is refused, and stays as it is."""
    page = folder / "page.md"
    page.write_text(text)
    with pytest.raises(ValueError, match=f"page.md: .*{re.escape(fault)}"):
        generate.main([])
    assert page.read_text() == text


def test_wrong_call(generate, capsys):
    """An argument that is not known is refused."""
    assert generate.main(["--chek"]) == 2
    assert "--check" in capsys.readouterr().out


def test_names_in_a_text(generate, monkeypatch):
    """Names that a help lists in a sentence are no commands of their own."""
    helps = {
        (): "Usage: cloudops\n\nOptions:\n  -h\n\nRun:\n  go    Go.\n\nOthers:\n  add_task,\n  test\n",
        ("go",): "Usage: cloudops go\n",
    }
    monkeypatch.setattr(generate, "help_of", lambda *path: helps[path])
    assert [line for line in generate.commands(2).splitlines() if line[:1] == "#"] == [
        "## cloudops",
        "### cloudops go",
    ]


def test_every_command(generate):
    """Each command below a group is there, and one that does not exist is an error."""
    text = generate.commands(2)
    for name in ("run", "job", "job list", "blob upload-file", "autoscale check"):
        assert f" cloudops {name}\n" in text
    with pytest.raises(RuntimeError, match="nosuch"):
        generate.help_of("nosuch")


SAMPLE = '''
"""A module."""
from enum import StrEnum

class Fields:
    """A value.

    Attributes:
        one: the first.
    """
    one: int
    two: str = "b"
    _three = 3

class Thing(Base, SomeMixin):
    """A thing."""
    kind = "x"

    def __init__(self, name: str) -> None:
        """Make it."""
        self.name = name

    async def go(self, *args: int, fast: bool = False) -> int:
        """Go.

        Returns:
            How far: in metres, and
            rounded.

        Raises:
            ValueError: no way.
        """

    @property
    def size(self) -> int:
        """How large."""

    def no_docstring(self): ...
'''


def test_docstrings(generate, monkeypatch):
    """Signatures, fields and the sections of docstrings are shown; what is private is not."""
    sample = generate.griffe.visit("sample", filepath=Path("sample.py"), code=SAMPLE)
    monkeypatch.setattr(generate, "module", lambda _: sample)
    text = generate.members(2, "sample")
    assert 'class Fields:\n    one: int\n    two: str = "b"\n```' in text
    assert "**Attributes**\n\n- `one`: the first.\n" in text
    assert 'class Thing(Base):\n    kind = "x"\nThing(name: str)\n```' in text
    assert "### `go`\n\n```python\nasync go(*args: int, fast: bool = False) -> int\n```" in text
    assert "**Returns**\n\n- How far: in metres, and rounded.\n" in text
    assert "**Raises**\n\n- `ValueError`: no way.\n" in text
    assert "### `size`\n\n```python\nsize: int\n```" in text
    assert "no_docstring" not in text
    assert "_three" not in text
