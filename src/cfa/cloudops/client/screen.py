"""A terminal that shows lines and, below them, a status that changes. Drawn by rich."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from cfa.cloudops.client.above import Above

#: A piece of text and its style.
Piece = tuple[str, str]

#: Seconds between two drawings of the status.
_REFRESH_S = 0.25
#: What took the place of streams lately. A `print` of another thread may still be in it, and does not
#: hold it: https://github.com/python/cpython/issues/130163.
_left: deque[object] = deque(maxlen=16)
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
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._drawing = threading.RLock()
        self._streams: dict[str, tuple[TextIO, Above]] = {}
        self._handlers: list[tuple[logging.StreamHandler[Any], TextIO, Above]] = []
        self._lines: list[Sequence[Piece]] = []
        self._drawn_s = 0.0

    def __enter__(self) -> Screen:
        try:
            self._live.start()
            # A program that is stopped or killed cannot show the cursor again.
            self._console.show_cursor(True)
            self._redirect()
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

    def _redirect(self) -> None:
        """Let everything that writes to this terminal write above the status: what is printed, and log
        handlers, which hold the stream that there was when they were made.
        """
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if (above := self._above(stream)) is not None:
                self._streams[name] = (stream, above)
                setattr(sys, name, above)
        for handler in _stream_handlers():
            stream = handler.stream
            if (above := self._above(stream)) is not None:
                self._handlers.append((handler, stream, above))
                handler.setStream(above)

    def _above(self, stream: TextIO | None) -> Above | None:
        """What takes the place of a stream, None for one that writes elsewhere or above already."""
        from cfa.cloudops.client.above import Above

        if stream is None or isinstance(stream, Above) or not _same(stream, self._console.file):
            return None
        return Above(self._console, stream, self._drawing)

    def _leave(self) -> None:
        """Remove the status, and only then give back what was redirected."""
        try:
            with self._drawing:
                self._live.stop()
        finally:
            while self._streams:
                name, (stream, above) = self._streams.popitem()
                if getattr(sys, name) is above:
                    setattr(sys, name, stream)
                above.finish()
                _left.append(above)
            while self._handlers:
                handler, stream, above = self._handlers.pop()
                if handler.stream is above:
                    handler.setStream(stream)

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
            with self._drawing:
                self._console.print(shown)

    def status(self, lines: Sequence[Sequence[Piece]], *, now: bool = False) -> None:
        """Draw the status, a few times a second at most; each line is cut at the terminal's width."""
        from rich.console import Group
        from rich.text import Text

        if not now and time.monotonic() - self._drawn_s < _REFRESH_S:
            return
        self._drawn_s = time.monotonic()
        shown = (Text.assemble(*pieces, no_wrap=True, overflow="ellipsis") for pieces in lines)
        with self._drawing:
            self._live.update(Group(*shown), refresh=True)


def _same(one: IO[str], other: IO[str]) -> bool:
    """Whether two streams write to the same terminal or file."""
    if one is other:
        return True
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
