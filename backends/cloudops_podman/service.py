"""Finds a Podman service, and starts one of our own where none answers."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from attrs import frozen

from cfa.cloudops.errors import BackendNotInstalledError, BackendUnavailableError

#: Seconds without a connection after which our own service leaves. A hijacked connection, the
#: streams of a node, keeps it (tested with 4.3).
IDLE_S = 10
#: Seconds to connect, and that our own service may take to answer.
CONNECT_S = 4.0
#: Longest path of a socket that Linux takes.
_MAX_SOCKET_PATH = 107


@frozen(kw_only=True)
class Endpoint:
    """Where a service may be: `unix://` or `tcp://`, and what named it; of one of our own, the program
    that runs it."""

    url: str
    origin: str
    explicit: bool = False
    program: str = ""


def candidates(host: str | None, environment: Mapping[str, str], uid: int) -> list[Endpoint]:
    """Endpoints to try, in order. What the user names explicitly is the only one.

    Args:
        host: the executor's own option, or None.
        environment: stands for `os.environ`.
        uid: of the calling user.
    """
    if host:
        return [Endpoint(url=host, origin="option host", explicit=True)]
    for variable in ("CONTAINER_HOST", "CLOUDOPS_PODMAN_SOCKET"):
        if environment.get(variable):
            value = environment[variable]
            url = value if "://" in value else f"unix://{value}"
            return [Endpoint(url=url, origin=variable, explicit=True)]
    sockets = ["/run/podman/podman.sock"] if uid == 0 else []
    sockets.append(f"{environment.get('XDG_RUNTIME_DIR') or f'/run/user/{uid}'}/podman/podman.sock")
    return [Endpoint(url=f"unix://{path}", origin="usual place") for path in sockets]


def own(url: str) -> Endpoint:
    """The endpoint of a service that is started here."""
    return Endpoint(url=url, origin="a service of our own", program=shutil.which("podman") or "")


def connect(endpoint: Endpoint) -> socket.socket:
    """A raw connection.

    Raises:
        OSError: it cannot be made.
        BackendUnavailableError: the kind of address is not known.
    """
    parts = urlsplit(endpoint.url)
    if parts.scheme in ("unix", "http+unix"):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(CONNECT_S)
            connection.connect(parts.path)
        except BaseException:
            connection.close()
            raise
        return connection
    if parts.scheme in ("tcp", "http"):
        return socket.create_connection(
            (parts.hostname or "localhost", parts.port or 8080), CONNECT_S
        )
    raise BackendUnavailableError(
        f"Podman's address {endpoint.url!r} (from {endpoint.origin}) is of a kind that this backend "
        "cannot use.",
        "Use unix:// or tcp://. To forward a socket of another machine: "
        "ssh -L LOCAL.sock:REMOTE.sock HOST",
    )


def program() -> str:
    """The podman program.

    Raises:
        BackendNotInstalledError: there is none on PATH.
    """
    found = shutil.which("podman")
    if found is None:
        raise BackendNotInstalledError(
            "There is no podman program on PATH and no Podman service answers.",
            "Install it (Debian: apt install podman uidmap slirp4netns fuse-overlayfs), or set "
            "CLOUDOPS_BACKEND=docker or subprocess.",
        )
    return found


class OwnService:
    """A `podman system service` of our own: it leaves when idle, also after we were killed.

    Not thread-safe; the executor has a lock.

    Args:
        idle_s: whole seconds without a connection after which it leaves.
    """

    def __init__(self, idle_s: int = IDLE_S) -> None:
        self._idle_s = idle_s
        self._folder: Path | None = None  # made by us, when there is no runtime directory
        self._process: subprocess.Popen[bytes] | None = None
        self._socket = self._place()

    @property
    def endpoint(self) -> Endpoint:
        """Where it answers when it runs."""
        return own(f"unix://{self._socket}")

    def _place(self) -> Path:
        """A path that only this user can reach; Podman removes its socket when it leaves."""
        name = f"cloudops-podman-{os.getpid()}-{secrets.token_hex(4)}.sock"
        folders = [os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{os.getuid()}"]
        if os.getuid() == 0:
            folders = ["/run"]
        for folder in filter(None, folders):
            path = Path(folder) / name
            with contextlib.suppress(OSError):
                mine = Path(folder).stat().st_uid == os.getuid()
                usable = mine and os.access(folder, os.W_OK | os.X_OK)
                if usable and len(str(path)) <= _MAX_SOCKET_PATH:
                    return path
        self._folder = Path(tempfile.mkdtemp(prefix="cloudops-podman-"))
        return self._folder / "podman.sock"

    @property
    def pid(self) -> int | None:
        """Its process, None when it does not run."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running and self._process is not None else None

    def ensure(self) -> None:
        """Start it unless it answers. Blocks up to `CONNECT_S`.

        Raises:
            BackendNotInstalledError: see `program`.
            BackendUnavailableError: it does not start; Podman's own words. Or too many files are open to
                find out.
        """
        if self._answers():
            return
        self._end()
        self._sweep()
        argv = [program(), "system", "service", "--time", str(self._idle_s), self.endpoint.url]
        with tempfile.TemporaryFile() as words:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=words,
                cwd="/",
                start_new_session=True,  # our terminal's Ctrl-C is not for it
            )
            deadline = time.monotonic() + CONNECT_S
            while not self._answers():
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self._end()
                    raise BackendUnavailableError(
                        f"Podman's service does not start: {_last_words(words)}.",
                        "To try by hand: podman info",
                    )
                time.sleep(0.01)

    def _sweep(self) -> None:
        """Remove sockets of services that were killed, as were those who started them."""
        for path in self._socket.parent.glob("cloudops-podman-*-*.sock"):
            pid = path.name.split("-")[2]
            if pid.isdecimal() and not _lives(pid):
                try:
                    connect(Endpoint(url=f"unix://{path}", origin="")).close()
                except ConnectionRefusedError:
                    path.unlink(missing_ok=True)
                except OSError:
                    continue  # it is gone, or busy

    def _answers(self) -> bool:
        """Whether the API answers; it listens some time before it is ready."""
        if self._process is None or self._process.poll() is not None:
            return False
        try:
            with connect(self.endpoint) as connection:
                connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")
                return b" 200 " in connection.recv(64)
        except OSError as error:
            # Ours are short; it may well run, with everything that it does.
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise BackendUnavailableError(
                    f"Podman's service cannot be reached: {error.strerror}.", "Close some files."
                ) from None
            return False

    def _end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(timeout=5)
            self._process = None
        self._socket.unlink(missing_ok=True)

    def stop(self) -> None:
        """End it and remove its socket. May be called twice."""
        self._end()
        self._sweep()  # a service that still answered when ours began may have been killed since
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _lives(pid: str) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        stat = Path("/proc", pid, "stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def _last_words(file: IO[bytes]) -> str:
    file.seek(0)
    text = file.read(8192).decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(lines[-2:]).rstrip(".") or f"it did not answer within {CONNECT_S:g} seconds"
