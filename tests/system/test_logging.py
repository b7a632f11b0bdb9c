"""`LOG_LEVEL=debug` tells what a script has done, on the terminal or in a file."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

SCRIPT = """
from cfa.cloudops.local import CloudClient

client = CloudClient()
client.create_pool("small", container_image_name="python:3.10-slim")
client.create_job("fit", pool_name="small")
client.add_task("fit", "echo token=secret")
client.add_task_collection("fit", [{"command_line": "true"}] * 20)
client.monitor_job("fit")
client.delete_job("fit")
client.delete_pool("small")
"""
SAID = [
    "created pool small: backend subprocess, image python:3.10-slim",
    "created job fit on pool small",
    r"started the agent of .*, process \d+",
    "added to job fit: fit--1",
    "added to job fit: fit--2, fit--3, .*",
    "deleted job fit",
    "deleted pool small",
]


@pytest.mark.parametrize("output", ["std", "file", "both"])
def test_debug(workdir, monkeypatch, output):
    """Each call is told, in order, and no command, which may hold a secret."""
    for name, value in (("BACKEND", "subprocess"), ("AT_EXIT", "detach")):
        monkeypatch.setenv(f"CLOUDOPS_{name}", value)
    monkeypatch.setenv("LOG_LEVEL", "debug")
    monkeypatch.setenv("LOG_OUTPUT", output)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=workdir, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    kept = "".join(file.read_text() for file in workdir.glob("logs/*.log"))
    shown = "".join(line for line in done.stdout.splitlines(keepends=True) if line[0] == "[")
    assert bool(kept) is (output != "std")
    assert bool(shown) is (output != "file")
    for text in filter(None, (kept, shown)):
        place = 0
        for wanted in SAID:
            found = re.compile(rf"^\[DEBUG\] \S+: {wanted}$", re.MULTILINE).search(text, place)
            assert found, f"{wanted}\n{text}"
            place = found.end() if "agent" not in wanted else place
        assert "secret" not in text
