"""An agent without work does nothing, and leaves after a minute."""

from __future__ import annotations

import time
from collections.abc import Iterator

from measure import Bench, Left, Limit, Line


def lines(bench: Bench) -> Iterator[Line | Left]:
    why = bench.why_not("subprocess")
    if why:
        yield Left("idle agent", why)
        return
    found = bench.script("idle", backend="subprocess", CLOUDOPS_AGENT_IDLE_S="15")
    wake_ups = float(found["wake_ups"])
    yield Line(
        work="idle agent, wake-ups in 5 s",
        measured=f"{wake_ups:g}",
        value=wake_ups,
        unit="",
        promise=Limit(at_most=0),
    )
    if not bench.full:
        yield Left("idle agent leaves after a minute", "only with --full")
        return
    start = time.monotonic()
    bench.script("tasks", 1, backend="subprocess", CLOUDOPS_AGENT_IDLE_S="60")
    seconds = time.monotonic() - start
    yield Line(
        work="idle agent leaves",
        measured=f"after {seconds:.0f} s",
        value=seconds,
        unit="s",
        promise=Limit(at_most=75),
    )
