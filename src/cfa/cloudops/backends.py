"""The registry: finds, checks and loads plugins.

The only importer of stevedore. Plugins are *listed* from `importlib.metadata`, because stevedore's
disk cache can be minutes old after a re-install, and *loaded* through stevedore. Duplicates are found
here, because stevedore misses those that are not adjacent.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
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
    from cfa.cloudops.provider.executor import Executor

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
    if point.dist is None:
        return "unknown", ""
    return point.dist.name, point.dist.version


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
            f"There is no backend called {name!r}; there are: {have}.",
            "Set CLOUDOPS_BACKEND to one of these, or install the plugin that offers it.",
        )
    if len(points) > 1:
        offers = " and ".join(sorted(f"{dist} {version}" for _, (dist, version) in points))
        raise BackendConflictError(
            f"The backend {name!r} is offered more than once: by {offers}.",
            "Uninstall one of these distributions.",
        )
    return next(iter(points.values()))


def _load(group: str, name: str) -> Any:
    """The plugin's class, checked for its interface version."""
    point = _find(group, name)
    dist, version = _distribution(point)
    from stevedore.extension import Extension  # slow to import: only when a plugin is loaded

    try:
        plugin = Extension(name, point, point.load(), None).plugin
    except CloudOpsError:
        raise
    except ImportError as error:
        raise BackendNotInstalledError(
            f"The {name} backend ({dist} {version}) cannot be imported: {error}.",
            f"Install what it needs, for instance with: pip install --force-reinstall {dist}",
        ) from error
    except Exception as error:
        raise BackendError(
            f"The {name} backend ({dist} {version}) fails when loaded: "
            f"{type(error).__name__}: {error}.",
            f"Report it to the authors of {dist}, or uninstall it.",
        ) from error
    from cfa.cloudops.provider.executor import PROVIDER_API

    api = getattr(plugin, "api", None)
    if api != PROVIDER_API:
        raise BackendError(
            f"The {name} backend ({dist} {version}) is written for version {api} of the provider "
            f"interface; this is version {PROVIDER_API}.",
            f"Install a version of {dist} that fits cfa-cloudops, or the other way round.",
        )
    return plugin


def load_executor(name: str, options: Mapping[str, str] | None = None) -> Executor:
    """An executor by name, not yet probed.

    Raises:
        UnknownBackendError, BackendNotInstalledError, BackendConflictError, BackendError.
    """
    plugin = _load(EXECUTORS, name)
    executor: Executor = plugin(options)
    return executor


def load_storage(url: str, options: Mapping[str, str] | None = None) -> BlobProvider:
    """The storage provider for a URL: one registered under its scheme, else the fsspec one."""
    scheme = url.partition(":")[0]
    name = scheme if scheme in names(STORAGE) else "fsspec"
    provider: BlobProvider = _load(STORAGE, name)(url, options)
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
            executor = load_executor(candidate)
            try:
                found = executor.probe()
            finally:
                executor.close()
        except BackendError as error:
            _log.debug("auto: %s: %s", candidate, error)
            reasons.append(f"{candidate} does not answer")
            continue
        except SettingError:
            raise  # the user's own: nothing else says it
        except Exception as error:  # noqa: BLE001  one plugin's fault must not stop the others
            _log.warning("auto: %s is broken: %s: %s", candidate, type(error).__name__, error)
            reasons.append(f"{candidate} is broken")
            continue
        because = f"{candidate} {found.version} answers"
        return candidate, "; ".join([*reasons, because])
    raise BackendUnavailableError(
        "No backend can run tasks here: " + "; ".join(reasons) + ".",
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
                distribution=dist,
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
        plugin = _load(group, name)
        if group != EXECUTORS:
            return "ready", "", ""
        executor: Executor = plugin(None)
        try:
            found = executor.probe()
        finally:
            executor.close()
    except BackendConflictError as error:
        return "conflict", str(error), ""
    except BackendNotInstalledError as error:
        return "not installed", str(error), ""
    except BackendUnavailableError as error:
        return "not answering", str(error), ""
    except CloudOpsError as error:
        return "broken", str(error), ""
    except Exception as error:  # noqa: BLE001  a plugin's fault is shown, not raised
        return "broken", f"{type(error).__name__}: {error}", ""
    return "ready", "", f"{found.version} ({found.endpoint})"
