"""Which local files and folders a call means: reading its arguments, walking, filtering."""

from __future__ import annotations

import fnmatch
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from cfa.cloudops.errors import (
    FileAccessError,
    InvalidInputError,
    LocalFileNotFoundError,
    UnsafePathError,
)
from cfa.cloudops.model import names

_log = logging.getLogger(__name__)


@frozen
class Filter:
    """Which paths are taken. Suffixes are compared with case, and the last one only."""

    include: tuple[str, ...] | None
    exclude: tuple[str, ...]
    patterns: tuple[str, ...]

    @classmethod
    def of(
        cls,
        include: str | Sequence[str] | None,
        exclude: str | Sequence[str] | None,
        patterns: str | Sequence[str] | None,
    ) -> Filter:
        """Raises: InvalidInputError."""
        if include and exclude:
            raise InvalidInputError(
                "include_extensions and exclude_extensions were both given.", "Give one of them."
            )
        parts = texts(patterns or (), "exclude_patterns")
        if "" in parts:
            raise InvalidInputError(
                "An exclude pattern is empty and would leave out every file.", "Remove it."
            )
        return cls(
            _extensions(include, "include_extensions") if include else None,
            _extensions(exclude or (), "exclude_extensions"),
            tuple(parts),
        )

    def accepts(self, path: str) -> bool:
        """Whether a relative path, folders included, is taken."""
        name = path.rpartition("/")[2]
        suffix = os.path.splitext(name)[1]
        if self.include is not None and suffix not in self.include:
            return False
        if self.exclude and suffix in self.exclude:
            return False
        return not any(
            pattern in path
            or fnmatch.fnmatchcase(path, pattern)
            or fnmatch.fnmatchcase(name, pattern)
            for pattern in self.patterns
        )


def _extensions(values: str | Sequence[str], argument: str) -> tuple[str, ...]:
    return tuple(
        text if text.startswith(".") else f".{text}" for text in texts(values, argument) if text
    )


def texts(values: object, argument: str) -> list[str]:
    """One text or path, or several, as a list of texts. Raises: InvalidInputError."""
    if isinstance(values, str | os.PathLike):
        values = [values]
    if not isinstance(values, Iterable) or isinstance(values, bytes | Mapping):
        raise InvalidInputError(
            f"{argument} has the type {type(values).__name__}.",
            "Pass a string or a list of strings.",
        )
    return [local(value, argument) for value in values]


def local(value: object, argument: str) -> str:
    """Text of a local path. Raises: InvalidInputError."""
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str):
        raise InvalidInputError(
            f"{argument} has a value of the type {type(value).__name__}.", "Pass strings or paths."
        )
    if "\0" in text:
        raise UnsafePathError(f"{argument} has a NUL character: {text!r}.", "Remove it.")
    return text


def relative(text: str, hint: str) -> None:
    """A local path that becomes the name of a blob. Raises: UnsafePathError."""
    if os.path.isabs(text):
        raise UnsafePathError(f"{text!r} is absolute and cannot be a name in a container.", hint)
    names.folder(text)


def location(text: str) -> str:
    """`location_in_blob` without blanks and slashes around it; `''` is the root."""
    if not isinstance(text, str):
        raise InvalidInputError(
            f"location_in_blob has the type {type(text).__name__}.", "Pass a folder like 'data'."
        )
    return names.folder(text.strip(" \t\n/"))


def check_files(paths: Iterable[str]) -> None:
    for path in paths:
        if os.path.isdir(path):
            raise InvalidInputError(
                f"{path!r} is a folder.", "To upload a folder, call upload_folders."
            )
        if not os.path.exists(path):
            raise LocalFileNotFoundError(
                f"The file {path!r} does not exist, so nothing was uploaded.",
                "Check the path and local_root_dir.",
            )


def check_folder(path: str) -> None:
    if os.path.isdir(path):
        return
    if os.path.exists(path):
        raise InvalidInputError(
            f"{path!r} is not a folder.", "To upload a file, call upload_files."
        )
    raise LocalFileNotFoundError(
        f"The folder {path!r} does not exist in {os.getcwd()!r}, so nothing was uploaded.",
        "Check the path and the current directory.",
    )


def walk(top: str, without: Iterable[Path] = ()) -> Iterator[tuple[str, str]]:
    """(path, path below `top`) of every file, but those in the folders `without`.

    Raises:
        FileAccessError: a folder cannot be read. InvalidInputError: `top` is one of `without`.
    """
    left_out = set(filter(None, map(_identity, without)))
    if _identity(top) in left_out:
        raise InvalidInputError(
            f"{top!r} is the blob container itself, or the workspace.",
            "Name another folder or container.",
        )
    from cfa.cloudops.provider.protection import PROTECTION_FOLDER

    stack = [(top, "")]
    while stack:
        folder, prefix = stack.pop()
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise FileAccessError(
                f"Could not read the folder {folder!r}: {error.strerror}.", "Check its permissions."
            ) from None
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                if entry.name == PROTECTION_FOLDER:
                    continue  # beside the containers, which may be here
                if not left_out or _identity(entry.path) not in left_out:
                    stack.append((entry.path, f"{prefix}{entry.name}/"))
            elif _is_file(entry):
                yield entry.path, prefix + entry.name
            else:
                _log.warning(
                    "%s is not a file, or is a link to a folder: it is left out", entry.path
                )


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads to itself
        return False


def _identity(path: str | Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
