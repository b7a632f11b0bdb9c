"""Commands as text: the words of a list, each of which stays one word."""

from __future__ import annotations

import shlex
from collections.abc import Iterable


def quoted(word: str) -> str:
    """A word of a command, quoted where it would not come out of its text as exactly one word."""
    try:
        whole = shlex.split(word) == [word]
    except ValueError:  # a quote without its partner
        whole = False
    return word if whole else shlex.quote(word)


def joined(words: Iterable[str]) -> str:
    """The text of a command; `shlex.split` gives the same words again."""
    return " ".join(map(quoted, words))


def is_quoted(word: str) -> bool:
    """Whether a word is one that somebody has put into quotes: `'a b'`, quotes included."""
    if len(word) < 2 or word[0] != word[-1] or word[0] not in "'\"":
        return False
    try:
        return shlex.split(word) == [word[1:-1]]
    except ValueError:
        return False
