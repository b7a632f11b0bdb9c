"""Copying many files: in batches, by a few threads that stop together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from cfa.cloudops.beneath import Place
from cfa.cloudops.provider.blob import LocalFile
from cloudops_fsspec import _files, _resume
from cloudops_fsspec._stage import Stage

#: Files copied by one worker in one go.
BATCH = 128
#: Two threads keep two cores and the disk's queue busy; more fight for the interpreter's lock.
WORKERS = 2

#: (open source, its status, open folder, name there, watch)
Copy = Callable[[int, os.stat_result, Place, str, _files.Watch | None], None]
#: (file of the caller, own name of the blob)
Files = Sequence[tuple[LocalFile, str]]
Item = TypeVar("Item")


def cut(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Work for one worker at a time."""
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


def store(
    source: LocalFile,
    parent: Place,
    base: str,
    blob: str,
    copy: Copy,
    watch: _files.Watch | None,
) -> os.stat_result:
    """Copy one file of the caller. Returns its status before."""
    fd, status = _files.open_source(source)
    try:
        copy(fd, status, parent, base, watch)
        if watch:
            watch.completed()
        return status
    except OSError as error:
        raise _files.explain(error, f"Could not store the blob {blob!r}") from None
    finally:
        os.close(fd)


def fill(stage: Stage, folder: str, files: Files, watch: _files.Watch) -> None:
    """Store files in a folder of a stage, and note those that are complete."""
    with _files.explained(f"Could not store {folder!r}"):
        parent = stage.open_folder(folder)
        done: list[tuple[str, os.stat_result]] = []
        try:
            for source, base in files:
                if watch.stopped:
                    return
                blob = f"{folder}/{base}"
                status = store(source, parent, base, blob, _files.create, watch)
                done.append((blob, status))
                if status.st_size >= _resume.FROM_BYTES:
                    stage.note(done)
                    done.clear()
        finally:
            parent.close()
            stage.note(done)


def run(work: list[Callable[[], None]], watch: _files.Watch) -> None:
    """Do all of it, a part at a time in each worker. The first error ends the rest."""
    if len(work) <= 1:
        for call in work:
            call()
        return
    from concurrent.futures import ThreadPoolExecutor, as_completed  # not needed for a few files

    with ThreadPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(call) for call in work]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException as error:
            # What a worker is writing now is removed by it, unless it may be asked for again.
            watch.stop(keep=not isinstance(error, Exception))
            pool.shutdown(wait=False, cancel_futures=True)
            raise
