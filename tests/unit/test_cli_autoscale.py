"""`cloudops autoscale check`."""

from __future__ import annotations

import io
import json
import sys

import pytest

from cfa.cloudops.cli import main


@pytest.fixture
def check(workdir, monkeypatch, capsys):
    """Run the command; exit status, standard output, standard error."""

    def call(text, *arguments):
        (workdir / "f.txt").write_text(text)
        monkeypatch.setattr(sys, "argv", ["cloudops", "autoscale", "check", *arguments])
        with pytest.raises(SystemExit) as leaving:
            main()
        out, err = capsys.readouterr()
        return leaving.value.code, out, err

    return call


LOAD = """load = avg($PendingTasks.GetSample(TimeInterval_Minute * 2, 50));
$TargetDedicated = load / 4;
"""


def test_targets(check, workdir):
    """The targets and variables of a formula are shown, with samples from an option or a file."""
    status, out, _ = check(LOAD, "f.txt", "--sample", "$PendingTasks=8,,12,")
    assert status == 0
    assert "$TargetDedicatedNodes    2" in out
    assert "load  10" in out
    (workdir / "s.json").write_text(json.dumps({"$PendingTasks": [8, None, 12, None]}))
    _, from_file, _ = check(LOAD, "f.txt", "--sample", "s.json", "--now", "2026-03-04T22:15:00Z")
    assert from_file.splitlines()[1:] == out.splitlines()[1:]
    status, out, _ = check(LOAD, "f.txt", "--sample", "PendingTasks=8,8,8", "--json")
    assert (status, json.loads(out)["run"]["dedicated"]) == (0, 2)


def test_standard_input(check, monkeypatch):
    """- reads the formula from standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"$TargetDedicated = 3")))
    status, out, _ = check("", "-")
    assert status == 0
    assert "$TargetDedicatedNodes    3" in out


@pytest.mark.parametrize(
    ("text", "place", "shown"),
    [
        ("x = 1;\n\ty = x +* 2;\n", "f.txt:2:9: ", "  \ty = x +* 2;\n  \t       ^\n"),
        (LOAD, "f.txt:1:26: ", f"  {LOAD.splitlines()[0]}\n  {' ' * 25}^\n"),
        ("x = 1 +", "f.txt:1:8: ", "  x = 1 +\n         ^\n"),
    ],
)
def test_errors_have_a_caret(check, text, place, shown):
    """An error, of reading or of evaluating, names file, line and column, and has a caret."""
    status, out, err = check(text, "f.txt")
    assert (status, out) == (1, "")
    assert f"cloudops: {place}" in err
    assert shown in err
    status, out, _ = check(text, "f.txt", "--json")
    line, column = place.split(":")[1:3]
    assert json.loads(out)["error"]["line"] == int(line)
    assert (status, json.loads(out)["error"]["column"]) == (1, int(column))


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("none.txt",), 3, "no file 'none.txt'"),
        (("f.txt", "--sample", "x=1"), 2, "not a variable with samples"),
        (("f.txt", "--sample", "PendingTasks=a"), 2, "cannot be read"),
        (("f.txt", "--sample", "none.json"), 3, "no file 'none.json'"),
        (("f.txt", "--sample", "f.txt"), 2, "cannot be read"),
        (("f.txt", "--now", "soon"), 2, "not a date and time"),
        (("f.txt", "--period", "0"), 2, "not above 0"),
    ],
)
def test_wrong_calls(check, arguments, status, words):
    """Options that cannot be used are told from formulas that are wrong."""
    found, _, err = check("x = 1", *arguments)
    assert found == status
    assert words in err
