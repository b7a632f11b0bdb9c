"""The view of running jobs in a notebook: one display, which is updated in place."""

from __future__ import annotations

import io
import sys
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from cfa.cloudops.client.screen import Piece

#: Seconds between two drawings; each sends the whole display.
_REFRESH_S = 0.25
#: Lines that stay in the display.
_MOST_LINES = 200
#: Columns of the display.
_WIDTH = 100


def in_notebook() -> bool:
    """Whether a notebook runs this code and can show a display."""
    if "ipykernel" not in sys.modules:
        return False
    from IPython import get_ipython

    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class NotebookScreen:
    """The last lines, and a status below them while entered. The same as `Screen` for terminals."""

    width = _WIDTH

    def __init__(self) -> None:
        self._lines: deque[Sequence[Piece]] = deque(maxlen=_MOST_LINES)
        self._left_out = 0
        self._status: Sequence[Sequence[Piece]] = ()
        self._handle: Any = None
        self._drawn_s = 0.0

    def __enter__(self) -> NotebookScreen:
        from IPython.display import display

        self._handle = display(self._html(), display_id=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._status = ()
        self._draw()

    def line(self, *pieces: Piece) -> None:
        """Add a line."""
        self._left_out += len(self._lines) == _MOST_LINES
        self._lines.append(pieces)

    def flush(self) -> None:
        """Show the lines that were added, with the next drawing."""
        self._draw_soon()

    def status(self, lines: Sequence[Sequence[Piece]], *, now: bool = False) -> None:
        """Show a status, with the next drawing."""
        self._status = lines
        if now:
            self._draw()
        else:
            self._draw_soon()

    def _draw_soon(self) -> None:
        if time.monotonic() - self._drawn_s >= _REFRESH_S:
            self._draw()

    def _draw(self) -> None:
        self._drawn_s = time.monotonic()
        self._handle.update(self._html())

    def _html(self) -> Any:
        from IPython.display import HTML
        from rich.console import Console
        from rich.text import Text

        if not self._lines and not self._status:
            return HTML("")  # an empty box would stay
        console = Console(
            record=True, file=io.StringIO(), width=_WIDTH, highlight=False, force_jupyter=False
        )
        if self._left_out:
            console.print(Text(f"... {self._left_out:,} earlier lines", style="dim"))
        for pieces in (*self._lines, *self._status):
            console.print(Text.assemble(*pieces), soft_wrap=True)
        text = console.export_html(inline_styles=True, code_format="{code}")
        return HTML(f'<pre style="line-height: 1.3; white-space: pre-wrap">{text}</pre>')
