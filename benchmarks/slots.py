"""Tasks run side by side: six of one second on six slots."""

from __future__ import annotations

from collections.abc import Iterator

from measure import Bench, Left, Limit, Line, middle


def lines(bench: Bench) -> Iterator[Line | Left]:
    for backend in ("subprocess", "docker", "podman"):
        why = bench.why_not(backend)
        work = f"six one-second tasks on six slots, {bench.title(backend)}"
        if why:
            yield Left(work, why)
            continue
        runs = [
            bench.script("slots", backend=backend, CLOUDOPS_MAX_PARALLEL="6")
            for _ in range(bench.repeats)
        ]
        seconds = middle([run["whole_s"] for run in runs])
        limit = Limit(at_most=2.5)
        yield Line(
            work=work,
            measured=f"{seconds:.2f} s",
            value=seconds,
            unit="s",
            promise=limit,
            goal=limit,
        )
