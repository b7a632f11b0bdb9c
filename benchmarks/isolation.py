"""A fresh container for every task, against the best pipelined fresh container of the engine's API.

Ask an engine whose containers have networks, as on a user's machine: `.ci/engines start --bridge`.
Making networks is most of what a container costs there. Both sides are warm when the clock starts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import Bench, Left, Limit, Line, middle, ms
from raw_engines import fresh_container_s

from cfa.cloudops.errors import BackendError

#: Enough that the last containers, which none follows, do not count for much.
COUNT, QUICK_COUNT = 160, 48
#: The best of these widths counts, on both sides.
WIDTHS = (3, 6)


def lines(bench: Bench) -> Iterator[Line | Left]:
    count = QUICK_COUNT if bench.quick else COUNT
    for engine in ("docker", "podman"):
        why = bench.why_not(engine)
        work = f"isolation task, {count} tasks, {bench.title(engine)}"
        if why:
            yield Left(work, why)
            continue
        widths = WIDTHS[:1] if bench.quick else WIDTHS
        ours: dict[int, list[float]] = {width: [] for width in widths}
        raw: dict[int, list[float]] = {width: [] for width in widths}
        kept: dict[int, list[float]] = {width: [] for width in widths}
        with _address(engine) as address:
            for _ in range(bench.repeats):
                for width in widths:
                    raw[width].append(fresh_container_s(address, count, width))
                    kept[width].append(fresh_container_s(address, count, width, bench.fresh()))
                    ours[width].append(_ours(bench, engine, count, width))
        best = min(map(middle, ours.values()))
        other = min(map(middle, raw.values()))
        yield Line(
            work=work,
            measured=ms(best),
            raw=f"fresh container {ms(other)}",
            value=other / best,
            promise=Limit(at_least=1),
            goal=Limit(at_least=5),
        )
        other = min(map(middle, kept.values()))
        yield Line(
            work="  the same",
            measured=ms(best),
            raw=f"that keeps its output {ms(other)}",
            value=other / best,
        )


def _ours(bench: Bench, engine: str, count: int, width: int) -> float:
    found = bench.script(
        "tasks",
        count,
        "warm",
        backend=engine,
        CLOUDOPS_ISOLATION="task",
        CLOUDOPS_MAX_PARALLEL=str(width),
    )
    return float(found["whole_s"]) / count


@contextmanager
def _address(engine: str) -> Iterator[str]:
    """Where an engine's API answers, which is Docker's for both; Podman's is started if need be."""
    if engine == "docker":
        from cloudops_docker.endpoints import candidates as docker_candidates

        found = docker_candidates(None, os.environ, Path.home(), os.getuid())
        yield next(one.url for one in found if os.path.exists(one.url.removeprefix("unix://")))
        return
    from cloudops_podman.service import OwnService, candidates, connect

    for one in candidates(None, os.environ, os.getuid()):
        try:
            connect(one).close()
        except (OSError, BackendError):
            continue
        yield one.url
        return
    service = OwnService()
    try:
        service.ensure()
        yield service.endpoint.url
    finally:
        service.stop()
