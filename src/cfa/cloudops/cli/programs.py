"""What `cloudops run` runs: a script or a module of Python, or, after `--`, any program.

An executable script that names another program in its first line runs by itself.

What runs finds the scripts of the cloud's package as programs: a directory of ours is last on its
`PATH`, after the programs that are the user's own. Each program in it starts `cloudops` with its own
name as the command.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from cfa.cloudops.cli import PROGRAM
from cfa.cloudops.cli.declare import Command
from cfa.cloudops.errors import AgentError, InvalidInputError, LocalFileNotFoundError
from cfa.cloudops.model.plain import command_line, plain
from cfa.cloudops.settings import OF_A_RUN, SCRIPTS_VARIABLE

#: One program per script but `test`, which the system has.
SCRIPTS = Path(__file__).parent / "bin"
#: The Python of the programs in it.
PYTHON_VARIABLE = f"{OF_A_RUN}PYTHON"
#: Endings of names that mean a script of Python, whatever is in it.
_PYTHON = {".py", ".pyw", ".pyz"}
#: What runs other scripts, where they do not say so in their first line.
_PROGRAMS = {
    ".sh": ["sh"],
    ".bash": ["bash"],
    ".zsh": ["zsh"],
    ".r": ["Rscript"],
    ".jl": ["julia"],
    ".pl": ["perl"],
    ".ipynb": ["jupyter", "execute"],
}
#: How a program of the machine begins.
_BINARY = b"\x7fELF"
#: Of a first line.
_MOST_SIGNS = 256
_OPTIONS = f"{__name__}.options"


class RunCommand(Command):
    """A command that keeps the options before its words as they were given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        before = list(args)
        rest = super().parse_args(ctx, args)
        words = ctx.params.get("words") or ()
        ctx.meta[_OPTIONS] = before[: len(before) - len(words)]
        return rest


def after_dashes(ctx: click.Context) -> bool:
    """Whether `--` stood before the words."""
    return bool(ctx.meta[_OPTIONS][-1:] == ["--"])


def command(ctx: click.Context, words: Sequence[str]) -> list[list[str]]:
    """This command line in three parts: up to the name of the command, its options, its words."""
    options: list[str] = ctx.meta[_OPTIONS]
    head = sys.argv[1 : len(sys.argv) - len(options) - len(words)]
    return [[PROGRAM, *head], options, list(words)]


def argv(words: Sequence[str], *, module: bool, program: bool) -> list[str]:
    """The program for these words, and its arguments.

    Args:
        words: a script, the name of a module or that of a program, with arguments.
        module: it is a module.
        program: it is a program.

    Raises:
        LocalFileNotFoundError: there is no such script or program.
        InvalidInputError: it is both a module and a program, or a script for another program that is
            not executable.
    """
    if not sys.executable:
        raise AgentError("This Python does not know its own path.", "Start it by its full path.")
    import shutil

    name, *arguments = words
    if module and program:
        raise InvalidInputError(
            "-m and -- exclude each other.", f"Write: {command_line('run -m', name)}, without --."
        )
    if module:
        return [sys.executable, "-m", name, *arguments]
    if program:
        found = shutil.which(name, path=environment()["PATH"])
        if found is None:
            raise LocalFileNotFoundError(
                f"There is no program {name!r} on the PATH.", "Check the name, or give the path."
            )
        return [found, *arguments]
    if not Path(name).exists():
        raise LocalFileNotFoundError(
            f"There is no script {name!r} in {Path.cwd()}.",
            f"To run a program: {command_line('run --', name)}"
            if shutil.which(name)
            else "Check the path.",
        )
    if _runs_by_itself(Path(name)):
        return [os.path.join(".", name), *arguments]  # not to be looked for on the PATH
    return [sys.executable, name, *arguments]


def _runs_by_itself(path: Path) -> bool:
    """Whether a script is for another program than Python, which it names, and is executable.

    Raises:
        InvalidInputError: it is for another program, and not executable.
    """
    if path.suffix in _PYTHON or not path.is_file():
        return False  # a directory; or a pipe, which can be read only once
    try:
        with path.open("rb") as file:
            first = file.readline(_MOST_SIGNS)
    except OSError:
        return False  # Python says why
    words = first.removeprefix(b"#!").decode(errors="replace").split()
    if not first.startswith((b"#!", _BINARY)) or not words:
        words = _PROGRAMS.get(path.suffix.lower(), [])
        if not words:
            return False
    elif any(os.path.basename(word).startswith(("python", "pypy")) for word in words):
        return False
    elif os.access(path, os.X_OK):
        return True
    if os.path.basename(words[0]) == "env":
        rest = [word for word in words[1:] if word != "-S"]
        for_env = bool(rest) and (rest[0].startswith("-") or "=" in rest[0])
        words = ["env", *rest] if for_env else rest
    name = f"./{path}" if str(path).startswith("-") else str(path)
    run = [*words, name]
    raise InvalidInputError(
        f"{str(path)!r} is not a script for Python.",
        f"Run: {command_line('run --', *run)}"
        if words and not first.startswith(_BINARY) and all(one == plain(one) for one in run)
        else f"Make it executable: {shlex.join(['chmod', '+x', name])}",
    )


def environment() -> dict[str, str]:
    """The variables by which a program finds the scripts, and these their Python."""
    path = os.environ.get("PATH", os.defpath)
    return {
        "PATH": os.pathsep.join(dict.fromkeys([*path.split(os.pathsep), str(SCRIPTS)])),
        PYTHON_VARIABLE: sys.executable,
        SCRIPTS_VARIABLE: str(SCRIPTS),
    }
