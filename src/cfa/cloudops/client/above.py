"""Streams that write above the status of a `Screen`. Loaded with rich, for those who look."""

from __future__ import annotations

import threading
from typing import TextIO

from rich.console import Console
from rich.file_proxy import FileProxy


class Above(FileProxy):
    """Takes the place of a stream. Several threads may write to it, unlike to rich's own.

    Args:
        console: draws the status.
        stream: the terminal.
        drawing: held by whoever draws. What two threads draw at once would end up inside the status.
    """

    def __init__(self, console: Console, stream: TextIO, drawing: threading.RLock) -> None:
        super().__init__(console, stream)
        self._stream = stream
        self._drawing = drawing

    @property
    def encoding(self) -> str:  # type: ignore[override]  # nobody may set it
        return self._stream.encoding

    def write(self, text: str) -> int:
        with self._drawing:
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with self._drawing:
            super().flush()
