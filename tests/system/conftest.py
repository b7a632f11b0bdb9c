"""What the system tests share: a bench with clients, scripts and bounded waiting."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cfa.cloudops.local import CloudClient
from cfa.cloudops.model.values import Job, JobState, Task
from cfa.cloudops.provider.container import HOME_LABEL

LIMIT_S = 60.0


class Bench:
    """A fresh directory with a backend, and what tests do in it.

    Attributes:
        place: the current directory.
        backend: see `tests/conftest.py`.
        image: a small image with a shell.
    """

    def __init__(self, place: Path, backend: Any, image: str) -> None:
        self.place = place
        self.backend = backend
        self.image = image
        self._clients: list[CloudClient] = []
        self._scripts: list[subprocess.Popen[str]] = []

    @property
    def containers(self) -> bool:
        """Whether nodes are containers."""
        return self.backend.engine is not None

    def client(self, **settings: Any) -> CloudClient:
        """A client that is closed after the test."""
        client = CloudClient(**settings)
        self._clients.append(client)
        return client

    def ready(self, job: str = "j", pool: str = "p", **more: Any) -> CloudClient:
        """A client with a pool and a job; keywords of either of the two are sorted out."""
        client = self.client(
            **{name: more.pop(name) for name in ("isolation", "max_parallel") if name in more}
        )
        of_job = {
            name: more.pop(name)
            for name in (
                "task_retries", "timeout", "mark_complete_after_tasks_run", "task_id_ints",
                "exist_ok", "verify_pool", "save_logs_to_blob", "logs_folder",
            )
            if name in more
        }  # fmt: skip
        more.setdefault("container_image_name", self.image)
        client.create_pool(pool, **more)
        client.create_job(job, pool, **of_job)
        return client

    def close(self) -> None:
        """End what still runs and let go of it."""
        for process in self._scripts:
            process.kill()
            with process:  # closes its pipes and waits
                pass
        for client in self._clients:
            client.close()

    def script(self, text: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start a user's script."""
        path = self.place / "script.py"
        path.write_text(text)
        process = subprocess.Popen(
            [sys.executable, path, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self._scripts.append(process)
        return process

    def run(self, text: str, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Run a user's script; exit status, standard output, standard error."""
        with self.script(text, *arguments, **environment) as process:
            try:
                out, err = process.communicate(timeout=LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                pytest.fail(f"the script did not end; it said {out!r}, {err!r}")
        return process.returncode, out, err

    # --- waiting

    def until(
        self, client: CloudClient, condition: Callable[[], Any], limit_s: float = LIMIT_S
    ) -> Any:
        """Wait until a condition holds; what it gave."""
        deadline = time.monotonic() + limit_s
        while not (found := condition()):
            assert time.monotonic() < deadline, f"it did not happen:\n{self.describe(client)}"
            client._batch.wait_for_change(0.1)
        return found

    def finished(self, client: CloudClient, job: str = "j") -> dict[str, Task]:
        """Wait until no task of a job is active or running; its tasks by id."""
        self.until(client, lambda: self._idle(client, job))
        return {task.id: task for task in client._batch.list_tasks(job)}

    def _idle(self, client: CloudClient, job: str) -> bool:
        counts = client._batch.task_counts(job)
        return counts.active + counts.running == 0

    def completed(self, client: CloudClient, job: str = "j") -> Job:
        """Wait until a job is completed."""
        self.until(client, lambda: client._batch.get_job(job).state is JobState.COMPLETED)
        return client._batch.get_job(job)

    def running(self, client: CloudClient, task: str, job: str = "j") -> None:
        """Wait until a task has said something."""
        self.until(client, lambda: self.output(client, task, job))

    def output(self, client: CloudClient, task: str, job: str = "j", name: str = "stdout") -> str:
        """What a task printed so far."""
        return str(client._batch.read_task_file(job, task, f"{name}.txt").decode())

    def describe(self, client: CloudClient) -> str:
        """Everything that helps to understand a failed test."""
        lines = []
        for job in client._batch.list_jobs():
            lines.append(f"{job.spec.id}: {job.state} {job.counts} {job.problem}")
            lines += [f"  {task}" for task in client._batch.list_tasks(job.spec.id)]
        log = self.place / ".cloudops" / "agent.log"
        if log.exists():
            lines.append(log.read_text())
        return "\n".join(lines)

    # --- engines

    def agent_pid(self) -> int | None:
        """The agent of this directory's workspace. Not by its socket, whose path may be too long."""
        mark = str(self.place / ".cloudops").encode()
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark in words and any(b"agent" in word for word in words):
                return int(entry.name)
        return None

    def until_gone(self, pid: int | None) -> None:
        """Wait until a process has ended."""
        deadline = time.monotonic() + LIMIT_S
        while pid is not None and _runs(pid):
            assert time.monotonic() < deadline, f"process {pid} does not end"
            time.sleep(0.05)

    def container_names(self) -> list[str]:
        """Names of the running containers of this directory's workspace."""
        if self.backend.engine is None:
            return []
        label = f"label={HOME_LABEL}={self.place / '.cloudops'}"
        listed = self.backend.engine.run(
            "ps", "--filter", label, "--format", "{{.Names}}", timeout_s=60
        )
        return sorted(listed.stdout.split())

    def network(self, container: str) -> int | None:
        """The network namespace of a container, if it runs."""
        said = self.backend.engine.run(
            "inspect", "--format", "{{.State.Pid}}", container, timeout_s=60
        )
        try:
            return os.stat(f"/proc/{int(said.stdout)}/ns/net").st_ino
        except (OSError, ValueError):  # it has ended
            return None


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""  # a zombie has none
    except OSError:
        return False


@pytest.fixture
def bench(workdir: Path, backend: Any, image: str) -> Iterator[Bench]:
    """A fresh directory on each backend."""
    made = Bench(workdir, backend, image)
    yield made
    made.close()


def container_name(image: str, job: str) -> str:
    """The name that a job's container must have."""
    return f"{re.sub('[/:]', '_', image)}.{job}"


@pytest.fixture
def short_tmp(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A temporary directory with a short path: Python's fork server puts a socket there, whose path may
    have 107 bytes."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        monkeypatch.setenv("TMPDIR", place)
        yield
