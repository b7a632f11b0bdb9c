"""SIGKILL of script, agent, node, slot and engine at random moments loses and repeats nothing."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from tests.faults.driver import Driver

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]

KILLS = os.environ.get("CLOUDOPS_FAULT_KILLS")
SEED = int(os.environ.get("CLOUDOPS_FAULT_SEED") or random.randrange(1 << 32))
TARGETS = {"script": 2, "agent": 3, "recovering": 1, "node": 5, "slot": 4, "guard": 2}
BY_PROCESSES = ("subprocess", "subprocess-nosandbox")


@pytest.mark.parametrize("backend", BY_PROCESSES, indirect=True)
@pytest.mark.parametrize("isolation", ["job", "task"])
def test_kills_on_processes(backend, workdir: Path, monkeypatch, isolation: str):
    """Plain processes: every task succeeds, no finished one runs again, nothing is left."""
    monkeypatch.setenv("CLOUDOPS_AGENT_IDLE_S", "1")
    share = {("subprocess", "job"): 75, ("subprocess-nosandbox", "job"): 45}
    kills = int(KILLS) if KILLS else share.get((backend.name, isolation), 15)
    Driver("", isolation, SEED, TARGETS).run(kills, pause_s=0.3)
