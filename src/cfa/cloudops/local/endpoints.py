"""`cfa.cloudops.endpoints`, which is the same on this machine."""

from __future__ import annotations

from cfa.cloudops.endpoints import *  # noqa: F403
from cfa.cloudops.endpoints import __all__ as __all__
