"""Where the cloud's package has its `ContainerAppClient`."""

from __future__ import annotations

from cfa.cloudops.azure_only import ContainerAppClient

__all__ = ["ContainerAppClient"]
