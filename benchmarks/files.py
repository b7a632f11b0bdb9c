"""Uploading files to the local store against `cp -r`: `copying.py`, which also runs by itself."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from copying import measure_copying
from measure import Bench, Limit, Line


def lines(bench: Bench) -> Iterator[Line]:
    for result in measure_copying(bench.fresh(), bench.repeats):
        yield Line(
            work=result.work,
            measured=f"{median(result.ours_s):.2f} s",
            raw=f"cp -r {median(result.raw_s):.2f} s",
            value=result.ratio,
            promise=Limit(at_least=result.promised),
            goal=Limit(at_least=1),
        )
