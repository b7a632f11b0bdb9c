"""`cfa.cloudops.task`, which is the same on this machine."""

from __future__ import annotations

from cfa.cloudops.task import *  # noqa: F403
from cfa.cloudops.task import __all__ as __all__
