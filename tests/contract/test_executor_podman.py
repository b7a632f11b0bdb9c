"""The executor contract on real Podman: by a service that runs, and by one started on demand.

Run as root the nodes are root's; run as an ordinary user they are rootless.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cfa.cloudops.errors import BackendUnavailableError, ImageError
from cfa.cloudops.provider.executor import Executor, ImageProgress, NodeSpec
from cfa.cloudops.testing import images
from cfa.cloudops.testing.executor import (
    ECHO,
    ExecutorContract,
    interrupted,
    read_all,
    read_line,
    wait_until,
)
from cfa.cloudops.testing.registry import registry
from cloudops_podman import PodmanExecutor
from cloudops_podman.service import Endpoint, connect

IMAGES = (images.BUSYBOX, images.NOSHELL, images.NONROOT, images.ENTRYPOINT)


def _ready(executor: PodmanExecutor) -> Iterator[PodmanExecutor]:
    """Load images, use the executor, close it."""
    try:
        executor.probe()
        images.load(images.engine("podman"), *IMAGES)
        yield executor
    finally:
        executor.close()


class _Podman(ExecutorContract):
    @pytest.fixture
    def image(self) -> str:
        """See the kit."""
        return images.BUSYBOX

    @pytest.fixture
    def entrypoint_image(self) -> str:
        """See the kit."""
        return images.ENTRYPOINT

    @pytest.fixture
    def shellless_image(self) -> str:
        """See the kit."""
        return images.NOSHELL


@pytest.mark.thorough
class TestSocket(_Podman):
    """E1 and following, on the service that `CONTAINER_HOST` names or that runs at a usual place."""

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Iterator[Executor]:
        """See the kit."""
        if not os.environ.get("CONTAINER_HOST") and os.getuid() != 0:
            pytest.skip("an ordinary user's service is started on demand: see TestOwnService")
        yield from _ready(PodmanExecutor())


class TestOwnService(_Podman):
    """E1 and following, on a service that the executor starts; rootless as an ordinary user."""

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Iterator[Executor]:
        """See the kit."""
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("CONTAINER_HOST", raising=False)
            patch.delenv("CLOUDOPS_PODMAN_SOCKET", raising=False)
            yield from _ready(PodmanExecutor())


@pytest.mark.thorough
class TestOwners(TestOwnService):
    """The whole contract again for an ordinary caller, in an image with a USER of its own."""

    @pytest.fixture
    def image(self) -> str:
        """See the kit."""
        return images.NONROOT

    @pytest.fixture
    def caller(self) -> tuple[int, int]:
        """An ordinary user, whoever runs the tests as root; else that user."""
        return (4321, 8765) if os.getuid() == 0 else (os.getuid(), os.getgid())


class _Busy(socketserver.ThreadingUnixStreamServer):
    """Stands between a caller and a service, and takes its time for what it is asked."""

    def __init__(self, path: Path, endpoint: Endpoint, word: bytes, wait_s: float) -> None:
        self.endpoint, self.word, self.wait_s = endpoint, word, wait_s
        self.requests: list[bytes] = []
        super().__init__(str(path), _PassOn)
        self.thread = threading.Thread(target=self.serve_forever, args=[0.05])
        self.thread.start()

    def close(self) -> None:
        """End all of it."""
        self.shutdown()
        self.thread.join()
        self.server_close()


class _PassOn(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        """Pass on what both say."""
        server = self.server
        assert isinstance(server, _Busy)
        with connect(server.endpoint) as service, contextlib.suppress(OSError):
            service.settimeout(60)
            while True:
                for ready in select.select([self.request, service], [], [])[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    if ready is service:
                        self.request.sendall(data)
                        continue
                    asked = data.partition(b"\r\n")[0]
                    server.requests.append(asked)
                    if server.word in asked:
                        time.sleep(server.wait_s)
                    service.sendall(data)


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., _Busy]]:
    """A service that is busy, as `CONTAINER_HOST` names it: `busy(<what it is asked>, <seconds>)`."""
    with (
        # The path of a socket has 107 bytes at most; `tmp_path` may be longer than that.
        tempfile.TemporaryDirectory(prefix="busy-") as place,
        contextlib.closing(PodmanExecutor()) as executor,
        contextlib.ExitStack() as made,
    ):
        service = Endpoint(url=executor.probe().endpoint, origin="")

        def make(word: bytes, wait_s: float) -> _Busy:
            path = Path(place, "s")
            found = made.enter_context(contextlib.closing(_Busy(path, service, word, wait_s)))
            monkeypatch.setenv("CONTAINER_HOST", f"unix://{path}")
            return found

        yield make


def test_busy_service(busy: Callable[..., _Busy], monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that answers at once may take its time to say what it is."""
    monkeypatch.setattr("cloudops_podman.service.CONNECT_S", 0.4)
    busy(b"/info", 1.0)
    with contextlib.closing(PodmanExecutor()) as executor:
        assert executor.probe().version


def test_silent_service(busy: Callable[..., _Busy], monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that does not answer is said to be unavailable, with the time that it was given."""
    monkeypatch.setattr("cloudops_podman.service.CONNECT_S", 0.4)
    busy(b"/_ping", 2.0)
    with (
        contextlib.closing(PodmanExecutor()) as executor,
        pytest.raises(BackendUnavailableError, match=r"does not answer within 0\.4 s"),
    ):
        executor.probe()


def test_call_without_an_answer_is_not_made_again(
    busy: Callable[..., _Busy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent may have been done: nobody sends it a second time."""
    middle = busy(b"/images/", 2.0)
    with contextlib.closing(PodmanExecutor()) as executor:
        executor.probe()
        monkeypatch.setattr("cloudops_podman.executor.CALL_S", 0.4)
        monkeypatch.setattr(executor, "_revive", lambda: True)
        with pytest.raises(BackendUnavailableError, match=r"within 0\.4 s"):
            executor.find_image(images.BUSYBOX)
    assert sum(b"/images/" in line for line in middle.requests) == 1


def test_service_is_asked_once(
    busy: Callable[..., _Busy], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What a service said of itself counts for a minute, for all of a user's processes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    middle = busy(b"/nothing", 0.0)

    def probe(*, anew: bool = False) -> tuple[object, int]:
        """What the executor says, and how often the service was asked for it."""
        before = len(middle.requests)
        with contextlib.closing(PodmanExecutor()) as executor:
            if anew:
                executor.forget()
            found = executor.probe()
        return found, sum(b"/info" in line for line in middle.requests[before:])

    first, times = probe()
    assert times == 1
    assert probe() == (first, 0)
    assert probe(anew=True) == (first, 1)
    (file,) = tmp_path.glob("cache/*/*")
    assert file.stat().st_mode & 0o777 == 0o600
    said = file.read_bytes()
    for content in (b'{"host": 7}', b"[" * 10_000, said[:-9]):
        file.write_bytes(content)
        assert probe() == (first, 1)
    os.utime(file, (0, 0))
    assert probe() == (first, 1)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert probe() == (first, 1)
    assert probe() == (first, 0)
    file.unlink()
    os.mkfifo(file)
    assert probe() == (first, 1)


def test_own_service_is_asked_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So does what a service that was started here said, for the next that is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CONTAINER_HOST", raising=False)  # Podman would be a client of that one
    monkeypatch.setattr("cloudops_podman.executor.candidates", lambda *_: [_NOBODY])

    def version(*, anew: bool = False) -> str:
        with contextlib.closing(PodmanExecutor()) as executor:
            if anew:
                executor.forget()
            return executor.probe().version

    first = version()
    (file,) = tmp_path.glob("cache/*/*")
    said = json.loads(file.read_text())
    said["version"]["Version"] = "4.99"
    file.write_text(json.dumps(said))
    assert version() == "4.99"
    monkeypatch.setenv("STORAGE_DRIVER", "")  # other settings, and another file
    assert version() == first
    monkeypatch.delenv("STORAGE_DRIVER")
    assert version(anew=True) == first


#: Where no service is.
_NOBODY = Endpoint(url="unix:///nowhere/podman.sock", origin="")


def _spec(node_id: str = "n1") -> NodeSpec:
    workspace = f"podman-{os.getpid()}"
    return NodeSpec(
        workspace=workspace,
        node_id=node_id,
        name=f"{workspace}.{node_id}",
        image=images.BUSYBOX,
        argv=("/bin/sh", "-c", ECHO),
        caller_uid=os.getuid(),
        caller_gid=os.getgid(),
    )


def _exists(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for yet does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def _listens(path: Path) -> bool:
    """Whether somebody listens at a socket."""
    try:
        connect(Endpoint(url=f"unix://{path}", origin="")).close()
    except ConnectionRefusedError:
        return False
    return True


class TestServiceOfOurOwn:
    """What becomes of the service that an executor starts."""

    @pytest.fixture
    def executor(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[PodmanExecutor]:
        """An executor whose service leaves after a second of idleness."""
        monkeypatch.delenv("CONTAINER_HOST", raising=False)
        monkeypatch.delenv("CLOUDOPS_PODMAN_SOCKET", raising=False)
        executor = PodmanExecutor({"idle_s": "1"})
        for _ in _ready(executor):
            if executor.service_pid is None:
                pytest.skip("a service runs at a usual place")
            yield executor
            left = executor.list_nodes(_spec().workspace)
            assert not left

    def test_close_stops_it(self, executor: PodmanExecutor) -> None:
        """`close` ends the service and removes its socket; a later call starts another."""
        pid = executor.service_pid
        assert pid is not None
        path = Path(executor.probe().endpoint.removeprefix("unix://"))
        assert path.is_socket()
        executor.close()
        executor.close()
        assert not _exists(pid)
        assert not path.exists()
        assert executor.probe().version

    def test_node_keeps_it(self, executor: PodmanExecutor) -> None:
        """A node's connection counts as use: the service stays, however silent the node is."""
        pid = executor.service_pid
        node = executor.open_node(_spec())
        try:
            assert read_line(node) == b"ready\n"
            assert not select.select([node], [], [], 3)[0]  # three times as long as it may be idle
            assert executor.service_pid == pid
            node.write(b"still there\n")
            assert read_line(node) == b"still there\n"
        finally:
            node.close(0)

    def test_started_again(self, executor: PodmanExecutor) -> None:
        """A service that left because it was idle is started again by the next call."""
        first = executor.service_pid
        wait_until(lambda: executor.service_pid is None, "the idle service left")
        assert executor.list_nodes("nobody") == []
        assert executor.service_pid not in (None, first)

    def test_node_after_idleness(self, executor: PodmanExecutor) -> None:
        """A node can be opened after the service had left."""
        wait_until(lambda: executor.service_pid is None, "the idle service left")
        node = executor.open_node(_spec())
        try:
            assert read_line(node) == b"ready\n"
        finally:
            node.close(0)

    def test_killed_service(self, executor: PodmanExecutor) -> None:
        """A node whose service is killed drains and can still be closed."""
        node = executor.open_node(_spec())
        assert read_line(node) == b"ready\n"
        pid = executor.service_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        read_all(node)
        assert node.close(30).exit_code == 0

    def test_killed_user(self, executor: PodmanExecutor) -> None:
        """When the process that started a service is killed, the service leaves, and its socket."""
        del executor  # requested for its images and its check that Podman can be used
        path, pid = _service_of_a_killed_process("1")
        wait_until(lambda: not _exists(pid), "the service left")
        assert not path.exists()

    @pytest.mark.parametrize("begin_anew", [False, True])
    def test_killed_with_its_user(self, executor: PodmanExecutor, begin_anew: bool) -> None:
        """The socket of a service that was killed, as was who had started it, is removed by the next
        that ends, even if that began while it still answered, or that begins."""
        if begin_anew:
            executor.close()
        path, pid = _service_of_a_killed_process("600")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not _listens(path), "the service is dead")  # all of its threads
        assert path.is_socket()
        if begin_anew:
            executor.probe()
        else:
            executor.close()
        assert not path.exists()


def _service_of_a_killed_process(idle_s: str) -> tuple[Path, int]:
    """The socket and the process of a service that was started by a process that is killed."""
    code = (
        "from cloudops_podman import PodmanExecutor; import sys;"
        "e = PodmanExecutor({'idle_s': sys.argv[1]}); print(e.probe().endpoint, e.service_pid);"
        "sys.stdout.flush(); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, idle_s],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as process:
        assert process.stdout is not None
        endpoint, pid = process.stdout.readline().decode().split()
        process.kill()
    return Path(endpoint.removeprefix("unix://")), int(pid)


@pytest.mark.parametrize("verb", ["create", "attach", "start"])
def test_interrupted(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at any step of opening a node leaves no container."""
    for executor in _ready(PodmanExecutor()):
        monkeypatch.setattr(executor, verb, interrupted(getattr(executor, verb)))
        with pytest.raises(KeyboardInterrupt):
            executor.open_node(_spec())
        assert executor.list_nodes(_spec().workspace) == []


@pytest.fixture
def trusting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PodmanExecutor]:
    """An executor whose own service takes a registry on this machine without encryption."""
    settings = tmp_path / "registries.conf"
    settings.write_text(
        '[[registry]]\nprefix = "127.0.0.1"\nlocation = "127.0.0.1"\ninsecure = true\n'
    )
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(settings))
    monkeypatch.delenv("CONTAINER_HOST", raising=False)
    monkeypatch.delenv("CLOUDOPS_PODMAN_SOCKET", raising=False)
    executor = PodmanExecutor()
    try:
        executor.probe()
        if executor.service_pid is None:
            pytest.skip("a service runs at a usual place, with settings of its own")
        yield executor
    finally:
        executor.close()


def test_pull(trusting: PodmanExecutor) -> None:
    """A missing image is pulled, with progress in words; its shell is found behind links."""
    steps: list[ImageProgress] = []
    with registry() as address:
        image = f"{address}/kit/small:1"
        try:
            found = trusting.ensure_image(image, steps.append)
        finally:
            images.engine("podman").run("rmi", "--force", image, timeout_s=60)
    assert found.user == "1234"
    assert image in steps[0].status


@pytest.mark.parametrize(("name", "words"), [("small:9", "unknown"), ("secret:1", "log in")])
def test_pull_refused(trusting: PodmanExecutor, name: str, words: str) -> None:
    """A pull that the registry refuses is an ImageError with the registry's words."""
    with registry() as address, pytest.raises(ImageError, match=words) as caught:
        trusting.ensure_image(f"{address}/kit/{name}")
    assert f"podman pull {address}/kit/{name}" in caught.value.hint


def test_short_name(trusting: PodmanExecutor) -> None:
    """A short name that Podman has no registry for is asked for on Docker Hub, as Docker does."""
    with pytest.raises(ImageError, match=r"docker\.io"):
        trusting.ensure_image("cloudops-kit-no-such-image:1")
