"""What a Podman service said of itself, remembered for a minute.

Podman looks up its own packages for that, which takes 0.2 seconds and more. A script asks once, and
so does the agent that runs its tasks.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cloudops_podman.service import Endpoint

#: Seconds for which an answer counts.
_LASTS_S = 60.0
#: More than anything that a service says.
_MOST_BYTES = 1 << 20


def find(endpoint: Endpoint) -> Mapping[str, Any] | None:
    """What this user has kept of a service; None if there is nothing of the last minute."""
    place = _place(endpoint)
    if place is None:
        return None
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
            if not ours or not 0 <= time.time() - found.st_mtime < _LASTS_S:
                return None
            answer: Any = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def keep(endpoint: Endpoint, info: Mapping[str, Any]) -> None:
    """Keep what a service said. Where that cannot be written, it is asked again the next time."""
    place = _place(endpoint)
    if place is None:
        return
    with contextlib.suppress(OSError):
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=place.parent, delete=False) as file:
            json.dump(info, file)
        os.replace(file.name, place)


def forget(endpoint: Endpoint) -> None:
    """Have the service asked anew."""
    place = _place(endpoint)
    if place is not None:
        with contextlib.suppress(OSError):
            place.unlink()


def _place(endpoint: Endpoint) -> Path | None:
    """A file for this very socket; None for a service that is not known by one."""
    path = urlsplit(endpoint.url).path
    try:
        found = os.stat(path)
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except (OSError, RuntimeError, ValueError):
        return None
    if not stat.S_ISSOCK(found.st_mode) or not cache.is_absolute():
        return None
    socket = f"{endpoint.url} {found.st_dev} {found.st_ino} {found.st_ctime_ns}"
    return cache / "cfa-cloudops" / f"podman-{hashlib.sha256(socket.encode()).hexdigest()[:16]}"
