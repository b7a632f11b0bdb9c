"""The terminal that the screens of a process share. Loaded with rich, for those who look."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import IO, Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from cfa.cloudops.client.above import Above

#: Seconds between two drawings of the status.
_REFRESH_S = 0.25
#: What took the place of streams lately. A `print` of another thread may still be in it, and does not
#: hold it: https://github.com/python/cpython/issues/130163.
_left: deque[object] = deque(maxlen=16)
#: Terminals that something is drawn on. Two that draw on one would draw over each other, whichever
#: threads and clients they belong to.
_open: list[Terminal] = []
_opening = threading.RLock()


def enter(screen: object, stream: TextIO) -> Terminal:
    """The terminal behind a stream, with room for the status of one screen more."""
    stream = stream.stream if isinstance(stream, Above) else stream
    with _opening:
        terminal = next((one for one in _open if _same(stream, one.console.file)), None)
        if terminal is None:
            terminal = Terminal(stream)
            _open.append(terminal)
        terminal.add(screen)
        return terminal


def leave(screen: object) -> None:
    """Remove a screen's status; the last one gives the terminal back."""
    with _opening:
        for terminal in [one for one in _open if one.has(screen)]:
            if terminal.remove(screen):
                _open.remove(terminal)


@atexit.register
def _give_all_back() -> None:
    """Remove what threads draw that nobody waits for: it would stay when they end with the program."""
    with _opening:
        while _open:
            _open.pop().give_back()


class Terminal:
    """Lines that scroll, and below them the statuses of screens.

    What others print to this terminal meanwhile, or log to it, appears above the statuses.

    Args:
        stream: the terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        # What others print is shown as it is: neither broken into lines nor read as markup.
        self.console = Console(
            file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True
        )
        self._live = Live(
            console=self.console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._drawing = threading.RLock()
        self._streams: dict[str, tuple[TextIO, Above]] = {}
        self._handlers: list[tuple[logging.StreamHandler[Any], TextIO, Above]] = []
        #: By screen.
        self._statuses: dict[object, Sequence[Text]] = {}
        #: That of the main thread, which says what Ctrl-C does: it stands below the others.
        self._main: object = None
        self._drawn_s = 0.0

    def has(self, screen: object) -> bool:
        """Whether a screen was added and not removed yet."""
        return screen in self._statuses

    def add(self, screen: object) -> None:
        """Make room for a status; the first one takes the terminal."""
        first = not self._statuses
        self._statuses[screen] = ()
        if threading.current_thread() is threading.main_thread():
            self._main = screen
        if first:
            self._live.start()
            # A program that is stopped or killed cannot show the cursor again.
            self.console.show_cursor(True)
            self._redirect()

    def remove(self, screen: object) -> bool:
        """Remove a status; whether it was the last one, with which the terminal is given back."""
        with self._drawing:
            del self._statuses[screen]
            if self._statuses:
                self._draw()
                return False
        self.give_back()
        return True

    def print(self, text: Text) -> None:
        """Show lines above the statuses."""
        with self._drawing:
            self.console.print(text)

    def status(self, screen: object, lines: Sequence[Text], *, now: bool = False) -> None:
        """Draw a screen's status, at once or with the next drawing."""
        with self._drawing:
            self._statuses[screen] = lines
            if now or time.monotonic() - self._drawn_s >= _REFRESH_S:
                self._draw()

    def _draw(self) -> None:
        self._drawn_s = time.monotonic()
        statuses = sorted(self._statuses.items(), key=lambda item: item[0] is self._main)
        lines = [line for _, status in statuses for line in status]
        self._live.update(Group(*lines), refresh=True)

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
        if stream is None or isinstance(stream, Above) or not _same(stream, self.console.file):
            return None
        return Above(self.console, stream, self._drawing)

    def give_back(self) -> None:
        """Remove what is drawn, and only then give back what was redirected."""
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
