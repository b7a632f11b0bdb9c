"""A complete executor: nodes are plain processes."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, ClassVar, cast

from cfa.cloudops.errors import NodeError
from cfa.cloudops.provider.executor import (
    Capabilities,
    Executor,
    Node,
    NodeEnd,
    NodeSpec,
    NodeStatus,
)

# Another process must be able to find our nodes, even after this one was killed: one file a node.
_REGISTRY = Path(tempfile.gettempdir(), f"cloudops-example-{os.getuid()}")


class ExampleNode(Node):
    """A process in a session of its own, with its streams."""

    def __init__(self, process: subprocess.Popen[bytes], entry: Path) -> None:
        self.engine_id = str(process.pid)
        self._process = process
        self._entry = entry
        self._closing = threading.Lock()
        self._input = cast("IO[bytes]", process.stdin)
        self._output = cast("IO[bytes]", process.stdout)
        os.set_blocking(self._output.fileno(), False)

    def fileno(self) -> int:
        return self._output.fileno()

    def read(self) -> bytes | None:
        try:
            return os.read(self._output.fileno(), 1 << 16)
        except BlockingIOError:
            return None
        except (OSError, ValueError):  # closed by another thread
            return b""

    def write(self, data: bytes) -> None:
        try:
            os.write(self._input.fileno(), data)
        except (OSError, ValueError) as error:
            raise NodeError(f"The node {self.engine_id} is gone: {error}.") from error

    def drain(self) -> None:
        self._input.close()

    def close(self, grace_s: float) -> NodeEnd:
        with self._closing:  # of several threads the first ends it, the others get its answer
            return self._close(grace_s)

    def _close(self, grace_s: float) -> NodeEnd:
        below = list(_below(self._process.pid))
        if grace_s:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        if self._process.poll() is None:  # else its number may be another's by now
            _signal_tree(self._process.pid, signal.SIGKILL)
        for process in below:
            _signal_tree(process, signal.SIGKILL)
        code = self._process.wait()
        self._input.close()
        self._output.close()
        _forget(self._entry)
        return NodeEnd(exit_code=code if code >= 0 else 128 - code)


class ExampleExecutor(Executor):
    """Opens processes. Paths in a node are the host's: the service maps mounts in commands."""

    name: ClassVar[str] = "example"

    def probe(self) -> Capabilities:
        return Capabilities(
            version="example", endpoint="this machine", images=False, private_paths=False
        )

    def open_node(self, spec: NodeSpec) -> Node:
        entry = _entry(spec.workspace, spec.node_id)
        try:
            process = subprocess.Popen(
                spec.argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=spec.working_directory or "/",
                env={**os.environ, **spec.environment},
                start_new_session=True,
            )
        except OSError as error:
            raise NodeError(f"Cannot start {spec.argv[0]!r}: {error}.") from error
        _record(entry, process.pid)
        return ExampleNode(process, entry)

    def list_nodes(self, workspace: str) -> Sequence[NodeStatus]:
        found = []
        for entry in _REGISTRY.glob(f"{workspace}.*"):
            if pid := _recorded(entry):
                node_id = entry.name.removeprefix(f"{workspace}.")
                found.append(
                    NodeStatus(node_id=node_id, engine_id=str(pid), running=_is_alive(pid))
                )
        return found

    def remove_node(self, workspace: str, node_id: str) -> None:
        entry = _entry(workspace, node_id)
        if pid := _recorded(entry):
            _signal_tree(pid, signal.SIGKILL)
        _forget(entry)


def _entry(workspace: str, node_id: str) -> Path:
    return _REGISTRY / f"{workspace}.{node_id}"


def _record(entry: Path, pid: int) -> None:
    while True:
        _REGISTRY.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # the last node of before took it along
            entry.write_text(str(pid))
            return


def _forget(entry: Path) -> None:
    entry.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # other nodes are there
        _REGISTRY.rmdir()


def _recorded(entry: Path) -> int:
    """The process a file names; 0 when it is being written, or is already gone."""
    try:
        return int(entry.read_text() or 0)
    except FileNotFoundError:
        return 0


def _signal_tree(pid: int, number: int) -> None:
    """Signal a process and everything below it, whatever session it is in."""
    for process in [pid, *_below(pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def _below(pid: int) -> Iterator[int]:
    threads: list[str] = []
    with contextlib.suppress(OSError):  # the process is gone
        threads = os.listdir(f"/proc/{pid}/task")
    for thread in threads:
        with contextlib.suppress(OSError):  # the thread is
            for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split():
                yield int(child)
                yield from _below(int(child))


def _is_alive(pid: int) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        return not select.select([descriptor], [], [], 0)[0]
    finally:
        os.close(descriptor)
