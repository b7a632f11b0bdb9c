"""`cloudops sweep`: removes what crashes left, and nothing that anybody still holds.

Who holds the agent's lock of a workspace owns its nodes. Who writes a temporary file holds a lock on
it. So each thing is removed only under its lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define

from cfa.cloudops import backends
from cfa.cloudops.cli import output
from cfa.cloudops.cli.agent import agent_lock, agent_may_live
from cfa.cloudops.cli.run import REPORT_PREFIX
from cfa.cloudops.errors import BackendError, CloudOpsError
from cfa.cloudops.provider.executor import Executor, NodeStatus
from cfa.cloudops.service.definitions import pool_spec
from cfa.cloudops.service.store import Store
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
        StoreError: its store cannot be read.
    """
    store = Store(workspace.store)
    try:
        with agent_lock(workspace) as free:
            if free:
                _sweep_nodes(workspace, store, broom)
            else:
                output.note(f"an agent serves {workspace.home} and tidies up its own nodes")
        _sweep_temporaries(store, broom)
    finally:
        store.close()


def _sweep_nodes(workspace: Workspace, store: Store, broom: Broom) -> None:
    """Nodes, their directories and the socket. No agent lives, and none can start meanwhile."""
    identifier = store.meta("workspace") or ""
    rows = store.rows("SELECT id, backend FROM node WHERE ended IS NULL")
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
                output.note(f"{name} was not looked at, though nodes may be there: {error}")
    for directory in sorted(workspace.volatile.glob("*")):
        if open_nodes.get(directory.name) not in silent:
            broom.remove(f"directory {directory}", lambda directory=directory: _rmtree(directory))  # type: ignore[misc]
    if workspace.socket.exists():
        broom.remove(f"socket {workspace.socket}", workspace.socket.unlink)


def _remove(broom: Broom, executor: Executor, workspace: str, node: NodeStatus, whose: str) -> None:
    state = "running" if node.running else "ended"
    broom.remove(
        f"{state} node {node.node_id} ({executor.name} {node.engine_id[:12]}){whose}",
        lambda: executor.remove_node(workspace, node.node_id),
    )


def _rmtree(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


# --- temporary files


def _sweep_temporaries(store: Store, broom: Broom) -> None:
    """Reports of runs, and half-written blobs in the containers that the pools mount."""
    for path in sorted(Path(tempfile.gettempdir()).glob(f"{REPORT_PREFIX}*")):
        _reap(path, broom)
    mounted: dict[str, set[str]] = {}
    for (text,) in store.rows("SELECT definition FROM pool"):
        pool = pool_spec(text)
        if pool.mounts and pool.storage:
            mounted.setdefault(pool.storage, set()).update(one.source for one in pool.mounts)
    for root, containers in mounted.items():
        storage = backends.load_storage(root)
        try:
            for container in sorted(containers):
                with contextlib.suppress(CloudOpsError):  # it is gone
                    place = storage.local_path(container)
                    if place is not None:
                        _sweep_container(place, broom)
        finally:
            storage.close()


def _sweep_container(place: Path, broom: Broom) -> None:
    for folder, names, files in os.walk(place):
        for name in [*names, *files]:
            if name.startswith(_PARTIAL[0]) and name.endswith(_PARTIAL[1]):
                _reap(Path(folder, name), broom)
        names[:] = [name for name in names if not name.startswith(_PARTIAL[0])]


def _reap(path: Path, broom: Broom) -> None:
    """Remove a temporary file or folder of ours, if nobody writes it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        broom.remove(f"temporary {path}", lambda: _rmtree(path))
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
                output.note(f"{name}, {endpoint}: whether its workspaces live is not seen here")
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
    with agent_lock(workspace) as free:
        yield "idle" if free else "unknown"
