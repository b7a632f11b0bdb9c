"""Progress bars of long copies: at a terminal, on standard error."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Collection, Iterable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self

from cfa.cloudops.model.colours import is_terminal

if TYPE_CHECKING:
    from cfa.cloudops.provider.blob import Progress

#: What is less than both is over before a bar tells anything.
_FROM_FILES = 50
_FROM_BYTES = 64 << 20


def uploading(files: Collection[str]) -> contextlib.AbstractContextManager[Progress | None]:
    """A bar for storing these local files, or None where nobody would see it."""
    size = sum(map(size_of, files)) if seen() else 0
    return _bar("Uploading files", len(files), size)


def downloading(files: int, size: int) -> contextlib.AbstractContextManager[Progress | None]:
    """A bar for fetching so many files of so many bytes together, or None."""
    return _bar("Downloading files", files, size)


def seen() -> bool:
    """Whether bars are to be shown: somebody looks, and no program has put something else in the
    place of `cfa.cloudops.blob.tqdm`, as those do that want silence."""
    modules = (sys.modules.get(f"cfa.cloudops{local}.blob") for local in ("", ".local"))
    return _seen_by_people() and all(getattr(one, "tqdm", tqdm) is tqdm for one in modules)


def _seen_by_people() -> bool:
    if "ipykernel" in sys.modules:
        return find_spec("ipywidgets") is not None  # rich draws with it
    stream = getattr(sys, "stderr", None)  # None in a program without a console
    return stream is not None and not stream.closed and is_terminal(stream)


def size_of(path: str) -> int:
    """Bytes of a file; 0 when it cannot be told."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0  # the copy says what is wrong


@contextlib.contextmanager
def _bar(title: str, files: int, size: int) -> Iterator[Progress | None]:
    if not seen() or (files < _FROM_FILES and size < _FROM_BYTES):
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


class tqdm:
    """A progress bar with the calls of the library of that name, drawn as our own are.

    Args:
        iterable: what to go through; None for a bar that `update` moves.
        desc: its title.
        total: how many there will be; the length of `iterable` when not given.
        disable: show nothing.
        **options: of the library; they have no effect on this machine.
    """

    def __init__(
        self,
        iterable: Iterable[Any] | None = None,
        desc: str | None = None,
        total: float | None = None,
        *,
        disable: bool | None = None,
        **options: Any,
    ) -> None:
        del options
        self._items = iterable
        self.desc = desc or ""
        self.total = len(iterable) if total is None and isinstance(iterable, Collection) else total
        self.n: float = 0
        self._bar: Any = None
        if not disable and seen():
            from rich.console import Console
            from rich.progress import Progress as Bar

            self._bar = Bar(console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task(self.desc, total=self.total)

    def __iter__(self) -> Iterator[Any]:
        try:
            for item in self._items or ():
                yield item
                self.update()
        finally:
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def update(self, n: float = 1) -> None:
        """So many more are done."""
        self.n += n
        if self._bar is not None:
            self._bar.update(self._task, advance=n)

    def set_description(self, desc: str | None = None, refresh: bool = True) -> None:
        """Change the title."""
        del refresh
        self.desc = desc or ""
        if self._bar is not None:
            self._bar.update(self._task, description=self.desc)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.stop()
