"""The tree of one container: steps into its folders, its listing, its empty folders."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cfa.cloudops.errors import BlobNotFoundError, ConflictError
from cfa.cloudops.model import names
from cfa.cloudops.provider.blob import BlobProperties
from cloudops_fsspec import _files

_log = logging.getLogger(__name__)
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def no_blob(top: Path, blob: str) -> BlobNotFoundError:
    return BlobNotFoundError(
        f"There is no blob {blob!r} in {top.name!r}.",
        f"list_blob_files({top.name!r}) shows what there is.",
    )


def step(top: Path, done: str, above: int, part: str, *, create: bool) -> int:
    """From an open folder into one of its own: `done` is the whole way so far."""
    with _files.explained(f"Could not open the folder {done!r} of {top.name!r}"):
        try:
            try:
                return os.open(part, DIRECTORY, dir_fd=above)
            except FileNotFoundError:
                if not create:
                    raise
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=above)
                return os.open(part, DIRECTORY, dir_fd=above)
        except FileNotFoundError:
            if create:
                raise _files.VanishedError from None
            raise no_blob(top, done) from None
        except NotADirectoryError:
            # A file or a link. The link is followed if it stays inside, by its resolved path.
            way = names.inside(top, done)
            if way.is_dir():
                return os.open(way.resolve(), DIRECTORY)
            if not create:
                raise no_blob(top, done) from None
            raise ConflictError(
                f"{done!r} in {top.name!r} is a blob, so there can be no folder of that name.",
                "Choose another folder or delete the blob.",
            ) from None


def properties(blob: str, status: os.stat_result) -> BlobProperties:
    return BlobProperties(
        name=blob, size=status.st_size, modified=datetime.fromtimestamp(status.st_mtime, UTC)
    )


def walk(root: Path, top: Path, folder: str) -> Iterator[BlobProperties]:
    """Blobs below an existing folder, in the order of their names.

    Sorting folders as `name/` within each level gives the order of the whole names. Links to
    folders are not entered (they could go in circles); links to files count when they stay inside
    `root`.
    """
    stack = [(str(top), f"{folder}/" if folder else "", False)]
    while stack:
        path, prefix, is_file = stack.pop()
        try:
            if is_file:
                status = os.stat(path)
                if stat.S_ISREG(status.st_mode):
                    yield properties(prefix, status)
                continue
            with os.scandir(path) as entries:
                found = [found for entry in entries if (found := _entry(root, path, prefix, entry))]
        except (FileNotFoundError, NotADirectoryError):
            continue  # deleted while we look
        except OSError as error:
            raise _files.explain(error, f"Could not list {prefix!r}") from None
        found.sort(key=lambda item: item[1], reverse=True)
        stack.extend(found)


def _entry(
    root: Path, path: str, prefix: str, entry: os.DirEntry[str]
) -> tuple[str, str, bool] | None:
    """(path, name or prefix, is a file) of what a listing shows, else None."""
    if _files.is_temporary(entry.name):
        _files.reap(path, entry.name)
        return None
    if entry.is_dir(follow_symlinks=False):
        return entry.path, f"{prefix}{entry.name}/", False
    if entry.is_symlink():
        way = os.path.realpath(entry.path)
        if not way.startswith(f"{root}/") or not os.path.isfile(way):
            _log.debug("the link %s%s is not a blob of %s", prefix, entry.name, root)
            return None
    return entry.path, prefix + entry.name, True


def remove_empty(top: Path, folder: str) -> None:
    """Remove a folder and those above it for as long as they are empty. Folders are virtual."""
    with contextlib.suppress(OSError):  # not empty, or gone
        while folder:
            os.rmdir(top / folder)
            folder = folder.rpartition("/")[0]
