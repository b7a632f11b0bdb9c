"""Logging as the cloud client's users set it: `LOG_LEVEL` and `LOG_OUTPUT`.

Only the package's own logger is touched, never the root logger.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from cfa.cloudops.model.plain import plain

_LEVELS = {
    "none": logging.CRITICAL + 1,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
_STAMP = "%Y-%m-%d_%H:%M:%S%z"


class _Stdout(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stdout` is at the time, not what it was at the start."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    def handleError(self, record: logging.LogRecord) -> None:
        """A reader that left is no error of the script; else standard error takes the line."""
        error = sys.exc_info()[1]
        if isinstance(error, BrokenPipeError):
            return
        if not isinstance(error, OSError):
            super().handleError(record)
        elif sys.stderr is not None:
            with contextlib.suppress(OSError):
                sys.stderr.write(f"{self.format(record)}\n")

    @property
    def stream(self) -> TextIO:
        return sys.stdout

    @stream.setter
    def stream(self, value: TextIO) -> None:
        """Fixed by the property."""


class _File(logging.FileHandler):
    """Makes its file, and the folder, with the first line."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, delay=True)

    def emit(self, record: logging.LogRecord) -> None:
        """A file that cannot be made is no error of the script."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def _open(self) -> TextIOWrapper:
        Path(self.baseFilename).parent.mkdir(exist_ok=True)
        return super()._open()


class _Plain(logging.Formatter):
    """Lets no name in a message speak to a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return plain(super().format(record), keep="\n\t")


def level() -> int:
    """The level that `LOG_LEVEL` asks for: debug for a word that is not known."""
    return _LEVELS.get(_word("LOG_LEVEL", "warning"), logging.DEBUG)


def _word(name: str, default: str) -> str:
    return os.environ.get(name, "").strip().lower() or default


def configure() -> None:
    """Set up the logger `cfa.cloudops` once, from the environment.

    `LOG_LEVEL`: none, debug, info, warning, error, critical; unset means warning, anything else debug.
    `LOG_OUTPUT`: what it begins with counts: std (default), file (`logs/<time>.log`), both.
    """
    logger = logging.getLogger("cfa.cloudops")
    if logger.handlers:
        return
    text = _word("LOG_LEVEL", "warning")
    logger.setLevel(level())
    output = _word("LOG_OUTPUT", "std")
    handlers: list[logging.Handler] = []
    if not output.startswith("file"):
        handlers.append(_Stdout())
    if output.startswith(("file", "both")):
        name = datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")
        handlers.append(_File(Path("logs", f"{name}.log")))
    for handler in handlers:
        handler.setFormatter(_Plain("[%(levelname)s] %(asctime)s: %(message)s", _STAMP))
        logger.addHandler(handler)
    logger.propagate = False
    if text not in _LEVELS:
        logger.warning("LOG_LEVEL=%s is not known; showing everything.", text)
    if not output.startswith(("std", "file", "both")):
        logger.warning("LOG_OUTPUT=%s is not known; logging to standard output.", output)
