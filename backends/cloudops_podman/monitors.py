"""What a killed Podman leaves of a container that it had begun to start.

Its record then says that the container was never started, so that removing it leaves its monitor
(conmon), the first process of the OCI runtime, which waits to be started, and its network behind.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

#: Seconds that it may take, and between two tries.
_LIMIT_S, _STEP_S = 10.0, 0.05


def end_unstarted(container: str) -> None:
    """End the processes of a container that is not running, if there are any: by its OCI runtime,
    after which its monitor ends by itself. `container` is its full id."""
    deadline = time.monotonic() + _LIMIT_S
    # Again until the monitor is gone: the runtime may still be making the container.
    while (found := next(_monitors(container.encode()), None)) and time.monotonic() < deadline:
        try:
            runtime = found[found.index(b"-r") + 1]
            subprocess.run(
                [runtime, "delete", "--force", container],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_LIMIT_S,
                check=False,
            )
        except (ValueError, IndexError, OSError, subprocess.TimeoutExpired):
            return  # it is no monitor as we know them, or cannot be ended: Podman's own leftover
        time.sleep(_STEP_S)


def _monitors(container: bytes) -> Iterator[list[bytes]]:
    """Command lines of this user's monitors of a container."""
    for pid in os.listdir("/proc"):
        if not pid.isdecimal():
            continue
        try:
            words = Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
            mine = os.stat(f"/proc/{pid}").st_uid == os.getuid()
        except OSError:
            continue
        if mine and words[0].endswith(b"conmon") and words[3:5] == [b"-c", container]:
            yield words
