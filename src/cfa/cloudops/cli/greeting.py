"""`cloudops hello` and `cloudops test`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cfa.cloudops.errors import UnsupportedError

#: What pytest takes must reach it.
PASSES_ALL = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": ["--help"],
}


def hello(name: Annotated[str, typer.Option(help="Whom to greet.")] = "World") -> None:
    """Print a greeting."""
    print(f"Hello {name}!")


def test(ctx: typer.Context) -> None:
    """Run pytest with all that follows, for tests of your own scripts.

    Exit status: that of pytest.
    """
    import subprocess
    from importlib.util import find_spec

    if find_spec("pytest") is None:
        raise UnsupportedError(
            "pytest is not installed here.", f"Install it: {sys.executable} -m pip install pytest"
        )
    raise typer.Exit(subprocess.call([sys.executable, "-m", "pytest", *ctx.args]))
