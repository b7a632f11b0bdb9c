"""`cloudops doctor`: what is here, what works, what to do about the rest."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import secrets
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from attrs import define, evolve, field, frozen

from cfa.cloudops import backends
from cfa.cloudops.cli import output
from cfa.cloudops.cli.agent import AgentState, agent_state, agent_text
from cfa.cloudops.errors import CloudOpsError, ImageError
from cfa.cloudops.model.plain import plain
from cfa.cloudops.provider.executor import Capabilities, NodeSpec
from cfa.cloudops.service import owner, reserve
from cfa.cloudops.service.definitions import pool_spec
from cfa.cloudops.service.disks import LOCAL_DISK, unfit
from cfa.cloudops.service.local import caller_ids
from cfa.cloudops.service.store import Store
from cfa.cloudops.service.sums import sound
from cfa.cloudops.service.workspace import Workspace
from cfa.cloudops.settings import VARIABLES, Settings

_PACKAGES = ("cfa-cloudops", "docker", "podman", "fsspec", "stevedore", "attrs", "click", "rich")
#: Bytes below which a disk is called nearly full.
_LITTLE = 1 << 30
#: Images that may fail before an engine is believed to start no container.
_TRIALS = 3


@frozen(kw_only=True)
class Problem:
    """Something that is not as it should be, and what to do. `fatal`: no task can run."""

    what: str
    advice: str
    fatal: bool


@frozen(kw_only=True)
class Trial:
    """Whether an engine started a container. `started` None: none was tried, and `why` not.

    `image` is the one that this is about, '' for none; `why` of a failure is in the engine's words.
    """

    started: bool | None
    image: str = ""
    why: str = ""


@frozen(kw_only=True)
class EngineReport:
    """A backend that opens nodes. `found` is None unless its engine answers.

    `state` is one of `cloudops backends`; `broken` also where the engine answers and starts no
    container. `trial` is None where there are no containers to try.
    """

    name: str
    state: str
    why: str = ""
    found: Capabilities | None = None
    trial: Trial | None = None


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

    Each engine starts a container from an image of a pool, where there is one; it is removed again.

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
    for what, advice in settings.remarks:
        report.problem(what, advice, fatal=False)
    _choose(settings.backend, report)
    trusted = _is_trusted(settings.home, report)
    if trusted:
        _write_workspace(settings.home, report)
    _write_storage(settings.storage, report)
    workspace = Workspace(settings.home)
    images: Mapping[str, Sequence[str]] | None = {}
    there = trusted and _has_store(workspace, report)
    if there:
        images = _open_store(workspace, report)
    if images is not None:
        _try_engines(images, report)
    if there:
        report.agent = agent_state(workspace)
        if report.agent.stale_socket:
            report.problem(
                "The agent was killed, and its socket is left.",
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
        "CLOUDOPS_EXISTING_JOB": settings.existing_job,
        "CLOUDOPS_ON_FAILURE": settings.on_failure,
        "CLOUDOPS_STRICT": "1" if settings.strict else "0",
    }
    return {
        name: {"value": values.get(name, ""), "origin": settings.origins.get(name, "")}
        for name in VARIABLES
    }


# --- engines


def _engine(name: str) -> EngineReport:
    try:
        with backends.opened(name) as executor:
            executor.forget()
            found = backends.probe(name, executor)
    except CloudOpsError as error:
        return EngineReport(name=name, state=backends.state_of(error), why=str(error))
    return EngineReport(name=name, state="ready", found=found)


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
        report.problem("No backend can run tasks on this machine.", whys, fatal=True)
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


def _try_engines(images: Mapping[str, Sequence[str]], report: Report) -> None:
    """Start a container on every engine that answers: an engine may answer and start none.

    Args:
        images: those that pools name, by backend.
    """
    for place, engine in enumerate(report.engines):
        if engine.found is None or not engine.found.images:
            continue
        trial = _try_images(engine.name, images.get(engine.name, ()))
        report.engines[place] = evolve(engine, trial=trial)
        if trial.started is False:
            report.engines[place] = evolve(engine, trial=trial, state="broken", why=trial.why)
            report.problem(
                f"{engine.name} answers, but a container did not start: {trial.why}",
                "Check the configuration of the engine. To try by hand: "
                f"{engine.name} run --rm {trial.image} true",
                fatal=engine.name == report.chosen,
            )


def _try_images(name: str, images: Sequence[str]) -> Trial:
    """Start a container from the first image that is here and works. Nothing is pulled."""
    if not images:
        return Trial(started=None, why=f"no pool on {name} names an image")
    failed: list[Trial] = []
    for image in images:
        try:
            _open_node(name, image)
        except ImageError:
            continue  # it is not here: no fault of the engine's
        except CloudOpsError as error:
            failed.append(Trial(started=False, image=image, why=error.message))
            if len(failed) == _TRIALS:
                break
        else:
            return Trial(started=True, image=image)
    return failed[0] if failed else Trial(started=None, why="no image of a pool is on this machine")


def _open_node(name: str, image: str) -> None:
    """Open a node without mounts and limits, and close it.

    It belongs to a workspace that does not exist: no agent takes it for its own, and were we killed,
    `cloudops sweep --all` would remove it.

    Raises:
        ImageError: the image is not on this machine. BackendError: anything else.
    """
    workspace = uuid.uuid4().hex[:12]
    unique = f"cloudops-doctor-{workspace}"
    uid, gid = caller_ids()
    spec = NodeSpec(
        workspace=workspace,
        home=str(Path(tempfile.gettempdir(), unique)),
        node_id="trial",
        name=unique,
        image=image,
        argv=("/bin/sh", "-c", "exit 0"),
        caller_uid=uid,
        caller_gid=gid,
    )
    guarded = backends.guarded(backends.EXECUTORS, name, "asked for a node")
    with backends.opened(name) as executor, guarded:
        executor.open_node(spec).close(0)


# --- places


def _is_trusted(home: Path, report: Report) -> bool:
    try:
        owner.check(home)
    except CloudOpsError as error:
        report.problem(error.message, error.hint, fatal=True)
        return False
    return True


def _write_workspace(home: Path, report: Report) -> None:
    place = _write_directory("workspace", home, "CLOUDOPS_HOME", report)
    report.places.append(place)
    if place.writable:
        _try_store(_existing(home), report)


def _try_store(there: Path, report: Report) -> None:
    """Make a store and what else a workspace needs: a file system may hold files and not these."""
    if cannot := unfit(there):
        report.problem(cannot, LOCAL_DISK, fatal=True)
        return
    try:
        with tempfile.TemporaryDirectory(prefix=".cloudops-doctor-", dir=there) as directory:
            Store(Path(directory, "s.db")).close()
    except CloudOpsError as error:
        report.problem(error.message, error.hint, fatal=True)
    except OSError:
        pass  # full by now: that is said of its own


def _existing(path: Path) -> Path:
    """A directory, or the one in which it would be made."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def _open_store(workspace: Workspace, report: Report) -> dict[str, list[str]] | None:
    """Open the store, as every command does; images of its pools by backend, None: unreadable."""
    images: dict[str, list[str]] = {}
    try:
        store = reserve.open_store(workspace)
        try:
            store.examine()
            for (text,) in store.rows(
                f"SELECT {sound('pool.definition')} FROM pool ORDER BY number"  # noqa: S608
            ):
                pool = pool_spec(text)
                known = images.setdefault(pool.backend, [])
                if pool.image is not None and pool.image not in known:
                    known.append(pool.image)
        finally:
            store.close()
    except CloudOpsError as error:
        report.problem(error.message, error.hint, fatal=True)
        return None
    return images


def _has_store(workspace: Workspace, report: Report) -> bool:
    try:
        return workspace.exists()
    except CloudOpsError as error:
        report.problem(error.message, error.hint, fatal=True)
        return False


def _write_storage(url: str, report: Report) -> None:
    if url.startswith("file://"):
        place = _write_directory("storage", Path(url[7:]), "CLOUDOPS_STORAGE", report)
    else:
        place = _write_url(url, report)
    report.places.append(place)


def _write_directory(name: str, path: Path, variable: str, report: Report) -> Place:
    """Write a file into a directory, or into where it would be made."""
    there = _existing(path)
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
            f"Allow writing to {there}, free some space, or set {variable} to another directory.",
            fatal=True,
        )
    free = shutil.disk_usage(there).free
    if free < _LITTLE:
        report.problem(
            f"Only {output.size(free)} of disk space are left for the {name} {path}.",
            f"Free some space, or set {variable} to a directory on another disk.",
            fatal=False,
        )
    return Place(
        name=name, where=str(path), exists=os.path.exists(path), writable=writable, free_bytes=free
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
    output.facts([("agent", agent_text(report.agent))])
    if report.problems:
        output.heading("Problems")
        for problem in report.problems:
            output.line(problem.what)
            output.line(f"  {problem.advice}")
    output.line("")
    output.line(
        f"Tasks run on {report.chosen}."
        if report.usable
        else "No task can run with these settings."
    )


def _show_engine(engine: EngineReport, *, chosen: bool) -> None:
    mark = "*" if chosen else " "
    print(f"{mark} {plain(engine.name)}: {output.styled(engine.state)}")
    found = engine.found
    if found is None:
        output.line(f"    {engine.why}")
        return
    output.line(
        f"    {found.version}, {found.endpoint}, {'rootless' if found.rootless else 'as root'}"
    )
    limits = (
        f"cores {'enforced' if found.enforces_cpus else 'not enforced'}, "
        f"memory {'enforced' if found.enforces_memory else 'not enforced'}"
    )
    if found.images:
        places = "containers from images"
    else:
        places = "sandbox" if found.private_paths else "no sandbox: paths are mapped"
    output.line(f"    {places}; limits: {limits}")
    for note in found.notes:
        output.line(f"    {note}")
    if engine.trial is not None:
        output.line(f"    {_trial_text(engine.trial)}")


def _trial_text(trial: Trial) -> str:
    if trial.started is None:
        return f"no container was tried: {trial.why}"
    return f"a container of {trial.image} {'started' if trial.started else 'DID NOT start'}"


def _place_text(place: Place) -> str:
    free = "" if place.free_bytes is None else f", {output.size(place.free_bytes)} free"
    words = "can be written to" if place.writable else "CANNOT be written to"
    return f"{place.where} ({'' if place.exists else 'not created yet, '}{words}{free})"
