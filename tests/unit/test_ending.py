"""Ctrl-C that counts once, and what a script gives to `sys.exit`."""

from __future__ import annotations

import builtins
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from cfa.cloudops.client import ending
from cfa.cloudops.client.ending import OneInterrupt, remember_status


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """Python's own handler of Ctrl-C, before and after."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_it_counts_once():
    """The first Ctrl-C is a KeyboardInterrupt; those that follow while it is dealt with are nothing."""
    with OneInterrupt() as interrupt:
        with pytest.raises(KeyboardInterrupt):
            press()
        assert interrupt.seen
        press()
    press()


def test_later_all_is_as_before(monkeypatch):
    """A while after a Ctrl-C was dealt with, the next one counts again."""
    with OneInterrupt(), pytest.raises(KeyboardInterrupt):
        press()
    monkeypatch.setattr(ending, "_AGAIN_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        press()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_something_hangs(monkeypatch):
    """One that comes long after the first counts, though that is still being dealt with."""
    with OneInterrupt():
        with pytest.raises(KeyboardInterrupt):
            press()
        press()
        monkeypatch.setattr(ending, "_HANGS_S", 0.0)
        with pytest.raises(KeyboardInterrupt):
            press()


def test_soon_after_another():
    """What is entered soon after a Ctrl-C counts the next one."""
    with OneInterrupt(), pytest.raises(KeyboardInterrupt):
        press()
    with OneInterrupt() as second:
        with pytest.raises(KeyboardInterrupt):
            press()
        assert second.seen


def test_without_any():
    """Without a Ctrl-C nothing stays behind."""
    with OneInterrupt() as interrupt:
        pass
    assert not interrupt.seen
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_held():
    """One that is held raises nothing and is remembered."""
    with OneInterrupt() as interrupt:
        interrupt.hold()
        press()
        assert interrupt.seen


@pytest.mark.parametrize("own", [signal.SIG_IGN, lambda number, frame: None], ids=["none", "own"])
def test_handlers_of_others(own):
    """A script that ignores or handles SIGINT goes on doing so."""
    signal.signal(signal.SIGINT, own)
    with OneInterrupt() as interrupt:
        assert signal.getsignal(signal.SIGINT) is own
        press()
    assert not interrupt.seen


def test_another_thread():
    """Outside the main thread, where no handler can be set, nothing happens."""
    found = []

    def enter():
        with OneInterrupt():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]


@pytest.mark.parametrize(
    ("words", "status"), [((), 0), ((None,), 0), ((0,), 0), ((3,), 3), ((256,), 0), (("no",), 1)]
)
def test_sys_exit_is_remembered(monkeypatch, words, status):
    """The status that `sys.exit` was given is known, where Python tells nothing, and it raises what it
    always does."""
    for name in ("last_type", "last_value", "last_traceback"):
        monkeypatch.delattr(sys, name, raising=False)
    for place, name in ((sys, "exit"), (builtins, "exit"), (builtins, "quit")):
        monkeypatch.setattr(place, name, getattr(place, name))
    monkeypatch.setattr(ending, "_see_unwinding", lambda take: False)
    chosen = remember_status.__wrapped__()
    with pytest.raises(SystemExit) as caught:
        sys.exit(*words)
    assert caught.value.code == (words[0] if words else None)
    assert chosen() == status
    monkeypatch.setattr(sys, "last_type", ValueError, raising=False)
    assert chosen() == 1


SAYS = "import atexit, sys; from cfa.cloudops.client.ending import remember_status\n"
SAYS += "chosen = remember_status(); atexit.register(lambda: print(chosen()))\n"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python cannot tell what SystemExit says")
@pytest.mark.parametrize("module", [False, True])
@pytest.mark.parametrize(
    ("leave", "status"),
    [
        ("raise SystemExit(3)", 3),
        ("raise SystemExit('no')", 1),
        ("raise SystemExit", 0),
        ("sys.exit(259)", 3),
        ("try: sys.exit(3)\nexcept SystemExit: pass", 0),
        ("def leave(): raise SystemExit(3)\nleave()", 3),
        ("1 / 0", 1),
        ("import threading; threading.Thread(target=sys.exit, args=[3]).start()", 0),
    ],
)
def test_what_leaves_a_script(workdir, leave, status, module):
    """The status with which a script leaves is known, however it leaves."""
    (workdir / "script.py").write_text(SAYS + leave)
    words = ["-m", "script"] if module else ["script.py"]
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (status, f"{status}\n")
