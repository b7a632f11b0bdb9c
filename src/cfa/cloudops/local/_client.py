"""`CloudClient` with local defaults."""

from __future__ import annotations

from typing import ClassVar

from cfa.cloudops.client import CloudClient as _CloudClient


class CloudClient(_CloudClient):
    __doc__ = _CloudClient.__doc__

    _default_backend: ClassVar[str] = "auto"
