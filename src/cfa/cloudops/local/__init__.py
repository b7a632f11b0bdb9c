"""The import swap: `from cfa.cloudops.local import CloudClient` runs a cloud script on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cfa.cloudops.azure_only import ContainerAppClient, FunctionAppClient
    from cfa.cloudops.dag import Task
    from cfa.cloudops.local._client import CloudClient
    from cfa.cloudops.local.automation import run_experiment, run_tasks

__all__ = [
    "CloudClient",
    "ContainerAppClient",
    "FunctionAppClient",
    "Task",
    "run_experiment",
    "run_tasks",
]

_MODULES = {
    "CloudClient": "cfa.cloudops.local._client",
    "ContainerAppClient": "cfa.cloudops.azure_only",
    "FunctionAppClient": "cfa.cloudops.azure_only",
    "Task": "cfa.cloudops.dag",
    "run_experiment": "cfa.cloudops.local.automation",
    "run_tasks": "cfa.cloudops.local.automation",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
