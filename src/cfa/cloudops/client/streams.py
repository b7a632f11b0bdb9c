"""Blobs as functions of `cfa.cloudops.blob_helpers` give and take them: items, streams, pieces."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from attrs import frozen

from cfa.cloudops.errors import InvalidInputError

if TYPE_CHECKING:
    from cfa.cloudops.provider.blob import BlobProvider


@frozen
class BlobItem:
    """A blob, or, with a `/` at the end of `name`, a folder. `size` in bytes.

    Its attributes can also be read like the items of a mapping: `blob["name"]`.
    """

    name: str
    size: int | None = None
    last_modified: datetime | None = None

    @property
    def creation_time(self) -> datetime | None:
        """When the blob was written: blobs are replaced as a whole, and so begin anew."""
        return self.last_modified

    def __getitem__(self, key: str) -> Any:
        if key not in _ITEM_KEYS:
            raise KeyError(key)
        return getattr(self, key)

    def get(self, key: str, default: Any = None) -> Any:
        """An attribute by its name."""
        return getattr(self, key) if key in _ITEM_KEYS else default


_ITEM_KEYS = ("name", "size", "last_modified", "creation_time")


class BlobStream:
    """A blob to read. Each method reads from the beginning, except `read`, which continues."""

    def __init__(self, provider: BlobProvider, container: str, name: str) -> None:
        self._provider = provider
        self.container = container
        self.name = name
        self._parts: Iterator[bytes] | None = None
        self._rest = b""

    def __reduce__(self) -> tuple[Any, ...]:
        return BlobStream, (self._provider, self.container, self.name)

    @property
    def size(self) -> int:
        """Bytes."""
        return self._provider.properties(self.container, self.name).size

    def readall(self) -> bytes:
        """The whole blob."""
        return b"".join(self.chunks())

    def content_as_bytes(self) -> bytes:
        """The whole blob; the same as `readall`."""
        return self.readall()

    def read(self, size: int = -1) -> bytes:
        """The next bytes of the blob, at most `size`; all that is left when it is negative.

        `b""` at the end.
        """
        if self._parts is None:
            self._parts = self.chunks()
        parts, length = [self._rest], len(self._rest)
        while size < 0 or length < size:
            part = next(self._parts, b"")
            if not part:
                break
            parts.append(part)
            length += len(part)
        data = b"".join(parts)
        cut = length if size < 0 else size
        self._rest = data[cut:]
        return data[:cut]

    def content_as_text(self, encoding: str = "utf-8") -> str:
        """The whole blob as text."""
        return self.readall().decode(encoding)

    def readinto(self, stream: IO[bytes]) -> int:
        """Write the blob to a binary stream; how many bytes that were."""
        return sum(stream.write(chunk) for chunk in self.chunks())

    def chunks(self) -> Iterator[bytes]:
        """The blob in pieces of at most 1 MiB.

        Raises:
            BlobNotFoundError: it is not there any more.
        """
        with tempfile.TemporaryDirectory(prefix="cloudops-blob-") as directory:
            file = Path(directory, "blob")
            self._provider.download(self.container, self.name, file)
            with file.open("rb") as source:
                while chunk := source.read(1 << 20):
                    yield chunk


def pieces(data: Any) -> Iterable[bytes]:
    """The content of a blob in pieces. Raises: InvalidInputError: it cannot be one."""
    if isinstance(data, str):
        yield data.encode()
    elif isinstance(data, bytes | bytearray | memoryview):
        yield bytes(data)
    elif hasattr(data, "read"):
        while piece := data.read(1 << 20):
            yield piece.encode() if isinstance(piece, str) else piece
    elif isinstance(data, Iterable):
        for piece in data:
            yield from pieces(piece)
    else:
        raise InvalidInputError(
            f"A {type(data).__name__} cannot be the content of a blob.",
            "Pass text, bytes, a file or an iterable of them.",
        )
