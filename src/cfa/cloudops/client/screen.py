"""A terminal that shows lines and, below them, a status that changes. Drawn by rich."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TextIO

#: A piece of text and its style.
Piece = tuple[str, str]

#: Seconds between two drawings of the status.
_REFRESH_S = 0.25
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
        and shows_lines(stream)
        and os.environ.get("TERM") != "dumb"
        and (stream.encoding or "").lower().replace("-", "") == "utf8"
    )


class Screen:
    """Lines that scroll, and a status below them while the screen is entered.

    What others print meanwhile appears above the status.

    Args:
        stream: the terminal; standard output when not given.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        from rich.console import Console  # a tenth of a second, for those who look
        from rich.live import Live

        self._console = Console(file=stream or sys.stdout, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._lines: list[Sequence[Piece]] = []
        self._drawn_s = 0.0

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.flush()
        finally:
            self._live.stop()

    @property
    def width(self) -> int:
        """Columns of the terminal now."""
        return self._console.width

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
            shown = Text("\n").join(Text.assemble(*pieces) for pieces in lines)
            self._console.print(shown, soft_wrap=True)

    def status(self, lines: Sequence[Sequence[Piece]], *, now: bool = False) -> None:
        """Draw the status, a few times a second at most; each line is cut at the terminal's width."""
        from rich.console import Group
        from rich.text import Text

        if not now and time.monotonic() - self._drawn_s < _REFRESH_S:
            return
        self._drawn_s = time.monotonic()
        shown = (Text.assemble(*pieces, no_wrap=True, overflow="ellipsis") for pieces in lines)
        self._live.update(Group(*shown), refresh=True)
