"""What a terminal of its own would show of a line that a program wrote.

A program writes over its line with a carriage return, erases it with `CSI K` and colours it with
`CSI m` (ECMA-48, https://www.ecma-international.org/publications-and-standards/standards/ecma-48/).
Nothing else is obeyed: what could leave the line is shown as text.
"""

from __future__ import annotations

import codecs
import re
from itertools import groupby

from attrs import define, field

from cfa.cloudops.model.plain import plain

_CONTROL = re.compile(r"(\r|\x08|\x1b\[[0-9;:?]*[A-Za-z])")
#: A control sequence, or the begin of one whose end has not come.
_BEGUN = re.compile(r"\x1b(\[[0-9;:?]*)?\Z")
#: The attribute that each parameter of `CSI m` sets. What hides text or blinks is none.
_ATTRIBUTES = {
    "1": "weight", "2": "weight", "3": "italic", "4": "underline", "7": "reverse", "9": "strike",
    **{str(first + n): "colour" for first in (30, 90) for n in range(8)},
    **{str(first + n): "background" for first in (40, 100) for n in range(8)},
}  # fmt: skip
_RESETS = {
    "22": "weight", "23": "italic", "24": "underline", "27": "reverse", "29": "strike",
    "39": "colour", "49": "background",
}  # fmt: skip
_EXTENDED = {"38": "colour", "48": "background"}
_END = "\x1b[0m"
#: Columns of the widest terminal.
_WIDEST = 4096


def shown(line: bytes, *, colours: bool = False, begun: bool = False) -> str:
    """A line as a terminal of its own would leave it, in signs that any terminal only shows.

    Args:
        line: without the end of the line. Bytes that are no UTF-8 are replaced.
        colours: keep colours, bold and the like as `CSI m`, reset at the end; else they are left out.
        begun: the line may go on: half a sign at its end is left out.
    """
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(line, final=not begun)
    if begun:
        text = _BEGUN.sub("", text)
    if not _CONTROL.search(text):
        return plain(text, keep="\t")
    row = _Row()
    row.write(text)
    return row.text(colours=colours)


def settled(line: bytes) -> bytes:
    """A line that may go on, without what it wrote over: what is shown of it stays the same.

    However long a program draws on one line, no more than that line is kept.
    """
    past, end, rest = line.rpartition(b"\r")
    if b"\r" not in line.rstrip(b"\r"):
        return line  # nothing was written over, so far
    row = _Row()
    row.write(past.decode(errors="replace"))
    return row.text(colours=True).encode() + row.pen.encode() + end + rest


@define
class _Row:
    """A line of a terminal: its signs, the `CSI m` of each, and where the next sign goes."""

    signs: list[str] = field(factory=list)
    pens: list[str] = field(factory=list)
    place: int = 0
    pen: str = ""
    _set: dict[str, str] = field(factory=dict)

    def write(self, text: str) -> None:
        """Take what a program wrote, one sign a column."""
        for number, one in enumerate(_CONTROL.split(text)):
            if number % 2:
                self._obey(one)
            elif one:
                part = plain(one, keep="\t")
                end = self.place + len(part)
                self.signs[self.place : end] = part
                self.pens[self.place : end] = [self.pen] * len(part)
                self.place = end

    def _obey(self, control: str) -> None:
        match control:
            case "\r" | "\x1b[G" | "\x1b[1G":
                self.place = 0
            case "\x08":
                self.place = max(0, self.place - 1)
            case "\x1b[K" | "\x1b[0K":
                self._cut()
            case "\x1b[1K":
                self._blank(self.place + 1)  # the sign under the cursor, too
            case "\x1b[2K":
                self._cut()
                self._blank(self.place)
            case "\x1b[?25l" | "\x1b[?25h":  # hides the cursor and shows it
                pass
            case _ if control.endswith("m") and "?" not in control:
                self._colour(control[2:-1].split(";"))
            case _:
                self.write(plain(control))

    def _cut(self) -> None:
        """Erase from the cursor on."""
        del self.signs[self.place :]
        del self.pens[self.place :]

    def _blank(self, end: int) -> None:
        """Erase up to a place. A terminal would have broken a line that is very long, and erase less."""
        size = min(end, len(self.signs))
        if size <= _WIDEST:
            self.signs[:end] = " " * size
            self.pens[:end] = [""] * size

    def _colour(self, parameters: list[str]) -> None:
        codes = iter(parameters)
        for code in codes:
            name = (code.lstrip("0") or "0") if code else "0"
            if name == "0":
                self._set.clear()
            elif name in _EXTENDED:
                more = [next(codes, "")]
                more += [next(codes, "") for _ in range({"5": 1, "2": 3}.get(more[0], 0))]
                if len(more) == 1 or not all(re.fullmatch("[0-9]{1,3}", one) for one in more):
                    break  # it cannot be told where the next parameter begins
                self._set[_EXTENDED[name]] = ";".join((name, *more))
            elif name in _ATTRIBUTES:
                self._set[_ATTRIBUTES[name]] = name
            elif name in _RESETS:
                self._set.pop(_RESETS[name], None)
        self.pen = f"\x1b[0;{';'.join(self._set.values())}m" if self._set else ""

    def text(self, *, colours: bool) -> str:
        """What stands in the line, without blanks at its end."""
        signs = "".join(self.signs).rstrip(" ")
        parts = []
        start = 0
        for pen, group in groupby(self.pens[: len(signs)]):
            end = start + len(list(group))
            part = signs[start:end]
            parts.append(f"{pen}{part}{_END}" if colours and pen else part)
            start = end
        return "".join(parts)
