"""Names, families, cores and memory of VM sizes."""

from __future__ import annotations

import pytest

from cfa.cloudops.errors import InvalidInputError
from cfa.cloudops.model import sizes
from cfa.cloudops.model.values import Resources


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ({}, "standard_D4d_v5"),
        ({"cores": 8}, "standard_D8d_v5"),
        ({"cores": "8", "version": "v5"}, "standard_D8d_v5"),
        ({"amd": True, "ssd": True}, "standard_D4ads_v5"),
        ({"temp_disk": False}, "standard_D4_v5"),
        ({"series": "e", "cores": 16, "ssd": True, "version": 4}, "standard_E16ds_v4"),
        ({"series": "F", "temp_disk": False, "ssd": True, "version": 2}, "standard_F4s_v2"),
    ],
)
def test_names(wanted, name):
    """A name is the series, the cores, the letters in the order a, d, s, and the version."""
    assert sizes.construct_vm_name(**wanted) == name
    assert sizes.verified_vm_name(**wanted) == name
    assert sizes.has_size(name)


@pytest.mark.promise(
    "get_vm_name",
    (
        "A family that does not exist is a `ValueError` with up to four similar names, unless"
        " `verify=False`."
    ),
    local="by a list that comes with the package",
    cloud="by the quotas of the account",
    difference="a family that exists but that the account may not use is not noticed here",
)
@pytest.mark.parametrize(
    ("wanted", "missing", "similar"),
    [
        ({"amd": True}, "standard_D4ad_v5", "standard_D4ads_v5"),
        ({"version": 9}, "standard_D4d_v9", "standard_D4d_v5"),
        ({"series": "Q"}, "standard_Q4d_v5", "standard_D4d_v5"),
        ({"cores": 5, "amd": True}, "standard_D5ad_v5", "standard_D4ads_v5"),
    ],
)
def test_no_such_family(wanted, missing, similar):
    """A family that does not exist is refused with at most four names of sizes that do."""
    assert sizes.construct_vm_name(**wanted) == missing
    with pytest.raises(ValueError, match=missing) as caught:
        sizes.verified_vm_name(**wanted)
    assert similar in caught.value.hint
    names = sizes.similar_vm_names(missing)
    assert 1 <= len(names) <= 4
    assert all(sizes.has_size(name) for name in names)


@pytest.mark.parametrize(
    "wanted",
    [
        {"series": ""},
        {"series": "D4"},
        {"series": None},
        {"cores": 0},
        {"cores": -1},
        {"cores": 2.5},
        {"cores": True},
        {"version": None},
    ],
)
def test_bad_parts(wanted):
    """What no name has is refused, verified or not."""
    with pytest.raises(InvalidInputError):
        sizes.construct_vm_name(**wanted)


def test_parts_of_names():
    """A name is taken apart into what it was made from; a name of another form is not."""
    found = sizes.vm_components("Standard_D4ads_v5")
    assert found == sizes.Components("D", 4, True, True, True, 5)
    assert found.family == "standardDADSv5Family"
    assert found.name == "standard_D4ads_v5"
    assert sizes.vm_components("Standard_NC4as_T4_v3") is None
    assert not sizes.has_size("large")


def test_unknown_cores():
    """A family without a size of so many cores has no such size."""
    assert not sizes.has_size("standard_D5d_v5")


@pytest.mark.promise(
    "create_pool",
    "`vm_size` may be a T-shirt size, in any case and with `_amd`.",
    local="a name of Azure, whose cores and memory limit a container",
    cloud="a name of Azure",
    difference=(
        "limits count all nodes of the pool together, those above this machine's are left "
        "out; `subprocess` has none"
    ),
)
@pytest.mark.parametrize("size", sorted(sizes.TSHIRT))
@pytest.mark.parametrize("spelling", [str, str.upper, "{}_amd".format, "{}_AMD".format])
def test_tshirt_sizes(size, spelling):
    """T-shirt sizes, in any case and with `_amd`, are sizes that exist."""
    name = sizes.vm_name(spelling(size))
    assert name == sizes.TSHIRT[size]
    assert sizes.has_size(name)


@pytest.mark.parametrize(
    ("size", "cores", "gib"),
    [("xsmall", 2, 8), ("small", 4, 16), ("medium", 8, 32), ("large", 16, 64), ("xlarge", 32, 128)],
)
def test_resources(size, cores, gib):
    """T-shirt sizes have the cores and the memory of their table."""
    assert sizes.resources(size) == Resources(float(cores), gib << 30)


@pytest.mark.parametrize(
    ("name", "cores", "gib"),
    [
        ("Standard_D4_v2", 8, 28),
        ("STANDARD_DS12_V2", 4, 28),
        ("standard_d2", 2, 7),
        ("standard_d4_v3", 4, 16),
        ("Standard_E8s_v5", 8, 64),
        ("standard_F16s_v2", 16, 32),
    ],
)
def test_resources_of_names(name, cores, gib):
    """Azure names have the cores and the memory of their family, also where their number misleads."""
    assert sizes.resources(name) == Resources(float(cores), gib << 30)
