"""`cfa.cloudops.auth`, which is the same on this machine."""

from __future__ import annotations

from cfa.cloudops.auth import *  # noqa: F403
from cfa.cloudops.auth import __all__ as __all__
