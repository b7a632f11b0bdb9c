"""VM sizes: T-shirt sizes and Azure names as cores and memory.

Memory per core by family from the Azure documentation of the D, E, F and B series; good enough for
limits, not for prices.
"""

from __future__ import annotations

import re
from typing import Any

from cfa.cloudops.errors import InvalidInputError
from cfa.cloudops.model.values import Resources

GIB = 1 << 30

TSHIRT = {
    "xsmall": "Standard_D2ads_v5",
    "small": "Standard_D4ads_v5",
    "medium": "Standard_D8ads_v5",
    "large": "Standard_D16ads_v5",
    "xlarge": "Standard_D32ads_v5",
}

_GIB_PER_CORE = {"A": 2, "B": 4, "D": 4, "E": 8, "F": 2, "L": 8, "M": 16}
_NAME = re.compile(r"standard_([a-z]+?)(\d+)[a-z]*(?:[-_]|\Z)", re.IGNORECASE)


def vm_name(size: Any) -> str:
    """The Azure name of a T-shirt size (also with `_amd`); any other text is returned as it is.

    Raises:
        InvalidInputError: no text, or an empty one.
    """
    if not isinstance(size, str) or not size.strip():
        raise InvalidInputError(
            f"vm_size={size!r} is not the name of a size.",
            f"Use an Azure name such as 'standard_d4ads_v5', or one of {', '.join(TSHIRT)}.",
        )
    return TSHIRT.get(size.lower().removesuffix("_amd"), size)


def resources(size: str) -> Resources | None:
    """Cores and memory of a VM size, None when the name says nothing to us."""
    found = _NAME.match(vm_name(size))
    if found is None:
        return None
    family, cores = found.group(1)[0].upper(), int(found.group(2))
    return Resources(float(cores), cores * _GIB_PER_CORE.get(family, 4) * GIB)


def limits(size: str, nodes: int, machine: Resources) -> Resources:
    """Limits of `nodes` nodes of a size together, leaving out what the machine has less of anyway.

    The nodes of a pool are one container here, so they share what they would have had.
    """
    one = resources(size)
    if one is None or nodes < 1:
        return Resources()
    cpus = (one.cpus or 0) * nodes
    memory = (one.memory_bytes or 0) * nodes
    return Resources(
        cpus if machine.cpus is None or cpus < machine.cpus else None,
        memory if machine.memory_bytes is None or memory < machine.memory_bytes else None,
    )
