"""The exit status of a script, set from where `sys.exit` means nothing."""

from __future__ import annotations

import os
import sys
from types import TracebackType


def set_exit_status(status: int) -> None:
    """Let this process end with a status, whatever it would be else. For handlers of `atexit`.

    Python takes no exit status from such a handler, and `os._exit` would leave out all that is still to
    come: the other handlers, the flush of the streams, the removal of temporary directories. So `_exit`
    is left to the C library, which calls it when the interpreter has ended.
    """
    import ctypes  # only for a script that ends badly

    try:
        library = ctypes.CDLL(None)
        register = library["__cxa_atexit"]
        register.argtypes = [ctypes.c_void_p] * 3
        if register(ctypes.cast(library["_exit"], ctypes.c_void_p), status, None) == 0:
            return
    except (OSError, AttributeError):
        pass  # a C library that is linked into Python
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(status)


def end_quietly(error: KeyboardInterrupt) -> None:
    """Let Python end by this interrupt as always, but without a traceback: what it means was said."""
    before = sys.excepthook

    def hook(
        kind: type[BaseException], value: BaseException, traceback: TracebackType | None
    ) -> None:
        if value is not error:
            before(kind, value, traceback)

    sys.excepthook = hook
