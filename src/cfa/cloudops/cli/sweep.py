"""`cloudops sweep`: removes what crashes left, and nothing that anybody still holds.

Who holds the agent's lock of a workspace owns its nodes. Who writes a temporary file holds a lock on
it. So each thing is removed only under its lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from attrs import define

from cfa.cloudops import backends, report
from cfa.cloudops.beneath import Place
from cfa.cloudops.cli import output
from cfa.cloudops.cli.agent import agent_may_live
from cfa.cloudops.errors import BackendError, CloudOpsError, UntrustedWorkspaceError
from cfa.cloudops.provider.executor import Executor, NodeStatus
from cfa.cloudops.service import owner, reserve
from cfa.cloudops.service.definitions import pool_spec
from cfa.cloudops.service.store import Store
from cfa.cloudops.service.sums import sound
from cfa.cloudops.service.workspace import Workspace

#: Names of blobs that are being written.
_PARTIAL = (".cloudops-", ".part")
#: Processes that serve an engine's socket; systemd where it opened the socket for them.
_ENGINES = frozenset({"dockerd", "podman", "systemd"})
_CONNECT_S = 5.0


@define
class Broom:
    """Removes, says what, and counts; with `dry_run` it only says.

    `count`: things that were removed; `failed`: those that were not, or not looked for.
    """

    dry_run: bool = False
    count: int = 0
    failed: int = 0

    def remove(self, what: str, action: Callable[[], object]) -> None:
        """Do it, and go on with the next thing if it cannot be done."""
        try:
            if not self.dry_run:
                action()
        except (OSError, CloudOpsError) as error:
            self.failed += 1
            output.note(f"could not remove {what}: {error}")
            return
        self.count += 1
        output.line(f"{'would remove' if self.dry_run else 'removed'} {what}", flush=True)


def sweep(workspace: Workspace, broom: Broom) -> None:
    """Remove what is left of a workspace.

    Raises:
        UntrustedWorkspaceError: it is not the caller's alone. StoreError: its store cannot be read.
    """
    owner.check(workspace.home)
    store = reserve.open_store(workspace)
    try:
        with owner.alone(workspace.lock) as free:
            if free:
                owner.settle(store, workspace.home)  # a copy has no nodes yet
                _sweep_nodes(workspace, store, broom)
            else:
                output.note(f"an agent runs in {workspace.home} and removes its own nodes")
        _sweep_temporaries(workspace, store, broom)
    finally:
        store.close()


def _sweep_nodes(workspace: Workspace, store: Store, broom: Broom) -> None:
    """Nodes, their directories and the socket. No agent lives, and none can start meanwhile."""
    identifier = store.meta("workspace") or ""
    rows = store.rows(
        f"SELECT {sound('node.id')}, backend FROM node WHERE ended IS NULL"  # noqa: S608
    )
    open_nodes: dict[str, str] = {row[0]: row[1] for row in rows}
    silent = set()
    for name in backends.names(backends.EXECUTORS):
        try:
            with backends.opened(name) as executor:
                backends.probe(name, executor)
                for node in executor.list_nodes(identifier):
                    _remove(broom, executor, identifier, node, "")
        except BackendError as error:
            silent.add(name)
            if name in open_nodes.values():
                broom.failed += 1
                output.note(f"{name} may have nodes, but could not be asked: {error}")
    with contextlib.suppress(FileNotFoundError), Place.open(workspace.nodes) as nodes:
        for name in sorted(nodes.names()):
            if open_nodes.get(name) not in silent:
                broom.remove(
                    f"directory {workspace.nodes / name}", partial(nodes.remove_tree, name)
                )
    if workspace.socket.exists():
        broom.remove(f"socket {workspace.socket}", workspace.socket.unlink)


def _remove(broom: Broom, executor: Executor, workspace: str, node: NodeStatus, whose: str) -> None:
    state = "running" if node.running else "ended"
    broom.remove(
        f"{state} node {node.node_id} ({executor.name} {node.engine_id[:12]}){whose}",
        lambda: executor.remove_node(workspace, node.node_id),
    )


# --- temporary files


def _sweep_temporaries(workspace: Workspace, store: Store, broom: Broom) -> None:
    """Reports of runs, and half-written blobs in the containers that the pools mount."""
    with Place.open(tempfile.gettempdir()) as temporary:
        for name in sorted(temporary.names()):
            if name.startswith(report.PREFIX):
                _reap(temporary, name, broom)
    mounted: dict[str, set[str]] = {}
    for (text,) in store.rows(f"SELECT {sound('pool.definition')} FROM pool"):  # noqa: S608
        pool = pool_spec(text)
        if pool.mounts and pool.storage:
            storage = workspace.storage_url(pool.storage)
            mounted.setdefault(storage, set()).update(one.source for one in pool.mounts)
    for root, containers in mounted.items():
        blobs = backends.load_storage(root)
        try:
            for container in sorted(containers):
                with contextlib.suppress(CloudOpsError):  # it is gone
                    place = blobs.local_path(container)
                    if place is not None:
                        _sweep_container(place, broom)
        finally:
            blobs.close()


def _sweep_container(path: Path, broom: Broom) -> None:
    with Place.open(path) as top:
        ways = [""]
        while ways:
            way = ways.pop()
            with contextlib.suppress(OSError), top.enter(way) as folder:  # it is gone, or not ours
                for name in sorted(folder.names()):
                    if name.startswith(_PARTIAL[0]) and name.endswith(_PARTIAL[1]):
                        _reap(folder, name, broom)
                    elif stat.S_ISDIR(folder.status(name).st_mode):
                        ways.append(f"{way}/{name}" if way else name)


def _reap(folder: Place, name: str, broom: Broom) -> None:
    """Remove a temporary file or folder of ours, if nobody writes it."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=folder.fileno())
    except OSError:
        return
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        broom.remove(f"temporary {folder.path}/{name}", partial(folder.remove_tree, name))
    except OSError:
        return  # its writer lives
    finally:
        os.close(descriptor)


# --- other workspaces


def sweep_others(mine: Workspace | None, broom: Broom) -> None:
    """Remove nodes of other workspaces that nobody can use any more.

    These are the nodes of workspaces that were deleted, and the ended ones of those that no agent
    serves. What runs for a workspace that exists is not touched: it may be finishing tasks.
    """
    for name in backends.names(backends.EXECUTORS):
        with contextlib.suppress(BackendError), backends.opened(name) as executor:
            endpoint = backends.probe(name, executor).endpoint
            if not is_here(endpoint):
                output.note(
                    f"{name}, {endpoint}: this machine cannot tell whether its workspaces are in use"
                )
                continue
            for identifier, home in sorted(executor.workspaces().items()):
                if mine is None or home != str(mine.home):
                    _sweep_other(executor, identifier, home, broom)


def is_here(endpoint: str) -> bool:
    """Whether an engine sees the files and processes that we see.

    Not one on another machine, also behind a forwarded socket; not one outside of the container
    that we are in. The process at the other end of its socket tells.
    """
    if not endpoint.startswith("unix://"):
        return "://" not in endpoint  # a program, not a socket
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(_CONNECT_S)
            line.connect(endpoint.removeprefix("unix://"))
            credentials = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid = int.from_bytes(credentials[:4], sys.byteorder)  # 0 outside of our namespace
        return Path(f"/proc/{pid}/comm").read_text().strip() in _ENGINES
    except (OSError, AttributeError):
        return False  # AttributeError: a system without SO_PEERCRED


def _sweep_other(executor: Executor, identifier: str, home: str, broom: Broom) -> None:
    with _owner(home) as state:
        whose = f" of {home or identifier}{', which is gone' if state == 'gone' else ''}"
        for node in executor.list_nodes(identifier):
            if state == "gone" or (state == "idle" and not node.running):
                _remove(broom, executor, identifier, node, whose)
                continue
            reason = "it runs and ends by itself" if state == "idle" else "it may be in use"
            engine_id = node.engine_id[:12]
            output.note(f"kept node {node.node_id} ({executor.name} {engine_id}){whose}: {reason}")


@contextmanager
def _owner(home: str) -> Iterator[str]:
    """What became of a workspace, true as long as the context lasts.

    `gone`: it was deleted and no agent is left. `idle`: no agent serves it. `unknown`: all else.
    """
    if not home:
        yield "unknown"
        return
    workspace = Workspace(Path(home))
    try:
        os.stat(workspace.store)
    except OSError as error:
        gone = error.errno in (errno.ENOENT, errno.ENOTDIR) and not agent_may_live(home)
        yield "gone" if gone else "unknown"
        return
    try:
        owner.check(workspace.home)
    except UntrustedWorkspaceError:
        yield "unknown"
        return
    with owner.alone(workspace.lock) as free:
        yield "idle" if free else "unknown"
