"""`cfa.cloudops.defaults`, which is the same on this machine."""

from __future__ import annotations

from cfa.cloudops.defaults import *  # noqa: F403
from cfa.cloudops.defaults import __all__ as __all__
