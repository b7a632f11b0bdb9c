"""VM sizes: T-shirt sizes and Azure names as cores and memory, and names from what a VM shall have.

Cores and memory by family from the Azure documentation of virtual machine sizes; good enough for
limits and for spelling mistakes, not for prices or for what a region offers.
"""

from __future__ import annotations

import re
from typing import Any

from attrs import evolve, frozen

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

#: Families whose names have the form `standard_<SERIES><cores>[a][d][s]_v<version>`: for each series
#: and version the letters that exist, and the cores of their sizes.
_D, _DADS = (2, 4, 8, 16, 32, 48, 64), (2, 4, 8, 16, 32, 48, 64, 96)
_D6, _E, _EADS = (*_DADS, 128), (2, 4, 8, 16, 20, 32, 48, 64), (2, 4, 8, 16, 20, 32, 48, 64, 96)
_E5, _E6 = (2, 4, 8, 16, 20, 32, 48, 64, 96, 104), (2, 4, 8, 16, 20, 32, 48, 64, 96, 128)
_FAMILIES: dict[tuple[str, int], dict[str, tuple[int, ...]]] = {
    ("A", 2): {"": (1, 2, 4, 8)},
    ("B", 2): {"s": (2, 4, 8, 16, 32), "as": (2, 4, 8, 16, 32)},
    ("D", 3): {"": _D, "s": _D},
    ("D", 4): {"": _D, "s": _D, "d": _D, "ds": _D, "a": _DADS, "as": _DADS},
    ("D", 5): {"": _DADS, "s": _DADS, "d": _DADS, "ds": _DADS, "as": _DADS, "ads": _DADS},
    ("D", 6): {"s": _D6, "ds": _D6, "as": _DADS, "ads": _DADS},
    ("DC", 2): {"s": (1, 2, 4, 8)},
    ("DC", 3): {"s": (1, 2, 4, 8, 16, 24, 32, 48), "ds": (1, 2, 4, 8, 16, 24, 32, 48)},
    ("DC", 5): {"as": _DADS, "ads": _DADS},
    ("E", 3): {"": _E, "s": _E},
    ("E", 4): {"": _E, "s": _E, "d": _E, "ds": _E, "a": _EADS, "as": _EADS},
    ("E", 5): {"": _E5, "s": _E5, "d": _E5, "ds": _E5, "as": _E5, "ads": _E5},
    ("E", 6): {"s": _E6, "ds": _E6, "as": _EADS, "ads": _EADS},
    ("EC", 5): {"as": _EADS, "ads": _EADS},
    ("F", 2): {"s": (2, 4, 8, 16, 32, 48, 64, 72)},
    ("F", 6): {"as": (2, 4, 8, 16, 32, 48, 64)},
    ("L", 2): {"s": (8, 16, 32, 48, 64, 80)},
    ("L", 3): {"s": (8, 16, 32, 48, 64, 80), "as": (8, 16, 32, 48, 64, 80)},
    ("L", 4): {"s": _DADS, "as": _DADS},
    ("NC", 3): {"s": (6, 12, 24)},
    ("NV", 3): {"s": (12, 24, 48)},
}
#: How many names an error proposes.
_SIMILAR = 4

_GIB_PER_CORE = {"A": 2, "B": 4, "D": 4, "E": 8, "F": 2, "L": 8, "M": 16, "N": 9}
#: Sizes of the first two versions of the D series, whose number is not that of their cores: cores and
#: GiB by number.
_OLD_D = {
    1: (1, 3.5), 2: (2, 7), 3: (4, 14), 4: (8, 28), 5: (16, 56),
    11: (2, 14), 12: (4, 28), 13: (8, 56), 14: (16, 112), 15: (20, 140),
}  # fmt: skip
_OLD_D_NAME = re.compile(r"standard_ds?(\d+)(?:_v2)?\Z", re.IGNORECASE)
_REGULAR = re.compile(r"standard_([a-z]+?)(\d+)(a?)(d?)(s?)_v(\d+)", re.IGNORECASE)
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


@frozen
class Components:
    """What a name of the form `standard_<SERIES><cores>[a][d][s]_v<version>` says.

    `amd`: a processor of AMD; `temp_disk`: a local temporary disk; `ssd`: premium storage.
    """

    series: str
    cores: int
    amd: bool
    temp_disk: bool
    ssd: bool
    version: int

    @property
    def letters(self) -> str:
        """`ads`, or those of them that hold."""
        return "a" * self.amd + "d" * self.temp_disk + "s" * self.ssd

    @property
    def name(self) -> str:
        """The name of the size."""
        return f"standard_{self.series}{self.cores}{self.letters}_v{self.version}"

    @property
    def family(self) -> str:
        """The name of its family, as in quotas: `standardDADSv5Family`."""
        return f"standard{self.series}{self.letters.upper()}v{self.version}Family"


def construct_vm_name(
    series: Any = "D",
    cores: Any = 4,
    amd: bool = False,
    temp_disk: bool = True,
    ssd: bool = False,
    version: Any = 5,
) -> str:
    """The name of a size by the naming rule alone; whether there is one is not asked.

    Raises:
        InvalidInputError: an argument that no name has.
    """
    return _components(series, cores, amd, temp_disk, ssd, version).name


def verified_vm_name(
    series: Any = "D",
    cores: Any = 4,
    amd: bool = False,
    temp_disk: bool = True,
    ssd: bool = False,
    version: Any = 5,
) -> str:
    """The name of a size of a family that exists.

    Raises:
        InvalidInputError: an argument that no name has, or there is no such family; the message
            proposes up to four names.
    """
    wanted = _components(series, cores, amd, temp_disk, ssd, version)
    if wanted.family in families():
        return wanted.name
    similar = ", ".join(similar_vm_names(wanted.name)) or "none"
    raise InvalidInputError(
        f"There is no VM family {wanted.family}, so no size {wanted.name}.",
        f"Similar names: {similar}. To skip this check: verify=False (a command: --no-verify).",
    )


def has_size(name: str) -> bool:
    """Whether the family of a name has a size of its cores; False for a name of another form."""
    found = vm_components(name)
    if found is None:
        return False
    known = _FAMILIES.get((found.series, found.version), {})
    return found.cores in known.get(found.letters, ())


def similar_vm_names(name: str) -> list[str]:
    """Up to four names of sizes that exist, most alike first: of a family that is spelt alike."""
    wanted = vm_components(name)
    if wanted is None:
        return []
    import difflib  # only for a script that has a mistake

    known = {
        evolve(
            wanted,
            series=series,
            version=version,
            amd="a" in letters,
            temp_disk="d" in letters,
            ssd="s" in letters,
            cores=min(cores, key=lambda count: (abs(count - wanted.cores), count)),
        )
        for (series, version), kinds in _FAMILIES.items()
        for letters, cores in kinds.items()
    }
    by_family = {one.family: one.name for one in known}
    # The series counts most: no other letter makes up for it.
    same = [one.family for one in known if one.series == wanted.series]
    near = difflib.get_close_matches(wanted.family, sorted(same) or sorted(by_family), _SIMILAR)
    return [by_family[family] for family in near]


def vm_components(name: str) -> Components | None:
    """The parts of a name, None for one of another form."""
    found = _REGULAR.fullmatch(name)
    if found is None:
        return None
    series, cores, amd, disk, ssd, version = found.groups()
    return Components(series.upper(), int(cores), bool(amd), bool(disk), bool(ssd), int(version))


def family_components(family: str) -> Components | None:
    """The parts of the name of a family, such as `standardDADSv5Family`, without cores; None for one
    that is not known."""
    for (series, version), letters in _FAMILIES.items():
        for some in letters:
            found = Components(series, 0, "a" in some, "d" in some, "s" in some, version)
            if found.family.lower() == family.lower():
                return found
    return None


def families() -> list[str]:
    """Names of the known families, as in quotas, sorted."""
    return sorted(
        Components(series, 0, "a" in letters, "d" in letters, "s" in letters, version).family
        for (series, version), kinds in _FAMILIES.items()
        for letters in kinds
    )


def _components(
    series: Any, cores: Any, amd: bool, temp_disk: bool, ssd: bool, version: Any
) -> Components:
    if not isinstance(series, str) or not re.fullmatch("[A-Za-z]{1,4}", series.strip()):
        raise InvalidInputError(
            f"series={series!r} is not the name of a VM series.", "Use letters such as 'D' or 'E'."
        )
    numbers = []
    for name, value in (("cores", cores), ("version", version)):
        text = str(value).strip().removeprefix("v") if name == "version" else str(value).strip()
        if isinstance(value, bool) or not re.fullmatch("[0-9]{1,4}", text) or int(text) < 1:
            raise InvalidInputError(
                f"{name}={value!r} is not a whole number above 0.", f"Correct {name}."
            )
        numbers.append(int(text))
    return Components(
        series.strip().upper(), numbers[0], bool(amd), bool(temp_disk), bool(ssd), numbers[1]
    )


def resources(size: str) -> Resources | None:
    """Cores and memory of a VM size, None when the name says nothing to us."""
    name = vm_name(size)
    old = _OLD_D_NAME.match(name)
    if old is not None and int(old.group(1)) in _OLD_D:
        cpus, gib = _OLD_D[int(old.group(1))]
        return Resources(float(cpus), int(gib * GIB))
    found = _NAME.match(name)
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
