"""Nodes as the agent sees them: opening, slots, closing.

A *group* is the set of nodes that can run the same tasks: one job, one image, one set of mounts. With
isolation `job` it has one node on which the tasks run side by side; with isolation `task` every task
gets a node of its own, and nodes are opened ahead while earlier tasks run.
"""

from __future__ import annotations

import heapq
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from attrs import define, field, frozen

from cfa.cloudops import backends
from cfa.cloudops.beneath import Place
from cfa.cloudops.errors import ConflictError, ImageError, NodeError, UnsupportedError
from cfa.cloudops.model import names
from cfa.cloudops.model.values import Isolation, Mount, PoolSpec
from cfa.cloudops.provider.executor import (
    Bind,
    Capabilities,
    Executor,
    ImageProgress,
    Node,
    NodeSpec,
)
from cfa.cloudops.service.definitions import mounts_from
from cfa.cloudops.service.disks import disk_errors
from cfa.cloudops.service.ledger import Attempt
from cfa.cloudops.service.local import caller_ids
from cfa.cloudops.service.networks import Lent, make_fifo, share_fifo
from cfa.cloudops.service.workspace import (
    BOX,
    CONTROL,
    NODE_ROOT,
    Commands,
    Workspace,
    job_way,
    shared_way,
)

_log = logging.getLogger(__name__)

PROTOCOL = b"ready 2"
#: Bytes of a line of a launcher, at most.
_LONGEST = 1 << 16


@frozen
class GroupKey:
    """What nodes of one group have in common."""

    job: int
    image: str | None
    mounts: str | None


#: Seconds to wait after the first failure, and at most.
_BACKOFF_S = (0.2, 10.0)


def backoff_s(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(_BACKOFF_S[1], _BACKOFF_S[0] * 2.0 ** min(failures - 1, 10))


@define(eq=False)
class LiveNode:
    """One node from the decision to open it until it is gone."""

    id: str
    group: GroupKey
    backend: str
    node: Node | None = None
    ready: bool = False
    closing: bool = False
    #: It was told to end; its stream is still read, and says when it did.
    draining: bool = False
    #: It ended by itself before it was ready.
    broken: bool = False
    #: It could not even begin, for lack of processes.
    refused: bool = False
    #: Its image is being fetched.
    pulls: bool = False
    single_use: bool = False
    #: Whose network it uses, until nothing of it runs any more.
    keeper: Keeper | None = None
    enlisted: float = field(factory=time.monotonic)
    used: bool = False
    #: Where the node sees its root; the workspace's own where paths cannot differ.
    root: str = NODE_ROOT
    #: The directory of its job that it was shown, as device and inode.
    place: tuple[int, int] = (0, 0)
    #: Host directories that it was shown as mounts.
    shown: tuple[str, ...] = ()
    #: What its slots are to run.
    commands: Commands | None = None
    mapping: tuple[tuple[str, str], ...] = ()
    buffer: bytes = b""
    running: dict[int, Attempt] = field(factory=dict)  # by slot
    #: Attempts whose result does not fit on the disk yet, by token.
    full: set[str] = field(factory=set)
    idle_since: float = 0.0
    #: The loop asks from time to time whether its slots live, with a word that the answer must have.
    checked: bool = False
    question: str = ""
    unanswered: int = 0
    #: Attempts that had ended at the last of these looks, by the journals, and were not reported yet.
    unreported: set[str] = field(factory=set)
    #: How often in a row it could start nothing for lack of processes; it rests until `not_before`, a
    #: monotonic time, each time longer.
    refusals: int = 0
    not_before: float = 0.0
    #: It said something that only a launcher says, without the secret.
    doubted: bool = False
    #: The loop wakes up when it has been idle for long enough.
    alarmed: bool = False
    _free: list[int] = field(factory=list)
    _slots: int = 0

    def take_slot(self) -> int:
        """The lowest slot that is free: few warm shells do most of the work."""
        if self._free:
            return heapq.heappop(self._free)
        self._slots += 1
        return self._slots

    def give_back(self, slot: int) -> None:
        heapq.heappush(self._free, slot)

    def give_up(self, slot: int) -> Attempt | None:
        """Never use a slot again. Returns the attempt that was running in it."""
        if slot in self._free:
            self._free.remove(slot)
            heapq.heapify(self._free)
        if self.commands is not None:
            self.commands.forget(slot)
        return self.running.pop(slot, None)

    def lines(self, data: bytes) -> list[bytes]:
        """Complete lines of the launcher.

        Of one that does not end, which no launcher writes, a tail is kept: a report may follow it.
        """
        *lines, rest = (self.buffer + data).split(b"\n")
        self.buffer = rest[-_LONGEST:]
        return [line for line in lines if line]


@define(eq=False)
class Keeper(LiveNode):
    """A node that runs nothing: it keeps its network for others, see `networks`."""

    #: The node that uses it.
    user: LiveNode | None = None
    #: How often it was asked, since its last user ended, whether anything is left in its network.
    looks: int = 0
    #: Stands for the question that is not answered yet.
    asked: object = None
    #: How many nodes have used the network and left nothing in it.
    uses: int = 0
    host_name: str = ""
    hosts: list[str] = field(factory=list)
    resolver: list[str] = field(factory=list)

    @property
    def free(self) -> bool:
        return self.ready and not self.closing and not self.looks and self.user is None

    def lend(self, node: LiveNode) -> Lent:
        """Let a node that is going to be opened use the network."""
        assert self.node is not None  # noqa: S101  for the type checker: it is ready
        self.user, node.keeper = node, self
        engine_id = self.node.engine_id
        return Lent(self.id, engine_id, self.host_name, tuple(self.hosts), tuple(self.resolver))


@define(eq=False)
class Group:
    """Nodes that can run the same tasks."""

    key: GroupKey
    isolation: Isolation
    nodes: list[LiveNode] = field(factory=list)
    #: Do not open again before this monotonic time, after the engine did not answer.
    not_before: float = 0.0
    failures: int = 0
    #: How often a node was refused since one came up, not counting those that were opened beside it.
    refusals: int = 0
    refused_at: float = 0.0
    #: How many of its nodes in a row were closed because they could start nothing.
    barren: int = 0

    def take(self) -> tuple[LiveNode, int] | None:
        """A node with room for one more task, and its slot."""
        for node in self.nodes:
            if node.ready and not node.closing and not (node.single_use and node.used):
                if node.refusals and time.monotonic() < node.not_before:
                    continue
                node.used = True
                return node, node.take_slot()
        return None

    def shortage(self, waiting: int, capacity: int) -> int:
        """How many nodes to open now, for `waiting` ready tasks."""
        alive = [node for node in self.nodes if not node.closing]
        if self.isolation is Isolation.JOB:
            return 0 if alive or not waiting else 1
        unused = sum(not node.used for node in alive)
        # As many again as run: the next tasks find their nodes open.
        return max(0, min(waiting - unused, 2 * capacity - len(alive)))


class Executors:
    """Executors and storage of an agent, loaded when first used. Safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: dict[str, Executor] = {}
        self._capabilities: dict[str, Capabilities] = {}
        self._images: set[tuple[str, str]] = set()  # that were there

    def get(self, name: str) -> Executor:
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = backends.load_executor(name)
            return self._loaded[name]

    def capabilities(self, name: str) -> Capabilities:
        """What an executor can do, asked until it answered once."""
        executor = self.get(name)
        with self._lock:
            found = self._capabilities.get(name)
        if found is None:
            found = backends.probe(name, executor)
            with self._lock:
                self._capabilities[name] = found
        return found

    def share_networks(self, name: str) -> bool:
        """Whether it is known that an executor's nodes can use each other's networks. Never waits."""
        found = self._capabilities.get(name)
        return found is not None and found.shares_network

    def open_node(
        self, name: str, spec: NodeSpec, progress: Callable[[ImageProgress], None] | None = None
    ) -> Node:
        """Open a node. Its image is looked for once an agent, and again when it has gone since.

        Raises: see `Executor.ensure_image` and `Executor.open_node`.
        """
        executor = self.get(name)
        if spec.image is None or not self.capabilities(name).images:
            return executor.open_node(spec)
        image = (name, spec.image)
        known = image in self._images
        if not known:
            executor.ensure_image(spec.image, progress)
            self._images.add(image)
        try:
            return executor.open_node(spec)
        except ImageError:
            self._images.discard(image)
            if not known:
                raise
        return self.open_node(name, spec, progress)

    def close(self) -> None:
        with self._lock:
            for executor in self._loaded.values():
                executor.close()
            self._loaded.clear()


@frozen(kw_only=True)
class Opening:
    """Everything that a worker thread needs to open a node."""

    node_id: str
    workspace_id: str
    workspace: Workspace
    job_id: str
    pool: PoolSpec
    image: str | None
    mounts: str | None
    keeps_network: bool = False
    network: Lent | None = None


@frozen
class Opened:
    """An open node and how paths map in it."""

    node: Node
    root: str
    place: tuple[int, int]
    shown: tuple[str, ...]
    mapping: tuple[tuple[str, str], ...]


def open_node(
    executors: Executors,
    what: Opening,
    progress: Callable[[ImageProgress], None] | None = None,
) -> Opened:
    """Open a node and wait for nothing. Runs in a worker thread; blocks for a pull.

    Args:
        executors: those of the agent.
        what: the node.
        progress: called in this thread while its image is pulled.

    Raises:
        BackendError: see `Executor.open_node`. BlobContainerNotFoundError: a mount's source is gone.
    """
    capabilities = executors.capabilities(what.pool.backend)
    private = capabilities.private_paths
    mounts = mounts_from(what.mounts)
    sources = {}
    if not what.keeps_network:
        storage = what.workspace.storage_url(what.pool.storage)
        sources = mount_sources(storage, what.pool.mounts if mounts is None else mounts)
        for target, source in sources.items():
            _keep_apart(target, source, what.workspace.home)
    workspace = what.workspace
    with disk_errors(f"preparing the node {what.node_id}"):
        place = _prepare(what, sources, private=private)
    root = NODE_ROOT if private else str(workspace.root)
    control = f"{NODE_ROOT}/{CONTROL}" if private else str(workspace.control(what.node_id))
    uid, gid = caller_ids()
    binds = _binds(what, sources)
    if what.network:
        with disk_errors(f"preparing the node {what.node_id}"):
            directory = workspace.node_directory(what.node_id)
            binds += what.network.own_names(directory, f"{what.node_id} {_node_name(what)}")
    node = executors.open_node(
        what.pool.backend,
        NodeSpec(
            workspace=what.workspace_id,
            home=str(what.workspace.home),
            node_id=what.node_id,
            name=_node_name(what),
            image=what.image,
            argv=("/bin/sh", f"{control}/launcher.sh", *_verb(what, capabilities, control, root)),
            environment=_environment(what, root, private=private),
            binds=tuple(binds),
            resources=what.pool.resources,
            caller_uid=uid,
            caller_gid=gid,
            keeps_network=what.keeps_network,
            network_of=what.network.engine_id if what.network else None,
        ),
        progress,
    )
    mapping: tuple[tuple[str, str], ...] = ()
    if not private:
        mapping = tuple((f"/{target}", source) for target, source in sources.items())
        shared = str(workspace.home / shared_way(what.pool.id))
        mapping += ((f"{NODE_ROOT}/shared", shared), (NODE_ROOT, root))
    return Opened(node, root, place, tuple(sources.values()), mapping)


def _verb(what: Opening, capabilities: Capabilities, control: str, root: str) -> tuple[str, ...]:
    """The arguments of the launcher."""
    if what.keeps_network:
        return ("keep", control)
    job = f"{root}/{job_way(what.job_id)}"
    # Only in a container is the launcher out of the reach of a task that ends its process group.
    if what.pool.isolation is not Isolation.TASK or not capabilities.images:
        return ("serve", control, job)
    return ("once", control, job, "memory" if capabilities.enforces_memory else "")


def _binds(what: Opening, sources: dict[str, str]) -> list[Bind]:
    """What a node is shown: its own root, what of the workspace its tasks may write, its mounts."""
    workspace = what.workspace
    control = workspace.control(what.node_id)
    binds = [
        Bind(source=str(control.parent), target=NODE_ROOT, read_only=True),
        Bind(source=str(control / BOX), target=f"{NODE_ROOT}/{CONTROL}/{BOX}"),
    ]
    if what.keeps_network:
        return binds
    way = job_way(what.job_id)
    shared = str(workspace.home / shared_way(what.pool.id))
    binds.append(Bind(source=str(workspace.root / way), target=f"{NODE_ROOT}/{way}"))
    binds.append(Bind(source=shared, target=f"{NODE_ROOT}/shared"))
    for target, source in sources.items():
        binds.append(Bind(source=source, target=f"{NODE_ROOT}/fsmounts/{target}"))
        binds.append(Bind(source=source, target=f"/{target}"))
    return binds


def mount_sources(storage_url: str, mounts: tuple[Mount, ...]) -> dict[str, str]:
    """Host directories of mounts, by target.

    Raises:
        BlobContainerNotFoundError: a container does not exist.
        UnsupportedError: the storage has no directories here.
    """
    if not mounts:
        return {}
    storage = backends.load_storage(storage_url)
    try:
        found = {}
        for mount in mounts:
            path = storage.local_path(mount.source)
            if path is None:
                raise UnsupportedError(
                    f"The blob container {mount.source!r} is in {storage_url} and cannot be "
                    "mounted.",
                    "Use a storage root on this machine: CLOUDOPS_STORAGE=file:<directory>.",
                )
            found[mount.target] = str(path)
        return found
    finally:
        storage.close()


def _keep_apart(target: str, source: str, home: Path) -> None:
    """Refuse a mount that would show tasks the workspace, or any of it.

    Raises:
        ConflictError: it is the workspace, holds it or lies in it.
    """
    place, workspace = os.path.realpath(source), os.path.realpath(home)
    common = os.path.commonpath([place, workspace])
    if common in (place, workspace) or _holds(place, workspace) or _holds(workspace, place):
        raise ConflictError(
            f"The mount {target!r} would show tasks the workspace {home}: it is {source}.",
            "Set CLOUDOPS_HOME to a directory outside of all mounts.",
        )


def _holds(above: str, below: str) -> bool:
    """Whether one directory is another or lies in it, by whatever names they are reached."""
    try:
        wanted = os.stat(above)
        while True:
            if os.path.samestat(os.stat(below), wanted):
                return True
            if below == "/":
                return False
            below = os.path.dirname(below)
    except OSError:
        return False


def _prepare(what: Opening, sources: dict[str, str], *, private: bool) -> tuple[int, int]:
    """Make the node's directory, and what it shows; the identity of its job's directory.

    Raises:
        OSError: it could not be made.
    """
    workspace = what.workspace
    workspace.create()
    targets = [f"fsmounts/{target}" for target in sources]
    way = job_way(what.job_id)
    workspace.prepare_node(what.node_id, [way, "shared", *targets] if private else [])
    if what.keeps_network:
        make_fifo(workspace.control(what.node_id))
        return 0, 0
    if what.network:
        share_fifo(workspace.control(what.network.node_id), workspace.control(what.node_id))
    workspace.open_shared(what.pool.id).close()
    if not private:
        with Place.open(workspace.root) as root:
            root.enter("startup/wd", make=True).close()
            with root.enter("fsmounts", make=True) as links:
                for target, source in sources.items():
                    _show(links, target, source)
    with workspace.open_job(what.job_id, make=True) as job:
        status = os.fstat(job.fileno())
        return status.st_dev, status.st_ino


def _show(links: Place, target: str, source: str) -> None:
    """Make a link to a mount at a place below; other nodes may be coming up beside this one."""
    above, _, name = target.rpartition("/")
    with links.enter(above, make=True) as place:
        temporary = f".cloudops-{os.urandom(8).hex()}"
        place.link_to(source, temporary)
        try:
            place.rename(temporary, place, name)
        except OSError:  # a directory, above a mount whose target is longer
            place.unlink(temporary)


def _node_name(what: Opening) -> str:
    job = what.job_id.replace(":", ".")
    name = names.oci_container(what.image, job) if what.image else job
    if what.pool.isolation is Isolation.TASK or what.mounts is not None:
        name += f".{what.node_id}"
    return name


def _environment(what: Opening, root: str, *, private: bool) -> dict[str, str]:
    """Service variables that are the same for all tasks of a node (`azure-batch` names)."""
    shared = f"{root}/shared" if private else f"{what.workspace.home}/{shared_way(what.pool.id)}"
    return {
        "AZ_BATCH_ACCOUNT_NAME": "local",
        "AZ_BATCH_ACCOUNT_URL": "https://local.invalid",
        "AZ_BATCH_POOL_ID": what.pool.id,
        "AZ_BATCH_NODE_ID": what.node_id,
        "AZ_BATCH_NODE_IS_DEDICATED": "true",
        "AZ_BATCH_JOB_ID": what.job_id,
        "AZ_BATCH_NODE_ROOT_DIR": root,
        "AZ_BATCH_NODE_SHARED_DIR": shared,
        "AZ_BATCH_NODE_STARTUP_DIR": f"{root}/startup",
        "AZ_BATCH_NODE_STARTUP_WORKING_DIR": f"{root}/startup/wd",
        "AZ_BATCH_NODE_MOUNTS_DIR": f"{root}/fsmounts",
        "AZ_BATCH_TASK_RESERVED_EPHEMERAL_DISK_SPACE_BYTES": "1000000",
    }


def send(node: LiveNode, line: str) -> bool:
    """A line to the launcher. False: the node is gone, which its stream will say as well."""
    if node.node is None:
        return False
    try:
        node.node.write(line.encode(errors="surrogateescape"))
    except NodeError as error:
        _log.warning("node %s: %s", node.id, error)
        return False
    return True
