"""The rules about commands: what they say to a shell, and which files they name."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from cfa.cloudops.model.commands import quoted
from cfa.cloudops.model.values import Mount
from cfa.cloudops.rehearsal.findings import Finding, warn

_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh"})
_BUILTINS = frozenset({"cd", "export", "source", ".", "set", "ulimit", "umask", "alias", "eval"})
#: A word, of which nothing is quoted, that only a shell understands.
_OPERATOR = re.compile(r"(\|\|?|&&?|;|\d?>{1,2}(&\d)?|<{1,3}|\d?>{1,2}[^=>]\S*|\S+;|\d?>&\d)\Z")
_VARIABLE = re.compile(r"\$(\{?[A-Za-z_]\w*|\()|`")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_GLOB = re.compile(r"[*?]|\[[^\]]+\]")
_ABSOLUTE = re.compile(r"(?<![\w.:/$}])/[\w.~+@-][^\s'\"=:,;|&<>()]*")
_NO_SHELL = "No shell runs the command, as on this machine: the program gets {0} as it is."
_WRITE_SHELL = "Write sh -c '...' around the command."


def is_shell(words: list[str]) -> bool:
    """Whether a command is a shell with a script in an argument."""
    return (
        bool(words)
        and os.path.basename(words[0]) in _SHELLS
        and any(
            word.startswith("-") and not word.startswith("--") and "c" in word
            for word in words[1:3]
        )
    )


def words(given: Sequence[str]) -> Iterator[Finding]:
    """A command that is a list has no words that need quotes."""
    odd = [word for word in given if quoted(word) != word]
    if odd:
        yield warn(
            "list-command",
            f"A command is a list with {_short(odd[0])}, which is one argument on this machine.",
            "The cloud's client joins the list with blanks and without quotes: the program gets "
            "other arguments.",
            "Pass the command as text, with quotes where an argument needs them.",
            key="list",
        )


def shell_syntax(command: str) -> Iterator[Finding]:
    """A command without a shell has nothing that only a shell understands."""
    try:
        words = shlex.split(command)
    except ValueError:
        return  # adding the task says it
    if is_shell(words):
        return
    for plain, loose in _unquoted(command):
        what = ""
        if _OPERATOR.match(plain):
            what = plain if not plain.endswith(";") else ";"
        elif found := _VARIABLE.search(loose):
            what = "a variable" if found[0] != "`" else "`"
        elif _GLOB.search(plain) and "://" not in plain and not plain.startswith("-"):
            what = "a pattern of file names"
        elif plain.startswith("~"):
            what = "~"
        if what:
            yield warn(
                "shell-syntax",
                f"The command {_short(command)} has {what}, but no shell.",
                _NO_SHELL.format(what if " " not in what else "it"),
                _WRITE_SHELL,
                key=what,
            )
    if words and (words[0] in _BUILTINS or _ASSIGNMENT.match(words[0])):
        yield warn(
            "shell-builtin",
            f"The command {_short(command)} begins with {words[0]!r}, which only a shell knows.",
            "The task fails with CommandProgramNotFound and no exit code.",
            _WRITE_SHELL,
            key=words[0],
        )


def _unquoted(command: str) -> Iterator[tuple[str, str]]:
    """Words of a command, each as (what is not quoted, what is not in single quotes)."""
    plain = loose = quote = ""
    begun = escaped = False
    for sign in command:
        if escaped:
            escaped = False
        elif sign == "\\" and quote != "'":
            escaped = begun = True
        elif quote:
            if sign == quote:
                quote = ""
            elif quote == '"':
                loose += sign
        elif sign in "'\"":
            quote, begun = sign, True
        elif sign.isspace():
            if plain or loose or begun:
                yield plain, loose
            plain, loose, begun = "", "", False
        else:
            plain, loose = plain + sign, loose + sign
    if plain or loose or begun:
        yield plain, loose


def host_paths(command: str, mounts: tuple[Mount, ...]) -> Iterator[Finding]:
    """A command names no files of this machine that are not in a mount."""
    targets = tuple(f"/{mount.target}" for mount in mounts)
    for path in dict.fromkeys(_ABSOLUTE.findall(command)):
        inside = any(path == target or path.startswith(f"{target}/") for target in targets)
        if not inside and _of_this_machine(path):
            yield warn(
                "host-path",
                f"The command {_short(command)} names {path}, a file of this machine.",
                "Nodes do not have it, unless the image does: the program does not find it.",
                "Upload it to a blob container, mount the container, and name the file below the mount.",
                key=path,
            )


def _of_this_machine(path: str) -> bool:
    """Whether a path lies in the current directory or the home directory, or where others' homes
    are, and exists here. What lies elsewhere may well be in an image too."""
    here = Path(path)
    places = {Path("/home"), Path("/Users")}
    try:
        places |= {Path.cwd(), Path.home()}
        near = any(place != Path("/") and place in (here, *here.parents) for place in places)
        return near and here.exists()
    except (OSError, RuntimeError):  # the name is too long, the directory gone, or there is no home
        return False


def _short(command: str) -> str:
    return repr(command if len(command) <= 60 else f"{command[:57]}...")
