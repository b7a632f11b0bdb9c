"""Backends, images and clean surroundings for the tests, and a gate that nothing is left behind.

Without a flag, tests run on plain processes, and each engine that answers keeps the contract of
executors. `--full` runs everything everywhere, what takes long, and what kills at random moments. Where
an ordinary user runs all that beside root, `--beside` keeps root from running what is the same for both.

`backend` runs a test on every backend. One that this machine lacks is skipped with its reason; when
`CLOUDOPS_TEST_REQUIRE` names it, nothing runs at all: `docker`, `podman`, `podman-rootless`,
`subprocess`, `sandbox` (`subprocess` with bubblewrap), comma-separated.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from attrs import frozen

from cfa.cloudops.backends import load_executor
from cfa.cloudops.errors import (
    BackendError,
    BackendNotInstalledError,
    BackendUnavailableError,
    ImageError,
    UnsupportedError,
)
from cfa.cloudops.provider.container import HOME_LABEL, WORKSPACE_LABEL
from cfa.cloudops.provider.executor import Capabilities
from cfa.cloudops.testing import images
from cfa.cloudops.testing.namespaces import leave_network

ROOTLESS = os.getuid() != 0
PODMAN = "podman-rootless" if ROOTLESS else "podman"
BACKENDS = ("docker", PODMAN, "subprocess", "subprocess-nosandbox")
REQUIRABLE = ("docker", "podman", "podman-rootless", "subprocess", "sandbox")
REQUIRED = frozenset(filter(None, os.environ.get("CLOUDOPS_TEST_REQUIRE", "").split(",")))
#: Inherited by every process that a test starts, and so by what it must not leave behind.
MARK = "CFA_TEST_SESSION"
#: Seconds in which agents and nodes must have left after the last test of a module.
LEAVING_S = 60.0
#: How long an agent without work stays, for tests: short, because the gate waits for it.
IDLE_S = "2"


@frozen(kw_only=True)
class Backend:
    """A backend that answers.

    Attributes:
        name: the test's id, one of `BACKENDS`.
        executor: the name that `load_executor` and `CLOUDOPS_BACKEND` take.
        environment: what to set so that a process uses exactly this backend.
        capabilities: what the executor's `probe` said.
        engine: the engine's command line, None without one.
    """

    name: str
    executor: str
    environment: Mapping[str, str]
    capabilities: Capabilities
    engine: images.Engine | None


# --- what is run ----------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="every test on every backend, and faults")
    parser.addoption(
        "--beside",
        action="store_true",
        help="an ordinary user runs beside: leave out features, and units, on plain processes",
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """For `-n auto`: more than there are processors, as tests wait for others some of the time."""
    return len(os.sched_getaffinity(0)) + 2


def pytest_report_header(config: pytest.Config) -> str | None:
    if config.getoption("full"):
        return None
    return (
        "tests: on plain processes, and each engine's contract; with --full, all on every backend"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, without `--full`, what only another backend or a random moment makes different."""
    if ROOTLESS:
        for item in items:
            if item.get_closest_marker("root"):
                item.add_marker(pytest.mark.skip(reason="only root can do it"))
    if config.getoption("beside"):
        _select(config, items, lambda item: not _is_anybodys(item))
    if config.getoption("full"):
        return
    plain = [name for name in BACKENDS if name.startswith("subprocess")]
    if isinstance(probe("subprocess"), str):
        plain.remove("subprocess")  # no sandbox here

    def is_usual(item: pytest.Item) -> bool:
        usual = next((name for name in plain if name in _backends(item)), None)
        long = item.get_closest_marker("faults") or item.get_closest_marker("thorough")
        return _backend_of(item) in (None, usual) and not long

    _select(config, items, is_usual)


def _select(
    config: pytest.Config, items: list[pytest.Item], wanted: Callable[[pytest.Item], bool]
) -> None:
    left_out = [item for item in items if not wanted(item)]
    items[:] = [item for item in items if wanted(item)]
    config.hook.pytest_deselected(items=left_out)


def _is_anybodys(item: pytest.Item) -> bool:
    """Whether a test does the same for root and for an ordinary user: what is shown of security, of the
    contract and of faults differs, and so do engines."""
    tier = item.path.relative_to(Path(__file__).parent).parts[0]
    plain = _backend_of(item) in (None, "subprocess", "subprocess-nosandbox")
    return tier in ("unit", "system") and plain and not item.get_closest_marker("root")


def _backend_of(item: pytest.Item) -> str | None:
    """The name of the backend that the fixture gives to a test."""
    parameters = getattr(item, "callspec", None)
    name = parameters.params.get("backend") if parameters else None
    return name if name in BACKENDS else None


def _backends(item: pytest.Item) -> Sequence[str]:
    """The backends that a test is for."""
    for mark in item.iter_markers("parametrize"):
        if mark.args[0] == "backend":
            return tuple(mark.args[1])
    return BACKENDS


# --- surroundings ---------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Give this session a temporary directory of its own, and keep the engines where they are.

    A test's HOME is its own; an engine's store and settings must not move with it. A shell that
    starts us in the background has SIGINT ignored, and `nohup` has SIGHUP, which every process
    below would inherit. As root an engine that a test starts would change the machine's interfaces and
    packet filter, so the session and all that it starts have a network namespace of their own.
    """
    if not ROOTLESS:
        with contextlib.suppress(OSError):  # refused: then engines can change nothing either
            leave_network()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    home = Path.home()
    if (home / ".docker" / "config.json").exists():  # Podman's command fails on one without
        os.environ.setdefault("DOCKER_CONFIG", str(home / ".docker"))
    os.environ.setdefault("XDG_CONFIG_HOME", str(home / ".config"))
    os.environ.setdefault("XDG_DATA_HOME", str(home / ".local" / "share"))
    if os.environ.get("PYTHONPATH"):
        paths = os.environ["PYTHONPATH"].split(os.pathsep)
        os.environ["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) for path in paths)
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    os.environ[MARK] = uuid.uuid4().hex
    tempfile.tempdir = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="cloudops-tests-")
    cache = Path(tempfile.tempdir, "cache")  # of all tests: each process looks for plugins in it
    cache.mkdir()
    os.environ["XDG_CACHE_HOME"] = str(cache)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse to run at all without what `CLOUDOPS_TEST_REQUIRE` names.

    So no module can skip for lack of it, whatever way it asks.
    """
    for name in sorted(REQUIRED):
        if name not in REQUIRABLE:
            pytest.exit(f"CLOUDOPS_TEST_REQUIRE names {name!r}, not one of {REQUIRABLE}.", 4)
        found = probe(
            {"sandbox": "subprocess", "subprocess": "subprocess-nosandbox"}.get(name, name)
        )
        if isinstance(found, str):
            pytest.exit(f"{name} is required here. {found}", 1)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the session's temporary directory."""
    directory, tempfile.tempdir = os.environ.pop("TMPDIR", None), None
    if directory and os.environ.pop(MARK, None):
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def workdir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Path:
    """An empty current directory, a HOME of the test's own, no settings but the backend's.

    With `backend` among the test's fixtures, `CLOUDOPS_BACKEND` names it.
    """
    for name in list(os.environ):
        if name.startswith("CLOUDOPS_") and not name.startswith("CLOUDOPS_TEST_"):
            monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CLOUDOPS_AGENT_IDLE_S", IDLE_S)
    if "backend" in request.fixturenames:
        found: Backend = request.getfixturevalue("backend")
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


# --- backends and images --------------------------------------------------------------------------

_answers: dict[str, Backend | str] = {}
_loaded: set[tuple[str, str]] = set()


def probe(name: str) -> Backend | str:
    """The backend, or why it cannot be used; asked once a session."""
    if name not in _answers:
        _answers[name] = _probe(name)
    return _answers[name]


def _probe(name: str) -> Backend | str:
    executor_name = name.partition("-")[0]
    environment = {"CLOUDOPS_BACKEND": executor_name}
    options = {}
    if executor_name == "subprocess":
        wanted = "off" if name == "subprocess-nosandbox" else "auto"
        environment["CLOUDOPS_SUBPROCESS_SANDBOX"] = options["sandbox"] = wanted
    try:
        executor = load_executor(executor_name, options)
        try:
            found = executor.probe()
        finally:
            executor.close()
    except (BackendNotInstalledError, BackendUnavailableError) as error:
        return str(error)  # any other error is a fault of ours, never a reason to skip
    if name == "subprocess" and not found.private_paths:
        return "No sandbox here: " + (" ".join(found.notes) or "bubblewrap does not work.")
    engine = images.engine(executor_name) if found.images else None
    trouble = _trouble(engine) if engine else ""
    return trouble or Backend(
        name=name,
        executor=executor_name,
        environment=environment,
        capabilities=found,
        engine=engine,
    )


def _trouble(engine: images.Engine) -> str:
    """Why an engine that answers cannot run a container, or ''.

    Asked of its own command line: an engine that no tool of its own can use here is the machine's
    matter, and one that only our executor cannot use is ours.
    """
    try:
        images.load(engine, images.BUSYBOX)
        argv = ("run", "--rm", "--network", "none", images.BUSYBOX, "true")
        tried = engine.run(*argv, timeout_s=60)
    except (ImageError, UnsupportedError) as error:
        return str(error)
    if tried.returncode == 0:
        return ""
    return f"{' '.join(engine.argv)} answers but cannot run a container: {tried.stderr.strip()}"


def lacking(name: str, reason: str) -> None:
    """Skip for lack of a backend, or fail when the run requires it."""
    needed = {name, "sandbox"} if name == "subprocess" else {name.removesuffix("-nosandbox")}
    if needed & REQUIRED:
        pytest.fail(f"{name} is required here. {reason}", pytrace=False)
    pytest.skip(f"{name}: {reason}")


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each backend in turn."""
    found = probe(request.param)
    if isinstance(found, str):
        lacking(request.param, found)
    assert isinstance(found, Backend)
    return found


@pytest.fixture(scope="module", autouse=True)
def engine_in_name(request: pytest.FixtureRequest) -> None:
    """A module named after an engine, such as `test_x_docker.py`, is skipped without it."""
    if "unit" not in request.path.parts:
        for name in set(request.path.stem.split("_")) & {"docker", "podman"}:
            backend_name = PODMAN if name == "podman" else name
            found = probe(backend_name)
            if isinstance(found, str):
                lacking(backend_name, found)


def loaded(backend: Backend, name: str) -> str:
    """Make a test image usable on a backend; any name will do for one without images."""
    if backend.engine is not None and (backend.name, name) not in _loaded:
        try:
            images.load(backend.engine, name)
        except UnsupportedError as error:
            lacking(backend.name, str(error))
        _loaded.add((backend.name, name))
    return name


@pytest.fixture(scope="module")
def image(backend: Backend) -> str:
    """A small image with a shell that is present in the backend's engine."""
    return loaded(backend, images.BUSYBOX)


@pytest.fixture(scope="module")
def python_image(backend: Backend) -> str:
    """`python:3.10-slim`, as users' scripts name it; has `python3` in it."""
    return loaded(backend, images.PYTHON_SLIM)


# --- the gate -------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def quiet_logger() -> Iterator[None]:
    """A client sets up the package's logger for its process; the next test begins without that."""
    yield
    logger = logging.getLogger("cfa.cloudops")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


@pytest.fixture(scope="module", autouse=True)
def leak_gate(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """No container, process, thread, mount or temporary file stays after a module's tests."""
    traces = _Traces(base=tmp_path_factory.getbasetemp(), engines="unit" not in request.path.parts)
    before = traces.find()
    yield
    end = time.monotonic() + LEAVING_S
    pause_s = 0.01
    # Engines are asked, which takes them some time, when all else is gone.
    while left := traces.find_here() - before or traces.find() - before:
        if time.monotonic() > end:
            traces.sweep(left)
            pytest.fail(f"left behind: {'; '.join(sorted(map(' '.join, left)))}", pytrace=False)
        time.sleep(pause_s)  # a bounded poll: from often to five times a second
        pause_s = min(pause_s * 2, 0.2)


@frozen(kw_only=True)
class _Traces:
    """What this session has left on the machine, as pairs of a kind and a description."""

    base: Path
    engines: bool

    def find_here(self) -> set[tuple[str, str]]:
        """All but containers."""
        found = {("thread", f"{one.name} ({one.ident})") for one in threading.enumerate()}
        found |= {("process", text) for text in self._processes().values()}
        found |= {("file", str(path)) for path in self._files()}
        found |= {("mount", point) for point in self._mounts()}
        return found

    def find(self) -> set[tuple[str, str]]:
        """All of it."""
        found = self.find_here()
        if self.engines:
            for name in _reachable():
                found |= {(name, container) for container in _containers(name, self.base)}
        return found

    def sweep(self, left: set[tuple[str, str]]) -> None:
        """End what was left, so that the next module is judged by its own."""
        for pid, text in self._processes().items():
            if ("process", text) in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for kind, what in left:
            if kind in ("docker", "podman"):
                _engine(kind).run("rm", "--force", what.partition(" ")[0], timeout_s=60)

    def _processes(self) -> dict[int, str]:
        """Processes with our mark in their environment or our directory in their arguments."""
        place = f"{self.base}/".encode()
        found = {}
        for entry in os.scandir("/proc"):
            if not entry.name.isdecimal() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                command = Path(entry.path, "cmdline").read_bytes()
                # The holder of a rootless Podman's namespaces stays by design, one for each user.
                if not command or command.rstrip(b"\0") in (b"podman", b"catatonit\0-P"):
                    continue
                if place in command or self._marked(entry.name):
                    text = command.replace(b"\0", b" ").decode(errors="replace").strip()
                    found[int(entry.name)] = f"{entry.name} ({text[:200]})"
        return found

    @staticmethod
    def _marked(pid: str) -> bool:
        """Whether a process has our mark in its environment."""
        mark = f"{MARK}={os.environ[MARK]}".encode()
        with contextlib.suppress(OSError):
            return mark in Path("/proc", pid, "environ").read_bytes()
        return False

    def _files(self) -> Iterator[Path]:
        yield from Path(tempfile.gettempdir()).iterdir()
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        if runtime:
            for path in Path(runtime).glob("cloudops-podman-*-*.sock"):
                pid = path.name.split("-")[2]
                # Of a process that is gone nobody knows whose it was, where tests run side by side.
                gone = not Path("/proc", pid).exists()
                if self._marked(pid) or (gone and "PYTEST_XDIST_WORKER" not in os.environ):
                    yield path

    def _mounts(self) -> Iterator[str]:
        with open("/proc/self/mountinfo") as file:
            for line in file:
                point = line.split()[4]
                if point.startswith((f"{self.base}/", tempfile.gettempdir())):
                    yield point


_engines_here: dict[str, bool] = {}


def _engine(name: str) -> images.Engine:
    """An engine's command line, in the surroundings of the session, not of a test."""
    return images.engine(name)


def _reachable() -> list[str]:
    """Engines whose command line answers; asked once a session."""
    for name in {"docker", "podman"} - set(_engines_here):
        _engines_here[name] = False
        if shutil.which(name):
            with contextlib.suppress(BackendError):
                asked = _engine(name).run("ps", "--quiet", timeout_s=20)
                _engines_here[name] = asked.returncode == 0
    return [name for name, answers in _engines_here.items() if answers]


def _containers(name: str, base: Path) -> list[str]:
    """Containers that this session's workspaces made, each as `<id> (container)`."""
    engine = _engine(name)
    label = f"label={WORKSPACE_LABEL}"
    listed = engine.run("ps", "--all", "--no-trunc", "--quiet", "--filter", label, timeout_s=60)
    ids = listed.stdout.split()
    if not ids:
        return []
    layout = "{{.Id}} {{json .Config.Labels}}"
    shown = engine.run("inspect", "--type", "container", "--format", layout, *ids, timeout_s=60)
    found = []
    for line in shown.stdout.splitlines():
        number, _, labels = line.partition(" ")
        if labels and _ours(json.loads(labels), base):  # one that went is an empty line
            found.append(f"{number} (container)")
    return found


def _ours(labels: Mapping[str, str], base: Path) -> bool:
    """Whether a container is one of this session's: other people's may come and go beside it.

    An agent's has the directory of its workspace; a test that opens a node itself has our process
    id in the name of its workspace.
    """
    home = labels.get(HOME_LABEL)
    if home:
        return any(Path(home).is_relative_to(place) for place in (base, tempfile.gettempdir()))
    return str(os.getpid()) in labels.get(WORKSPACE_LABEL, "").split("-")
