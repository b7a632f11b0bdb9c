"""What a build sees of the caller's files: a directory as a tar file, less what `.dockerignore` names.

The rules of `.dockerignore` are Docker's: one pattern a line, `#` begins a comment, `!` takes back, the
last pattern that fits decides, a pattern that fits a directory fits all below it, `*` stays within
one level and `**` does not.
"""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
import re
import stat
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from attrs import frozen

from cfa.cloudops.errors import ImageError

IGNORE_FILE = ".dockerignore"


@frozen(kw_only=True)
class Packed:
    """A packed context. `dockerfile` is the name in it; `size` counts bytes of the tar file."""

    file: IO[bytes]
    dockerfile: str
    files: int
    size: int


class IgnoreRules:
    """The rules of a `.dockerignore`."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules: list[tuple[re.Pattern[str], bool]] = []
        for line in lines:
            text = line.strip()
            if line.startswith("#") or not text:
                continue
            takes_back = text.startswith("!")
            pattern = posixpath.normpath(text.removeprefix("!").strip()).lstrip("/")
            if pattern not in ("", "."):
                self._rules.append((_expression(pattern), takes_back))
        #: Whether something below an excluded directory may be taken back.
        self.takes_back = any(back for _, back in self._rules)

    def excludes(self, path: str) -> bool:
        """Whether a path, relative and with `/`, is left out."""
        parts = path.split("/")
        places = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        excluded = False
        for expression, takes_back in self._rules:
            if excluded == takes_back and any(expression.fullmatch(place) for place in places):
                excluded = not takes_back
        return excluded


def _expression(pattern: str) -> re.Pattern[str]:
    """A pattern as a regular expression for whole paths."""
    found, at = "", 0
    while at < len(pattern):
        sign = pattern[at]
        at += 1
        if pattern.startswith("**", at - 1):
            at += 1
            if pattern.startswith("/", at):
                at += 1
            found += ".*" if at >= len(pattern) else "(?:.*/)?"
        elif sign == "*":
            found += "[^/]*"
        elif sign == "?":
            found += "[^/]"
        elif sign == "\\" and at < len(pattern):
            found += re.escape(pattern[at])
            at += 1
        elif sign == "[" and "]" in pattern[at + 1 :]:
            end = pattern.index("]", at + 1)
            inside = pattern[at:end].replace("\\", "\\\\").replace("[", "\\[")
            found += f"(?!/)[{inside}]"
            at = end + 1
        else:
            found += re.escape(sign)
    try:
        return re.compile(found, re.DOTALL)
    except re.error as error:
        raise ImageError(
            f"The pattern {pattern!r} of {IGNORE_FILE} cannot be read: {error}.", "Correct it."
        ) from None


@contextmanager
def pack(context: str, dockerfile: str, leave_out: Sequence[str] = ()) -> Iterator[Packed]:
    """Pack a directory into a temporary file that is gone when the context ends.

    Files belong to root, as with Docker's own tools. Sockets, pipes and devices are left out. A
    Dockerfile from elsewhere is added under a name of its own, which the build's steps do not see.

    Raises:
        ImageError: a file cannot be read, or `.dockerignore` cannot be understood.
    """
    with tempfile.TemporaryFile(prefix="cloudops-build-") as file:
        try:
            packed = _pack(file, Path(context), Path(dockerfile), leave_out)
        except (OSError, UnicodeDecodeError) as error:
            raise ImageError(
                f"The directory {context} cannot be packed for a build: {error}.",
                f"List what the build does not need in {Path(context, IGNORE_FILE)}.",
            ) from None
        yield packed


def _pack(file: IO[bytes], root: Path, dockerfile: Path, leave_out: Sequence[str]) -> Packed:
    ignore = root / IGNORE_FILE
    lines = ignore.read_text(encoding="utf-8-sig").splitlines() if ignore.is_file() else []
    added: dict[str, bytes] = {}
    if dockerfile.is_relative_to(root) and not dockerfile.is_symlink():
        name = dockerfile.relative_to(root).as_posix()
    else:
        text = dockerfile.read_bytes()
        name = f".dockerfile.{hashlib.sha256(text).hexdigest()[:16]}"
        added = {name: text, IGNORE_FILE: "\n".join([*lines, name, IGNORE_FILE]).encode()}
    count = 0
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, member in _tree(root, IgnoreRules(lines), {name, IGNORE_FILE}, leave_out):
            if member not in added:
                count += _add(tar, path, member)
        for member, data in added.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    size = file.tell()
    file.seek(0)
    return Packed(file=file, dockerfile=name, files=count + bool(added), size=size)


def _tree(
    root: Path, rules: IgnoreRules, needed: set[str], leave_out: Sequence[str]
) -> Iterator[tuple[Path, str]]:
    """Paths to pack, parents first, with their names in the context. Links are not followed."""
    left_out = {os.path.abspath(path) for path in leave_out}
    waiting = [root]
    while waiting:
        for entry in sorted(os.scandir(waiting.pop()), key=lambda one: one.name):
            path = Path(entry.path)
            if entry.path in left_out:
                continue
            member = path.relative_to(root).as_posix()
            excluded = rules.excludes(member) and member not in needed
            folder = entry.is_dir(follow_symlinks=False)
            if folder and not (excluded and not rules.takes_back and not _leads_to(member, needed)):
                waiting.append(path)
            if not excluded:
                yield path, member


def _leads_to(folder: str, needed: set[str]) -> bool:
    return any(name.startswith(f"{folder}/") for name in needed)


def _add(tar: tarfile.TarFile, path: Path, member: str) -> int:
    """Add one path; the number of files added."""
    found = path.lstat()
    info = tarfile.TarInfo(member)
    info.mode, info.mtime = stat.S_IMODE(found.st_mode), int(found.st_mtime)
    if stat.S_ISREG(found.st_mode):
        with path.open("rb") as data:
            info.size = os.fstat(data.fileno()).st_size
            tar.addfile(info, data)
        return 1
    if stat.S_ISDIR(found.st_mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(found.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, str(path.readlink())
    else:
        return 0
    tar.addfile(info)
    return 0
