"""Connections to a Docker engine: the SDK's client, and raw ones to attach by."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cfa.cloudops.errors import BackendUnavailableError
from cfa.cloudops.provider.attach import Connection
from cloudops_docker.endpoints import Endpoint
from cloudops_docker.tls import TlsConnection

if TYPE_CHECKING:
    from docker import APIClient

#: Seconds to connect.
CONNECT_S = 4.0
#: Seconds that a call may take once the engine is known to answer; busy engines are slow.
CALL_S = 60.0
#: Connections that wait for the next call.
_KEPT = 32


def client(endpoint: Endpoint) -> APIClient:
    """The SDK's client, after one exchange with the engine. Blocks up to `CONNECT_S`.

    Raises:
        docker.errors.DockerException, OSError: the engine does not answer.
    """
    import docker

    parts = urlsplit(endpoint.url)
    if parts.scheme == "unix":
        _unix(parts.path).close()  # the SDK's own error would hide why
    tls: Any = False
    if endpoint.tls:
        folder = Path(endpoint.certificates)
        pair = (str(folder / "cert.pem"), str(folder / "key.pem"))
        tls = docker.tls.TLSConfig(
            client_cert=pair if Path(pair[0]).exists() else None,
            ca_cert=str(folder / "ca.pem") if endpoint.verify else None,
            verify=endpoint.verify,
        )
    found = docker.APIClient(
        base_url=endpoint.url,
        version="auto",
        timeout=CONNECT_S,
        tls=tls,
        use_ssh_client=parts.scheme == "ssh",
    )
    found.timeout = CALL_S
    if parts.scheme == "unix":
        _keep_connections(found, parts.path)
    return found


def _keep_connections(client: APIClient, path: str) -> None:
    """Use connections again, whatever container a call is about.

    The SDK keeps them by address, which has the container's id in it, so that every container costs
    new ones. And it looks for proxies and passwords, which a socket of this machine has no use for.
    """
    from docker.transport import UnixHTTPAdapter

    class Adapter(UnixHTTPAdapter):  # type: ignore[misc]  # the SDK has no types
        def get_connection(self, url: str, proxies: Any = None) -> Any:
            del url
            return super().get_connection("http+docker://localhost", proxies)

    client.trust_env = False
    client.get_adapter("http+docker://").close()  # it holds the connection of the first exchange
    client.mount("http+docker://", Adapter(f"http+unix://{path}", CALL_S, max_pool_size=_KEPT))


def connect(endpoint: Endpoint) -> tuple[Connection, subprocess.Popen[bytes] | None]:
    """A raw connection, and the program that carries it if there is one.

    Raises:
        OSError: it cannot be made.
        BackendUnavailableError: the kind of address is not known.
    """
    parts = urlsplit(endpoint.url)
    if parts.scheme == "unix":
        return _unix(parts.path), None
    if parts.scheme in ("tcp", "http", "https"):
        address = (parts.hostname or "localhost", parts.port or (2376 if endpoint.tls else 2375))
        plain = socket.create_connection(address, CONNECT_S)
        if not endpoint.tls:
            return plain, None
        try:
            return TlsConnection(plain, _tls_context(endpoint), address[0]), None
        except BaseException:
            plain.close()
            raise
    if parts.scheme == "ssh":
        return _ssh(parts.hostname or "", parts.username, parts.port)
    raise BackendUnavailableError(
        f"Docker's address {endpoint.url!r} (from {endpoint.origin}) has an unknown form.",
        "Use unix://, tcp:// or ssh://.",
    )


def _unix(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(CONNECT_S)
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


def _tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    folder = Path(endpoint.certificates)
    context = ssl.create_default_context(cafile=str(folder / "ca.pem") if endpoint.verify else None)
    if not endpoint.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if (folder / "cert.pem").exists():
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def _ssh(
    host: str, user: str | None, port: int | None
) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Docker's own way: `docker system dial-stdio` on the other machine, on one socket here.

    When this process dies, the socket ends, with it ssh's input, and with it the connection.
    """
    argv = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S:g}", "-T"]
    argv += ["-l", user] if user else []
    argv += ["-p", str(port)] if port else []
    ours, theirs = socket.socketpair()
    try:
        helper = subprocess.Popen(
            [*argv, "--", host, "docker", "system", "dial-stdio"],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us, not for it
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return ours, helper
