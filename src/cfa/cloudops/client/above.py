"""Streams that write above the status on a terminal. Loaded with rich, for those who look."""

from __future__ import annotations

import threading
from typing import TextIO

from rich.console import Console
from rich.file_proxy import FileProxy


class Above(FileProxy):
    """Takes the place of a stream. Unlike with rich's own, several threads may write to it: the lines of
    each stay whole.

    Args:
        console: draws the status.
        stream: the terminal.
        drawing: held by whoever draws. What two threads draw at once would end up inside the status.
    """

    def __init__(self, console: Console, stream: TextIO, drawing: threading.RLock) -> None:
        super().__init__(console, stream)
        #: The terminal.
        self.stream = stream
        self._drawing = drawing
        #: By thread, the line that is not ended yet.
        self._begun: dict[int, str] = {}

    @property
    def encoding(self) -> str:  # type: ignore[override]  # nobody may set it
        return self.stream.encoding

    def write(self, text: str) -> int:
        thread = threading.get_ident()
        with self._drawing:
            lines, end, begun = (self._begun.pop(thread, "") + text).rpartition("\n")
            if begun:
                self._begun[thread] = begun
            if end:
                super().write(lines + end)
        return len(text)

    def flush(self) -> None:
        with self._drawing:
            self._show(threading.get_ident())

    def finish(self) -> None:
        """Show also the lines that were not ended."""
        with self._drawing:
            for thread in list(self._begun):
                self._show(thread)

    def _show(self, thread: int) -> None:
        if begun := self._begun.pop(thread, ""):
            super().write(f"{begun}\n")
