"""The registry: finds, checks and loads plugins.

The only importer of stevedore. Plugins are *listed* from `importlib.metadata`, because stevedore's
disk cache can be minutes old after a re-install, and *loaded* through stevedore. Duplicates are found
here, because stevedore misses those that are not adjacent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from attrs import frozen

from cfa.cloudops.errors import (
    BackendConflictError,
    BackendError,
    BackendNotInstalledError,
    BackendUnavailableError,
    CloudOpsError,
    SettingError,
    UnknownBackendError,
)

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

    from cfa.cloudops.provider.batch import BatchProvider
    from cfa.cloudops.provider.blob import BlobProvider
    from cfa.cloudops.provider.executor import Capabilities, Executor

_log = logging.getLogger(__name__)

EXECUTORS = "cfa.cloudops.executors"
STORAGE = "cfa.cloudops.storage"
BATCH = "cfa.cloudops.batch"

#: Backends that exist but come with another distribution or extra, and what to type to get them.
KNOWN = {
    "azure": "No Azure backend is part of this version; set CLOUDOPS_BACKEND=auto to run on this "
    "machine, or import CloudClient from cfa.cloudops.local.",
    "slurm": "No Slurm backend is part of this version; set CLOUDOPS_BACKEND=auto to run on this "
    "machine.",
}

#: The order in which `auto` asks.
AUTO_ORDER = ("docker", "podman", "subprocess")


@frozen(kw_only=True)
class BackendInfo:
    """One line of `cloudops backends`.

    `state` is `ready`, `not answering`, `not installed`, `broken` or `conflict`; `why` explains
    anything but `ready`.
    """

    name: str
    group: str
    distribution: str
    version: str
    state: str
    why: str = ""
    engine: str = ""


def entry_points(group: str) -> EntryPoints:
    """What is registered in a group, as the installed distributions say now."""
    from importlib.metadata import entry_points as installed  # slow to import

    return installed(group=group)


def names(group: str) -> list[str]:
    """Names registered in a group, sorted, each once."""
    return sorted({point.name for point in entry_points(group)})


def _distribution(point: EntryPoint) -> tuple[str, str]:
    """Name and version of who offers a plugin; '' for what the metadata lack."""
    if point.dist is None:
        return "", ""
    # Not by `[]`: what is not there is None, a warning or an error, by the version of Python.
    name, version = (point.dist.metadata.get_all(key, [""])[0] for key in ("Name", "Version"))
    return name, version


def _offer(point: EntryPoint) -> tuple[str, str]:
    """Who offers a plugin, for people: with the version, and without."""
    name, version = _distribution(point)
    if not name:
        name = f"the module {point.value.partition(':')[0]}"
    return f"{name} {version}".strip(), name


def _find(group: str, name: str) -> EntryPoint:
    points = {
        (point.value, _distribution(point)): point
        for point in entry_points(group)
        if point.name == name
    }
    if not points:
        if name in KNOWN:
            raise BackendNotInstalledError(f"The {name} backend is not installed.", KNOWN[name])
        have = ", ".join(names(group)) or "none"
        raise UnknownBackendError(
            f"There is no backend called {name!r}. The backends are: {have}.",
            "Set CLOUDOPS_BACKEND to one of these, or install the plugin that offers it.",
        )
    if len(points) > 1:
        offers = " and ".join(sorted(_offer(point)[0] for point in points.values()))
        raise BackendConflictError(
            f"The backend {name!r} is offered more than once: by {offers}.",
            "Uninstall one of these distributions.",
        )
    return next(iter(points.values()))


@contextmanager
def guarded(group: str, name: str, doing: str) -> Iterator[None]:
    """Around a call of a plugin: what is no error of ours becomes one that says whose plugin it is.

    `sys.exit` too: a plugin that calls it would end a script without a word. Ctrl-C passes.

    Args:
        doing: what is done to the backend, as in "fails when <doing>".

    Raises:
        BackendNotInstalledError: something cannot be imported. BackendError: anything else.
    """
    try:
        yield
    except CloudOpsError:
        raise
    except ImportError as error:
        whose, _, reinstall = _blame(group, name)
        raise BackendNotInstalledError(
            f"The {name} backend{whose} cannot be {doing}: {error}.",
            f"Install what it needs{reinstall}",
        ) from error
    except (Exception, SystemExit) as error:
        whose, dist, _ = _blame(group, name)
        said = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise BackendError(
            f"The {name} backend{whose} fails when {doing}: {said}.", _report_to(dist)
        ) from error


def _blame(group: str, name: str) -> tuple[str, str, str]:
    """Who offers a plugin: in brackets, as a name, and as what to type."""
    point = next((point for point in entry_points(group) if point.name == name), None)
    if point is None:
        return "", "the plugin", "."
    whose, dist = _offer(point)
    known, _ = _distribution(point)
    reinstall = f", for instance with: pip install --force-reinstall {known}" if known else "."
    return f" ({whose})", dist, reinstall


def _report_to(dist: str) -> str:
    return f"Report it to the authors of {dist}, or uninstall it."


def _load(group: str, name: str) -> Any:
    """The plugin's class, checked for its interface version."""
    point = _find(group, name)
    whose, dist = _offer(point)
    from stevedore.extension import Extension  # slow to import: only when a plugin is loaded

    with guarded(group, name, "imported"):
        plugin = Extension(name, point, point.load(), None).plugin
        api = getattr(plugin, "api", None)
    from cfa.cloudops.provider.executor import PROVIDER_API

    if api != PROVIDER_API:
        raise BackendError(
            f"The {name} backend ({whose}) is written for version {api} of the provider "
            f"interface; this is version {PROVIDER_API}.",
            f"Install a version of {dist} that fits cfa-cloudops, or a cfa-cloudops that fits it.",
        )
    return plugin


def load_executor(name: str, options: Mapping[str, str] | None = None) -> Executor:
    """An executor by name, not yet probed.

    Raises:
        UnknownBackendError, BackendNotInstalledError, BackendConflictError, BackendError.
    """
    plugin = _load(EXECUTORS, name)
    with guarded(EXECUTORS, name, "made"):
        executor: Executor = plugin(options)
    return executor


@contextmanager
def opened(name: str) -> Iterator[Executor]:
    """An executor for a while: loaded, and closed at the end. Raises: see `load_executor`."""
    executor = load_executor(name)
    try:
        yield executor
    finally:
        with guarded(EXECUTORS, name, "closed"):
            executor.close()


def probe(name: str, executor: Executor) -> Capabilities:
    """`Executor.probe` of the executor loaded under a name, with errors of ours only.

    Raises:
        BackendError: as `Executor.probe`, and when it fails in another way or returns something else.
    """
    from cfa.cloudops.provider.executor import Capabilities

    with guarded(EXECUTORS, name, "asked what it can do"):
        found: object = executor.probe()
    if not isinstance(found, Capabilities):
        whose, dist, _ = _blame(EXECUTORS, name)
        raise BackendError(
            f"The {name} backend{whose} was asked what it can do and returned "
            f"{type(found).__name__}, not Capabilities.",
            _report_to(dist),
        )
    return found


def ask(name: str) -> Capabilities:
    """Load a backend, ask what it can do here, and close it.

    Raises:
        BackendError: see `load_executor` and `probe`. SettingError: a setting of it is bad.
    """
    with opened(name) as executor:
        return probe(name, executor)


def load_storage(url: str, options: Mapping[str, str] | None = None) -> BlobProvider:
    """The storage provider for a URL: one registered under its scheme, else the fsspec one."""
    scheme = url.partition(":")[0]
    name = scheme if scheme in names(STORAGE) else "fsspec"
    plugin = _load(STORAGE, name)
    with guarded(STORAGE, name, f"opened for {url}"):
        provider: BlobProvider = plugin(url, options)
    return provider


def load_batch(name: str) -> type[BatchProvider]:
    """A Batch provider's class by name."""
    plugin: type[BatchProvider] = _load(BATCH, name)
    return plugin


def choose(name: str) -> tuple[str, str]:
    """Turn a setting into the name of an executor, and say why in a few words.

    `auto` takes the first of docker, podman, subprocess that answers.

    Raises:
        BackendError: the named backend cannot be used, or none answers.
        SettingError: a setting of the backend asked cannot be used.
    """
    if name != "auto":
        _find(EXECUTORS, name)
        return name, "as set"
    reasons = []
    for candidate in AUTO_ORDER:
        try:
            found = ask(candidate)
        except SettingError:
            raise  # the user's own: nothing else says it
        except (BackendUnavailableError, BackendNotInstalledError) as error:
            _log.debug("auto: %s: %s", candidate, error)
            reasons.append(f"{candidate} does not answer")
            continue
        except BackendConflictError as error:
            _log.warning("auto: %s", error)
            reasons.append(error.message.removesuffix("."))
            continue
        except CloudOpsError as error:
            _log.warning("auto: %s is broken: %s", candidate, error)
            reasons.append(f"{candidate} is broken")
            continue
        because = f"{candidate} {found.version} answers"
        return candidate, "; ".join([*reasons, because])
    raise BackendUnavailableError(
        "No backend can run tasks on this machine: " + "; ".join(reasons) + ".",
        "Run 'cloudops doctor' to see why.",
    )


def overview() -> list[BackendInfo]:
    """All registered backends with their state. Never raises for a plugin's fault."""
    found = []
    for group in (EXECUTORS, STORAGE, BATCH):
        for point in sorted(entry_points(group), key=lambda p: p.name):
            dist, version = _distribution(point)
            state, why, engine = _state(group, point.name)
            info = BackendInfo(
                name=point.name,
                group=group.rpartition(".")[2],
                distribution=dist or "unknown",
                version=version,
                state=state,
                why=why,
                engine=engine,
            )
            if info not in found:
                found.append(info)
    return found


def _state(group: str, name: str) -> tuple[str, str, str]:
    """(state, why, engine) of one registered backend."""
    try:
        if group != EXECUTORS:
            _load(group, name)
            return "ready", "", ""
        found = ask(name)
    except CloudOpsError as error:
        return state_of(error), str(error), ""
    return "ready", "", f"{found.version} ({found.endpoint})"


def state_of(error: CloudOpsError) -> str:
    """The state of a backend that cannot be loaded or asked; see `BackendInfo`."""
    match error:
        case BackendConflictError():
            return "conflict"
        case BackendNotInstalledError():
            return "not installed"
        case BackendUnavailableError():
            return "not answering"
        case _:
            return "broken"
