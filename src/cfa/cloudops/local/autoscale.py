"""`cfa.cloudops.autoscale`, which is the same on this machine."""

from __future__ import annotations

from typing import Any

from cfa.cloudops import autoscale
from cfa.cloudops.autoscale import __all__ as __all__
from cfa.cloudops.autoscale import dev_autoscale_formula as dev_autoscale_formula
from cfa.cloudops.autoscale import prod_autoscale_formula as prod_autoscale_formula
from cfa.cloudops.autoscale import (
    remaining_task_autoscale_formula as remaining_task_autoscale_formula,
)


def __getattr__(name: str) -> Any:
    return getattr(autoscale, name)  # the language is loaded when it is used
