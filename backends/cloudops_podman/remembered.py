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
#: What a service of our own takes its settings from.
_SETTINGS = (
    "HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "CONTAINERS_CONF",
    "CONTAINERS_CONF_OVERRIDE",
    "CONTAINERS_STORAGE_CONF",
    "STORAGE_DRIVER",
)
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
        # Of services that are gone, and half-written ones.
        for old in place.parent.glob("podman-*"):
            if time.time() - old.lstat().st_mtime >= _LASTS_S:
                old.unlink()
        with tempfile.NamedTemporaryFile(
            "w", dir=place.parent, prefix="podman-", delete=False
        ) as file:
            json.dump(info, file)
        os.replace(file.name, place)


def forget(endpoint: Endpoint) -> None:
    """Have the service asked anew."""
    place = _place(endpoint)
    if place is not None:
        with contextlib.suppress(OSError):
            place.unlink()


def _place(endpoint: Endpoint) -> Path | None:
    """A file for this very service; None for one that is known by its address alone.

    A service is known by its socket. One of our own is as another that the same program starts with the
    same settings.
    """
    try:
        if endpoint.program:
            known = [_identity(endpoint.program), *map(os.environ.get, _SETTINGS)]
        else:
            known = [endpoint.url, _identity(urlsplit(endpoint.url).path)]
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except (OSError, RuntimeError, ValueError):
        return None
    if not cache.is_absolute():
        return None
    name = hashlib.sha256(repr(known).encode()).hexdigest()[:16]
    return cache / "cfa-cloudops" / f"podman-{name}"


def _identity(path: str) -> tuple[int, int, int]:
    """Of a socket or a program. Raises: OSError, ValueError."""
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):  # of the address of another machine
        raise IsADirectoryError(path)
    return found.st_dev, found.st_ino, found.st_ctime_ns
