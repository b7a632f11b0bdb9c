"""Folders in which tasks may change anything: what is in them, and in those below."""

from __future__ import annotations

import os
from collections.abc import Iterator

from cfa.cloudops.beneath import Place
from cfa.cloudops.errors import CloudOpsError
from cfa.cloudops.model import names


def contents(place: Place) -> tuple[list[str], list[str]]:
    """Names of the folders in an open one, and names of all else."""
    folders: list[str] = []
    others: list[str] = []
    with os.scandir(place.fileno()) as entries:
        for entry in entries:
            (folders if entry.is_dir(follow_symlinks=False) else others).append(entry.name)
    return folders, others


def below(top: Place) -> Iterator[tuple[str, Place, list[str]]]:
    """(way, the open folder, names of what is no folder in it) for an open folder and all below it,
    as deep as blobs can be. Those that go meanwhile are left out."""
    stack = [""]
    while stack:
        way = stack.pop()
        try:
            place = top.enter(way)
        except OSError:
            continue
        with place:
            folders, others = contents(place)
            yield way, place, others
        ways = (f"{way}/{name}" if way else name for name in folders)
        stack.extend(filter(holds_blobs, ways))


def holds_blobs(folder: str) -> bool:
    """Whether a blob in a folder can have a name."""
    try:
        names.blob(f"{folder}/x")
    except CloudOpsError:
        return False
    return True


def path(place: Place) -> str:
    """Where an open directory is now, without links."""
    try:
        return os.readlink(f"/proc/self/fd/{place.fileno()}")
    except OSError:  # a system without
        return os.path.realpath(place.path)
