"""Who a container's processes are, so that what they write belongs to the caller."""

from __future__ import annotations

import pytest

from cfa.cloudops.model.values import Resources
from cfa.cloudops.provider.container import (
    NODE_LABEL,
    WORKSPACE_LABEL,
    Engine,
    Ownership,
    ownership,
    plan,
)
from cfa.cloudops.provider.executor import Bind, Capabilities, NodeSpec


@pytest.mark.parametrize(
    ("engine", "rootless", "remapped", "uid", "gid", "expected"),
    [
        ("docker", False, False, 0, 0, Ownership(user="0:0")),
        ("docker", False, False, 1000, 1001, Ownership(user="1000:1001")),
        ("docker", False, True, 1000, 1001, Ownership(user="1000:1001", userns="host")),
        ("docker", True, False, 1000, 1001, Ownership(user="0:0")),
        ("docker", True, True, 1000, 1001, Ownership(user="0:0")),
        ("podman", False, False, 0, 0, Ownership(user="0:0")),
        ("podman", False, False, 1000, 1001, Ownership(user="1000:1001")),
        ("podman", True, False, 1000, 1001, Ownership(user="0:0")),
    ],
)
def test_ownership(
    engine: str, rootless: bool, remapped: bool, uid: int, gid: int, expected: Ownership
) -> None:
    """A rootful engine runs nodes as the caller; in a rootless one root is the caller."""
    found = ownership(
        engine=engine, rootless=rootless, remapped=remapped, caller_uid=uid, caller_gid=gid
    )
    assert found == expected


SPEC = NodeSpec(
    workspace="w",
    node_id="n1",
    name="preferred",
    image="img",
    argv=("/bin/sh", "-c", "true"),
    binds=(Bind(source="/x", target="/a/b"), Bind(source="/y", target="/a")),
    resources=Resources(cpus=1.5, memory_bytes=1 << 30),
    caller_uid=7,
    caller_gid=8,
)


def _engine(*, rootless: bool = False, limits: bool = False) -> Engine:
    return Engine(
        capabilities=Capabilities(
            version="1",
            endpoint="unix:///x",
            rootless=rootless,
            enforces_cpus=limits,
            enforces_memory=limits,
        )
    )


def test_plan() -> None:
    """A plan has our labels, the caller as its user, parents of binds first, and the limits."""
    found = plan(SPEC, "given", "img", _engine(limits=True), "docker")
    assert found.name == "given"
    assert found.labels == {WORKSPACE_LABEL: "w", NODE_LABEL: "n1"}
    assert found.user == "7:8"
    assert [bind.target for bind in found.binds] == ["/a", "/a/b"]
    assert (found.cpu_quota_us, found.memory_bytes) == (150_000, 1 << 30)


def test_limits_that_do_not_hold() -> None:
    """A limit that the engine does not enforce is not asked for."""
    found = plan(SPEC, "given", "img", _engine(rootless=True), "podman")
    assert (found.cpu_quota_us, found.memory_bytes) == (None, None)
    assert found.user == "0:0"


@pytest.mark.parametrize(("cpus", "quota"), [(0.001, 1000), (0.5, 50_000), (2, 200_000)])
def test_smallest_quota(cpus: float, quota: int) -> None:
    """A quota is never below what the kernel takes."""
    spec = NodeSpec(
        workspace="w", node_id="n", name="n", image="i", argv=("x",), resources=Resources(cpus=cpus)
    )
    assert plan(spec, "n", "i", _engine(limits=True), "docker").cpu_quota_us == quota
