"""Uploads and downloads of many files at once, for storage where one file takes long to answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfa.cloudops.client import progress, selection
from cfa.cloudops.client.copies import CopyMixin
from cfa.cloudops.client.protecting import Protecting
from cfa.cloudops.errors import InvalidInputError
from cfa.cloudops.model import names

if TYPE_CHECKING:
    from cfa.cloudops.provider.blob import Progress

_log = logging.getLogger(__name__)

#: Bytes of a file whose copy takes long enough to be broken off in its middle.
_LARGE = 64 << 20


class AsyncCopyMixin(CopyMixin):
    """The `async_*` calls. They return when all is done, as on the cloud, and may be called from
    anywhere, a running event loop (a notebook) included, which waits meanwhile."""

    def async_upload_folder(
        self,
        folders: str | Path | Sequence[str | Path],
        container_name: str,
        include_extensions: str | Sequence[str] | None = None,
        exclude_extensions: str | Sequence[str] | None = None,
        location_in_blob: str = ".",
        max_concurrent_uploads: int = 20,
        legal_hold: bool = False,
        immutability_lock_days: int = 0,
        read_only: bool = False,
    ) -> list[str]:
        """Upload the contents of folders, several files at once, without the folders' own names.

        For example, `data/in/x.csv` of the folder `data` becomes `location_in_blob/in/x.csv`.

        Args:
            folders: one or several folders, anywhere on this machine.
            container_name: an existing container.
            include_extensions: upload only files with one of these suffixes. Only the last suffix
                of a name counts.
            exclude_extensions: upload only files with none of these suffixes. Excludes
                `include_extensions`.
            location_in_blob: folder in the container, created if missing; `"."` is the container
                itself.
            max_concurrent_uploads: most files that are uploaded at once.
            legal_hold: protect the blobs from deletion and replacement until
                `update_blob_protection` clears the hold.
            immutability_lock_days: protect the blobs for so many days, at most 146,000. Nothing
                shortens this time.
            read_only: seal the blobs: they can be deleted, but never replaced.

        Returns:
            The local paths of the uploaded files.

        Raises:
            LocalFileNotFoundError: a folder does not exist. Nothing was uploaded.
            InvalidInputError: both kinds of extensions are given, a folder is a file, two files
                would become one blob, or the limit is below 1. Nothing was uploaded.
            BlobContainerNotFoundError: the container does not exist.
            UnsafePathError: the name of a file cannot be the name of a blob.
            ProtectedBlobError: a blob that would be replaced is protected.
            UnsupportedError: the storage does not support the protection.
            DiskFullError: no space is left. The first error ends the call. Complete uploads stay
                without protection, and no blob is incomplete.
        """
        workers = _limit(max_concurrent_uploads, "max_concurrent_uploads")
        protecting = Protecting.of(self._blobs, legal_hold, immutability_lock_days, read_only)
        chosen = selection.Filter.of(include_extensions, exclude_extensions, None)
        tops = selection.texts(folders, "folders")
        for folder in tops:
            selection.check_folder(folder)
        container = self._container(container_name)
        location = selection.location(location_in_blob)
        without = self._left_out(container)
        sources: dict[str, str] = {}
        for folder in tops:
            for path, below in selection.walk(folder, without):
                if chosen.accepts(below):
                    blob = names.blob(f"{location}/{below}" if location else below)
                    if sources.setdefault(blob, path) != path:
                        raise InvalidInputError(
                            f"{sources[blob]!r} and {path!r} would both become the blob {blob!r}; "
                            "nothing was uploaded.",
                            "Upload the folders to different places in two calls.",
                        )
        if not sources:
            _log.warning("no file in %s fits the filters; nothing to upload", ", ".join(tops))
            return []
        self._blobs.check_replaceable(container, sources)
        if self.rehearsal is not None:
            self.rehearsal.blobs(container, sources)

        def store(blob: str, path: str, tell: Progress) -> None:
            size = progress.size_of(path)
            if size >= _LARGE and self._blobs.reports_progress:
                self._blobs.upload_many(container, {blob: path}, progress=tell)
            else:  # a bulk call costs more than a small file
                self._blobs.upload(path, container, blob)
                tell(1, size)

        with progress.uploading(sources.values()) as report:
            _run(store, sources, workers, report)
        protecting.apply(self._blobs, container, sources)
        _log.info("uploaded %d files to %s", len(sources), container)
        return list(sources.values())

    def async_download_folder(
        self,
        src_path: str,
        dest_path: str | Path,
        container_name: str,
        include_extensions: str | Sequence[str] | None = None,
        exclude_extensions: str | Sequence[str] | None = None,
        check_size: bool = True,
        max_concurrent_downloads: int = 20,
    ) -> None:
        """Download all blobs below a folder, several at once, otherwise as `download_folder` does.

        Args:
            src_path: folder in the container; `"."` is the container itself.
            dest_path: local folder; created if missing. The files keep the full names of the blobs.
            container_name: an existing container.
            include_extensions: download only blobs with one of these suffixes. Only the last suffix
                of a name counts.
            exclude_extensions: download only blobs with none of these suffixes. Excludes
                `include_extensions`.
            check_size: at a terminal, ask before a download of more than 2 GiB.
            max_concurrent_downloads: most files that are downloaded at once.

        Raises:
            InvalidInputError: both kinds of extensions are given, or the limit is below 1.
            BlobContainerNotFoundError: the container does not exist.
            BlobNotFoundError: no blob is below `src_path`.
            UnsafePathError: `src_path` is absolute or has `..`.
            ConflictError: a file is in the place of a folder, or a folder in the place of a file.
            DiskFullError: no space is left. The first error ends the call. Complete downloads stay,
                and no file is incomplete.
        """
        workers = _limit(max_concurrent_downloads, "max_concurrent_downloads")
        chosen = selection.Filter.of(include_extensions, exclude_extensions, None)
        folder = names.folder(src_path)
        target = selection.local(dest_path, "dest_path")
        container = self._container(container_name)
        targets, size = self._targets(container, folder, target, chosen, check_size)

        tells = size >= _LARGE and self._blobs.reports_progress

        def fetch(blob: str, path: str, tell: Progress) -> None:
            if tells and self._blobs.properties(container, blob).size >= _LARGE:
                self._blobs.download_many(container, {blob: path}, progress=tell)
            else:
                self._blobs.download(container, blob, path)
                tell(1, progress.size_of(path))

        with progress.downloading(len(targets), size) as report:
            _run(fetch, targets, workers, report)
        _log.info("downloaded %d files from %s", len(targets), container)


def _limit(value: Any, argument: str) -> int:
    if not isinstance(value, int) or value < 1:
        raise InvalidInputError(f"{argument} is {value!r}.", "Give a whole number from 1.")
    return int(value)


class _BrokenOff(BaseException):
    """Ends a copy in a worker thread when the user pressed Ctrl-C, which only the main one hears."""


def _run(
    copy: Callable[[str, str, Progress], None],
    files: Mapping[str, str],
    workers: int,
    report: Progress | None,
) -> None:
    """Call `copy(blob, path, tell)` for all, in at most `workers` threads. The first error is raised
    when the calls under way have ended; no other is begun. Ctrl-C ends also those under way, when
    they `tell` how far they are."""
    from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait  # not at every import

    failed = broken_off = False

    def tell(completed: int, copied: int) -> None:
        if broken_off and not completed:
            raise _BrokenOff
        if report:
            report(completed, copied)

    def one(blob: str, path: str) -> None:
        nonlocal failed
        if failed:
            return
        try:
            copy(blob, path, tell)
        except BaseException:
            failed = True
            raise

    with ThreadPoolExecutor(max(1, min(workers, len(files)))) as pool:
        try:
            futures = [pool.submit(one, blob, path) for blob, path in files.items()]
            # A wait without a bound may miss Ctrl-C, when it comes just before.
            while wait(futures, timeout=1, return_when=FIRST_EXCEPTION).not_done and not failed:
                pass
            pool.shutdown(wait=True, cancel_futures=True)
        except BaseException:
            broken_off = True
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        for future in futures:
            if not future.cancelled():
                future.result()
