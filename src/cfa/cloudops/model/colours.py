"""Whether output has colours, and text that has them."""

from __future__ import annotations

import os
from typing import TextIO


def is_terminal(stream: TextIO) -> bool:
    """Whether people look at a stream, or what a script has put in its place, as it comes.

    With TERM=dumb, or `unknown`, the terminal obeys nothing; with CI=true, a log keeps what it shows.
    """
    return (
        hasattr(stream, "isatty")
        and stream.isatty()
        and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")
        and os.environ.get("CI", "").lower() in ("", "0", "false")
    )


def in_colour(stream: TextIO) -> bool:
    """Whether a stream has colours: NO_COLOR takes them, FORCE_COLOR gives them, else a terminal does.

    See https://no-color.org and https://force-color.org.
    """
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or is_terminal(stream)


def coloured(text: str, style: str, stream: TextIO) -> str:
    """Text in a style of rich, such as `bold red`, where the stream has colours."""
    if not in_colour(stream):
        return text
    from rich.color import ColorSystem  # only for those who see it
    from rich.style import Style

    return Style.parse(style).render(text, color_system=ColorSystem.STANDARD)
