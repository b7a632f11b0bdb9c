"""What the scripts share: a pool, a job, and how the agent is doing."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

from cfa.cloudops.local import CloudClient

IMAGE = "cloudops-test/busybox:1"


def start() -> tuple[CloudClient, str]:
    """A client with a pool and a job of a name of its own; container names are the engine's."""
    client = CloudClient()
    client.create_pool("bench", container_image_name=IMAGE, max_autoscale_nodes=64)
    return client, new_job(client)


def new_job(client: CloudClient, suffix: str = "") -> str:
    name = f"bench-{os.getpid()}{suffix}"
    client.create_job(name, pool_name="bench")
    return name


def warm_up(client: CloudClient) -> None:
    """Have the agent up and everything loaded."""
    name = new_job(client, "-warm")
    client.add_task_collection(name, [{"command_line": "true"}] * 10)
    client.monitor_job(name)


def agent_pid() -> int:
    """The agent's process, which it tells who connects."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(10)
        directory = os.open(".cloudops", os.O_RDONLY | os.O_DIRECTORY)
        try:
            line.connect(f"/proc/self/fd/{directory}/agent.sock")
        finally:
            os.close(directory)
        return int(line.recv(200).split()[2])


def status(pid: int, key: str) -> int:
    """A number of `/proc/<pid>/status`, summed over the threads where each has its own."""
    found = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for line in (thread / "status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == key:
                number = int(value.split()[0])
                found = max(found, number) if key.startswith("Vm") else found + number
    return found


def report(**found: Any) -> None:
    print(json.dumps(found))
