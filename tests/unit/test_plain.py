"""Text from others, made fit for a terminal."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path

import pytest

import cfa.cloudops
import cfa.cloudops.cli
from cfa.cloudops.cli import output
from cfa.cloudops.client import logs
from cfa.cloudops.errors import InvalidInputError
from cfa.cloudops.model.colours import in_colour, is_terminal
from cfa.cloudops.model.plain import command_line, plain, shortened, some

ESCAPES = "\x1b]0;title\x07\x1b[2Jred\x9b31m\rover\nline\t\u202etxt.exe"


@pytest.mark.parametrize("text", ["", "a b", "é", "日本", "no\u00a0break", "👩\u200d🔬"])
def test_what_can_be_seen_stays(text: str) -> None:
    """Ordinary text of any language is as it was."""
    assert plain(text) == text


def test_what_a_terminal_obeys_is_written_out() -> None:
    """Control characters, also those beyond ASCII, and changes of direction become escapes."""
    assert plain(ESCAPES) == (r"\x1b]0;title\x07\x1b[2Jred\x9b31m\rover\nline\t\u202etxt.exe")
    assert plain("a\tb\n", keep="\t") == "a\tb\\n"
    assert plain("a\udcffb").encode() == rb"a\udcffb"


def test_long_text_is_cut() -> None:
    """What is left out is counted."""
    assert shortened("x" * 12, 10) == "x" * 10 + "... (2 more characters)"
    assert some([str(n) for n in range(100_000)], 3) == "0, 1, 2, ... and 99,997 more"
    assert some(["a", "b"], 2) == "a, b"
    assert len(some(["x" * 1000] * 5)) < 1200


@pytest.mark.parametrize(
    ("words", "names", "line"),
    [
        ("job list", [], "cloudops job list"),
        ("task show", ["j", "j--1"], "cloudops task show j j--1"),
        ("task list --failed", ["-rf"], "cloudops task list --failed -- -rf"),
        ("task show", ["j", "-1"], "cloudops task show -- j -1"),
        ("run --", ["sh", "-e"], "cloudops run -- sh -e"),
        ("run -m", ["a b"], "cloudops run -m 'a b'"),
    ],
)
def test_commands_can_be_pasted(words: str, names: list[str], line: str) -> None:
    """What begins with a hyphen is a name all the same."""
    assert command_line(words, *names) == line


def test_commands_are_made_in_one_place() -> None:
    """No message puts a name into a command by itself."""
    inserted = re.compile(r"""cloudops [a-z][a-z -]*["']?[{%]|cloudops [a-z][a-z -]* ["'] \+""")
    for path in Path(cfa.cloudops.__path__[0]).rglob("*.py"):
        found = [line for line in path.read_text().splitlines() if inserted.search(line)]
        allowed = {"rehearsal: {refused}", "cloudops {version()}", "{link.version()}"}
        assert not [line for line in found if not any(one in line for one in allowed)], path


def test_everything_printed_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    """Tables, facts, lines, notes and errors show names and messages of others as text."""
    output.table(("name",), [(ESCAPES,)])
    output.facts([(ESCAPES, ESCAPES)])
    output.line(ESCAPES)
    output.note(ESCAPES)
    output.show_error(InvalidInputError(ESCAPES, ESCAPES))
    printed = "".join(capsys.readouterr())
    assert printed.count("title") == 7
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", printed)


def test_errors_of_any_length_are_short(capsys: pytest.CaptureFixture[str]) -> None:
    """An error that names everything does not fill the screen."""
    output.show_error(InvalidInputError("x" * 4_000_000, "y" * 4_000_000))
    assert len(capsys.readouterr().err) < 25_000


def test_output_of_programs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is for programs as it is; a terminal gets it so only when that is asked for."""
    output.text(ESCAPES)
    assert capsys.readouterr().out == ESCAPES + "\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    output.text(ESCAPES)
    assert "\x1b" not in capsys.readouterr().out
    output.text(ESCAPES, raw=True)
    assert capsys.readouterr().out == ESCAPES + "\n"


def test_log_lines_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages of our log have names in them."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs._Plain("%(message)s"))
    handler.emit(logging.makeLogRecord({"msg": "the blob %s", "args": ("\x1b[2J",)}))
    assert stream.getvalue() == "the blob \\x1b[2J\n"


def test_commands_print_by_these_functions_only() -> None:
    """No command prints a name past them: `print` has constant text, or none of others."""
    allowed = {
        "output.py": 8,
        "__init__.py": 1,
        "app.py": 2,
        "greeting.py": 1,
        "tasks.py": 2,
        "doctor.py": 1,
    }
    allowed["samples.py"] = 1
    for path in Path(cfa.cloudops.cli.__path__[0]).glob("*.py"):
        found = len(re.findall(r"(?<![\w.])print\(", path.read_text()))
        assert found <= allowed.get(path.name, 0), path.name


class _Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "looked_at", "has_colours"),
    [
        ({}, True, True),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "unknown", "FORCE_COLOR": "1"}, False, True),
        ({"CI": "true"}, False, False),
        ({"CI": "false"}, True, True),
        ({"CI": "1", "FORCE_COLOR": "1"}, False, True),
        ({"CI": "1", "FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_terminals(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    looked_at: bool,
    has_colours: bool,
) -> None:
    """A dumb terminal and one in CI are written to as a file is; the wishes about colours hold."""
    for name in ("CI", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_terminal(_Tty()) is looked_at
    assert in_colour(_Tty()) is has_colours
    assert not is_terminal(io.StringIO())
    assert in_colour(io.StringIO()) is (has_colours and "FORCE_COLOR" in environment)
