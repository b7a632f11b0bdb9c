"""`cfa.cloudops.batch_helpers`, which is the same on this machine."""

from __future__ import annotations

from cfa.cloudops.batch_helpers import *  # noqa: F403
from cfa.cloudops.batch_helpers import __all__ as __all__
