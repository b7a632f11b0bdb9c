"""The streams of a container over one hijacked connection to its engine.

Docker and Podman speak the same protocol: an HTTP request that is upgraded to a raw stream. The
engine's side of it is a sequence of frames: stream number, three zero bytes, big-endian length and
data. Closing our side of the connection, also by dying, closes the container's standard input.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlencode

from cfa.cloudops.errors import NodeError

_HEADER = struct.Struct(">BxxxL")
_STDOUT = 1
#: Seconds without any progress after which a connection or a write is given up.
STALL_S = 30.0
#: Seconds that an engine may take to answer the request to attach; Podman prepares the container.
ATTACH_S = 60.0
_MAX_HEAD = 64 << 10


class Connection(Protocol):
    """What is used of a `socket.socket` here, so that an encrypted connection can stand for one."""

    def fileno(self) -> int: ...
    def recv(self, size: int, /) -> bytes: ...
    def send(self, data: bytes | memoryview, /) -> int: ...
    def sendall(self, data: bytes, /) -> None: ...
    def shutdown(self, how: int, /) -> None: ...
    def setblocking(self, flag: bool, /) -> None: ...
    def settimeout(self, timeout_s: float | None, /) -> None: ...
    def close(self) -> None: ...


class EngineError(Exception):
    """The engine answered a call with an error. Never leaves an executor.

    `status` is that of HTTP; `words` are the engine's own.
    """

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = " ".join(words.split()).rstrip(".")

    @property
    def name_taken(self) -> bool:
        """Another container has the name. Podman up to 4.x says so with status 500."""
        return self.status == 409 or "already in use" in self.words

    @property
    def image_missing(self) -> bool:
        """The image of a container to create is not there."""
        words = self.words.lower()
        return self.status == 404 or "no such image" in words or "image not known" in words


class Demultiplexer:
    """Takes a stream of frames in pieces of any size and gives the bytes of standard output."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self._wanted = False

    def feed(self, data: bytes) -> bytes:
        """The part of standard output in `data`, as far as it is known yet."""
        out: list[bytes] = []
        at = 0
        while at < len(data):
            if self._left:
                end = min(len(data), at + self._left)
                if self._wanted:
                    out.append(data[at:end])
                self._left -= end - at
                at = end
                continue
            need = _HEADER.size - len(self._head)
            self._head += data[at : at + need]
            at += need
            if len(self._head) == _HEADER.size:
                stream, self._left = _HEADER.unpack(self._head)
                self._wanted = stream == _STDOUT
                self._head = b""
        return b"".join(out)


def hijack(connection: Connection, path: str, query: Mapping[str, str]) -> None:
    """Turn a fresh connection to an engine into the raw stream of an attached container.

    Nothing behind the head of the answer is read. Blocks up to `ATTACH_S`.

    Raises:
        EngineError: the engine refused; its words.
        OSError: the connection broke.
    """
    connection.settimeout(ATTACH_S)
    request = (
        f"POST {path}?{urlencode(query)} HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\n"
        "Upgrade: tcp\r\nContent-Length: 0\r\n\r\n"
    )
    connection.sendall(request.encode("ascii"))
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):  # byte by byte: what follows belongs to the stream
        byte = connection.recv(1)
        if not byte or len(head) > _MAX_HEAD:
            raise ConnectionResetError("the engine closed the connection instead of attaching")
        head += byte
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split()[1])
    if status not in (101, 200):
        raise EngineError(status, _refusal(connection, lines))


def _refusal(connection: Connection, lines: list[str]) -> str:
    """The engine's own words in the body of an error."""
    fields = dict(line.lower().split(":", 1) for line in lines[1:] if ":" in line)
    left = min(int(fields.get("content-length", "0").strip() or 0), _MAX_HEAD)
    body = bytearray()
    while len(body) < left:
        data = connection.recv(left - len(body))
        if not data:
            break
        body += data
    text = body.decode(errors="replace").strip()
    with contextlib.suppress(ValueError, AttributeError):
        answer = json.loads(text)
        text = str(answer.get("message") or answer.get("cause") or text)
    return text or lines[0]


class AttachStream:
    """A hijacked connection as the two streams of a node; see `Node` for what each method means."""

    def __init__(
        self, connection: Connection, helper: subprocess.Popen[bytes] | None = None
    ) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._helper = helper
        self._frames = Demultiplexer()
        self._lock = threading.Lock()  # held for single system calls, so that `close` may come in
        self._closed = False
        self._input_ended = False
        #: The end of the stream was seen.
        self.ended = False

    def fileno(self) -> int:
        """See `Node.fileno`; -1 when closed."""
        return self._socket.fileno()

    def read(self) -> bytes | None:
        """See `Node.read`."""
        with self._lock:
            while not self.ended:
                try:
                    data = b"" if self._closed else self._socket.recv(1 << 18)
                except BlockingIOError:
                    return None
                except OSError:
                    data = b""
                if not data:
                    self.ended = True
                elif found := self._frames.feed(data):
                    return found
            return b""

    def write(self, data: bytes) -> None:
        """See `Node.write`."""
        left = memoryview(data)
        deadline = time.monotonic() + STALL_S
        while left:
            with self._lock:
                if self._closed or self._input_ended or self.ended:
                    raise NodeError("The node has ended, or its standard input is closed.")
                try:
                    sent = self._socket.send(left)
                except BlockingIOError:
                    sent = 0
                except OSError as error:
                    raise NodeError(f"The connection to the node is gone: {error}.") from None
            if sent:
                left = left[sent:]
                deadline = time.monotonic() + STALL_S
            elif time.monotonic() > deadline:
                raise NodeError(f"The node has not read its input for {STALL_S:g} seconds.")
            elif self._peer_is_gone():
                raise NodeError("The node has ended.")

    def _peer_is_gone(self) -> bool:
        """Wait a second for buffer space; whether there will be none.

        Docker ends only its own direction of the connection when a container has exited.
        """
        descriptor = self._socket.fileno()
        if descriptor < 0:
            return True
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT | select.POLLRDHUP)
        return any(events & ~select.POLLOUT for _, events in poll.poll(1000))

    def end_input(self) -> None:
        """See `Node.drain`."""
        with self._lock:
            if self._closed or self._input_ended:
                return
            self._input_ended = True
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Give the connection back. May be called twice and from another thread."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes who polls in another thread
            self._socket.close()
        if self._helper is not None:
            try:
                self._helper.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._helper.kill()
                self._helper.wait(timeout=5)
