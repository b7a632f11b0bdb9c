"""The raw ways to run a task in a container: `exec`, a warm shell, a fresh container by the API."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from measure import IMAGE, timed

from cfa.cloudops.service.workspace import write_task

LAUNCHER = Path(__file__).parents[1] / "src/cfa/cloudops/service/launcher.sh"


def exec_s(engine: str, count: int = 25) -> float:
    """Seconds a task of a loop of `docker exec` into one warm container."""
    name = f"cloudops-benchmark-{secrets.token_hex(4)}"
    timed([engine, "run", "--detach", "--rm", "--name", name, IMAGE, "/bin/sleep", "1800"])
    try:
        timed([engine, "exec", name, "true"])
        start = time.monotonic()
        for _ in range(count):
            timed([engine, "exec", name, "true"])
        return (time.monotonic() - start) / count
    finally:
        timed([engine, "rm", "--force", name])


def warm_shell_s(engine: str, count: int, width: int, directory: Path) -> float:
    """Seconds a task of our launcher in a warm container, fed by nothing but a loop: no store, no
    client. The container's start is not counted."""
    (directory / "node").mkdir()
    shutil.copyfile(LAUNCHER, directory / "node/launcher.sh")
    argv = [engine, "run", "--interactive", "--rm", "--volume", f"{directory}:/work"]
    if engine == "docker":
        argv += ["--user", f"{os.getuid()}:{os.getgid()}"]
    argv += [IMAGE, "/bin/sh", "/work/node/launcher.sh", "serve", "/work/node"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as node:
        assert node.stdin is not None
        assert node.stdout is not None
        assert node.stdout.readline().startswith(b"ready")
        start = time.monotonic()
        slots = deque(range(1, width + 1))
        running: dict[bytes, int] = {}
        waiting = iter(range(count))
        while True:
            for number in itertools.islice(waiting, len(slots)):
                write_task(f"{directory}/{number}", ["true"])
                slot = slots.popleft()
                running[b"%d" % number] = slot
                node.stdin.write(b"run %d %d /work/%d\n" % (slot, number, number))
            node.stdin.flush()
            if not running:
                break
            slots.append(running.pop(node.stdout.readline().split()[1]))
        end = time.monotonic()
        node.stdin.close()
        node.wait(timeout=60)
    return (end - start) / count


# --- fresh containers


class _Line(http.client.HTTPConnection):
    """One connection to an engine's API."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(120)
        self.sock.connect(self._path)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        data = b"" if body is None else json.dumps(body).encode()
        self.request(method, path, data, {"Content-Type": "application/json"})
        answer = self.getresponse()
        found = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {found.decode()}")
        return json.loads(found) if found else None


def _container(number: int, directory: Path | None) -> dict[str, Any]:
    if directory is None:
        return {"Image": IMAGE, "Cmd": ["true"]}
    script = f"true >/work/{number}.out 2>/work/{number}.err"
    return {
        "Image": IMAGE,
        "Cmd": ["/bin/sh", "-c", script],
        "HostConfig": {"Binds": [f"{directory}:/work"]},
    }


def _runs(line: _Line, container: str) -> bool:
    try:
        return bool(line.ask("GET", f"{container}/json")["State"]["Running"])
    except RuntimeError as error:
        if "no such process" in str(error):  # Podman, at the moment in which it ends
            return True
        raise


def fresh_container_s(
    address: str, count: int, threads: int, directory: Path | None = None
) -> float:
    """Seconds a task of fresh containers by the Docker API, in a few threads: while one creates,
    others start, wait and remove. With a directory, the task's output is kept there in two files."""
    path = urlsplit(address).path
    local = threading.local()
    lines = []

    def one(number: int) -> None:
        if not hasattr(local, "line"):
            local.line = _Line(path)
            lines.append(local.line)
        line = local.line
        found = line.ask("POST", "/containers/create", _container(number, directory))
        here = f"/containers/{found['Id']}"
        line.ask("POST", f"{here}/start")
        # Never `wait`: Podman answers it late.
        while _runs(line, here):
            time.sleep(0.01)
        line.ask("DELETE", f"{here}?force=1")

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, range(threads)))  # connected and warm
        start = time.monotonic()
        list(pool.map(one, range(count)))
        end = time.monotonic()
    for line in lines:
        with closing(line):
            pass
    return (end - start) / count
