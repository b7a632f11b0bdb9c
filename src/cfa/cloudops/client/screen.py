"""A terminal that shows lines and, below them, a status that changes. Drawn by rich."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, TextIO, TypeAlias

from cfa.cloudops.model.colours import is_terminal

if TYPE_CHECKING:
    from rich.text import Text

    from cfa.cloudops.client.terminal import Terminal

#: A piece of text and its style, or text that has its own.
Piece: TypeAlias = "tuple[str, str] | Text"

#: Lines that are kept until they are shown together: each showing draws the status again.
_MOST_LINES = 500
#: Colours of prefixes. Red is for what is wrong.
COLOURS = (
    "cyan",
    "yellow",
    "green",
    "magenta",
    "blue",
    "bright_cyan",
    "bright_green",
    "bright_blue",
)


def shows_lines(stream: TextIO | None) -> bool:
    """Whether a terminal shows what is written."""
    return stream is not None and not stream.closed and stream.isatty()


def can_draw(stream: TextIO | None) -> bool:
    """Whether a terminal can also draw over what it shows, and has every sign."""
    return (
        stream is not None
        and not stream.closed
        and is_terminal(stream)
        and (stream.encoding or "").lower().replace("-", "") == "utf8"
    )


class Screen:
    """Lines that scroll, and a status below them while the screen is entered.

    What others print to this terminal meanwhile, or log to it, appears above the status. Several
    screens of a process share a terminal: their statuses stand below one another.

    Args:
        stream: the terminal; standard output when not given.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._lines: list[Sequence[Piece]] = []
        self._terminal: Terminal

    def __enter__(self) -> Screen:
        from cfa.cloudops.client import terminal  # a tenth of a second, for those who look

        try:
            self._terminal = terminal.enter(self, self._stream)
        except BaseException:
            terminal.leave(self)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        from cfa.cloudops.client import terminal

        try:
            self.flush()
        finally:
            terminal.leave(self)

    @property
    def width(self) -> int:
        """Columns of the terminal now."""
        return self._terminal.console.width

    def line(self, *pieces: Piece) -> None:
        """Add a line above the status. It may be longer than the terminal is wide."""
        self._lines.append(pieces)
        if len(self._lines) >= _MOST_LINES:
            self.flush()

    def flush(self) -> None:
        """Show the lines that were added."""
        from rich.text import Text

        lines, self._lines = self._lines, []
        if lines:
            self._terminal.print(Text("\n").join(Text.assemble(*pieces) for pieces in lines))

    def status(self, lines: Sequence[Sequence[Piece]], *, now: bool = False) -> None:
        """Draw the status, a few times a second at most; each line is cut at the terminal's width."""
        from rich.text import Text

        shown = [Text.assemble(*pieces, no_wrap=True, overflow="ellipsis") for pieces in lines]
        self._terminal.status(self, shown, now=now)
