"""A registry with one small image on the loopback interface, so that pulls can be tested offline.

Speaks as much of the distribution protocol as engines need to pull. The image has an executable
`/bin/sh` that is a link, as in Debian's images, and is never meant to be run.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random

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


@contextmanager
def registry(*, shell: bool = True) -> Iterator[str]:
    """Serve until the end of the context; gives `127.0.0.1:port`.

    The image is `<address>/kit/small:1`; `kit/secret` asks for a login that nobody has.
    """
    manifest, blobs = _contents(shell=shell)
    tags = ("1", _digest(manifest))

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            parts = self.path.strip("/").split("/")
            if "secret" in parts:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="kit"')
                return self._send(b'{"errors":[{"code":"UNAUTHORIZED","message":"log in"}]}')
            if parts == ["v2"]:
                self.send_response(200)
                return self._send(b"{}")
            if parts in (["v2", "kit", "small", "manifests", tag] for tag in tags):
                self.send_response(200)
                self.send_header("Content-Type", _MANIFEST)
                self.send_header("Docker-Content-Digest", _digest(manifest))
                return self._send(manifest)
            if parts[3:4] == ["blobs"] and parts[4] in blobs:
                self.send_response(200)
                return self._send(blobs[parts[4]])
            self.send_response(404)
            return self._send(b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}')

        do_GET = do_HEAD = _answer

        def _send(self, body: bytes) -> None:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                for start in range(0, len(body), _PIECE):
                    self.wfile.write(body[start : start + _PIECE])
                    if len(body) > _PIECE:
                        time.sleep(_PAUSE_S)  # as a network would: else no progress is reported

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="test registry")
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(10)
