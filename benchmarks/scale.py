"""Many tasks: the cost of one must not grow with their number, nor the agent with it."""

from __future__ import annotations

from collections.abc import Iterator

from measure import Bench, Left, Limit, Line, middle, ms

WIDTH = "8"


def lines(bench: Bench) -> Iterator[Line | Left]:
    why = bench.why_not("subprocess")
    if why:
        yield Left("many tasks, subprocess", why)
        return
    base = 0.0
    for count in (1_000, 10_000) if bench.quick else (1_000, 10_000, 100_000):
        runs = [
            bench.script("tasks", count, "warm", backend="subprocess", CLOUDOPS_MAX_PARALLEL=WIDTH)
            for _ in range(bench.repeats if count < 100_000 else 1)
        ]
        cost = middle([run["whole_s"] / count for run in runs])
        base = base or cost
        if count == 1_000:
            continue
        yield Line(
            work=f"{count:,} tasks, cost of one",
            measured=ms(cost),
            raw=f"of 1,000: {ms(base)}",
            value=cost / base,
            promise=Limit(at_most=1.2),
            goal=Limit(at_most=1.2),
        )
        peak = middle([run["peak_mb"] for run in runs])
        yield Line(
            work="  the agent's peak memory",
            measured=f"{peak:.3g} MB",
            value=peak,
            unit="MB",
            promise=Limit(at_most=150),
            goal=Limit(at_most=100),
        )
        added = middle([run["add_s"] for run in runs])
        limit = Limit(at_most=3.0 * count / 100_000)
        yield Line(
            work="  the collection added",
            measured=f"{added:.2g} s",
            value=added,
            unit="s",
            promise=limit,
            goal=limit,
        )
