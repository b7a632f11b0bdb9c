"""Commands as text: the words of a list, each of which stays one word."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

#: What `shlex.split` leaves as it is; it takes seconds for a word of 400,000 signs.
_WHOLE = re.compile(r"""[^ \t\r\n'"\\]+""")
_QUOTED = re.compile(r"""'[^']*'|"(?:[^"\\]|\\[^"\\])*\"""", re.DOTALL)


def quoted(word: str) -> str:
    """A word of a command, quoted where it would not come out of its text as exactly one word."""
    return word if _WHOLE.fullmatch(word) else shlex.quote(word)


def joined(words: Iterable[str]) -> str:
    """The text of a command; `shlex.split` gives the same words again."""
    return " ".join(map(quoted, words))


def is_quoted(word: str) -> bool:
    """Whether a word is one that somebody has put into quotes: `'a b'`, quotes included."""
    return _QUOTED.fullmatch(word) is not None
