#!/usr/bin/env python3
"""Measure what we promise, each against the raw way in the same run, and print one table.

    python benchmarks/run.py [--backend subprocess,docker,podman] [--only trivial,scale] [--quick|--full]

Every number of ours is the whole path, taken by a fresh Python process that runs a user's script in a
fresh workspace; medians of three, with --quick of one and fewer tasks. Only ratios mean anything on
another machine. The exit status is 1 when a promise is not kept.

A file system may still be busy with what was deleted before: ext4 makes every new file slow for minutes
after thousands were removed, as at the end of the last run. `TMPDIR=/dev/shm` shows the difference.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from collections.abc import Iterable, Iterator

from attrs import frozen
from measure import Bench, Left, Line

SUBJECTS = ("startup", "trivial", "graph", "slots", "isolation", "idle", "files", "scale")
COLUMNS = ("work", "measured", "raw way", "ratio", "promise", "goal", "")


@frozen
class Failed:
    """A measurement that could not be made, which keeps no promise."""

    work: str
    traceback: str
    kept: bool = False


def measure(bench: Bench, subjects: Iterable[str]) -> Iterator[Line | Left | Failed]:
    for subject in subjects:
        try:
            yield from importlib.import_module(subject).lines(bench)
        except Exception:  # noqa: BLE001  the others can still be measured
            yield Failed(subject, traceback.format_exc())


def cells(line: Line | Left | Failed) -> tuple[str, ...]:
    if isinstance(line, Failed):
        return (line.work, f"FAILED: {line.traceback.splitlines()[-1]}", "", "", "", "", "")
    if isinstance(line, Left):
        return (line.work, f"left out: {line.why}", "", "", "", "", "")
    shown = f"{line.value:.3g} {line.unit}".strip() if line.raw else ""
    verdict = "information"
    if line.promise is not None:
        verdict = "met" if line.kept else "MISSED"
    if line.goal is not None:
        verdict += ", goal too" if line.kept and line.goal.holds(line.value) else ""
        if line.promise is None:
            verdict = "goal met" if line.goal.holds(line.value) else "goal not met yet"
    limits = [
        f"{limit} {line.unit}".strip() if limit else "" for limit in (line.promise, line.goal)
    ]
    return (line.work, line.measured, line.raw, shown, *limits, verdict)


def table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Columns as wide as they need; what was left out may run over."""
    full = [row for row in rows if row[-1]]
    widths = [max(len(row[column]) for row in [COLUMNS, *full]) for column in range(len(COLUMNS))]
    widths[0] = max(widths[0], *(len(row[0]) for row in rows))
    for row in [COLUMNS, tuple("-" * width for width in widths), *rows]:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--backend", default="subprocess,docker,podman", help="comma-separated")
    parser.add_argument("--only", default=",".join(SUBJECTS), help="comma-separated")
    parser.add_argument("--quick", action="store_true", help="once, and at most 10,000 tasks")
    parser.add_argument("--full", action="store_true", help="also what takes minutes of waiting")
    given = parser.parse_args()
    bench = Bench(backends=given.backend.split(","), quick=given.quick, full=given.full)
    found = []
    try:
        for line in measure(bench, given.only.split(",")):
            found.append(line)
            said = (
                line.traceback
                if isinstance(line, Failed)
                else " | ".join(filter(None, cells(line)))
            )
            print(said, file=sys.stderr, flush=True)
    finally:
        bench.remove()
    print("\n".join(table([cells(line) for line in found])))
    return 0 if all(isinstance(line, Left) or line.kept for line in found) else 1


if __name__ == "__main__":
    sys.exit(main())
