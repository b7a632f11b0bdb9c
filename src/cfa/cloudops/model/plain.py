"""Text from others as text that a terminal only shows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

#: What a terminal obeys, what turns the direction of writing, and what cannot be encoded.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def plain(text: str, keep: str = "") -> str:
    """Text in which signs that are not to be seen are written as Python writes them: `\\x1b[31m`.

    Args:
        text: a name, a message or output that somebody else made.
        keep: signs that stay as they are, such as the end of a line.
    """
    if text.isascii() and text.isprintable():
        return text
    return _UNSEEN.sub(lambda sign: sign[0] if sign[0] in keep else ascii(sign[0])[1:-1], text)


def shortened(text: str, most: int = 10_000) -> str:
    """Text of at most so many signs, with the number of those that are left out."""
    if len(text) <= most:
        return text
    return f"{text[:most]}... ({len(text) - most:,} more characters)"


def abbreviated(name: str, width: int, ellipsis: str = "…") -> str:
    """A name of at most so many signs: its begin and its end, where the names of a series differ."""
    if len(name) <= width:
        return name
    end = name[len(name) - width // 3 :] if width >= 3 else ""
    return f"{name[: width - 1 - len(end)]}{ellipsis}{end}"


def counted(count: int, what: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def some(items: Sequence[str], most: int = 10, between: str = ", ") -> str:
    """The first of many items, and how many more there are."""
    shown = between.join(shortened(item, 200) for item in items[:most])
    left = len(items) - most
    return f"{shown}{between}... and {left:,} more" if left > 0 else shown


def command_line(words: str, *names: str) -> str:
    """A command of ours that can be pasted: `cloudops task show job job--1`.

    Args:
        words: the command and its options, such as `task list --failed`.
        names: ids that follow. The service allows a hyphen in front, where a shell's user needs `--`.
    """
    head = ["cloudops", *words.split()]
    if "--" not in head and any(name.startswith("-") for name in names):
        head.append("--")
    return shlex.join([*head, *names])
