"""A graph of tasks against as many independent ones."""

from __future__ import annotations

from collections.abc import Iterator

from measure import Bench, Left, Limit, Line, middle, ms


def lines(bench: Bench) -> Iterator[Line | Left]:
    work = "graph: 100 layers of 10, each on all before"
    why = bench.why_not("subprocess")
    if why:
        yield Left(work, why)
        return
    found: dict[str, list[float]] = {"layers": [], "independent": []}
    for _ in range(bench.repeats):
        for shape, seconds in found.items():
            run = bench.script("graph", shape, backend="subprocess", CLOUDOPS_MAX_PARALLEL="8")
            seconds.append(run["whole_s"] / 1000)
    graph, independent = middle(found["layers"]), middle(found["independent"])
    yield Line(
        work=work,
        measured=ms(graph),
        raw=f"independent {ms(independent)}",
        value=graph / independent,
        promise=Limit(at_most=1.3),
        goal=Limit(at_most=1.1),
    )
