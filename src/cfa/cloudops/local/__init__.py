"""The import swap: `from cfa.cloudops.local import CloudClient` runs a cloud script on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cfa.cloudops.local._client import CloudClient

__all__ = ["CloudClient"]


def __getattr__(name: str) -> Any:
    if name == "CloudClient":
        from cfa.cloudops.local._client import CloudClient

        return CloudClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
