"""Copying files to blob containers and back."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from cfa.cloudops.client import progress, selection
from cfa.cloudops.client.protecting import Protecting
from cfa.cloudops.errors import (
    AmbiguousCallError,
    BlobContainerNotFoundError,
    BlobNotFoundError,
)
from cfa.cloudops.model import names

if TYPE_CHECKING:
    from cfa.cloudops.provider.blob import BlobProvider
    from cfa.cloudops.rehearsal import Rehearsal

_log = logging.getLogger(__name__)

#: Files that `upload_folders` takes without asking at a terminal.
ASK_ABOVE_FILES = 50
#: Bytes that `download_file` and `download_folder` fetch without asking at a terminal.
ASK_ABOVE_FILE_BYTES = 1 << 30
ASK_ABOVE_FOLDER_BYTES = 2 << 30


class CopyMixin:
    """Uploads and downloads of `CloudClient`, which sets `_blobs` before any of them is used."""

    _blobs: BlobProvider
    rehearsal: Rehearsal | None = None

    def upload_files(
        self,
        files: str | Path | Sequence[str | Path],
        container_name: str,
        local_root_dir: str | Path = ".",
        location_in_blob: str = ".",
        legal_hold: bool = False,
        immutability_lock_days: int = 0,
    ) -> None:
        """Upload files. `local_root_dir/a/b.csv` becomes the blob `location_in_blob/a/b.csv`.

        All files are looked up before the first is copied. An existing blob is replaced in one
        step: a reader sees either the old or the new blob. If an upload was interrupted, the same
        call continues large files where it stopped, unless they have changed.

        Args:
            files: one or several paths, relative to `local_root_dir`.
            container_name: an existing container.
            local_root_dir: folder in which the paths begin; not part of the blobs' names.
            location_in_blob: folder in the container; `"."` is the container itself.
            legal_hold: protect the blobs from deletion and replacement until
                `update_blob_protection` clears the hold.
            immutability_lock_days: protect the blobs for so many days, at most 146,000. Nothing
                shortens this time.

        Raises:
            BlobContainerNotFoundError: the container does not exist.
            LocalFileNotFoundError: a file does not exist. Nothing was uploaded.
            UnsafePathError: a path is absolute or has `..`.
            InvalidInputError: a path names a folder.
            DiskFullError: no space is left. Complete uploads stay, and no blob is incomplete.
            ProtectedBlobError: a blob to be replaced is protected. Nothing was uploaded.
            UnsupportedError: the storage does not support holds and locks. Nothing was uploaded.
        """
        protecting = Protecting.of(self._blobs, legal_hold, immutability_lock_days)
        container = self._container(container_name)
        location = selection.location(location_in_blob)
        root = selection.local(local_root_dir, "local_root_dir")
        sources: dict[str, str] = {}
        for item in selection.texts(files, "files"):
            selection.relative(item, "Name the folder above it in local_root_dir.")
            sources[names.blob(f"{location}/{item}" if location else item)] = os.path.join(
                root, item
            )
        selection.check_files(sources.values())
        self._upload(container, sources, protecting)

    def upload_folders(
        self,
        folder_names: str | Path | Sequence[str | Path],
        container_name: str,
        include_extensions: str | Sequence[str] | None = None,
        exclude_extensions: str | Sequence[str] | None = None,
        exclude_patterns: str | Sequence[str] | None = None,
        location_in_blob: str = ".",
        force_upload: bool = False,
        create_new_folder: bool = False,
        legal_hold: bool = False,
        immutability_lock_days: int = 0,
    ) -> list[str]:
        """Upload folders with everything in them, under the folders' own names.

        For example, `data/in/x.csv` becomes `location_in_blob/data/in/x.csv`.

        Links to files are followed, links to folders are not. The workspace (`.cloudops`) is left
        out. At a terminal, a question comes before an upload of more than 50 files, unless
        `force_upload` is set. A folder that is new in the container appears as a whole. If an
        upload was interrupted, the same call within a day copies only missing and changed files.

        Args:
            folder_names: one or several folders, relative to the current directory.
            container_name: an existing container.
            include_extensions: upload only files with one of these suffixes, such as `"csv"` or
                `".csv"`. Only the last suffix of a name counts.
            exclude_extensions: upload only files with none of these suffixes. Excludes
                `include_extensions`.
            exclude_patterns: leave out paths that contain one of these texts, or that match it as a
                glob.
            location_in_blob: folder in the container; `"."` is the container itself.
            force_upload: do not ask.
            create_new_folder: `location_in_blob` may be a folder that does not exist yet. New
                folders directly in the container are always created, with a warning if this is
                False.
            legal_hold: protect the blobs from deletion and replacement until
                `update_blob_protection` clears the hold.
            immutability_lock_days: protect the blobs for so many days, at most 146,000. Nothing
                shortens this time.

        Returns:
            The local paths of the uploaded files; `[]` if the user said no, or if no file fits the
            filters.

        Raises:
            BlobContainerNotFoundError: the container does not exist.
            LocalFileNotFoundError: a folder does not exist. Nothing was uploaded.
            BlobNotFoundError: `location_in_blob` does not exist. It is also a ValueError.
            InvalidInputError: both kinds of extensions are given, a pattern is empty, or a folder
                is a file.
            UnsafePathError: a folder is absolute or has `..`.
            DiskFullError, ProtectedBlobError, UnsupportedError: as for `upload_files`.
        """
        protecting = Protecting.of(self._blobs, legal_hold, immutability_lock_days)
        chosen = selection.Filter.of(include_extensions, exclude_extensions, exclude_patterns)
        folders = selection.texts(folder_names, "folder_names")
        for folder in folders:
            selection.relative(folder, "Change to the folder above it and name it from there.")
            selection.check_folder(folder)
        container = self._container(container_name)
        location = selection.location(location_in_blob)
        self._check_location(container, location, create_new_folder)

        without = self._left_out(container)
        sources: dict[str, str] = {}
        for folder in folders:
            base = names.folder(folder)
            if not location and base and not create_new_folder:
                self._warn_if_new(container, base)
            prefix = "/".join(filter(None, (location, base)))
            for path, below in selection.walk(folder, without):
                if chosen.accepts(f"{base}/{below}" if base else below):
                    sources[names.blob(f"{prefix}/{below}" if prefix else below)] = path
        if not sources:
            _log.warning("no file in %s fits the filters; nothing to upload", ", ".join(folders))
            return []
        if len(sources) > ASK_ABOVE_FILES and not force_upload:
            question = f"This uploads {len(sources)} files to {container}. Continue?"
            if not confirm(question):
                _log.warning("Upload aborted.")
                return []
        self._upload(container, sources, protecting)
        return list(sources.values())

    def download_file(
        self,
        src_path: str,
        dest_path: str | Path,
        container_name: str | None = None,
        do_check: bool = True,
        check_size: bool = True,
    ) -> None:
        """Download one blob. Missing folders are created, and an existing file is replaced in one
        step.

        Args:
            src_path: name of the blob.
            dest_path: the file to write.
            container_name: the container; required.
            do_check: look for the blob first. A missing blob is the same error without it.
            check_size: at a terminal, ask before a download of more than 1 GiB.

        Raises:
            BlobContainerNotFoundError, BlobNotFoundError: the container or the blob does not exist.
            AmbiguousCallError: no container is given.
            UnsafePathError: the blob's name is absolute or has `..`.
            ConflictError, InvalidInputError: `dest_path` is a folder, or not a path.
            DiskFullError: no space is left. An existing file was not changed.
        """
        if container_name is None:
            raise AmbiguousCallError(
                f"download_file({src_path!r}) was called without a container.",
                "Pass container_name.",
            )
        blob = names.blob(src_path)
        target = selection.local(dest_path, "dest_path")
        container = self._container(container_name)
        size = 0
        if do_check or check_size:
            size = self._blobs.properties(container, blob).size
            _log.info("Size of file to download: %s", human(size))
            question = f"{blob} has {human(size)}. Continue?"
            if check_size and size > ASK_ABOVE_FILE_BYTES and not confirm(question):
                _log.warning("Download aborted.")
                return
        self._download(container, {blob: target}, size)

    def download_folder(
        self,
        src_path: str,
        dest_path: str | Path,
        container_name: str,
        include_extensions: str | Sequence[str] | None = None,
        exclude_extensions: str | Sequence[str] | None = None,
        verbose: bool = True,
        check_size: bool = True,
    ) -> None:
        """Download all blobs below a folder.

        The files keep the full names of the blobs: `out` into `dst` gives `dst/out/a.txt`. Blobs
        without a suffix are included.

        Args:
            src_path: folder in the container; `"."` is the container itself.
            dest_path: local folder; created if missing.
            container_name: an existing container.
            include_extensions: download only blobs with one of these suffixes. Only the last suffix
                of a name counts.
            exclude_extensions: download only blobs with none of these suffixes. Excludes
                `include_extensions`.
            verbose: log each file.
            check_size: at a terminal, ask before a download of more than 2 GiB.

        Raises:
            BlobContainerNotFoundError: the container does not exist.
            BlobNotFoundError: no blob is below `src_path`. It is also a ValueError.
            InvalidInputError: both kinds of extensions are given.
            UnsafePathError: `src_path` is absolute or has `..`.
            ConflictError: a file is in the place of a folder, or a folder in the place of a file.
            DiskFullError: no space is left. Complete downloads stay, and no file is incomplete.
        """
        chosen = selection.Filter.of(include_extensions, exclude_extensions, None)
        folder = names.folder(src_path)
        target = selection.local(dest_path, "dest_path")
        container = self._container(container_name)
        targets, size = self._targets(container, folder, target, chosen, check_size)
        if not targets:
            return
        self._download(container, targets, size)
        if verbose:
            for name, path in targets.items():
                _log.info("downloaded %s to %s", name, path)

    # --- helpers

    def _container(self, name: str) -> str:
        """A container's name, checked, of a container that exists."""
        container = names.blob_container(name)
        if not self._blobs.container_exists(container):
            have = self._blobs.list_containers()
            known = ", ".join(have[:10]) + (", ..." if len(have) > 10 else "") if have else "none"
            raise BlobContainerNotFoundError(
                f"There is no blob container {container!r} in {self._blobs.url}. Its blob "
                f"containers are: {known}.",
                f"To create it: create_blob_container({container!r}).",
            )
        return container

    def _left_out(self, container: str) -> list[Path]:
        """Folders that are not copied: the container into itself, and the service's workspace."""
        here = self._blobs.local_path(container)
        settings = getattr(self, "_settings", None)
        return [path for path in (here, settings and settings.home) if path is not None]

    def _has_folder(self, container: str, folder: str) -> bool:
        if next(iter(self._blobs.list_blobs(container, folder)), None) is not None:
            return True
        here = self._blobs.local_path(container)  # an empty one that the user made counts
        if here is None:
            return False
        from cfa.cloudops.beneath import Place

        try:
            with Place.open(here) as top:
                top.enter(folder, links=True).close()
        except OSError:
            return False
        return True

    def _check_location(self, container: str, location: str, create: bool) -> None:
        if location and not self._has_folder(container, location):
            if not create:
                raise no_folder(container, location, "Pass create_new_folder=True to make it.")
            _log.warning("%s is a new folder of %s", location, container)

    def _warn_if_new(self, container: str, folder: str) -> None:
        if not self._has_folder(container, folder):
            _log.warning(
                "%s is a new folder of %s; create_new_folder=True silences this", folder, container
            )

    def _targets(
        self,
        container: str,
        folder: str,
        target: str,
        chosen: selection.Filter,
        check_size: bool,
    ) -> tuple[dict[str, str], int]:
        """Blob -> local file of all to be fetched below a folder, and their bytes.

        Raises:
            BlobNotFoundError: nothing is below it.
        """
        found = list(self._blobs.list_blobs(container, folder))
        if not found:
            raise no_folder(container, folder or ".")
        found = [blob for blob in found if chosen.accepts(blob.name)]
        if not found:
            _log.warning("no blob below %s of %s fits the filters", folder or ".", container)
        size = sum(blob.size for blob in found)
        _log.info("Size of folder to download: %s", human(size))
        question = f"{len(found)} files have {human(size)}. Continue?"
        if check_size and size > ASK_ABOVE_FOLDER_BYTES and not confirm(question):
            _log.warning("Download aborted.")
            return {}, 0
        # Checked anew: a name becomes a local path here, and the store may be a stranger's.
        return {blob.name: os.path.join(target, names.blob(blob.name)) for blob in found}, size

    def _upload(self, container: str, sources: Mapping[str, str], protecting: Protecting) -> None:
        if self.rehearsal is not None:
            self.rehearsal.blobs(container, sources)
        with progress.uploading(sources.values()) as report:
            if report and self._blobs.reports_progress:
                self._blobs.upload_many(container, sources, progress=report)
            else:
                self._blobs.upload_many(container, sources)
        protecting.apply(self._blobs, container, sources)
        _log.info("uploaded %d files to %s", len(sources), container)

    def _download(self, container: str, targets: Mapping[str, str], size: int) -> None:
        with progress.downloading(len(targets), size) as report:
            if report and self._blobs.reports_progress:
                self._blobs.download_many(container, targets, progress=report)
            else:
                self._blobs.download_many(container, targets)


def no_folder(container: str, folder: str, hint: str = "") -> BlobNotFoundError:
    return BlobNotFoundError(
        f"No blob of {container!r} is below {folder!r}.",
        hint or f"list_blob_files({container!r}) shows what there is.",
    )


def confirm(question: str) -> bool:
    """Ask at a terminal. Anything else cannot answer: go on, as scripts and notebooks expect."""
    if not _is_terminal(sys.stdin) or _in_background(sys.stdin):
        _log.info("%s Yes, because standard input is not a terminal in the foreground.", question)
        return True
    seen = next(filter(_is_terminal, (sys.stdout, sys.stderr)), None)
    if seen is None:
        _log.info("%s Yes, because nobody would see the question.", question)
        return True
    try:
        with contextlib.redirect_stdout(seen):
            return input(f"{question} [y/N] ").strip() in ("y", "Y")
    except EOFError:
        return False


def _is_terminal(stream: IO[str] | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()  # None: no console


def _in_background(stdin: IO[str]) -> bool:
    """Whether reading from the terminal would stop the process, as it does after `script.py &`."""
    try:
        return os.tcgetpgrp(stdin.fileno()) != os.getpgrp()
    except (OSError, ValueError):  # not the terminal that the process belongs to
        return False


def human(size: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TB"
