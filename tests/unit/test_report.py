"""The report of a `cloudops run`: what others do to it, and what they write into it."""

from __future__ import annotations

import atexit
import json
import os
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from cfa.cloudops import report
from cfa.cloudops.client.farewell import Farewell
from cfa.cloudops.rehearsal import read_report
from cfa.cloudops.settings import REPORT_VARIABLE

PROGRAM = [sys.executable, "-m", "cfa.cloudops.cli", "run"]
#: What stands before the lines that a script of a test has of its own.
HEAD = f"import os, sys\npath = os.environ['{REPORT_VARIABLE}']\n"


def cloudops_run(body, *options):
    """`cloudops run` of a script that finds the path of the report in `path`."""
    Path("s.py").write_text(HEAD + body)
    return subprocess.run(
        [*PROGRAM, *options, "s.py"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(autouse=True)
def temporary(workdir, monkeypatch):
    """A directory for temporary files that is empty again when the command ends."""
    place = workdir / "tmp"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


@pytest.mark.parametrize(
    "body",
    [
        "os.unlink(path)",
        "os.unlink(path); os.mkfifo(path)",
        "os.unlink(path); os.symlink('/etc/passwd', path)",
        "os.unlink(path); open(path, 'w').write('{\"failed\": 0}')",
        "os.unlink(path); os.mkdir(path)",
    ],
)
def test_it_is_replaced(body):
    """Who removes or replaces it hides no failed task: the command says so, and ends with status 1."""
    done = cloudops_run(body)
    assert done.returncode == 1
    assert "The report of this run was removed or replaced" in done.stderr
    assert "Traceback" not in done.stderr


def test_its_own_status_wins():
    """The script's own exit status stays what it is."""
    assert cloudops_run("os.unlink(path); sys.exit(9)").returncode == 9


LINE = json.dumps({"failed": 0, "unrun": 0, "status": 0})
FAILED = json.dumps({"failed": 1, "unrun": 0, "status": 0})
FINDING = {"rule": "r", "what": "w", "on_azure": "a", "do": "d", "key": "k", "count": 1}


@pytest.mark.parametrize(
    "junk",
    [
        "no json",
        "[" * 100_000,
        "[]",
        "3",
        '{"status": "x"}',
        '{"status": 0}',
        '{"status": true, "failed": 0, "unrun": 0}',
        '{"status": -1, "failed": 0, "unrun": 0}',
        '{"status": 256, "failed": 0, "unrun": 0}',
        '{"status": 0, "failed": "1", "unrun": 0}',
        '{"finding": 3}',
        '{"finding": {"severity": "warn"}}',
        json.dumps({"finding": {**FINDING, "severity": "nonsense"}}),
        json.dumps({"finding": {**FINDING, "severity": "warn", "count": "x"}}),
        json.dumps({"finding": {**FINDING, "severity": "warn", "what": 3}}),
        json.dumps({"finding": {**FINDING, "severity": "warn", "key": []}}),
        "\udcff\x00",
    ],
    ids=str.__len__,
)
@pytest.mark.parametrize(("line", "status"), [(LINE, 0), (FAILED, 1)])
def test_junk(junk, line, status, temporary):
    """What is no line of a client is skipped, and the other lines count."""
    Path("lines").write_bytes(f"{junk}\n{line}\n".encode(errors="surrogateescape"))
    done = cloudops_run("open(path, 'ab').write(open('lines', 'rb').read())", "--strict")
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert not list(temporary.iterdir())


def test_of_any_size(temporary):
    """What is longer than any report is cut."""
    done = cloudops_run(
        f"file = open(path, 'w'); file.write('''{FAILED}\\n'''); file.truncate(1 << 40)"
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr


# --- what a client writes into


def made(place, kind):
    """Something that stands where the report would be, and what must stay as it is."""
    path, other = place / f"{report.PREFIX}1-x", place / "other"
    other.write_text("mine")
    if kind == "link":
        path.symlink_to(other)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "pipe that is read":
        os.mkfifo(path)
        threading.Thread(target=path.read_bytes, daemon=True).start()
    elif kind == "directory":
        path.mkdir()
    elif kind == "another name":
        path = other
    return path, other


@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "another name", "nothing"])
def test_what_is_no_report(temporary, kind):
    """Nothing is written into what is no report, and nobody waits for it."""
    path, other = made(temporary, kind)
    before = path.lstat().st_mode if kind != "nothing" else 0
    report.append(str(path), "line\n")
    assert not report.is_there(str(path))
    assert other.read_text() == "mine"
    assert path.lstat().st_mode == before if before else not path.exists()


def test_a_report(temporary):
    """Lines are added to one."""
    descriptor, path = tempfile.mkstemp(prefix=report.PREFIX)
    report.append(path, "one\n")
    report.append(path, "two\n")
    assert report.is_there(path)
    assert os.read(descriptor, 100) == b"one\ntwo\n"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    os.close(descriptor)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_of_somebody_else(temporary):
    """Nothing is written into the file of another user."""
    descriptor, path = tempfile.mkstemp(prefix=report.PREFIX)
    os.chown(path, 12345, 12345)
    report.append(path, "line\n")
    assert not report.is_there(path)
    assert os.read(descriptor, 100) == b""
    os.close(descriptor)


@pytest.mark.parametrize("path", ["", "/", "\x00", "a\x00b", "relative", "\udcff", "x" * 5000])
def test_paths_that_lead_nowhere(path):
    """A variable that is forged or stale is as if it were not there."""
    report.append(path, "line\n")
    assert not report.is_there(path)


def test_a_client_with_a_pipe_for_a_report(temporary, monkeypatch):
    """A client ends as usual."""
    path, _ = made(temporary, "pipe")
    monkeypatch.setenv(REPORT_VARIABLE, str(path))
    one = Farewell(None, "wait")
    one._added = {"j": {"t"}}
    monkeypatch.setattr(one, "_outcome", lambda *_: (1, 0))
    assert one._report(0)
    atexit.unregister(one._at_exit)


def test_findings_are_read_in_order():
    """Equal findings of several clients are one; what is none is left out."""
    good = {"finding": {**FINDING, "severity": "warn"}}
    assert [one.count for one in read_report([good, {"finding": None}, good])] == [2]
