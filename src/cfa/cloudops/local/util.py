"""`cfa.cloudops.util`, which is the same on this machine."""

from __future__ import annotations

from cfa.cloudops.util import *  # noqa: F403
from cfa.cloudops.util import __all__ as __all__
