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

        All files are looked up before the first is copied. A blob that exists is replaced, at once:
        readers see the old or the new one. A call that was broken off and is repeated does not copy
        again what it has of a large file, unless the file was changed.

        Args:
            files: one path or several, relative to `local_root_dir`.
            container_name: an existing container.
            local_root_dir: where the paths start; not part of the blobs' names.
            location_in_blob: folder in the container; `"."` is its root.
            legal_hold: keep the blobs from being deleted or replaced until
                `update_blob_protection` clears it.
            immutability_lock_days: keep them for so many days, which nothing shortens; at most
                146,000.

        Raises:
            BlobContainerNotFoundError: there is no such container.
            LocalFileNotFoundError: a file does not exist; nothing was uploaded.
            UnsafePathError: a path is absolute or has `..`.
            InvalidInputError: a path names a folder.
            DiskFullError: no space; files uploaded before stay, none is there in part.
            ProtectedBlobError: a blob to be replaced is protected; nothing was uploaded.
            UnsupportedError: the storage keeps no holds and locks; nothing was uploaded.
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
        """Upload folders with all below them. `data/in/x.csv` becomes
        `location_in_blob/data/in/x.csv`, the folder's own name included.

        Links to files are read, links to folders are not followed; the workspace (`.cloudops`) is left
        out. Above 50 files a terminal is
        asked whether to go on; without a terminal, or with `force_upload`, nothing is asked. A folder
        that is new to the container appears as a whole; when the call was broken off (Ctrl-C, a kill)
        and is repeated within a day, complete files are not copied again, unless they were changed.

        Args:
            folder_names: one folder or several, relative to the current directory.
            container_name: an existing container.
            include_extensions: take only files with one of these last suffixes (`"csv"` or `".csv"`).
            exclude_extensions: take all files but those; not together with `include_extensions`.
            exclude_patterns: leave out a path that contains the text, or that it matches as a glob.
            location_in_blob: folder in the container; `"."` is its root.
            force_upload: do not ask.
            create_new_folder: let `location_in_blob` be a folder that does not exist yet. New folders
                at the container's root are always made, with a warning when this is False.
            legal_hold: keep the blobs from being deleted or replaced until
                `update_blob_protection` clears it.
            immutability_lock_days: keep them for so many days, which nothing shortens; at most
                146,000.

        Returns:
            The local paths uploaded; `[]` when the user said no, or nothing fits the filters.

        Raises:
            BlobContainerNotFoundError: there is no such container.
            LocalFileNotFoundError: a folder does not exist; nothing was uploaded.
            BlobNotFoundError (a ValueError): `location_in_blob` does not exist.
            InvalidInputError: both kinds of extensions, an empty pattern, a file in place of a folder.
            UnsafePathError: a folder is absolute or has `..`.
            DiskFullError, ProtectedBlobError, UnsupportedError: as `upload_files`.
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
            question = f"{len(sources)} files are to be uploaded to {container}. Continue?"
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
        """Download one blob. Folders above `dest_path` are made; a file there is replaced at once.

        Args:
            src_path: name of the blob.
            dest_path: path of the file to write.
            container_name: the container; must be given.
            do_check: look for the blob first. Without it a missing blob is the same error.
            check_size: ask a terminal before fetching more than 1 GiB.

        Raises:
            BlobContainerNotFoundError, BlobNotFoundError: there is none.
            AmbiguousCallError: no container is given.
            UnsafePathError: the blob's name is absolute or has `..`.
            ConflictError, InvalidInputError: `dest_path` is a folder or no path.
            DiskFullError: no space; a file that was there is as it was.
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
        """Download all blobs below a folder, those without a suffix as well.

        The blob's whole name is kept below the target: `out` into `dst` gives `dst/out/a.txt`.

        Args:
            src_path: a folder of the container; `"."` is all of it.
            dest_path: local folder, made if missing.
            container_name: an existing container.
            include_extensions: take only blobs with one of these last suffixes.
            exclude_extensions: take all but those; not together with `include_extensions`.
            verbose: log each file.
            check_size: ask a terminal before fetching more than 2 GiB.

        Raises:
            BlobContainerNotFoundError: there is no such container.
            BlobNotFoundError (a ValueError): nothing is below `src_path`.
            InvalidInputError: both kinds of extensions.
            UnsafePathError: `src_path` is absolute or has `..`.
            ConflictError: a file is where a folder must be, or the other way round.
            DiskFullError: no space; files fetched before stay, none is there in part.
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
                f"There is no blob container {container!r} in {self._blobs.url}; there are: {known}.",
                f"Make it with create_blob_container({container!r}).",
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
        _log.info("%s Yes: standard input is not a terminal in the foreground.", question)
        return True
    seen = next(filter(_is_terminal, (sys.stdout, sys.stderr)), None)
    if seen is None:
        _log.info("%s Yes: nobody would see the question.", question)
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
