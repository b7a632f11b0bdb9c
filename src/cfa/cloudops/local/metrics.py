"""`cfa.cloudops.metrics`, which is the same on this machine."""

from __future__ import annotations

from cfa.cloudops.metrics import *  # noqa: F403
from cfa.cloudops.metrics import __all__ as __all__
