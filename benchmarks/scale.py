"""Many tasks: the cost of one must not grow with their number, nor the agent with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from measure import Bench, Left, Limit, Line, middle, ms

WIDTH = "8"


def lines(bench: Bench) -> Iterator[Line | Left]:
    why = bench.why_not("subprocess")
    if why:
        yield Left("many tasks, subprocess", why)
        return
    runs: dict[int, list[dict[str, Any]]] = {1_000: [], 10_000: []}
    for _ in range(bench.repeats):
        for count in runs:
            runs[count].append(_run(bench, count))
    if not bench.quick:
        runs[100_000] = [_run(bench, 100_000)]
    # The best of each: what else runs here only adds.
    cost = {count: min(run["whole_s"] for run in found) / count for count, found in runs.items()}
    for count, found in list(runs.items())[1:]:
        yield Line(
            work=f"{count:,} tasks, cost of one",
            measured=ms(cost[count]),
            raw=f"of 1,000: {ms(cost[1_000])}",
            value=cost[count] / cost[1_000],
            promise=Limit(at_most=1.2),
            goal=Limit(at_most=1.2),
        )
        peak = middle([run["peak_mb"] for run in found])
        yield Line(
            work="  the agent's peak memory",
            measured=f"{peak:.3g} MB",
            value=peak,
            unit="MB",
            promise=Limit(at_most=150),
            goal=Limit(at_most=100),
        )
        added = middle([run["add_s"] for run in found])
        limit = Limit(at_most=3.0 * count / 100_000)
        yield Line(
            work="  the collection added",
            measured=f"{added:.2g} s",
            value=added,
            unit="s",
            promise=limit,
            goal=limit,
        )


def _run(bench: Bench, count: int) -> dict[str, Any]:
    return bench.script("tasks", count, "warm", backend="subprocess", CLOUDOPS_MAX_PARALLEL=WIDTH)
