"""`cfa.cloudops.autoscale`, which is the same on this machine."""

from __future__ import annotations

from cfa.cloudops.autoscale import (
    dev_autoscale_formula,
    prod_autoscale_formula,
    remaining_task_autoscale_formula,
)

__all__ = [
    "dev_autoscale_formula",
    "prod_autoscale_formula",
    "remaining_task_autoscale_formula",
]
