"""TLS on a socket with what Python's own `SSLSocket` has not: ending one direction only.

`SSLSocket.unwrap` loses what the other side is still sending; Docker ends a container's standard input
on our "close notify" and goes on with its output.
"""

from __future__ import annotations

import select
import socket
import ssl

#: Seconds that the other side may take to make room for a record.
_STALL_S = 30.0
_PIECE = 1 << 14


class TlsConnection:
    """Behaves as the `socket.socket` it is given, as far as `AttachStream` and `hijack` use one.

    A record is sent whole before `send` returns: a write may wait, whatever the socket is set to.
    """

    def __init__(self, plain: socket.socket, context: ssl.SSLContext, hostname: str) -> None:
        self._plain = plain
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=hostname)
        self._ready = b""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
        self._flush()

    def _fill(self) -> None:
        """Take bytes from the socket; raises BlockingIOError when there are none."""
        data = self._plain.recv(1 << 16)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        data = memoryview(self._outgoing.read())
        while data:
            try:
                data = data[self._plain.send(data) :]
            except BlockingIOError:
                poll = select.poll()
                poll.register(self._plain, select.POLLOUT)
                if not poll.poll(_STALL_S * 1000):
                    raise TimeoutError("the engine does not take our data") from None

    def recv(self, size: int) -> bytes:
        """All that can be decrypted now, at most `size`; see `socket.recv`."""
        found = [self._ready]
        try:
            while True:
                try:
                    data = self._tls.read(1 << 16)
                except ssl.SSLWantReadError:
                    if any(found):
                        break
                    self._fill()
                    continue
                if not data:
                    break
                found.append(data)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            pass
        ready = b"".join(found)
        self._ready = ready[size:]
        return ready[:size]

    def send(self, data: bytes | memoryview) -> int:
        """See `socket.send`."""
        sent = self._tls.write(data[:_PIECE])
        self._flush()
        return sent

    def sendall(self, data: bytes) -> None:
        """See `socket.sendall`."""
        left = memoryview(data)
        while left:
            left = left[self.send(left) :]

    def shutdown(self, how: int) -> None:
        """End our direction by "close notify", or both directions at once."""
        if how == socket.SHUT_WR:
            try:
                self._tls.unwrap()
            except ssl.SSLWantReadError:
                pass  # sent; that the other side has not answered it is the point
            self._flush()
        else:
            self._plain.shutdown(how)

    def fileno(self) -> int:
        """See `socket.fileno`."""
        return self._plain.fileno()

    def setblocking(self, flag: bool) -> None:
        """See `socket.setblocking`."""
        self._plain.setblocking(flag)

    def settimeout(self, timeout_s: float | None) -> None:
        """See `socket.settimeout`."""
        self._plain.settimeout(timeout_s)

    def close(self) -> None:
        """See `socket.close`."""
        self._plain.close()
