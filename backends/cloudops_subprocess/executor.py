"""The executor of plain processes."""

from __future__ import annotations

import errno
import json
import os
import select
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, TypedDict

from attrs import frozen

from cfa.cloudops.errors import (
    BackendError,
    BackendNotInstalledError,
    BackendUnavailableError,
    NodeError,
    SettingError,
)
from cfa.cloudops.provider.executor import (
    Bind,
    Capabilities,
    Executor,
    NodeSpec,
    NodeStatus,
)
from cloudops_subprocess import processes, sandbox, view
from cloudops_subprocess.node import ProcessNode

#: Where the sandbox is chosen when the options do not say: one of `SANDBOXES`.
SANDBOX_VARIABLE = "CLOUDOPS_SUBPROCESS_SANDBOX"
SANDBOXES = ("auto", "off", "required", "strict")

#: For each of at most three programs; the probe has five seconds.
_PROBE_LIMIT_S = 1.5
_OPEN_LIMIT_S = 30.0
_NO_LIMITS = "Limits on processors and memory are not enforced."
_USUAL = (
    "The sandbox hides the workspace and shows the system read-only. Home directories and /tmp are "
    f"this machine's; {SANDBOX_VARIABLE}=strict hides them."
)
_STRICT = (
    "The sandbox is strict: tasks see the system and the caller's programs, read-only, and their "
    "mounts, but neither home directories nor other data; /tmp and HOME are empty, and in memory."
)
_INSTALL = "Install bubblewrap (Debian and Ubuntu: apt-get install bubblewrap)."


@frozen(kw_only=True)
class _Sandbox:
    """How to start bubblewrap here. `program` None: there is no sandbox, and `why`.

    `guard`: what starts it, so that root's tasks leave the host's devices as they are.
    """

    program: str | None
    version: str = ""
    guard: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    why: str = ""
    hint: str = ""


#: Bubblewrap shows the host's own devices, and root owns them. So for root they are mounted for reading
#: only before it starts, in a mount namespace of its own: those that every host has by one program.
_GUARD_SCRIPT = f"""
mount -a -T "$0" 2>/dev/null
for device in {sandbox.DEVICE_PATTERNS}; do
    [ ! -e "$device" ] || mount --bind -o ro "$device" "$device" 2>/dev/null
done
exec "$@"
"""
_GUARD = (
    "unshare", "--mount", "--propagation", "slave", "--",
    "/bin/sh", "-c", _GUARD_SCRIPT, str(Path(__file__).with_name("devices.fstab")),
)  # fmt: skip

#: What bubblewrap 0.8 says when a mount of the host, an engine's for instance, went away while the
#: sandbox was made; and how often to try again then.
_MOUNT_VANISHED = "Unable to apply mount flags"
_MOUNT_TRIES = 3


class SubprocessExecutor(Executor):
    """Opens nodes as processes of this host.

    With bubblewrap, where it works, a node sees its binds at their targets, and what the `view` of
    the host shows; its processes form a pid namespace and end with its first process. Without it a
    node is a process in its own session, binds are ignored, paths are the host's, and nothing is
    protected from tasks. Network and users are the host's in both cases. Files belong to the user
    who runs this; root can run nodes as the caller named in the spec.

    As in a container, the first process in a sandbox gets only the signals it has handlers for, but
    KILL. Without a sandbox a process that wiped its environment, left its session and lost its
    parent is the only thing that `close` cannot find.

    Options:
        sandbox: `auto` (the default), `off`, or `required`, which makes `probe` fail where there is
            none, or `strict`, which is required and shows less. Also by the environment variable
            `CLOUDOPS_SUBPROCESS_SANDBOX`.
        stderr: a file that takes the standard error of nodes (appended), and that they can see.
            Default: nowhere.

    Nodes of other processes are found through `/proc`, so `list_nodes` and `remove_node` see them
    on Linux only; elsewhere they find nothing. A node that ended is not listed: nothing of it is
    left.
    """

    name: ClassVar[str] = "subprocess"

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        super().__init__(options)
        self._found: _Sandbox | None = None
        self._finding = threading.Lock()

    def probe(self) -> Capabilities:
        found = self._find_sandbox()
        if found.program is not None:
            return Capabilities(
                version=found.version,
                endpoint=found.program,
                rootless=os.geteuid() != 0,
                images=False,
                private_paths=True,
                notes=(_STRICT if self._wanted() == "strict" else _USUAL, _NO_LIMITS),
            )
        note = f"No sandbox: {found.why} Paths of mounts in commands are rewritten. {found.hint}"
        return Capabilities(
            version="plain processes",
            endpoint="this machine",
            rootless=os.geteuid() != 0,
            images=False,
            private_paths=False,
            notes=(note.strip(), _NO_LIMITS),
        )

    def _wanted(self) -> str:
        wanted = self.options.get("sandbox") or os.environ.get(SANDBOX_VARIABLE) or "auto"
        if wanted not in SANDBOXES:
            raise SettingError(
                f"The setting {SANDBOX_VARIABLE} (option 'sandbox') is {wanted!r}.",
                f"Set it to {', '.join(SANDBOXES[:-1])} or {SANDBOXES[-1]}.",
            )
        return wanted

    def _find_sandbox(self) -> _Sandbox:
        """Try the sandbox once and remember. Raises where the setting says that there must be one."""
        wanted = self._wanted()
        with self._finding:
            if self._found is None:
                self._found = (
                    _Sandbox(program=None, why="it is switched off.")
                    if wanted == "off"
                    else _try_sandbox(strict=wanted == "strict")
                )
            found = self._found
        if wanted in ("required", "strict") and found.program is None:
            missing = shutil.which("bwrap") is None
            kind = BackendNotInstalledError if missing else BackendUnavailableError
            raise kind(f"A sandbox is required, but there is none: {found.why}", found.hint)
        return found

    def open_node(self, spec: NodeSpec) -> ProcessNode:
        if not spec.argv:
            raise NodeError(f"Node {spec.node_id} cannot be started: it has no program.")
        found = self._find_sandbox()
        value = processes.mark(spec.workspace, spec.node_id)
        environment = {**os.environ, **spec.environment, processes.MARK: value}
        strict = self._wanted() == "strict"
        stderr = self.options.get("stderr") or os.devnull
        try:
            if found.program is None:
                return _open_plain(spec, value, environment, stderr)
            seen = view.of_this_host(spec.home, environment, strict=strict)
            if strict:
                environment = {**environment, **view.STRICT_ENVIRONMENT, **spec.environment}
            guard = () if _user(spec) else found.guard
            argv = [*guard, found.program, *found.options]
            argv += sandbox.arguments(
                spec.binds, spec.working_directory or "/", seen, runner=_runner(spec)
            )
            for _ in range(_MOUNT_TRIES):
                try:
                    return _open_sandboxed(spec, value, environment, argv, stderr)
                except NodeError as error:
                    if _MOUNT_VANISHED not in str(error):
                        raise
            return _open_sandboxed(spec, value, environment, argv, stderr)
        except BaseException:
            processes.kill_all(value)  # Ctrl-C may come before anybody holds the process
            raise

    def list_nodes(self, workspace: str) -> Sequence[NodeStatus]:
        return [
            NodeStatus(node_id=node_id, engine_id=found[0].engine_id, running=True)
            for node_id, found in sorted(processes.marked(workspace).items())
        ]

    def remove_node(self, workspace: str, node_id: str) -> None:
        if not processes.kill_all(processes.mark(workspace, node_id)):
            raise BackendUnavailableError(
                f"Node {node_id} was killed, but its processes do not end; they wait for the "
                "system (a file server, a disk).",
                "Try again when it answers.",
            )


def _try_sandbox(*, strict: bool) -> _Sandbox:
    program = shutil.which("bwrap")
    if program is None:
        return _Sandbox(program=None, why="bubblewrap is not installed.", hint=_INSTALL)
    why = ""
    # In a container that has no right to mount, a user namespace may still be allowed to root.
    variants: list[tuple[tuple[str, ...], tuple[str, ...]]] = [((), ())]
    if os.geteuid() == 0:
        variants = [(_GUARD, ()), ((), ()), ((), ("--unshare-user",))]
    for guard, options in variants:
        why = _sandbox_fails([*guard, program, *options], strict=strict)
        if not why:
            version = _version(program)
            return _Sandbox(program=program, version=version, guard=guard, options=options)
    return _Sandbox(
        program=None,
        why=f"bubblewrap does not work on this machine ({why}).",
        hint="Allow user namespaces to this user or, in a container, run it with the right to "
        "mount.",
    )


def _sandbox_fails(program: Sequence[str], *, strict: bool) -> str:
    """Run nothing in a sandbox that is made as for a node. Returns what went wrong, or ''."""
    try:
        bind = Bind(source="/usr", target="/.cloudops-probe", read_only=True)
        seen = view.of_this_host("", os.environ, strict=strict)
        argv = [*program, *sandbox.arguments([bind], "/", seen)]
        done = subprocess.run(
            [*argv, "/bin/sh", "-c", "test -d /.cloudops-probe && test -d /proc/self"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_PROBE_LIMIT_S,
            check=False,
        )
    except (OSError, NodeError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    return _words(done.stderr) or f"exit code {done.returncode}"


def _version(program: str) -> str:
    try:
        done = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "bubblewrap"
    return done.stdout.decode(errors="replace").strip() or "bubblewrap"


class _User(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


def _user(spec: NodeSpec) -> _User:
    """Root runs a node as its caller; everybody else is the caller."""
    if os.geteuid() != 0 or spec.caller_uid == 0:
        return {}
    return {"user": spec.caller_uid, "group": spec.caller_gid, "extra_groups": []}


def _runner(spec: NodeSpec) -> sandbox.Runner:
    user = _user(spec)
    if "user" not in user:
        return sandbox.Runner.this_process()
    return sandbox.Runner(uid=user["user"], groups=frozenset((user["group"],)))


def _open_plain(
    spec: NodeSpec, value: str, environment: Mapping[str, str], stderr: str
) -> ProcessNode:
    try:
        # Close-on-exec everywhere: a stream of one node that leaked into another would stay open
        # after the first was drained.
        with open(stderr, "ab") as log:
            process = subprocess.Popen(
                spec.argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                cwd=spec.working_directory or "/",
                env=environment,
                start_new_session=True,
                **_user(spec),
            )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise _not_started(spec, error) from None
    return _own(value, process, None)


def _open_sandboxed(
    spec: NodeSpec, value: str, environment: Mapping[str, str], argv: list[str], stderr: str
) -> ProcessNode:
    try:
        info_read, info_write = os.pipe()
        try:
            complaints_read, complaints_write = os.pipe()
        except OSError:
            os.close(info_read)
            os.close(info_write)
            raise
    except OSError as error:
        raise _not_started(spec, error) from None
    try:
        try:
            argv = [*argv, "--info-fd", str(info_write), "--"]
            argv += ["/bin/sh", "-c", sandbox.START, stderr, *spec.argv]
            process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints_write,
                bufsize=0,
                env=environment,
                pass_fds=(info_write,),
                start_new_session=True,
                **_user(spec),
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise _not_started(spec, error) from None
        finally:
            os.close(info_write)
            os.close(complaints_write)
        try:
            inner = _inner_pid(info_read)
            _wait_for_start(complaints_read, spec)
        except BaseException:
            _own(value, process, None).close(0)
            raise
    finally:
        os.close(info_read)
        os.close(complaints_read)
    return _own(value, process, inner)


#: What is short for a moment, and no fault of the node.
_SHORT = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC)


def _not_started(spec: NodeSpec, error: Exception) -> BackendError:
    if isinstance(error, OSError) and error.errno in _SHORT:
        return BackendUnavailableError(
            f"Node {spec.node_id} cannot be started now: {error.strerror}.",
            "The service tries again. Raise the limit (ulimit -u for processes, ulimit -n for open "
            "files), or run less at once.",
        )
    return NodeError(f"Node {spec.node_id} cannot be started: {error}.")


def _own(value: str, process: subprocess.Popen[bytes], inner: int | None) -> ProcessNode:
    """Make a node of a process; kill it if that fails."""
    try:
        return ProcessNode(value, process, inner)
    except BaseException:
        processes.kill_all(value, process.pid)
        with process:  # closes the pipes and waits for the process, which was killed
            process.kill()
        raise


def _inner_pid(pipe: int) -> int | None:
    """The pid of the sandbox's first process, seen from here. `None`: bubblewrap did not say."""
    text = b""
    deadline = time.monotonic() + _OPEN_LIMIT_S
    while chunk := _read(pipe, deadline):
        text += chunk
    try:
        return int(json.loads(text)["child-pid"])
    except (ValueError, KeyError):
        return None


def _wait_for_start(pipe: int, spec: NodeSpec) -> None:
    text = b""
    deadline = time.monotonic() + _OPEN_LIMIT_S
    while sandbox.STARTED not in text:
        chunk = _read(pipe, deadline)
        text += chunk
        if not chunk:
            why = _words(text) or f"the sandbox ended, or took over {_OPEN_LIMIT_S:.0f} s"
            raise NodeError(f"Node {spec.node_id} cannot be started: {why}.")


def _read(pipe: int, deadline: float) -> bytes:
    """Bytes from a pipe, or b'' at its end or when time runs out."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        return b""
    return os.read(pipe, 4096)


def _words(text: bytes) -> str:
    """What bubblewrap said, for people."""
    lines = text.decode(errors="replace").strip().splitlines()
    return "; ".join(line.removeprefix("bwrap: ").rstrip(".") for line in lines)
