"""Maps paths in command lines, for nodes that cannot show binds at their targets.

A task says `--out /data/result.csv` because `/data` is where its blob container is mounted. Where
a node has no paths of its own the text must name the host's directory instead. Text is all there is
to go by, so only what certainly names the path is touched: `/data` and `/data/x`, never
`/database`, `/data.csv`, `/data*` or `x/data`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath

from cfa.cloudops.errors import InvalidInputError

#: What may stand before a path: nothing, a blank, or a sign that ends a word.
_BEFORE = r"""(?<![^\s=:,'"`<>(\[{;|&])"""
#: What may stand after it: nothing, `/`, a blank, or a sign that cannot be part of a name without
#: being quoted.
_AFTER = r"""(?=\Z|[/\s=:,'"`<>)\]};|&]|\\['"`])"""

_SHELLS = frozenset({"sh", "ash", "bash", "dash", "ksh", "zsh"})
#: What means something to a shell in double quotes.
_SPECIAL_IN_DOUBLE = re.compile(r'["$`\\]')


def map_command(tokens: Sequence[str], mapping: Sequence[tuple[str, str]]) -> list[str]:
    """Replace path prefixes in the tokens of a command line.

    A prefix is replaced where it stands as a whole path or as the beginning of one: at the start of
    a token, after a blank, a quote or one of ``= : , < > ( [ { ; | & ` ``, and before the end, a
    `/`, a blank, a quote or a closing sign. Of several prefixes the longest wins; what was put in
    is not looked at again. In the script of `sh -c` (and of its relatives) the new path is quoted
    as its place there demands.

    Args:
        tokens: program and arguments.
        mapping: pairs of an absolute path in the command and what replaces it.

    Raises:
        InvalidInputError: a path to replace is relative, or is the root directory.
    """
    table = dict(_checked(old, new) for old, new in mapping)
    if not table:
        return list(tokens)
    longest_first = sorted(table, key=len, reverse=True)
    pattern = re.compile(_BEFORE + f"({'|'.join(map(re.escape, longest_first))})" + _AFTER)
    return [
        _in_script(token, pattern, table)
        if _is_script(tokens, index)
        else pattern.sub(lambda match: table[match[1]], token)
        for index, token in enumerate(tokens)
    ]


def _checked(old: str, new: str) -> tuple[str, str]:
    path = old.rstrip("/")
    if not path.startswith("/") or path.startswith("//"):
        raise InvalidInputError(
            f"{old!r} cannot be mapped to {new!r}.",
            "Give an absolute path below / as the target of a mount.",
        )
    return path, new.rstrip("/") or "/"


def _is_script(tokens: Sequence[str], index: int) -> bool:
    """True for the token after `sh -c`, `bash -euc`, `/bin/sh -e -c`, also after `env`."""
    before = index - 1
    if before < 1 or not re.fullmatch(r"-[a-z]*c[a-z]*", tokens[before]):
        return False
    while before > 0 and tokens[before].startswith("-"):
        before -= 1
    return PurePosixPath(tokens[before]).name in _SHELLS


def _in_script(script: str, pattern: re.Pattern[str], table: dict[str, str]) -> str:
    """Replace in a shell script, where the new text must keep its meaning."""
    quote = ""  # the quote that is open at `done`
    done = 0
    result = []
    for match in pattern.finditer(script):
        quote = _quote_after(script[done : match.start()], quote)
        result += [script[done : match.start()], _quoted(table[match[1]], quote)]
        done = match.end()
    return "".join([*result, script[done:]])


def _quote_after(text: str, quote: str) -> str:
    """The quote that is open after a piece of a shell script."""
    escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
    return quote


def _quoted(path: str, quote: str) -> str:
    if quote == "'":
        return path.replace("'", "'\\''")
    if quote:
        return _SPECIAL_IN_DOUBLE.sub(lambda match: "\\" + match[0], path)
    return shlex.quote(path)
