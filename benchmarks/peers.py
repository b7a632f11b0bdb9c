"""Other tools on the same work: N times `true`, `width` at once, from a cold start of the tool."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from attrs import frozen
from measure import SCRIPTS, Left, timed


@frozen(kw_only=True)
class Peer:
    """A tool that is installed here.

    Attributes:
        run: do the work in an empty directory; seconds.
        keeps_queue: it knows what it has to do and what became of it, as GNU parallel, and unlike
            xargs; the promise is about these.
    """

    name: str
    run: Callable[[Path], float]
    keeps_queue: bool = True


def here(count: int, width: int) -> Iterator[Peer | Left]:
    """The tools that are installed, and those that are not."""
    numbers = [str(number) for number in range(count)]
    argv = ["parallel", f"-j{width}", "true", ":::", *numbers]
    if shutil.which("parallel"):
        yield Peer(name="GNU parallel", run=lambda place: timed(argv, cwd=place))
    else:
        yield Left("GNU parallel", "not installed")
    if shutil.which("xargs"):
        yield Peer(name="xargs", run=lambda _: _xargs(numbers, width), keeps_queue=False)
    for name, module in (("HyperQueue", "hyperqueue"), ("Dask", "distributed"), ("Parsl", "parsl")):
        if find_spec(module):
            script = str(SCRIPTS / f"peer_{name.lower()}.py")
            command = [sys.executable, script, str(count), str(width)]
            yield Peer(name=name, run=lambda place, command=command: _quiet(command, place))
        else:
            yield Left(name, "not installed")


def _quiet(command: list[str], place: Path) -> float:
    return timed(command, cwd=place, stderr=subprocess.DEVNULL)


def _xargs(numbers: list[str], width: int) -> float:
    with subprocess.Popen(["/usr/bin/printf", "%s\\n", *numbers], stdout=subprocess.PIPE) as source:
        return timed(["xargs", f"-P{width}", "-n1", "true"], stdin=source.stdout)
