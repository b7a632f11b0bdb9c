"""The `docker` backend: nodes are containers of a Docker engine, reached with Docker's own SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudops_docker.executor import DockerExecutor

__all__ = ["DockerExecutor"]


def __getattr__(name: str) -> Any:
    if name != "DockerExecutor":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cloudops_docker.executor import DockerExecutor

    return DockerExecutor
