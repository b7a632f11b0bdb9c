"""A terminal that shows lines and, below them, a status that changes. Drawn by rich."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import IO, Any, TextIO

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
    # What takes the place of a stream while a screen is entered does not tell its encoding.
    stream = getattr(stream, "rich_proxied_file", stream)
    return (
        stream is not None
        and shows_lines(stream)
        and os.environ.get("TERM") != "dumb"
        and (stream.encoding or "").lower().replace("-", "") == "utf8"
    )


class Screen:
    """Lines that scroll, and a status below them while the screen is entered.

    What others print to this terminal meanwhile, or log to it, appears above the status.

    Args:
        stream: the terminal; standard output when not given.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        from rich.console import Console  # a tenth of a second, for those who look
        from rich.live import Live

        stream = stream or sys.stdout
        # What others print is shown as it is: neither broken into lines nor read as markup.
        self._console = Console(
            file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True
        )
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=_same(sys.stdout, stream),
            redirect_stderr=_same(sys.stderr, stream),
        )
        self._handlers: list[tuple[logging.StreamHandler[Any], TextIO, TextIO]] = []
        self._lines: list[Sequence[Piece]] = []
        self._drawn_s = 0.0

    def __enter__(self) -> Screen:
        try:
            self._live.start()
            # A program that is stopped or killed cannot show the cursor again.
            self._console.show_cursor(True)
            self._redirect_handlers()
        except BaseException:
            self._leave()
            raise
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
            self._leave()

    def _redirect_handlers(self) -> None:
        """Let the log handlers of this terminal write above the status. They hold its stream, as it
        was when they were made.
        """
        from rich.file_proxy import FileProxy

        terminal = self._console.file
        for handler in _stream_handlers():
            stream = handler.stream
            if not isinstance(stream, FileProxy) and _same(stream, terminal):
                above: Any = FileProxy(self._console, stream)
                self._handlers.append((handler, stream, above))
                handler.setStream(above)

    def _leave(self) -> None:
        """Give back what was redirected, and remove the status."""
        from rich.file_proxy import FileProxy

        while self._handlers:
            handler, stream, above = self._handlers.pop()
            if handler.stream is above:
                handler.setStream(stream)
        for shown in (sys.stdout, sys.stderr):
            if isinstance(shown, FileProxy):
                shown.flush()  # a line that is not ended yet
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


def _same(one: IO[str] | None, other: IO[str]) -> bool:
    """Whether two streams write to the same terminal or file."""
    if one is None or one is other:
        return one is other
    try:
        return os.path.sameopenfile(one.fileno(), other.fileno())
    except (OSError, ValueError, AttributeError):  # closed, or none of the system's
        return False


def _stream_handlers() -> Iterator[logging.StreamHandler[Any]]:
    """Log handlers that write to a stream, of all loggers, each once."""
    loggers = [logging.getLogger(), *logging.root.manager.loggerDict.values()]
    found = {
        handler
        for logger in loggers
        if isinstance(logger, logging.Logger)
        for handler in logger.handlers
    }
    return (handler for handler in found if isinstance(handler, logging.StreamHandler))
