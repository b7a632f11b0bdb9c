"""What Podman's API says, as values of ours, and the other way round."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cfa.cloudops.provider.container import CPU_PERIOD_US, LOG_BYTES, Container, Engine, Plan
from cfa.cloudops.provider.executor import Capabilities
from cloudops_podman.service import Endpoint

#: States of containers that do not run.
ENDED = frozenset({"created", "configured", "initialized", "exited", "stopped", "dead", ""})


def describe(endpoint: Endpoint, info: Mapping[str, Any]) -> Engine:
    """What the service is and what holds on this host."""
    host: Mapping[str, Any] = info["host"]
    security = host.get("security") or {}
    rootless = bool(security.get("rootless"))
    controllers = set(host.get("cgroupControllers") or ())
    notes = []
    if host.get("cgroupVersion") == "v1":
        # Without version 2 an ordinary user cannot set limits, and Podman lists no controllers.
        controllers = set() if rootless else _enabled_controllers()
        if rootless:
            notes.append("Rootless Podman on cgroups version 1 ignores all limits.")
    cpus, memory = "cpu" in controllers, "memory" in controllers
    if not cpus:
        notes.append("Processor limits of a size are not enforced by this engine.")
    if not memory:
        notes.append("Memory limits of a size are not enforced by this engine.")
    store = info.get("store") or {}
    if store.get("graphDriverName") == "vfs":
        notes.append("The storage driver vfs copies the image for each container; use overlay.")
    version = str((info.get("version") or {}).get("Version", "unknown"))
    major = version.partition(".")[0]
    return Engine(
        capabilities=Capabilities(
            version=version,
            endpoint=endpoint.url,
            rootless=rootless,
            builds=True,
            enforces_cpus=cpus,
            enforces_memory=memory,
            enforces_pids="pids" in controllers,
            # Rootless, each container has users and so a network of its own.
            shares_network=not rootless,
            notes=tuple(notes),
        ),
        reports_oom=major.isdecimal() and int(major) >= 5,
        selinux=bool(security.get("selinuxEnabled")),
        ambient=True,
    )


def _enabled_controllers() -> set[str]:
    """Controllers of cgroups version 1 that this kernel has enabled."""
    try:
        lines = Path("/proc/cgroups").read_text(encoding="ascii").splitlines()
    except OSError:
        return set()
    rows = [line.split() for line in lines if not line.startswith("#")]
    return {row[0] for row in rows if len(row) == 4 and row[3] == "1"}


def specification(plan: Plan, network: str = "") -> dict[str, Any]:
    """A plan in the words of Podman's API. Not by the SDK, which drops some fields on the way.

    `network` is the path of the namespace to use. Not by the container that has it: Podman would
    never remove that one before all that depend on it.
    """
    wanted: dict[str, Any] = {
        "image": plan.image,
        "entrypoint": [plan.argv[0]],
        "command": list(plan.argv[1:]),
        "labels": dict(plan.labels),
        "env": dict(plan.environment),
        "httpproxy": True,  # as `podman run` does
        "stdin": True,
        "terminal": False,
        # Named, because the default may be the journal of the whole machine.
        "log_configuration": {"driver": "k8s-file", "size": LOG_BYTES},
        "healthconfig": {"Test": ["NONE"]},  # an image's own would run programs in our node
        "mounts": [
            {
                "type": "bind",
                "source": bind.source,
                "destination": bind.target,
                "options": ["rbind", "ro" if bind.read_only else "rw"],
            }
            for bind in plan.binds
        ],
    }
    limits: dict[str, Any] = {}
    if plan.cpu_quota_us:
        limits["cpu"] = {"period": CPU_PERIOD_US, "quota": plan.cpu_quota_us}
    if plan.memory_bytes:
        limits["memory"] = {"limit": plan.memory_bytes, "swap": plan.memory_bytes}
    if plan.pids_limit is not None:
        limits["pids"] = {"limit": plan.pids_limit or -1}  # 0 would be Podman's own
    optional = {
        "name": plan.name,
        "user": plan.user,
        "work_dir": plan.working_directory,
        "resource_limits": limits,
        "selinux_opts": ["disable"] if plan.unlabelled else [],
        "userns": {"nsmode": plan.userns} if plan.userns else {},
        "netns": {"nsmode": "path", "value": network} if network else {},
        "hostname": plan.host_name,
        "sysctl": dict(plan.sysctl),
        "cap_drop": list(plan.cap_drop),
        "cap_add": list(plan.cap_add),
        "no_new_privileges": plan.no_new_privileges,
    }
    return {**wanted, **{name: value for name, value in optional.items() if value}}


def container(found: Mapping[str, Any]) -> Container:
    """A container as its inspection shows it."""
    state: Mapping[str, Any] = found["State"]
    return Container(
        id=found["Id"],
        running=str(state.get("Status", "")).lower() not in ENDED,
        exit_code=state.get("ExitCode"),
        out_of_memory=bool(state.get("OOMKilled")),
        memory_bytes=int((found.get("HostConfig") or {}).get("Memory") or 0),
        error=str(state.get("Error") or ""),
        labels=(found.get("Config") or {}).get("Labels") or {},
    )


def docker_hub_name(image: str) -> str | None:
    """The full name that Docker would give to a short one; None for a full name."""
    first, slash, _ = image.partition("/")
    if not slash:
        return f"docker.io/library/{image}"
    if "." in first or ":" in first or first == "localhost":
        return None
    return f"docker.io/{image}"
