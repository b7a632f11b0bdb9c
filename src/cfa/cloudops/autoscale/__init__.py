"""The autoscale formula language of Azure Batch, and ready-made formulas.

The formulas are plain strings for `create_pool(autoscale_formula=...)`. The language is loaded when it
is used: `parse` reads a formula and checks it, `evaluate` says how many nodes it wants.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cfa.cloudops.autoscale.formulas import (
    dev_autoscale_formula,
    prod_autoscale_formula,
    remaining_task_autoscale_formula,
)

if TYPE_CHECKING:
    from cfa.cloudops.autoscale.check import parse
    from cfa.cloudops.autoscale.evaluation import Run, Situation, evaluate
    from cfa.cloudops.autoscale.samples import Series
    from cfa.cloudops.autoscale.syntax import Formula

__all__ = [
    "Formula",
    "Run",
    "Series",
    "Situation",
    "dev_autoscale_formula",
    "evaluate",
    "parse",
    "prod_autoscale_formula",
    "remaining_task_autoscale_formula",
]

_PLACES = {
    "Formula": "syntax",
    "Run": "evaluation",
    "Series": "samples",
    "Situation": "evaluation",
    "evaluate": "evaluation",
    "parse": "check",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = (
        found  # also where importing the module put itself in the place of the function
    )
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
