"""Uploading to the local store against `cp -r`, both in one run: `python benchmarks/copying.py`.

Promised: 0.7 of the rate of `cp -r` for 20,000 files of 4 KB, 0.9 for one file of 1 GB. Ratios are of
rates: above 1.0 we are faster. Rounds alternate and nothing is deleted before the end, because ext4
makes every new file dearer for minutes after many were deleted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import frozen

from cfa.cloudops.client.blobs import BlobMixin
from cloudops_fsspec import FsspecBlobs

FILES, FILE_BYTES, FOLDERS = 20_000, 4096, 20
LARGE_BYTES = 1 << 30
ROUNDS = 5


@frozen(kw_only=True)
class Result:
    """Seconds of each round, and the least ratio that is promised."""

    work: str
    raw_s: tuple[float, ...]
    ours_s: tuple[float, ...]
    promised: float

    @property
    def ratio(self) -> float:
        """Rate of ours over that of `cp -r`, medians."""
        return statistics.median(self.raw_s) / statistics.median(self.ours_s)

    def __str__(self) -> str:
        raw, ours = statistics.median(self.raw_s), statistics.median(self.ours_s)
        verdict = "kept" if self.ratio >= self.promised else "MISSED"
        return (
            f"{self.work:<28} cp -r {raw:6.2f} s   ours {ours:6.2f} s   "
            f"ratio {self.ratio:5.2f}   promised {self.promised:.1f}: {verdict}"
        )


class _Client(BlobMixin):
    def __init__(self, root: Path) -> None:
        self._blobs = FsspecBlobs(f"file://{root}")


def measure_copying(directory: Path, rounds: int = ROUNDS) -> list[Result]:
    """Measure in an existing empty directory, which needs about 2 x `rounds` GB and stays filled."""
    many, large = directory / "many", directory / "large"
    for number in range(FILES):
        path = many / f"folder-{number % FOLDERS}" / f"{number}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(FILE_BYTES))
    large.mkdir()
    block = os.urandom(1 << 20)
    with (large / "1gb.bin").open("wb") as file:
        for _ in range(LARGE_BYTES // len(block)):
            file.write(block)
    os.sync()
    results = []
    for work, source, promised in (
        (f"{FILES:,} files of {FILE_BYTES // 1024} KB", many, 0.7),
        (f"one file of {LARGE_BYTES >> 30} GB", large, 0.9),
    ):
        raw: list[float] = []
        ours: list[float] = []
        for turn in range(rounds):
            here = directory / f"{source.name}-{turn}"
            pair = [(raw, _copy(source, here / "raw")), (ours, _upload(source, here / "ours"))]
            for times, call in pair[:: 1 if turn % 2 else -1]:
                os.sync()  # what was written before must not slow down what follows
                start = time.perf_counter()
                call()
                times.append(time.perf_counter() - start)
        results.append(Result(work=work, raw_s=tuple(raw), ours_s=tuple(ours), promised=promised))
    return results


def _copy(source: Path, target: Path) -> Callable[[], None]:
    target.mkdir(parents=True)
    command = ["cp", "-r", str(source), str(target)]

    def call() -> None:
        subprocess.run(command, check=True, timeout=600)

    return call


def _upload(source: Path, root: Path) -> Callable[[], None]:
    client = _Client(root)
    client.create_blob_container("box")

    def call() -> None:
        with contextlib.chdir(source.parent):
            uploaded = client.upload_folders(
                source.name, "box", create_new_folder=True, force_upload=True
            )
        assert len(uploaded) in (FILES, 1)

    return call


@contextlib.contextmanager
def _place(parent: str | None) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="cloudops-copying-", dir=parent))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--directory", help="where to copy; default: the temporary directory")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    with _place(options.directory) as directory:
        for result in measure_copying(directory, options.rounds):
            print(result)


if __name__ == "__main__":
    main()
