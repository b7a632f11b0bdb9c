"""The engines that tests start leave the machine's interfaces and packet filter alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import REQUIRED

ENGINES = Path(__file__).parents[2] / ".ci" / "engines"

#: In a network namespace that stands for the machine, one with the bridge of an engine of its own.
MACHINE = r"""
set -e
ip link set lo up
ip link add docker0 type bridge
iptables --append FORWARD --in-interface docker0 --jump ACCEPT
look() { ip -oneline link | cut -d ' ' -f 2 && iptables-save | sed -e '/^#/d' -e 's| \[[0-9:]*\]$||'; }
look >"$1/before"
"$2" "$3" start --state "$1/engines" --only docker $4 >"$1/log" 2>&1 || { cat "$1/log"; exit 1; }
look >"$1/during"
"$2" "$3" stop --state "$1/engines"
look >"$1/after"
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short name: the engine's sockets lie below it."""
    with tempfile.TemporaryDirectory(prefix="e-", dir="/tmp") as name:
        yield Path(name)


@pytest.mark.root
@pytest.mark.parametrize("options", ["", "--bridge"])
def test_machine_stays_as_it_is(place: Path, options: str):
    """Neither with a network nor without does a daemon touch interfaces or rules that it finds."""
    tools = ("dockerd", "ip", "iptables", "unshare", str(ENGINES))
    missing = [name for name in tools if not shutil.which(name)]
    if missing and "docker" not in REQUIRED:
        pytest.skip(f"needs {', '.join(tools)}")
    argv = ["unshare", "--net", "sh", "-c", MACHINE, "sh"]
    done = subprocess.run(
        [*argv, str(place), sys.executable, str(ENGINES), options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    before, during, after = ((place / name).read_text() for name in ("before", "during", "after"))
    assert "docker0" in before
    assert during == before
    assert after == before
