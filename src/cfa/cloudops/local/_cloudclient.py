"""Where the cloud's package has its `CloudClient`, with local defaults."""

from __future__ import annotations

from cfa.cloudops.local._client import CloudClient

__all__ = ["CloudClient"]
