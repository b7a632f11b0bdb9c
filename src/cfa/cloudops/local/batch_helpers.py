"""`cfa.cloudops.batch_helpers`, which is the same on this machine."""

from __future__ import annotations

from cfa.cloudops.batch_helpers import *  # noqa: F403
from cfa.cloudops.batch_helpers import __all__ as __all__
from cfa.cloudops.batch_helpers import (  # noqa: F401  public programs call these, too
    _generate_command_for_saving_logs,
    _generate_exit_conditions,
    _generate_mount_string,
)
