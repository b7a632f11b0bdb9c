"""Where the cloud's package has its `CloudClient`."""

from __future__ import annotations

from cfa.cloudops.client import CloudClient

__all__ = ["CloudClient"]
