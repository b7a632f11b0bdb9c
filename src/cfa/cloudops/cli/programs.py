"""What `cloudops run` runs: a script or a module of Python, or, after `--`, any program.

What runs finds the scripts of the cloud's package as programs: a directory of ours is last on its
`PATH`, after the programs that are the user's own. Each program in it starts `cloudops` with its own
name as the command.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from cfa.cloudops.cli import PROGRAM
from cfa.cloudops.cli.declare import Command
from cfa.cloudops.errors import AgentError, InvalidInputError, LocalFileNotFoundError
from cfa.cloudops.model.plain import command_line
from cfa.cloudops.settings import OF_A_RUN, SCRIPTS_VARIABLE

#: One program per script but `test`, which the system has.
SCRIPTS = Path(__file__).parent / "bin"
#: The Python of the programs in it.
PYTHON_VARIABLE = f"{OF_A_RUN}PYTHON"
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
        InvalidInputError: it is both a module and a program.
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
    return [sys.executable, name, *arguments]


def environment() -> dict[str, str]:
    """The variables by which a program finds the scripts, and these their Python."""
    path = os.environ.get("PATH", os.defpath)
    return {
        "PATH": os.pathsep.join(dict.fromkeys([*path.split(os.pathsep), str(SCRIPTS)])),
        PYTHON_VARIABLE: sys.executable,
        SCRIPTS_VARIABLE: str(SCRIPTS),
    }
