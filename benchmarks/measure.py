"""What all measurements share: fresh workspaces, user-level scripts, lines of the table."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from attrs import define, field, frozen

from cfa.cloudops.backends import load_executor
from cfa.cloudops.errors import BackendError
from cfa.cloudops.testing import images

SCRIPTS = Path(__file__).with_name("scripts")
#: Image of all container measurements: as little of its own as possible.
IMAGE = images.BUSYBOX
#: Seconds that anything may take; the largest job runs for minutes.
LIMIT_S = 1800.0
#: The agent leaves soon after its script, so that it does not disturb the next measurement.
_IDLE_S = "0.5"


@frozen
class Limit:
    """`at_least` or `at_most` a number."""

    at_least: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )

    def __str__(self) -> str:
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"


@frozen(kw_only=True)
class Line:
    """One line of the table.

    Attributes:
        work: what was done.
        measured, raw: our number and that of the raw way in the same run, with units.
        value: what promise and goal are about, in `unit` (`x` for a ratio).
        promise, goal: None where the line is for information.
    """

    work: str
    measured: str
    value: float
    unit: str = "x"
    raw: str = ""
    promise: Limit | None = None
    goal: Limit | None = None

    @property
    def kept(self) -> bool:
        return self.promise is None or self.promise.holds(self.value)


@frozen
class Left:
    """Something that was left out, and why."""

    work: str
    why: str


@define
class Bench:
    """One run of the benchmarks: what to do, and a place for it."""

    backends: Sequence[str] = ("subprocess", "docker", "podman")
    quick: bool = False
    full: bool = False
    place: Path = field(init=False)
    _count: int = 0
    _answers: dict[str, str | None] = field(init=False, factory=dict)
    _titles: dict[str, str] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="cloudops-benchmarks-"))

    @property
    def repeats(self) -> int:
        return 1 if self.quick else 3

    def remove(self) -> None:
        """Remove everything at the end, not in between: on ext4, deleting thousands of files makes
        every new one slow for minutes."""
        shutil.rmtree(self.place, ignore_errors=True)

    def fresh(self) -> Path:
        """A new empty directory."""
        self._count += 1
        directory = self.place / str(self._count)
        directory.mkdir()
        return directory

    # --- backends

    def why_not(self, backend: str) -> str | None:
        """Why a backend cannot be measured; None when it can."""
        if backend not in self._answers:
            self._answers[backend] = self._ask(backend)
        return self._answers[backend]

    def _ask(self, backend: str) -> str | None:
        if backend not in self.backends:
            return "not asked for"
        try:
            executor = load_executor(backend)
            try:
                found = executor.probe()
            finally:
                executor.close()
            if found.images:
                images.load(images.engine(backend), IMAGE)
        except BackendError as error:
            return str(error)
        self._titles[backend] = (
            f"{backend} rootless" if found.images and found.rootless else backend
        )
        return None

    def title(self, backend: str) -> str:
        """The backend's name for people; valid when it answers."""
        return self._titles.get(backend, backend)

    # --- scripts

    def environment(self, backend: str, **more: str) -> dict[str, str]:
        """A user's environment: no setting of ours but these."""
        found = {name: value for name, value in os.environ.items() if "CLOUDOPS_" not in name}
        return {
            **found,
            "CLOUDOPS_BACKEND": backend,
            "CLOUDOPS_AGENT_IDLE_S": _IDLE_S,
            **more,
        }

    def script(
        self, name: str, *arguments: Any, backend: str, **environment: str
    ) -> dict[str, Any]:
        """Run a script in a fresh Python process and a fresh workspace; what it printed last.

        `process_s` is added: seconds from the start of the process to its end.
        """
        directory = self.fresh()
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, str(SCRIPTS / f"{name}.py"), *map(str, arguments)],
            cwd=directory,
            env=self.environment(backend, **environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=LIMIT_S,
            check=True,
        )
        process_s = time.monotonic() - start
        settle(directory)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return {**found, "process_s": process_s}


def settle(directory: Path, limit_s: float = 180.0) -> None:
    """Wait until the agent of a workspace has left."""
    lock = directory / ".cloudops" / "agent.lock"
    deadline = time.monotonic() + limit_s
    with lock.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"The agent of {directory} does not leave.") from None
                time.sleep(0.02)


def timed(argv: Sequence[str], **options: Any) -> float:
    """Seconds that a program takes from start to end."""
    start = time.monotonic()
    subprocess.run(
        argv,
        stdin=options.pop("stdin", subprocess.DEVNULL),
        stdout=subprocess.DEVNULL,
        timeout=LIMIT_S,
        check=True,
        **options,
    )
    return time.monotonic() - start


def output(argv: Sequence[str]) -> str:
    """What a program prints."""
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S, check=True
    )
    return done.stdout


def middle(values: Sequence[float]) -> float:
    return float(median(values))


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"
