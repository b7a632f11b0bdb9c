"""`cloudops agent`, and what can be told about a workspace's agent from outside."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from attrs import frozen

from cfa.cloudops.errors import ConflictError
from cfa.cloudops.service import owner
from cfa.cloudops.service.link import greeting, relieve
from cfa.cloudops.service.workspace import Workspace
from cfa.cloudops.settings import Settings


@frozen(kw_only=True)
class AgentState:
    """`state`: `none`, `running`, or `changing` (it is starting or leaving). `stays`: it does not leave
    for lack of work. `stale_socket`: of one that was killed; harmless."""

    state: str
    pid: int | None = None
    version: str = ""
    stays: bool = False
    stale_socket: bool = False


def agent_state(workspace: Workspace) -> AgentState:
    """Ask a workspace's agent who it is. Starts none; blocks for two seconds at most."""
    words = greeting(workspace)
    if len(words) >= 3 and words[2].isdecimal():
        return AgentState(
            state="running",
            version=words[1],
            pid=int(words[2]),
            stays="stays" in words[3:],
        )
    if not workspace.lock.exists():
        return AgentState(state="none")
    with owner.alone(workspace.lock) as free:
        if not free:
            return AgentState(state="changing")
        return AgentState(state="none", stale_socket=workspace.socket.exists())


def agent_text(agent: AgentState | None) -> str:
    """What is told of an agent in a line; None: there is no workspace."""
    if agent is None:
        return "none; there is no workspace yet"
    match agent.state:
        case "running":
            stays = ", stays when idle" if agent.stays else ""
            return f"running, process {agent.pid}, version {agent.version}{stays}"
        case "changing":
            return "starting or exiting"
        case _:
            return "none; one starts when there is work"


def agent_may_live(home: str) -> bool:
    """Whether some process may be the agent of a workspace whose directory is not at its place.

    The directory may have been moved with its agent alive. Without `/proc` the answer is yes.
    """
    try:
        pids = [name for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return True
    for pid in pids:
        with contextlib.suppress(OSError):
            words = Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
            if b"cfa.cloudops.service.agent" in words and os.fsencode(home) in words:
                return True
            # In the foreground: which workspace it serves is not in its arguments.
            ours = any(os.path.basename(word) == b"cloudops" for word in words[:2])
            if b"agent" in words and (ours or b"cfa.cloudops.cli" in words):
                return True
    return False


def serve(settings: Settings, *, stay: bool) -> int:
    """Be the agent of the workspace, which is made when there is none. The exit status.

    With `stay`, take over from one that leaves for lack of work; what it runs goes on. Ctrl-C ends
    the process at once, with status 130.

    Raises:
        UntrustedWorkspaceError: the workspace is not the caller's alone. ConflictError: an agent serves
            it already.
    """
    owner.check(settings.home)
    workspace = Workspace(settings.home)
    if not workspace.exists():
        from cfa.cloudops.service.local import LocalBatch

        LocalBatch(settings).close()
    found = agent_state(workspace)
    if found.state == "running":
        if found.stays or not stay:
            raise ConflictError(
                f"An agent already runs in {settings.home}, with the process id {found.pid}.",
                "It runs until somebody interrupts it."
                if found.stays
                else "It exits when it has no more work; 'cloudops job list' shows its jobs.",
            )
        relieve(workspace)
    from cfa.cloudops.service import agent

    return agent.main(str(settings.home), stay=stay)
