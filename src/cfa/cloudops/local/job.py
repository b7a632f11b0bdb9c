"""`cfa.cloudops.job`, which is the same on this machine."""

from __future__ import annotations

from cfa.cloudops.job import *  # noqa: F403
from cfa.cloudops.job import __all__ as __all__
