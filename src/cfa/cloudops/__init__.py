"""Run Azure Batch scripts anywhere: on Docker, on Podman, as plain processes.

Names are loaded when they are used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cfa.cloudops.client import CloudClient

__all__ = ["CloudClient"]


def __getattr__(name: str) -> Any:
    if name == "CloudClient":
        from cfa.cloudops.client import CloudClient

        return CloudClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
