"""Progress bars of long copies: at a terminal, on standard error."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cfa.cloudops.provider.blob import Progress

#: What is less than both is over before a bar tells anything.
_FROM_FILES = 50
_FROM_BYTES = 64 << 20


def uploading(files: Collection[str]) -> contextlib.AbstractContextManager[Progress | None]:
    """A bar for storing these local files, or None where nobody would see it."""
    size = sum(map(size_of, files)) if _seen() else 0
    return _bar("Uploading files", len(files), size)


def downloading(files: int, size: int) -> contextlib.AbstractContextManager[Progress | None]:
    """A bar for fetching so many files of so many bytes together, or None."""
    return _bar("Downloading files", files, size)


def _seen() -> bool:
    stream = getattr(sys, "stderr", None)  # None in a program without a console
    return stream is not None and not stream.closed and stream.isatty()


def size_of(path: str) -> int:
    """Bytes of a file; 0 when it cannot be told."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0  # the copy says what is wrong


@contextlib.contextmanager
def _bar(title: str, files: int, size: int) -> Iterator[Progress | None]:
    if not _seen() or (files < _FROM_FILES and size < _FROM_BYTES):
        yield None
        return
    from rich.console import Console  # a tenth of a second, for those who look
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[files]}/{task.fields[total_files]} files"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=size, files=0, total_files=files)
        done = 0
        counting = threading.Lock()

        def report(completed: int, copied: int) -> None:
            nonlocal done
            with counting:
                done += completed
                bar.update(task, advance=copied, files=done)

        yield report
