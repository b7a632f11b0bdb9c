"""The cloud's scripts as functions: `create_job()`, `monitor_job()` and so on.

Each runs the script of its name in `cloudops`, with the arguments of the program, and exits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from cfa.cloudops.cli.scripts import SCRIPTS

__all__ = sorted(SCRIPTS)


def _script(name: str) -> Callable[[], None]:
    def run() -> None:
        from cfa.cloudops.cli import main

        before = sys.argv
        sys.argv = ["cloudops", name, *before[1:]]
        try:
            main()
        finally:
            sys.argv = before

    run.__name__ = run.__qualname__ = name
    run.__doc__ = f"Run `cloudops {' '.join(SCRIPTS[name].words)}`, with the script's own letters."
    return run


_FUNCTIONS = {name: _script(name) for name in SCRIPTS}


def __getattr__(name: str) -> Any:
    try:
        return _FUNCTIONS[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
