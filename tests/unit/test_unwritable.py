"""Standard output that cannot be written, or not fast enough."""

from __future__ import annotations

import io
import subprocess
import sys
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from cfa.cloudops.client import view
from cfa.cloudops.client.screen import Screen
from cfa.cloudops.client.view import OutputView
from cfa.cloudops.local import CloudClient
from cfa.cloudops.model.values import Event

PROGRAM = [sys.executable, "-m", "cfa.cloudops.cli"]
NO_SPACE = "Could not write to standard output: No space left on device."
CLOSED = "Could not write to standard output: Bad file descriptor."
SCRIPT = """
import sys
from cfa.cloudops.local import CloudClient
client = CloudClient(backend="subprocess")
client.create_pool("p", container_image_name="x")
client.create_job("j", "p")
client.add_task("j", "echo hello")
if sys.argv[1:]:
    print(client.monitor_job("j").succeeded, file=sys.stderr)
"""


def run(words, redirection, monkeypatch, *, buffered=True):
    """What comes of a program whose streams a shell has set."""
    if buffered:
        monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    else:
        monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    done = subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def job(workdir):
    """A workspace with a job that is completed."""
    client = CloudClient(backend="subprocess", at_exit="detach")
    client.create_pool("p", container_image_name="x")
    client.create_job("j", "p")
    client.add_task("j", "echo hello")
    client.monitor_job("j")
    client.close()


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize(("redirection", "says"), [(">/dev/full", NO_SPACE), (">&-", CLOSED)])
@pytest.mark.parametrize(
    "words",
    [["job", "list"], ["--json", "job", "list"], ["--help"], ["logs", "j"], ["logs", "-f", "j"]],
)
def test_commands(job, monkeypatch, words, redirection, says, buffered):
    """A command that cannot write says so in one line, and its status is not 0."""
    found = run([*PROGRAM, *words], redirection, monkeypatch, buffered=buffered)
    assert found == (1, "", f"cloudops: {says}\n")


def test_own_status(job, monkeypatch):
    """What a command has to say besides decides over its status, whichever streams there are."""
    for redirection in (">&-", "2>&-", "2>/dev/full"):
        status, out, _ = run([*PROGRAM, "job", "show", "k"], redirection, monkeypatch)
        assert (status, out) == (3, "")
    status, out, _ = run([*PROGRAM, "logs", "j"], "2>&-", monkeypatch)
    assert (status, out) == (0, "j--1 | hello\n")


@pytest.mark.parametrize("words", [[], ["monitor"]])
def test_scripts(workdir, monkeypatch, words):
    """A script whose view cannot be shown waits for its tasks all the same, and says what is missing."""
    (workdir / "script.py").write_text(SCRIPT)
    found = run([sys.executable, "script.py", *words], ">/dev/full", monkeypatch, buffered=False)
    ends = "True" if words else "cloudops: 1 succeeded, 0 failed"
    what = "The summary" if words else "What tasks write"
    lines = found[2].splitlines()
    assert found[0] == 0
    assert lines[-1] == ends
    assert lines[-2] == f"cloudops: {what} is not shown: writing failed (No space left on device)."
    assert len(lines) == (3 if words else 2)


class Slow(Screen):
    """A screen that keeps its lines."""

    def __init__(self):
        super().__init__(io.StringIO())
        self.shown = []

    def line(self, *pieces):
        self.shown.append("".join(text for text, _ in pieces))

    def flush(self):
        pass


def test_a_view_that_is_late_skips_lines(monkeypatch):
    """A terminal that is too slow for a task's output gets its end, and how much was skipped."""
    monkeypatch.setattr(view, "_LATE_S", 0.0)
    data = b"".join(b"%d\n" % number for number in range(100_000))
    done = Event(number=1, time=datetime.now(UTC), task_id="t", what="completed", detail="")
    batch = SimpleNamespace(
        list_events=lambda _job, after: [] if after else [done],
        read_task_file=lambda _job, _task, name, offset, limit: (
            data[offset : offset + limit] if name == "stdout.txt" else b""
        ),
    )
    out = io.StringIO()
    out.isatty = lambda: True
    screen = Slow()
    OutputView(batch, out=out, err=io.StringIO(), screen=screen).look("j")
    first, *lines = screen.shown
    count = 100_000 - len(lines)
    assert 90_000 < count < 100_000
    assert first == f"... {count:,} lines skipped: cloudops logs j t"
    assert lines == [f"t | {number}" for number in range(count, 100_000)]
