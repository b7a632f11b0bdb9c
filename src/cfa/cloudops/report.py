"""The file by which clients tell the `cloudops run` above them how the tasks that they added ended.

It has no more protection than what the user owns: tasks may run as the same user, and find its path. So
`cloudops run` reads it by its own descriptor. Clients write only into what can be the file.
"""

from __future__ import annotations

import json
import os
import stat
from typing import Any

from cfa.cloudops.beneath import Place

#: How its name begins, before the process id of the `cloudops run` and a further hyphen.
PREFIX = "cloudops-run-"
#: Bytes that are read at most; a line has a few hundred.
_MOST = 1 << 24
_CHUNK = 1 << 20


def is_there(path: str) -> bool:
    """Whether a report is at this path: of a living `cloudops run`, unless that was killed."""
    try:
        return _is_ours(path, os.lstat(path))
    except (OSError, ValueError):  # a path that cannot be one
        return False


def append(path: str, text: str) -> None:
    """Add whole lines to the report at this path; nothing where none is."""
    above, name = os.path.split(path)
    try:
        with Place.open(above) as place:
            descriptor = place.file(name, os.O_WRONLY | os.O_APPEND)
    except (OSError, ValueError):
        return  # the one who asked is gone
    try:
        if _is_ours(path, os.fstat(descriptor)):
            os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _is_ours(path: str, found: os.stat_result) -> bool:
    name = os.path.basename(path)
    return name.startswith(PREFIX) and stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()


def is_at(path: str, descriptor: int) -> bool:
    """Whether the file is still where clients look for it."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except OSError:
        return False


def read(descriptor: int) -> list[dict[str, Any]]:
    """Its lines, oldest first. What is no JSON object is left out."""
    data = bytearray()
    while len(data) < _MOST and (part := os.pread(descriptor, _CHUNK, len(data))):
        data += part
    found = []
    for line in data.splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    return found
