"""`cloudops hello` and `cloudops test`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import click
from click.exceptions import Exit

from cfa.cloudops.cli.declare import Commands, option
from cfa.cloudops.errors import UnsupportedError

root = Commands()

#: What pytest takes must reach it.
_PASSES_ALL: dict[str, Any] = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": ["--help"],
}


@root.add()
def hello(name: Annotated[str, option(help="Whom to greet.")] = "World") -> None:
    """Print a greeting."""
    print(f"Hello {name}!")


@root.add(**_PASSES_ALL)
def test(ctx: click.Context) -> None:
    """Run pytest with all that follows, for tests of your own scripts.

    Exit status: that of pytest.
    """
    import subprocess
    from importlib.util import find_spec

    if find_spec("pytest") is None:
        raise UnsupportedError(
            "pytest is not installed.", f"To install it: {sys.executable} -m pip install pytest"
        )
    raise Exit(subprocess.call([sys.executable, "-m", "pytest", *ctx.args]))
