"""`cfa.cloudops.scripts`, which is the same on this machine."""

from __future__ import annotations

from typing import Any

from cfa.cloudops import scripts
from cfa.cloudops.scripts import __all__ as __all__


def __getattr__(name: str) -> Any:
    return getattr(scripts, name)
