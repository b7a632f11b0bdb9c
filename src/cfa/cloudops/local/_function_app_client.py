"""Where the cloud's package has its `FunctionAppClient`."""

from __future__ import annotations

from cfa.cloudops.azure_only import FunctionAppClient

__all__ = ["FunctionAppClient"]
