"""How a script ends: by Ctrl-C, with an error of ours, or with a status that is set where `sys.exit`
means nothing."""

from __future__ import annotations

import builtins
import functools
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import CodeType, FrameType, TracebackType
from typing import Any, NoReturn, Self

from cfa.cloudops.client import logs
from cfa.cloudops.client.remarks import say
from cfa.cloudops.errors import CloudOpsError

#: Seconds in which a further Ctrl-C means the same as the one before.
_AGAIN_S = 1.0
#: The same while the one before is dealt with: after that, something hangs.
_HANGS_S = 10.0

#: Whether Ctrl-C ended the wait for tasks: the whole process is to end.
_interrupt = threading.Event()


class OneInterrupt:
    """Ctrl-C counts once while this is entered: it raises `KeyboardInterrupt`, as always.

    Those that follow are ignored until this is left, for ten seconds at most, and for a second then:
    people press it more than once, and what has to be said and closed is not to be cut off. A handler
    of SIGINT that is not Python's own stays in charge. Other threads are never interrupted.
    """

    def __init__(self) -> None:
        self._before: Any = None
        self._entered = False
        self._held = False
        self._seen_s: float | None = None

    @property
    def seen(self) -> bool:
        """Whether there was one."""
        return self._seen_s is not None

    def hold(self) -> None:
        """From now on raise nothing, but still take notice."""
        self._held = True

    def __enter__(self) -> Self:
        before = signal.getsignal(signal.SIGINT)
        ours = isinstance(getattr(before, "__self__", None), OneInterrupt)
        if threading.current_thread() is threading.main_thread() and (
            ours or before is signal.default_int_handler
        ):
            self._before = before
            signal.signal(signal.SIGINT, self._take)
        self._entered = True  # the last thing: who is interrupted before has not entered
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._entered = False
        if self._before is not None and not self.seen:
            signal.signal(signal.SIGINT, self._before)

    def _take(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._seen_s is None:
            self._seen_s = now
            if not self._held:
                raise KeyboardInterrupt
        elif now - self._seen_s >= (_HANGS_S if self._entered else _AGAIN_S):
            signal.signal(signal.SIGINT, self._before)
            self._before(number, frame)


def interrupted() -> bool:
    """Whether Ctrl-C ended the script, or the wait for its tasks."""
    return _interrupt.is_set() or getattr(sys, "last_type", None) is KeyboardInterrupt


def end_by_interrupt() -> None:
    """Let this process end by SIGINT, so that a shell stops as well, with status 130.

    For handlers of `atexit`; see https://www.cons.org/cracauer/sigint.html.
    """
    _interrupt.set()
    if _at_last(("raise", signal.SIGINT), ("_exit", 128 + signal.SIGINT)):
        return
    _flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)


def set_exit_status(status: int) -> None:
    """Let this process end with a status, whatever it would be else. For handlers of `atexit`."""
    if not _at_last(("_exit", status)):
        _flush()
        os._exit(status)


def _at_last(*calls: tuple[str, int]) -> bool:
    """Have the C library call functions of its own, in this order, when the interpreter has ended.

    Python takes no exit status from a handler of `atexit`, and to leave from one would leave out all
    that is still to come: the other handlers, the flush of the streams, the removal of temporary
    directories. False: this C library cannot.
    """
    import ctypes  # only for a script that ends badly

    try:
        library = ctypes.CDLL(None)
        register = library["__cxa_atexit"]
        register.argtypes = [ctypes.c_void_p] * 3
        return not any(
            register(ctypes.cast(library[name], ctypes.c_void_p), argument, None)
            for name, argument in reversed(calls)  # the last one is called first
        )
    except (OSError, AttributeError):  # a C library that is linked into Python
        return False


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


@functools.cache
def remember_status() -> Callable[[], int]:
    """Have the status remembered with which the script leaves: handlers of `atexit` are not told.

    Returns:
        Gives the exit status that the script chose, 0 when there is none: also 1 for an exception
        that nobody caught. Before Python 3.12 only `sys.exit`, `exit` and `quit` can be seen, and not
        what `raise SystemExit` says.
    """
    given = 0

    def take(status: object) -> None:
        nonlocal given
        given = status & 0xFF if isinstance(status, int) else int(status is not None)

    if not _see_unwinding(take):
        _see_functions(take)
    return lambda: given if getattr(sys, "last_type", None) is None else 1


def _see_unwinding(take: Callable[[object], None]) -> bool:
    """Have a function told what a `SystemExit` says that leaves the script. False: Python cannot."""
    if sys.version_info < (3, 12):
        return False
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    if frame is None:  # a program into which Python is built
        return False
    while frame.f_back is not None:
        frame = frame.f_back
    script = frame.f_code

    def unwind(code: CodeType, _offset: int, error: BaseException) -> None:
        if code is script and isinstance(error, SystemExit):
            take(error.code)

    monitoring = sys.monitoring
    for tool in (4, 3):  # those that have no meaning of their own
        if monitoring.get_tool(tool) is None:
            monitoring.use_tool_id(tool, "cloudops")
            monitoring.register_callback(tool, monitoring.events.PY_UNWIND, unwind)
            monitoring.set_events(tool, monitoring.events.PY_UNWIND)
            return True
    return False


def _see_functions(take: Callable[[object], None]) -> None:
    """Have a function told what `sys.exit`, `exit` and `quit` are given in the main thread."""

    def telling(leave: Callable[[Any], NoReturn]) -> Callable[..., NoReturn]:
        @functools.wraps(leave)
        def tell_and_leave(status: Any = None, /) -> NoReturn:
            if threading.current_thread() is threading.main_thread():
                take(status)
            leave(status)

        return tell_and_leave

    for place, name in ((sys, "exit"), (builtins, "exit"), (builtins, "quit")):
        if hasattr(place, name):  # without `site` there is only the first
            setattr(place, name, telling(getattr(place, name)))


def end_quietly(error: KeyboardInterrupt, text: str) -> None:
    """Let Python end by this interrupt as always, but without a traceback: what it means was said.

    Args:
        error: the interrupt.
        text: a line that a notebook shows below the cell instead.
    """
    before = sys.excepthook

    def hook(
        kind: type[BaseException], value: BaseException, traceback: TracebackType | None
    ) -> None:
        if value is not error:
            before(kind, value, traceback)

    sys.excepthook = hook
    vars(error)["_render_traceback_"] = lambda: [text]  # IPython asks for it


@functools.cache
def shorten_tracebacks() -> None:
    """Let what ends a script show the script's lines and not ours.

    An error of ours shows the call that failed, and not what that called in turn. Ctrl-C during a call
    of ours says in a line what that means. Where people type the lines, both end with the line that was
    typed. With LOG_LEVEL=debug everything is shown.
    """
    if logs.level() <= logging.DEBUG:
        return
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None:
        _shorten_in(shell)
        return
    before = sys.excepthook

    def hook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        typed = hasattr(sys, "ps1") or bool(sys.flags.inspect)
        if isinstance(error, KeyboardInterrupt) and not typed and (call := _our_call(traceback)):
            say(_interrupted_in(call))
        elif isinstance(error, CloudOpsError | KeyboardInterrupt):
            error.__traceback__ = _shortened(traceback, call=not typed)
            before(kind, error, error.__traceback__)
            error.__traceback__ = traceback  # debuggers see all of it
        else:
            before(kind, error, traceback)

    sys.excepthook = hook


def _shorten_in(shell: Any) -> None:
    """The same in IPython, unless somebody has a handler there already: there is room for one."""

    def show(
        shell: Any,
        kind: type[BaseException],
        error: BaseException,
        traceback: TracebackType | None,
        tb_offset: int | None = None,
    ) -> None:
        error.__suppress_context__ = error.__suppress_context__ or isinstance(
            error, KeyboardInterrupt
        )
        shell.showtraceback((kind, error, _shortened(traceback, call=False)), tb_offset=tb_offset)

    if not shell.custom_exceptions:
        shell.set_custom_exc((CloudOpsError, KeyboardInterrupt), show)


def _our_call(traceback: TracebackType | None) -> TracebackType | None:
    """Where a call of ours was made, if one was."""
    while traceback is not None and not _is_ours(traceback.tb_frame):
        traceback = traceback.tb_next
    return traceback


def _shortened(traceback: TracebackType | None, *, call: bool) -> TracebackType | None:
    """What a traceback has before a call of ours, and, with `call`, the call itself."""
    ours = _our_call(traceback)
    if ours is None:
        return traceback
    entries = []
    while traceback is not None and traceback is not ours:
        entries.append(traceback)
        traceback = traceback.tb_next
    entries += [ours] if call else []
    short = None
    for entry in reversed(entries):
        short = TracebackType(short, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return short


def _interrupted_in(call: TracebackType) -> str:
    name = call.tb_frame.f_code.co_name
    if name == "__init__":
        return "interrupted while the client was made."
    return f"interrupted in {name}. What it has begun may go on.\n  Show what runs: cloudops status"


def _is_ours(frame: FrameType) -> bool:
    return f"{frame.f_globals.get('__name__')}.".startswith("cfa.cloudops.")
