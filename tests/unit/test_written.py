"""What is shown of the lines that programs write."""

from __future__ import annotations

import re

import pyte
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cfa.cloudops.model.written import settled, shown

CONTROLS = ["\r", "\x08", *(f"\x1b[{end}" for end in ("K", "0K", "1K", "2K", "G", "31m", "0m"))]
PARTS = st.lists(st.sampled_from([*CONTROLS, "a", "bc", "def"]), max_size=12)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"plain", "plain"),
        (b"10 %\r20 %", "20 %"),
        (b"10 %\r20 %\r", "20 %"),
        (b"text\r", "text"),
        (b"long line\rover", "over line"),
        (b"long line\r\x1b[Kover", "over"),
        (b"long line\x1b[2K\rover", "over"),
        (b"long line\r\x1b[2Kover", "over"),
        (b"long line\x1b[1Gover\x1b[0K", "over"),
        (b"ab\x1b[1Kc", "  c"),
        (b"|\x08/\x08-", "-"),
        (b"\x08\x08x", "x"),
        (b"\x1b[?25l50 %\x1b[?25h", "50 %"),
        (b"   \r", ""),
        (b"tab\there", "tab\there"),
        ("é\r\u4e2d".encode(), "\u4e2d"),
        (b"\xff\r\xfe", "\ufffd"),
        (b"a\x1b[2Jb", r"a\x1b[2Jb"),
        (b"a\x1b[1Ab\rx", r"x\x1b[1Ab"),
        (b"\x1b]0;title\x07\rx", r"xx1b]0;title\x07"),
        (b"\x1b[3", r"\x1b[3"),
        (b"\xc2\x9b31mx", r"\x9b31mx"),
    ],
)
def test_lines(line, text):
    """Carriage returns, backspaces and erasing are obeyed; all that leaves the line is text."""
    assert shown(line) == text
    assert shown(settled(line + b"\r")) == text


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"\x1b[31mred\x1b[0m no", "\x1b[0;31mred\x1b[0m no"),
        (b"\x1b[31mred", "\x1b[0;31mred\x1b[0m"),
        (b"\x1b[1;38;5;9mred\x1b[22;39m no", "\x1b[0;1;38;5;9mred\x1b[0m no"),
        (b"\x1b[48;2;1;2;3mx\x1b[my", "\x1b[0;48;2;1;2;3mx\x1b[0my"),
        (b"\x1b[8mhidden\x1b[5mblinks", "hiddenblinks"),
        (b"\x1b[38;5mx\x1b[38;9;9my\x1b[38;5;1111mz", "xyz"),
        (b"\x1b[38:2::1:2:3mx", "x"),
        (b"\x1b[31mred\r\x1b[32mg", "\x1b[0;32mg\x1b[0m\x1b[0;31med\x1b[0m"),
    ],
)
def test_colours(line, text):
    """Colours are kept where there are any, reset at the end; nothing can be hidden."""
    assert shown(line, colours=True) == text
    assert "\x1b" not in shown(line)


def test_begun_lines():
    """Of a line that may go on, half a sign or half a sequence at its end is not shown."""
    assert shown("né".encode()[:-1], begun=True) == "n"
    assert shown(b"n\x1b[3", begun=True) == "n"
    assert shown("né".encode(), begun=True) == "né"


def test_a_line_that_is_drawn_for_hours():
    """What was written over is not kept."""
    line = b""
    for number in range(5000):
        line = settled(line + f"\r\x1b[32m{number} of 5000\x1b[0m".encode())
    assert len(line) < 100
    assert shown(line) == "4999 of 5000"


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "part",
    [b"\x1b[1K", b"\x1b[2Ky", b"\x1b[K", b"\x1b[31mx", b"\x08", b"\r", b"\ry", b"\x1b[1", b"\x1b"],
)
def test_time_of_a_hostile_line(part):
    """However a line is made, what it shows is found in time that grows with its length."""
    line = b"x" * 200_000 + part * (500_000 // len(part))
    shown(line, colours=True, begun=True)
    shown(settled(line))


@given(PARTS, PARTS)
@example(["def", "\r", "\x1b[31m"], ["a"])
def test_as_a_terminal_shows_it(first, second):
    """It is what an emulated terminal shows, in its colours, also of a line that comes in parts."""
    first_text, second_text = "".join(first), "".join(second)

    def drawn(text):
        screen = pyte.Screen(80, 1)
        pyte.Stream(screen).feed(text)
        row = [screen.buffer[0][x] for x in range(80)]
        text = "".join(sign.data for sign in row).rstrip()
        return text, [sign.fg for sign in row[: len(text)] if sign.data != " "]

    whole = first_text + second_text
    line = settled(settled(first_text.encode()) + second_text.encode())
    assert drawn(shown(line, colours=True)) == drawn(whole)
    assert shown(line) == drawn(whole)[0]


@given(st.text(), st.text())
def test_nothing_escapes(first, second):
    """Whatever was written, no control character but those of colours reaches a terminal."""
    line = settled((first + "\r" + second).encode(errors="replace"))
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown(line, colours=True))
    assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]", text)
