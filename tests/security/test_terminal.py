"""What tasks write and what others named cannot steer the terminal of who looks at it."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from cfa.cloudops.client.view import OutputView
from cfa.cloudops.model.values import Event

EVIL = b"\x1b]0;title\x07\x1b[2J\rother-task | done\x9b31m \xff\ttab\r\nnext\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def batch_of(data: bytes) -> SimpleNamespace:
    """A service with one completed task."""
    done = Event(number=1, time=datetime.now(UTC), task_id="t", what="completed", detail="")

    def read(_job: str, _task: str, name: str, offset: int, limit: int) -> bytes:
        return data[offset : offset + limit] if name == "stdout.txt" else b""

    return SimpleNamespace(
        list_events=lambda _job, after: [] if after else [done], read_task_file=read
    )


def show(data: bytes, out: io.StringIO | io.TextIOWrapper, **more: bool) -> None:
    OutputView(batch_of(data), out=out, err=io.StringIO(), **more).look("j")


def test_a_terminal_shows_control_characters() -> None:
    """What a task wrote is shown to a terminal as text, each line behind the task's id.

    What it wrote over with a carriage return is left out.
    """
    out = Terminal()
    show(EVIL.replace(b"\rother", b"\n\x1b[1A\rother"), out)
    assert out.getvalue() == (
        "t | \\x1b]0;title\\x07\\x1b[2J\nt | other-task | done\ufffd31m \ufffd\ttab\nt | next\n"
    )


def test_raw_output_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for it gets what the task wrote."""
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal()
    show(b"\x1b[31mred\x1b[0m\n", out, raw=True)
    assert out.getvalue() == "t | \x1b[31mred\x1b[0m\n"


@pytest.mark.parametrize("prefix", [True, False])
def test_pipes_get_every_byte(prefix: bool) -> None:
    """Into a file or a pipe goes what the task wrote, byte for byte."""
    bytes_out = io.BytesIO()
    out = io.TextIOWrapper(bytes_out, encoding="ascii")
    out.write("before\n")
    show(EVIL, out, prefix=prefix)
    first, second, _ = EVIL.split(b"\n")
    lines = (b"t | " + first, b"t | " + second) if prefix else (first, second)
    assert bytes_out.getvalue() == b"before\n" + b"\n".join(lines) + b"\n"


def test_a_line_without_end_is_shown_in_parts() -> None:
    """However long a line is, it is not kept; nothing of it is lost, no sign is cut in two."""
    line = "é".encode() * 500_000
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    show(line, out, prefix=False)
    out.seek(0)
    assert out.read() == "é" * 500_000 + "\n"
    terminal = Terminal()
    show(line, terminal)
    lines = terminal.getvalue().splitlines()
    assert max(map(len, lines)) <= 1 << 16
    assert "".join(part.removeprefix("t | ") for part in lines) == "é" * 500_000


class Endless(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        return len(data)  # type: ignore[arg-type]


def test_memory_of_a_line_without_end() -> None:
    """Half a gigabyte without the end of a line takes no memory."""
    import resource

    part = b"x" * (1 << 16)
    batch = batch_of(b"")
    batch.read_task_file = lambda _job, _task, name, offset, limit: (
        part[: 500_000_000 - offset] if name == "stdout.txt" and offset < 500_000_000 else b""
    )
    out = io.TextIOWrapper(io.BufferedWriter(Endless()))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    OutputView(batch, out=out, err=io.StringIO()).look("j")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


@pytest.fixture
def on_terminal(workdir: Path) -> Callable[..., str]:
    """Runs `cloudops` on a terminal; what it showed."""

    def run(*words: str) -> str:
        ours, theirs = pty.openpty()
        try:
            done = subprocess.Popen(
                [sys.executable, "-m", "cfa.cloudops.cli", *words],
                stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, cwd=workdir,
            )  # fmt: skip
            os.close(theirs)
            shown = b""
            try:
                while part := os.read(ours, 4096):
                    shown += part
            except OSError:  # EIO: the other side is closed
                pass
            assert done.wait(60) == 0, shown
            return shown.decode()
        finally:
            os.close(ours)

    return run


def test_names_of_blobs(workdir: Path, on_terminal: Callable[..., str]) -> None:
    """A list of blobs shows their names, whatever is in them."""
    (workdir / "c").mkdir()
    for name in ("plain", "a\x1b[31mb", "new\nline", "\u202etxt.exe"):
        (workdir / "c" / name).touch()
    shown = on_terminal("blob", "list", "c").replace("\r\n", "\n")
    assert sorted(shown.splitlines()) == sorted(
        ["plain", r"a\x1b[31mb", r"new\nline", r"\u202etxt.exe"]
    )
