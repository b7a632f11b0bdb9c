"""The end of a file that is read in pieces, such as the output of a task."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

#: Bytes from an offset on, at most so many; fewer only at the end.
Read: TypeAlias = Callable[[int, int], bytes]

_CHUNK = 1 << 16


def tail_offset(read: Read, lines: int) -> int:
    """The offset at which the last lines of a file begin; a last line without an end counts."""
    size = file_size(read)
    width = _CHUNK
    while True:
        start = max(0, size - width)
        data = _all(read, start, size)
        ends = [found.end() for found in re.finditer(rb"\n", data)]
        if data.endswith(b"\n"):
            ends.pop()
        if lines == 0:
            return size
        if len(ends) >= lines:
            return start + ends[-lines]
        if start == 0:
            return 0
        width *= 4


def file_size(read: Read) -> int:
    """The size of a file, by few reads."""
    first = len(read(0, _CHUNK))
    if first < _CHUNK:
        return first
    low, high = _CHUNK, 2 * _CHUNK
    while read(high - 1, 1):
        low, high = high, 2 * high
    while high - low > 1:  # there are `low` bytes, and fewer than `high`
        middle = (low + high) // 2
        low, high = (middle, high) if read(middle - 1, 1) else (low, middle)
    return low


def _all(read: Read, start: int, end: int) -> bytes:
    parts = []
    while start < end and (data := read(start, min(1 << 20, end - start))):
        parts.append(data)
        start += len(data)
    return b"".join(parts)


def last_lines(read: Read, most: int, within: int) -> list[bytes]:
    """The last lines of a file, at most so many, without their ends.

    Args:
        read: reads it.
        most: lines.
        within: bytes from the end in which they are looked for: a line may have gigabytes.
    """
    size = file_size(read)
    start = max(0, size - within)
    data = _all(read, start, size)
    lines = data.rstrip(b"\n").split(b"\n") if data else []
    return [line.rstrip(b"\r") for line in lines[-most:]]
