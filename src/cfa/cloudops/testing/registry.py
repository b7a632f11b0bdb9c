"""A registry with one small image on the loopback interface, so that pulls and pushes can be tested
offline.

Speaks as much of the distribution protocol as engines need. The image has an executable `/bin/sh`
that is a link, as in Debian's images, and is never meant to be run.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import socket
import struct
import tarfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from urllib.parse import unquote

from cfa.cloudops.testing.namespaces import enter_network

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
#: Bytes of the layer that do not compress: enough for more than one report of progress.
_BULK = 4 << 20
_PIECE, _PAUSE_S = 1 << 18, 0.03


def _layer(*, shell: bool) -> bytes:
    """A tar file: `/bin` leads to `usr/bin`, where `sh` leads to `dash`."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in ("usr", "usr/bin"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        links = {"bin": "usr/bin", "usr/bin/sh": "dash"} if shell else {"bin": "usr/bin"}
        for name, target in links.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
        program = tarfile.TarInfo("usr/bin/dash")
        program.mode, program.size = 0o755, _BULK
        tar.addfile(program, io.BytesIO(Random(1).randbytes(_BULK)))  # noqa: S311  no secret
    return file.getvalue()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _contents(*, shell: bool) -> tuple[bytes, dict[str, bytes]]:
    """The manifest, and the blobs by digest."""
    plain = _layer(shell=shell)
    layer = gzip.compress(plain, mtime=0)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"User": "1234"},
            "rootfs": {"type": "layers", "diff_ids": [_digest(plain)]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {"mediaType": _CONFIG, "size": len(config), "digest": _digest(config)},
            "layers": [{"mediaType": _LAYER, "size": len(layer), "digest": _digest(layer)}],
        }
    ).encode()
    return manifest, {_digest(config): config, _digest(layer): layer}


class _Store:
    """What a registry has: blobs by digest, manifests by repository and by tag or digest."""

    def __init__(self, *, shell: bool) -> None:
        manifest, self.blobs = _contents(shell=shell)
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.uploads: dict[str, bytes] = {}
        self.keep("kit/small", "1", _MANIFEST, manifest)

    def keep(self, repository: str, tag: str, kind: str, manifest: bytes) -> str:
        """Take a manifest; its digest."""
        digest = _digest(manifest)
        for name in (tag, digest):
            self.manifests[repository, name] = (kind, manifest)
        return digest


class _Handler(BaseHTTPRequestHandler):
    store: _Store

    def _parts(self) -> tuple[str, str, str]:
        """Repository, kind and name of `/v2/<repository>/<kind>/<name>`."""
        path = self.path.partition("?")[0].strip("/").removeprefix("v2").strip("/")
        for kind in ("blobs/uploads", "manifests", "blobs"):
            repository, found, name = path.partition(f"/{kind}")
            if found:
                return repository, kind, name.strip("/")
        return path, "", ""

    def _refused(self) -> bool:
        if "/secret/" not in self.path:
            return False
        self._body()
        self._send(
            401,
            b'{"errors":[{"code":"UNAUTHORIZED","message":"log in"}]}',
            {"WWW-Authenticate": 'Basic realm="kit"'},
        )
        return True

    def do_GET(self) -> None:
        """Give the base, a manifest or a blob."""
        if self._refused():
            return
        repository, kind, name = self._parts()
        found = self.store.manifests.get((repository, name)) if kind == "manifests" else None
        if not kind:
            self._send(200, b"{}")
        elif found is not None:
            headers = {"Content-Type": found[0], "Docker-Content-Digest": _digest(found[1])}
            self._send(200, found[1], headers)
        elif kind == "blobs" and name in self.store.blobs:
            self._send(200, self.store.blobs[name])
        else:
            self._send(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}')

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Begin to take a blob."""
        if self._refused():
            return
        self._body()
        upload = uuid.uuid4().hex
        self.store.uploads[upload] = b""
        self._more(upload)

    def do_PATCH(self) -> None:
        """Take a piece of a blob."""
        _, _, upload = self._parts()
        self.store.uploads[upload] += self._body()
        self._more(upload)

    def _more(self, upload: str) -> None:
        repository, _, _ = self._parts()
        size = len(self.store.uploads[upload])
        location = f"/v2/{repository}/blobs/uploads/{upload}"
        self._send(202, b"", {"Location": location, "Range": f"0-{max(0, size - 1)}"})

    def do_PUT(self) -> None:
        """End the taking of a blob, or take a manifest."""
        if self._refused():
            return
        repository, kind, name = self._parts()
        body = self._body()
        if kind == "manifests":
            digest = self.store.keep(repository, name, self.headers["Content-Type"], body)
        else:
            data = self.store.uploads.pop(name) + body
            digest = _digest(data)
            self.store.blobs[digest] = data
        if kind == "manifests" or digest in unquote(self.path):
            self._send(201, b"", {"Location": self.path, "Docker-Content-Digest": digest})
        else:
            self._send(400, b'{"errors":[{"code":"DIGEST_INVALID","message":"not what was said"}]}')

    def _body(self) -> bytes:
        """The body of a request, also one in chunks."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            found.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(found)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            for start in range(0, len(body), _PIECE):
                self.wfile.write(body[start : start + _PIECE])
                if len(body) > _PIECE:
                    time.sleep(_PAUSE_S)  # as a network would: else no progress is reported

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def registry(*, shell: bool = True, engine: str = "") -> Iterator[str]:
    """Serve until the end of the context; gives `127.0.0.1:port`.

    The image is `<address>/kit/small:1`; `kit/secret` asks for a login that nobody has. Any other
    repository takes pushes.

    Args:
        shell: the image has a shell.
        engine: address of the engine that is going to ask, as in `DOCKER_HOST`. The loopback interface
            is that of its network namespace, which a local engine may have for itself.
    """
    handler = type("Handler", (_Handler,), {"store": _Store(shell=shell)})

    def serve() -> ThreadingHTTPServer:
        _enter_network_of(engine)
        return ThreadingHTTPServer(("127.0.0.1", 0), handler)

    # A socket stays in the namespace in which it was made; only the thread that makes it goes there.
    with ThreadPoolExecutor(1) as elsewhere:
        made = elsewhere.submit(serve).result()
    with made as server:
        thread = threading.Thread(target=server.serve_forever, name="test registry")
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(10)


def _enter_network_of(engine: str) -> None:
    """Move this thread into the network namespace of whoever listens on a socket of this machine."""
    path = engine.removeprefix("unix://")
    if path == engine:
        return
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, _, _ = struct.unpack("3i", credentials)
    try:
        there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # another user's: then it is where everybody is
        return
    try:
        enter_network(there)
    finally:
        os.close(there)
