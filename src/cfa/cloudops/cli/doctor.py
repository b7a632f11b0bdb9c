"""`cloudops doctor`: what is here, what works, what to do about the rest."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import define, field, frozen

from cfa.cloudops import backends
from cfa.cloudops.cli import output
from cfa.cloudops.cli.agent import AgentState, agent_state
from cfa.cloudops.errors import (
    BackendConflictError,
    BackendNotInstalledError,
    BackendUnavailableError,
    CloudOpsError,
)
from cfa.cloudops.provider.executor import Capabilities
from cfa.cloudops.service.store import Store
from cfa.cloudops.service.workspace import Workspace
from cfa.cloudops.settings import VARIABLES, Settings

_PACKAGES = ("cfa-cloudops", "docker", "podman", "fsspec", "stevedore", "attrs", "typer", "rich")
#: Bytes below which a disk is called nearly full.
_LITTLE = 1 << 30


@frozen(kw_only=True)
class Problem:
    """Something that is not as it should be, and what to do. `fatal`: no task can run."""

    what: str
    advice: str
    fatal: bool


@frozen(kw_only=True)
class EngineReport:
    """A backend that opens nodes. `found` is None unless its state is `ready`."""

    name: str
    state: str
    why: str = ""
    found: Capabilities | None = None


@frozen(kw_only=True)
class Place:
    """A directory or URL we write to. `free_bytes` None: unknown."""

    name: str
    where: str
    exists: bool
    writable: bool
    free_bytes: int | None = None


@define(kw_only=True)
class Report:
    """Everything that was found. `chosen`: the backend that new pools get, '' for none."""

    python: str
    program: str
    system: str
    packages: Mapping[str, str]
    settings: dict[str, dict[str, str]] = field(factory=dict)
    engines: list[EngineReport] = field(factory=list)
    chosen: str = ""
    places: list[Place] = field(factory=list)
    agent: AgentState | None = None
    problems: list[Problem] = field(factory=list)
    usable: bool = False

    def problem(self, what: str, advice: str, *, fatal: bool) -> None:
        self.problems.append(Problem(what=what, advice=advice, fatal=fatal))


def examine(load: Callable[[], Settings]) -> Report:
    """Look at everything. Never raises for what it finds; blocks some seconds for each engine.

    Args:
        load: gives the settings; its error is one of the problems.
    """
    report = Report(
        python=platform.python_version(),
        program=sys.executable,
        system=platform.platform(),
        packages={name: _version(name) for name in _PACKAGES},
    )
    for name in backends.names(backends.EXECUTORS):
        report.engines.append(_engine(name))
    try:
        settings = load()
    except CloudOpsError as error:
        report.problem(error.message, error.hint, fatal=True)
        return report
    report.settings = _settings(settings)
    _choose(settings.backend, report)
    _write_workspace(settings.home, report)
    _write_storage(settings.storage, report)
    workspace = Workspace(settings.home)
    if workspace.store.exists():
        _open_store(workspace, report)
        report.agent = agent_state(workspace)
        if report.agent.stale_socket:
            report.problem(
                "The agent's socket is there, but no agent: it was killed.",
                "Nothing needs to be done; 'cloudops sweep' removes it.",
                fatal=False,
            )
    report.usable = not any(problem.fatal for problem in report.problems)
    return report


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _settings(settings: Settings) -> dict[str, dict[str, str]]:
    values = {
        "CLOUDOPS_BACKEND": settings.backend,
        "CLOUDOPS_STORAGE": settings.storage,
        "CLOUDOPS_HOME": str(settings.home),
        "CLOUDOPS_ISOLATION": str(settings.isolation),
        "CLOUDOPS_MAX_PARALLEL": str(settings.max_parallel),
        "CLOUDOPS_REGISTRY": settings.registry,
        "CLOUDOPS_AT_EXIT": settings.at_exit,
        "CLOUDOPS_STRICT": "1" if settings.strict else "0",
    }
    return {
        name: {"value": values.get(name, ""), "origin": settings.origins.get(name, "")}
        for name in VARIABLES
    }


# --- engines


def _engine(name: str) -> EngineReport:
    try:
        executor = backends.load_executor(name)
        try:
            found = executor.probe()
        finally:
            executor.close()
    except CloudOpsError as error:
        return EngineReport(name=name, state=_state(error), why=str(error))
    except Exception as error:  # noqa: BLE001  a plugin's fault is shown, not raised
        return EngineReport(name=name, state="broken", why=f"{type(error).__name__}: {error}")
    return EngineReport(name=name, state="ready", found=found)


def _state(error: CloudOpsError) -> str:
    match error:
        case BackendNotInstalledError():
            return "not installed"
        case BackendUnavailableError():
            return "not answering"
        case BackendConflictError():
            return "conflict"
        case _:
            return "broken"


def _choose(wanted: str, report: Report) -> None:
    """Find the backend that the setting comes to."""
    engines = {engine.name: engine for engine in report.engines}
    candidates = backends.AUTO_ORDER if wanted == "auto" else (wanted,)
    for name in candidates:
        if name in engines and engines[name].state == "ready":
            report.chosen = name
            return
    if wanted == "auto":
        whys = " ".join(engine.why for engine in report.engines)
        report.problem("No backend can run tasks here.", whys, fatal=True)
    elif wanted in engines:
        report.problem(
            f"CLOUDOPS_BACKEND is {wanted}, which is {engines[wanted].state}.",
            engines[wanted].why,
            fatal=True,
        )
    else:
        try:
            backends.choose(wanted)
        except CloudOpsError as error:
            report.problem(error.message, error.hint, fatal=True)


# --- places


def _write_workspace(home: Path, report: Report) -> None:
    report.places.append(_write_directory("workspace", home, "CLOUDOPS_HOME", report))


def _open_store(workspace: Workspace, report: Report) -> None:
    """Open the store and ask it something, as every command does."""
    try:
        store = Store(workspace.store)
        try:
            store.meta("workspace")
        finally:
            store.close()
    except CloudOpsError as error:
        report.problem(error.message, error.hint, fatal=True)


def _write_storage(url: str, report: Report) -> None:
    if url.startswith("file://"):
        place = _write_directory("storage", Path(url[7:]), "CLOUDOPS_STORAGE", report)
    else:
        place = _write_url(url, report)
    report.places.append(place)


def _write_directory(name: str, path: Path, variable: str, report: Report) -> Place:
    """Write a file into a directory, or into where it would be made."""
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    writable = True
    try:
        with tempfile.NamedTemporaryFile(prefix=".cloudops-doctor-", dir=there) as file:
            file.write(b"written by cloudops doctor\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        writable = False
        report.problem(
            f"The {name} {path} cannot be written to: {error.strerror or error}.",
            f"Make {there} writable, free some space, or set {variable} to another directory.",
            fatal=True,
        )
    free = shutil.disk_usage(there).free
    if free < _LITTLE:
        report.problem(
            f"Only {output.size(free)} are free for the {name} {path}.",
            f"Free some space, or set {variable} to a directory on another disk.",
            fatal=False,
        )
    return Place(
        name=name, where=str(path), exists=path.exists(), writable=writable, free_bytes=free
    )


def _write_url(url: str, report: Report) -> Place:
    """Make a container in a storage that is not a directory, and remove it."""
    container = f"cloudops-doctor-{secrets.token_hex(4)}"
    try:
        storage = backends.load_storage(url)
        try:
            storage.create_container(container)
            storage.delete_container(container)
        finally:
            storage.close()
    except CloudOpsError as error:
        report.problem(
            f"The storage {url} cannot be written to: {error.message}", error.hint, fatal=True
        )
        return Place(name="storage", where=url, exists=False, writable=False)
    return Place(name="storage", where=url, exists=True, writable=True)


# --- showing


def show(report: Report) -> None:
    """Print a report for people."""
    output.facts(
        [
            ("python", f"{report.python} ({report.program})"),
            ("system", report.system),
            ("packages", ", ".join(f"{name} {text}" for name, text in report.packages.items())),
        ]
    )
    if report.settings:
        output.heading("Settings")
        output.facts(
            (name, f"{one['value']} ({one['origin']})") for name, one in report.settings.items()
        )
    output.heading("Backends")
    for engine in report.engines:
        _show_engine(engine, chosen=engine.name == report.chosen)
    output.heading("Workspace and storage")
    output.facts((place.name, _place_text(place)) for place in report.places)
    output.facts([("agent", _agent_text(report.agent))])
    if report.problems:
        output.heading("Problems")
        for problem in report.problems:
            print(f"{problem.what}\n  {problem.advice}")
    print()
    print(
        f"Tasks run on {report.chosen}." if report.usable else "No task can run as things are set."
    )


def _show_engine(engine: EngineReport, *, chosen: bool) -> None:
    mark = "*" if chosen else " "
    print(f"{mark} {engine.name}: {output.styled(engine.state)}")
    found = engine.found
    if found is None:
        print(f"    {engine.why}")
        return
    print(f"    {found.version}, {found.endpoint}, {'rootless' if found.rootless else 'as root'}")
    limits = (
        f"cores {'enforced' if found.enforces_cpus else 'not enforced'}, "
        f"memory {'enforced' if found.enforces_memory else 'not enforced'}"
    )
    if found.images:
        places = "containers from images"
    else:
        places = "sandbox" if found.private_paths else "no sandbox: paths are mapped"
    print(f"    {places}; limits: {limits}")
    for note in found.notes:
        print(f"    {note}")


def _place_text(place: Place) -> str:
    free = "" if place.free_bytes is None else f", {output.size(place.free_bytes)} free"
    words = "can be written to" if place.writable else "CANNOT be written to"
    return f"{place.where} ({'' if place.exists else 'not made yet, '}{words}{free})"


def _agent_text(agent: AgentState | None) -> str:
    if agent is None:
        return "none; there is no workspace yet"
    match agent.state:
        case "running":
            stays = ", stays when idle" if agent.stays else ""
            return f"running, process {agent.pid}, version {agent.version}{stays}"
        case "changing":
            return "starting or leaving"
        case _:
            return "none; one starts when there is work"
