"""Trivial tasks in one job, the whole path, against the usual ways of starting a task."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import peers
import raw_engines
from measure import Bench, Left, Limit, Line, middle, ms, output

from cfa.cloudops.settings import cores

COUNT = 1000
#: For the tools that run processes of this machine.
WIDTH = 8


def lines(bench: Bench) -> Iterator[Line | Left]:
    for engine in ("docker", "podman"):
        why = bench.why_not(engine)
        work = f"{COUNT:,} trivial tasks, {bench.title(engine)}"
        if why:
            yield Left(work, why)
        else:
            yield from _engine(bench, engine, work)
    why = bench.why_not("subprocess")
    work = f"{COUNT:,} trivial tasks, subprocess"
    if why:
        yield Left(work, why)
    else:
        yield from _processes(bench, work)


def _engine(bench: Bench, engine: str, work: str) -> Iterator[Line]:
    ours, by_exec, warm = [], [], []
    for _ in range(bench.repeats):
        by_exec.append(raw_engines.exec_s(engine))
        warm.append(raw_engines.warm_shell_s(engine, COUNT, cores(), bench.fresh()))
        ours.append(bench.script("tasks", COUNT, backend=engine)["whole_s"] / COUNT)
    yield Line(
        work=work,
        measured=ms(middle(ours)),
        raw=f"{engine} exec {ms(middle(by_exec))}",
        value=middle(by_exec) / middle(ours),
        promise=Limit(at_least=25),
        goal=Limit(at_least=60),
    )
    yield Line(
        work="  the same",
        measured=ms(middle(ours)),
        raw=f"warm shell {ms(middle(warm))}",
        value=middle(ours) / middle(warm),
        goal=Limit(at_most=1.5),
    )


def _processes(bench: Bench, work: str) -> Iterator[Line | Left]:
    ours, cold, loop = [], [], []
    others: dict[str, list[float]] = {}
    program = str(Path(__file__).with_name("raw_durable.py"))
    found = list(peers.here(COUNT, WIDTH))
    for _ in range(bench.repeats):
        for peer in found:
            if isinstance(peer, peers.Peer):
                others.setdefault(peer.name, []).append(peer.run(bench.fresh()) / COUNT)
        argv = [sys.executable, program, str(COUNT), str(WIDTH), str(bench.fresh())]
        loop.append(float(output(argv)) / COUNT)
        run = bench.script("tasks", COUNT, backend="subprocess", CLOUDOPS_MAX_PARALLEL=str(WIDTH))
        ours.append(run["whole_s"] / COUNT)
        cold.append(run["process_s"] / COUNT)
    for peer in found:
        if isinstance(peer, Left):
            yield peer
            continue
        raw = middle(others[peer.name])
        yield Line(
            work=work,
            measured=ms(middle(cold)),
            raw=f"{peer.name} {ms(raw)}",
            value=raw / middle(cold),
            promise=Limit(at_least=2) if peer.keeps_queue else None,
            goal=Limit(at_least=2) if peer.keeps_queue else None,
        )
        work = "  the same"
    yield Line(
        work="  the same, script already started",
        measured=ms(middle(ours)),
        raw=f"durable loop {ms(middle(loop))}",
        value=middle(ours) / middle(loop),
        goal=Limit(at_most=1.5),
    )
