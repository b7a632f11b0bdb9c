"""Run Azure Batch scripts anywhere: on Docker, on Podman, as plain processes.

Names are loaded when they are used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cfa.cloudops.automation import run_experiment, run_tasks
    from cfa.cloudops.azure_only import ContainerAppClient, FunctionAppClient
    from cfa.cloudops.client import CloudClient
    from cfa.cloudops.dag import Task

__all__ = [
    "CloudClient",
    "ContainerAppClient",
    "FunctionAppClient",
    "Task",
    "run_experiment",
    "run_tasks",
]

_MODULES = {
    "CloudClient": "cfa.cloudops.client",
    "ContainerAppClient": "cfa.cloudops.azure_only",
    "FunctionAppClient": "cfa.cloudops.azure_only",
    "Task": "cfa.cloudops.dag",
    "run_experiment": "cfa.cloudops.automation",
    "run_tasks": "cfa.cloudops.automation",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
