"""How long until something happens: the import, and the first output of the first task."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

from measure import SCRIPTS, Bench, Left, Limit, Line, middle, settle, timed

IMPORT = "from cfa.cloudops.local import CloudClient"


def lines(bench: Bench) -> Iterator[Line | Left]:
    yield _import(bench)
    why = bench.why_not("subprocess")
    work = "script start to first task's output, subprocess"
    if why:
        yield Left(work, why)
        return
    seconds = middle([_first_output(bench) for _ in range(bench.repeats)])
    yield Line(
        work=work,
        measured=f"{seconds:.2f} s",
        value=seconds,
        unit="s",
        promise=Limit(at_most=1),
        goal=Limit(at_most=0.5),
    )


def _import(bench: Bench) -> Line:
    bare, ours = [], []
    timed([sys.executable, "-c", IMPORT])  # compiled and in the page cache
    for _ in range(5 if bench.quick else 15):
        bare.append(timed([sys.executable, "-c", "pass"]))
        ours.append(timed([sys.executable, "-c", IMPORT]))
    # The best of each: what else runs here only adds.
    over = (min(ours) - min(bare)) * 1000
    return Line(
        work="import of the client, over bare Python",
        measured=f"{min(ours) * 1000:.0f} ms",
        raw=f"bare Python {min(bare) * 1000:.0f} ms",
        value=over,
        unit="ms",
        promise=Limit(at_most=120),
        goal=Limit(at_most=60),
    )


def _first_output(bench: Bench) -> float:
    directory = bench.fresh()
    start = time.monotonic()
    with subprocess.Popen(
        [sys.executable, str(SCRIPTS / "first.py")],
        cwd=directory,
        env=bench.environment("subprocess"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as script:
        assert script.stdout is not None
        found = any(b"here I am" in line for line in script.stdout)
        seconds = time.monotonic() - start
        script.stdout.read()
    settle(directory)
    assert found, "the task said nothing"
    return seconds
