"""Values and rules of executors on OCI engines that need no engine: who, what, with which limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import Factory, define, frozen

from cfa.cloudops.provider.executor import Bind, Capabilities, ImageProgress, NodeSpec
from cfa.cloudops.provider.hardening import ALL, Hardening

WORKSPACE_LABEL = "cfa.cloudops.workspace"
NODE_LABEL = "cfa.cloudops.node"
HOME_LABEL = "cfa.cloudops.home"
#: Marks the short-lived, never started containers that an image is looked into with; the value is
#: the process that made it.
PEEK_LABEL = "cfa.cloudops.peek"

#: Microseconds. Limits are given as period and quota: one SDK drops `nano_cpus` without a word.
CPU_PERIOD_US = 100_000
_MIN_QUOTA_US = 1_000
#: Bytes that an engine keeps of a node's output: its logs see every line of the launcher.
LOG_BYTES = 4 << 20


@frozen(kw_only=True)
class Ownership:
    """Flags of a container: `user` as `uid:gid`, `userns` the engine's word, '' for its default."""

    user: str
    userns: str = ""

    @property
    def root(self) -> bool:
        """Whether processes of the container have the capabilities that it is given."""
        return self.user.partition(":")[0] == "0"


def ownership(
    *, engine: str, rootless: bool, remapped: bool, caller_uid: int, caller_gid: int
) -> Ownership:
    """Flags with which files written into a bind belong to the caller.

    The image's own USER is always replaced: whatever it is, its files would not be the caller's.

    Args:
        engine: `docker` or `podman`.
        rootless: the engine runs as an ordinary user, who is root in its containers. Any other user
            of the container would be a subordinate id on the host, which the caller cannot delete.
        remapped: a rootful Docker daemon that maps users by default (`userns-remap`).
        caller_uid: who must own the files.
        caller_gid: their group.
    """
    if rootless:
        return Ownership(user="0:0")
    userns = "host" if remapped and engine == "docker" else ""
    return Ownership(user=f"{caller_uid}:{caller_gid}", userns=userns)


@frozen(kw_only=True)
class Engine:
    """What is known of an engine that answers.

    `reports_oom`: its own flag tells whether a container ran out of memory. Podman before 5 leaves
    it unset. `ambient`: named capabilities are given to users other than root, too.
    """

    capabilities: Capabilities
    reports_oom: bool = True
    ambient: bool = False
    remapped: bool = False
    selinux: bool = False


#: A network that no closed connection lingers in: its port can be bound again at once.
_FORGETFUL = {"net.ipv4.tcp_max_tw_buckets": "0"}


@frozen(kw_only=True)
class Plan:
    """A container to create, in terms that both engines know.

    The container has its standard input open once and no terminal; nothing removes it by itself.
    `cpu_quota_us` counts in `CPU_PERIOD_US`. `unlabelled`: SELinux must let it use its binds.
    `network_of`: the container whose network it uses, '' for one of its own; `host_name`: '' for
    the engine's choice. `sysctl`: parameters of the kernel in its network. `cap_add`: the only
    capabilities that it has; `pids_limit`: None for the engine's choice, 0 for none.
    """

    name: str
    image: str
    argv: tuple[str, ...]
    labels: Mapping[str, str]
    user: str = ""
    userns: str = ""
    environment: Mapping[str, str] = Factory(dict)
    binds: tuple[Bind, ...] = ()
    working_directory: str | None = "/"
    cpu_quota_us: int | None = None
    memory_bytes: int | None = None
    unlabelled: bool = False
    network_of: str = ""
    host_name: str = ""
    sysctl: Mapping[str, str] = Factory(dict)
    cap_add: tuple[str, ...] = ()
    no_new_privileges: bool = True
    pids_limit: int | None = None

    @property
    def cap_drop(self) -> tuple[str, ...]:
        """What an engine must take away first."""
        return () if ALL in self.cap_add else (ALL,)


def plan(
    spec: NodeSpec,
    name: str,
    image: str,
    engine: Engine,
    engine_name: str,
    hardening: Hardening = Hardening(),  # noqa: B008  a frozen value
) -> Plan:
    """The container for a node. Limits that the engine would not enforce are left out."""
    found = engine.capabilities
    owner = ownership(
        engine=engine_name,
        rootless=found.rootless,
        remapped=engine.remapped,
        caller_uid=spec.caller_uid,
        caller_gid=spec.caller_gid,
    )
    cpus = spec.resources.cpus if found.enforces_cpus else None
    labels = {WORKSPACE_LABEL: spec.workspace, NODE_LABEL: spec.node_id}
    if spec.home:
        labels[HOME_LABEL] = spec.home
    return Plan(
        name=name,
        image=image,
        argv=spec.argv,
        labels=labels,
        user=owner.user,
        userns=owner.userns,
        environment=spec.environment,
        binds=tuple(sorted(spec.binds, key=lambda bind: bind.target)),
        working_directory=spec.working_directory,
        cpu_quota_us=max(_MIN_QUOTA_US, round(cpus * CPU_PERIOD_US)) if cpus else None,
        memory_bytes=spec.resources.memory_bytes if found.enforces_memory else None,
        unlabelled=engine.selinux,
        network_of=spec.network_of or "",
        host_name=spec.node_id if spec.network_of else "",
        sysctl=_FORGETFUL if spec.keeps_network else {},
        cap_add=hardening.capabilities(root=owner.root),
        no_new_privileges=hardening.no_new_privileges,
        pids_limit=hardening.pids_limit if found.enforces_pids else None,
    )


@frozen(kw_only=True)
class Container:
    """A container as the engine describes it now. `exit_code` means something when not running.

    `memory_bytes` is its limit, 0 for none.
    """

    id: str
    running: bool
    exit_code: int | None = None
    out_of_memory: bool = False
    memory_bytes: int = 0
    error: str = ""
    labels: Mapping[str, str] = Factory(dict)


@define
class PullProgress:
    """Folds the events of layers into one sum. Call it with each event."""

    image: str
    report: Callable[[ImageProgress], None]
    _layers: dict[str, tuple[int, int]] = Factory(dict)

    def __call__(self, status: str, layer: str = "", done: int = 0, total: int = 0) -> None:
        """Take one event; `done` and `total` in bytes of one layer, 0 when the event has none."""
        known = self._layers.get(layer, (0, 0))
        if status == "Downloading" and layer:
            self._layers[layer] = (done, max(total, known[1]))
        elif status in ("Download complete", "Pull complete", "Already exists"):
            self._layers[layer] = (known[1], known[1])
        layers = self._layers.values()
        self.report(
            ImageProgress(
                image=self.image,
                status=status,
                done=sum(done for done, _ in layers),
                total=sum(total for _, total in layers),
            )
        )
