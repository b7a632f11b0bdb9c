"""`cfa.cloudops.config`, which is the same on this machine."""

from __future__ import annotations

from cfa.cloudops.config import *  # noqa: F403
from cfa.cloudops.config import __all__ as __all__
