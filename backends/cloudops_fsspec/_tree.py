"""The tree of one container: its folders and blobs, its listing, its empty folders.

All of it is reached from the open directory of the container. Links are followed that stay in it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby

from cfa.cloudops.beneath import Place, WrongTypeError
from cfa.cloudops.errors import (
    BlobContainerNotFoundError,
    BlobNotFoundError,
    CloudOpsError,
    ConflictError,
    UnsafePathError,
)
from cfa.cloudops.provider.blob import BlobProperties
from cloudops_fsspec import _files, _folders

_log = logging.getLogger(__name__)


def name(top: Place) -> str:
    """The name of an open container."""
    return top.path.rpartition("/")[2]


def no_blob(top: Place, blob: str) -> BlobNotFoundError:
    return BlobNotFoundError(
        f"There is no blob {blob!r} in {name(top)!r}.",
        f"list_blob_files({name(top)!r}) lists the blobs.",
    )


def _explain(error: OSError, top: Place, way: str, tried: str) -> CloudOpsError:
    if error.errno == errno.EXDEV:
        return UnsafePathError(
            f"{way!r} leads out of {name(top)!r} through a symbolic link.",
            "Remove the link or name its target.",
        )
    if error.errno == errno.ELOOP:
        return UnsafePathError(
            f"{way!r} cannot be followed in {name(top)!r}: its links go in a circle.",
            "Remove the link.",
        )
    return _files.explain(error, f"Could not {tried} {way!r} of {name(top)!r}")


def enter(top: Place, folder: str) -> Place:
    """An existing folder.

    Raises:
        BlobNotFoundError: there is none. UnsafePathError: a link leads out.
    """
    try:
        return top.enter(folder, links=True)
    except (FileNotFoundError, NotADirectoryError):
        raise no_blob(top, folder) from None
    except OSError as error:
        raise _explain(error, top, folder, "open the folder") from None


def enter_to_write(top: Place, folder: str) -> Place:
    """A folder, made if missing.

    Raises:
        ConflictError: a blob is in the way. UnsafePathError: a link leads out.
    """
    try:
        for _ in range(_files.ATTEMPTS):
            with contextlib.suppress(FileNotFoundError):
                return top.enter(folder, links=True)
            with contextlib.suppress(FileNotFoundError):  # deleted again: its last blob was
                return top.enter(folder, make=True, links=True)
    except NotADirectoryError:
        raise ConflictError(
            f"{folder!r} in {name(top)!r} is a blob or below one, so there can be no folder of "
            "that name.",
            "Choose another folder or delete the blob.",
        ) from None
    except OSError as error:
        raise _explain(error, top, folder, "open the folder") from None
    if not os.fstat(top.fileno()).st_nlink:
        raise no_container(name(top), "Another process deleted it.")
    raise restless(folder)


def no_container(container: str, hint: str) -> BlobContainerNotFoundError:
    return BlobContainerNotFoundError(f"There is no blob container {container!r}.", hint)


def restless(folder: str) -> ConflictError:
    return ConflictError(
        f"The folder {folder!r} is deleted again and again while it is written to.",
        "Do not delete and write it at the same time.",
    )


def open_blob(top: Place, blob: str) -> tuple[int, os.stat_result]:
    """A descriptor of a blob, and its status.

    Raises:
        BlobNotFoundError: there is none. UnsafePathError: a link leads out.
    """
    try:
        fd = top.file(blob, links=True)
    except (FileNotFoundError, NotADirectoryError, WrongTypeError):
        raise no_blob(top, blob) from None
    except OSError as error:
        raise _explain(error, top, blob, "read the blob") from None
    return fd, os.fstat(fd)


def properties(blob: str, status: os.stat_result) -> BlobProperties:
    return BlobProperties(
        name=blob, size=status.st_size, modified=datetime.fromtimestamp(status.st_mtime, UTC)
    )


def walk(top: Place, folder: str) -> Iterator[BlobProperties]:
    """Blobs below an existing folder, in the order of their names.

    Sorting folders as `name/` within each level gives the order of the whole names. Links to
    folders are not entered (they could go in circles); links to files count when they stay inside
    the container.

    However many folders are in one another, two are open at a time.
    """
    with enter(top, folder) as start:
        prefix = f"{folder}/" if folder else ""
        stack: list[tuple[str, list[str]]] = [("", [])]  # ways have a slash at their end
        while stack:
            way, files = stack.pop()
            try:
                place = start.enter(way[:-1])
            except (FileNotFoundError, NotADirectoryError):
                continue  # deleted while we look
            except OSError as error:
                if error.errno == errno.ELOOP:  # or replaced
                    continue
                raise _explain(error, top, prefix + way, "list") from None
            with place:
                if not files:
                    stack.extend(_runs(place, way, prefix))
                for file in files:
                    found = _blob(top, place, file, f"{prefix}{way}{file}")
                    if found:
                        yield found


def _runs(place: Place, way: str, prefix: str) -> Iterator[tuple[str, list[str]]]:
    """What there is in an open folder, the last names first: the ways of its folders, without names,
    and between them its own way with the names of files in it."""
    with _files.explained(f"Could not list {prefix + way!r}"):
        folders, files = _folders.contents(place)
    found = [f"{name}/" for name in folders if not _reaped(place, name)]
    found += [name for name in files if not _reaped(place, name)]
    found.sort(reverse=True)
    for are_folders, group in groupby(found, key=lambda name: name.endswith("/")):
        if not are_folders:
            yield way, list(group)[::-1]
            continue
        for name in group:
            if _folders.holds_blobs(prefix + way + name):
                yield way + name, []
            else:
                _log.warning("%.80s... is too deep for blobs; left out", prefix + way + name)


def _reaped(place: Place, name: str) -> bool:
    """Whether it is a temporary; what a dead writer left is removed."""
    if not _files.is_temporary(name):
        return False
    _files.reap(place, name)
    return True


def _blob(top: Place, place: Place, file: str, blob: str) -> BlobProperties | None:
    """What a listing shows of a file in an open folder, if anything."""
    try:
        status = os.stat(file, dir_fd=place.fileno(), follow_symlinks=False)
    except OSError:
        return None  # deleted while we look
    if stat.S_ISLNK(status.st_mode):
        try:
            fd, status = open_blob(top, blob)
        except CloudOpsError:
            _log.debug("the link %s is not a blob of %s", blob, top.path)
            return None
        os.close(fd)
    return properties(blob, status) if stat.S_ISREG(status.st_mode) else None


def remove_empty(top: Place, folder: str) -> None:
    """Remove a folder and those above it for as long as they are empty. Folders are virtual."""
    with contextlib.suppress(OSError):  # not empty, or gone
        while folder:
            above, _, base = folder.rpartition("/")
            with top.enter(above, links=True) as place:
                place.remove_directory(base)
            folder = above


def canonical(top: Place, folder: str) -> str:
    """The one name among those that lead to a folder by links. What does not exist yet of it, or
    leads out, stays as it is: the way out is refused when it is taken."""
    missing: list[str] = []
    while folder:
        try:
            with top.enter(folder, links=True) as place:
                folder = _folders.path(place).removeprefix(_folders.path(top)).strip("/")
            break
        except OSError:
            folder, _, base = folder.rpartition("/")
            missing.insert(0, base)
    return "/".join(filter(None, [folder, *missing]))
