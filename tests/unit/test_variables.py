"""Variables that may be misspelt settings are named, and those that mean something are not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cfa.cloudops import settings
from cfa.cloudops.provider import hardening
from cfa.cloudops.variables import ONLY_IN_ENVIRONMENT

ROOT = Path(__file__).parents[2]
CLIENT = "from cfa.cloudops.local import CloudClient\nfor _ in '12': CloudClient().close()\n"


def remarks(environment, dotenv=None, backend="subprocess"):
    """What is said of these variables, each in one text."""
    found = settings.load(
        default_backend=backend, environment=environment, dotenv=dotenv or {}
    ).remarks
    return [" ".join(one) for one in found]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("CLOUDOPS_BAKEND", "Did you mean CLOUDOPS_BACKEND?"),
        ("CLOUDOPS_MAXPARALLEL", "Did you mean CLOUDOPS_MAX_PARALLEL?"),
        ("CLOUDOPS_DOCKER_CAPADD", "Did you mean CLOUDOPS_DOCKER_CAP_ADD?"),
        ("CLOUDOPS_AGENT_IDLE", "Did you mean CLOUDOPS_AGENT_IDLE_S?"),
        ("CLOUDOPS_", "Correct its name, or ignore this if it belongs to another program."),
        ("CLOUDOPS_zzz", "Correct its name, or ignore this if it belongs to another program."),
    ],
)
def test_misspelt(name, advice):
    """Each is named once for each place where it stands, with what is nearest."""
    what = f"{name} (from {{}}) is not a setting, and has no effect. {advice}"
    assert remarks({name: "x"}) == [what.format("environment")]
    assert remarks({}, {name: "x"}) == [what.format(".env")]
    assert len(remarks({name: "x"}, {name: "x"})) == 2


@pytest.mark.parametrize("name", sorted(ONLY_IN_ENVIRONMENT - {"CLOUDOPS_AGENT_IDLE_S"}))
def test_not_in_a_file(name):
    """What counts only in the environment is no mistake there, and one in a file."""
    assert remarks({name: "x"}) == []
    (said,) = remarks({}, {name: "x"})
    assert said.startswith(f"{name} (from .env) has no effect: it counts only in the environment.")
    assert said.endswith(f"export {name}=...")
    assert remarks({name: "x"}, {name: "x"}) == []


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"CLOUDOPS_BAKEND": ""},
        {"cloudops_bakend": "x", "MY_CLOUDOPS_BAKEND": "x", "CLOUDOPSBACKEND": "x"},
        {"CLOUDOPS_TEST_CACHE": "x", "CLOUDOPS_RUN_REPORT": "x", "CLOUDOPS_NODE": "x"},
        {"CLOUDOPS_BACKEND": "slurm", "CLOUDOPS_SLURM_PARTITION": "x"},
    ],
)
def test_no_mistakes(environment):
    """What is empty, internal, or of a backend that is a plugin is not named."""
    assert remarks(environment) == []


def test_auto():
    """The word for no particular backend is no name of one."""
    assert len(remarks({"CLOUDOPS_AUTO_SCALE_INTERVAL_S": "3"}, backend="auto")) == 1


def test_many():
    """Not more is said than anybody reads."""
    assert len(remarks({f"CLOUDOPS_{number}" * 40: "x" for number in range(1000)})) == 10
    assert all(len(one) < 300 for one in remarks({"CLOUDOPS_" + "x" * 100_000: "x"}))


def test_all_are_known():
    """Every variable that the code names is a setting, or known."""
    read = {
        name
        for folder in ("src", "backends")
        for file in (ROOT / folder).rglob("*.py")
        for name in re.findall(r"(?<!\w)CLOUDOPS_[A-Z_]+[A-Z]\b", file.read_text())
    }
    options = {
        hardening.variable(engine, option)
        for engine in ("docker", "podman")
        for option in ("cap_add", "no_new_privileges", "pids_limit")
    }
    assert remarks(dict.fromkeys(read - set(settings.VARIABLES), "1")) == []
    assert options <= ONLY_IN_ENVIRONMENT <= read | options


@pytest.mark.parametrize("place", ["environment", ".env"])
def test_client(workdir, monkeypatch, place):
    """A script says it once, and goes on."""
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    if place == "environment":
        monkeypatch.setenv("CLOUDOPS_BAKEND", "docker")
    else:
        Path(".env").write_text("CLOUDOPS_BAKEND=docker\nCLOUDOPS_\x1b[2J=1\n")
    done = subprocess.run(
        [sys.executable, "-c", CLIENT], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.count(f"CLOUDOPS_BAKEND (from {place}) is not a setting") == 1
    assert "Did you mean CLOUDOPS_BACKEND?" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


def test_doctor(workdir, monkeypatch):
    """`cloudops doctor` names it among the problems, and is content otherwise."""
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    monkeypatch.setenv("CLOUDOPS_STORGE", "x")
    done = subprocess.run(
        [sys.executable, "-m", "cfa.cloudops.cli", "doctor"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "CLOUDOPS_STORGE (from environment) is not a setting, and has no effect." in done.stdout
    assert "Did you mean CLOUDOPS_STORAGE?" in done.stdout
