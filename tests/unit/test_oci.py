"""The parts of container executors that need no engine."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfa.cloudops.errors import BackendUnavailableError, NodeError
from cfa.cloudops.provider.attach import AttachStream, Demultiplexer, EngineError, hijack
from cfa.cloudops.provider.container import PullProgress
from cfa.cloudops.provider.executor import ImageProgress
from cloudops_docker import endpoints
from cloudops_podman import service


def _frame(stream: int, data: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


@given(
    frames=st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=12),
    cuts=st.lists(st.integers(min_value=1, max_value=30), min_size=1, max_size=60),
)
def test_frames_in_any_pieces(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    """Standard output comes out whole and alone, however the stream is cut."""
    left = b"".join(_frame(stream, data) for stream, data in frames)
    demultiplexer, found = Demultiplexer(), b""
    while left:
        cut = cuts.pop() if cuts else len(left)
        found += demultiplexer.feed(left[:cut])
        left = left[cut:]
    assert found == b"".join(data for stream, data in frames if stream == 1)


def _answering(answer: bytes) -> socket.socket:
    """Our end of a connection whose other end has answered already, and stays open."""
    ours, theirs = socket.socketpair()
    theirs.sendall(answer)
    theirs.shutdown(socket.SHUT_WR)

    def take_request() -> None:
        with theirs:
            theirs.recv(65536)

    threading.Thread(target=take_request).start()
    return ours


def test_hijack_leaves_the_stream() -> None:
    """Bytes right behind the head of the answer belong to the stream."""
    raw = _answering(b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\n" + _frame(1, b"early"))
    hijack(raw, "/attach", {"stream": "1"})
    stream = AttachStream(raw)
    assert stream.read() == b"early"
    assert stream.read() == b""
    with pytest.raises(NodeError):
        stream.write(b"x")
    stream.close()
    stream.close()


def test_hijack_refused() -> None:
    """A refusal is an error with the engine's own words."""
    body = json.dumps({"message": "no such\ncontainer."}).encode()
    head = f"HTTP/1.1 404 Not Found\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with _answering(head + body) as raw, pytest.raises(EngineError) as caught:
        hijack(raw, "/attach", {})
    assert (caught.value.status, caught.value.words) == (404, "no such container")


def test_hijack_broken() -> None:
    """A connection that closes instead of answering is an OSError."""
    with _answering(b"HTTP/1.1 101") as raw, pytest.raises(OSError, match="closed"):
        hijack(raw, "/attach", {})


def test_pull_progress() -> None:
    """The events of layers are folded into one sum that never runs backwards."""
    steps: list[ImageProgress] = []
    progress = PullProgress("img", steps.append)
    progress("Pulling from library/img", "3.10-slim")
    progress("Downloading", "a", 10, 100)
    progress("Downloading", "b", 5, 50)
    progress("Download complete", "a")
    progress("Extracting", "a", 7, 100)
    progress("Downloading", "b", 50, 50)
    assert [(step.done, step.total) for step in steps] == [
        (0, 0),
        (10, 100),
        (15, 150),
        (105, 150),
        (105, 150),
        (150, 150),
    ]
    assert steps[-1].image == "img"


# --- where engines are looked for


def test_docker_host(tmp_path: Path) -> None:
    """DOCKER_HOST is the only candidate; with certificates it is encrypted."""
    env = {"DOCKER_HOST": "tcp://h:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs"}
    assert endpoints.candidates(None, env, tmp_path, 1000) == [
        endpoints.Endpoint(
            url="tcp://h:2376", origin="DOCKER_HOST", tls=True, certificates="/certs", verify=True
        )
    ]


def test_docker_option_wins(tmp_path: Path) -> None:
    """The executor's own option goes before the environment."""
    found = endpoints.candidates("unix:///mine", {"DOCKER_HOST": "unix:///x"}, tmp_path, 0)
    assert [endpoint.url for endpoint in found] == ["unix:///mine"]


@pytest.mark.parametrize("by_variable", [True, False])
def test_docker_context(tmp_path: Path, by_variable: bool) -> None:
    """The chosen context names the engine, by variable or by configuration."""
    config = tmp_path / ".docker"
    meta = config / "contexts" / "meta" / hashlib.sha256(b"mine").hexdigest()
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(
        json.dumps({"Name": "mine", "Endpoints": {"docker": {"Host": "unix:///ctx.sock"}}})
    )
    if not by_variable:
        (config / "config.json").write_text('{"currentContext": "mine"}')
    env = {"DOCKER_CONTEXT": "mine"} if by_variable else {}
    found = endpoints.candidates(None, env, tmp_path, 1000)
    assert [(endpoint.url, endpoint.tls) for endpoint in found] == [("unix:///ctx.sock", False)]


def test_docker_context_missing(tmp_path: Path) -> None:
    """A context that does not exist is an error that names it."""
    with pytest.raises(BackendUnavailableError, match="'gone'"):
        endpoints.candidates(None, {"DOCKER_CONTEXT": "gone"}, tmp_path, 1000)


def test_docker_configuration_broken(tmp_path: Path) -> None:
    """A configuration that is no JSON is an error that names the file."""
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BackendUnavailableError, match=r"config\.json"):
        endpoints.candidates(None, {"DOCKER_CONFIG": str(tmp_path)}, tmp_path, 1000)


def test_docker_usual_places(tmp_path: Path) -> None:
    """Without a word from the user: rootful, rootless, and desktop sockets."""
    found = endpoints.candidates(None, {"XDG_RUNTIME_DIR": "/run/user/5"}, tmp_path, 5)
    assert [endpoint.url for endpoint in found] == [
        "unix:///var/run/docker.sock",
        "unix:///run/user/5/docker.sock",
        f"unix://{tmp_path}/.docker/run/docker.sock",
        f"unix://{tmp_path}/.docker/desktop/docker.sock",
    ]


def test_home_of_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither HOME nor the password database names a home: that is no error."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_007)
    assert endpoints.user_home() == Path("/")


@pytest.mark.parametrize(
    ("host", "environment", "uid", "expected"),
    [
        ("unix:///o", {"CONTAINER_HOST": "unix:///x"}, 0, ["unix:///o"]),
        (None, {"CONTAINER_HOST": "tcp://h:1"}, 0, ["tcp://h:1"]),
        (None, {"CLOUDOPS_PODMAN_SOCKET": "/my.sock"}, 5, ["unix:///my.sock"]),
        (None, {}, 5, ["unix:///run/user/5/podman/podman.sock"]),
        (
            None,
            {"XDG_RUNTIME_DIR": "/r"},
            0,
            ["unix:///run/podman/podman.sock", "unix:///r/podman/podman.sock"],
        ),
    ],
)
def test_podman_places(
    host: str | None, environment: dict[str, str], uid: int, expected: list[str]
) -> None:
    """Podman's service is looked for where the user says, else at the usual sockets."""
    found = service.candidates(host, environment, uid)
    assert [endpoint.url for endpoint in found] == expected
    named = bool(host or {"CONTAINER_HOST", "CLOUDOPS_PODMAN_SOCKET"} & set(environment))
    assert {endpoint.explicit for endpoint in found} == {named}


@pytest.mark.parametrize("package", ["cloudops_docker", "cloudops_podman"])
def test_sdk_is_imported_late(package: str) -> None:
    """Importing a backend, and even its class, imports no SDK."""
    code = (
        f"import sys, {package}; [getattr({package}, name) for name in {package}.__all__];"
        "sys.exit(bool({'docker', 'podman', 'requests'} & set(sys.modules)))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert subprocess.run([sys.executable, "-c", code], env=env, timeout=60).returncode == 0
