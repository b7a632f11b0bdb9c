"""The `podman` backend: nodes are containers of Podman, as root or as an ordinary user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudops_podman.executor import PodmanExecutor

__all__ = ["PodmanExecutor"]


def __getattr__(name: str) -> Any:
    if name != "PodmanExecutor":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cloudops_podman.executor import PodmanExecutor

    return PodmanExecutor
