"""What executors on OCI engines share: everything but the calls of one engine's SDK.

`ContainerExecutor` opens, closes, lists and removes containers in terms of a few small verbs that a
backend implements with its SDK. The rules live here once: labels, names, owners of files, what is
removed when, which error means what. What is about images is in `oci_images`, the verbs in `oci_verbs`.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

from cfa.cloudops.errors import BackendUnavailableError, CloudOpsError, ImageError, NodeError
from cfa.cloudops.provider import advice, hardening
from cfa.cloudops.provider.attach import AttachStream, EngineError
from cfa.cloudops.provider.container import (
    HOME_LABEL,
    NODE_LABEL,
    WORKSPACE_LABEL,
    Container,
    Engine,
    plan,
)
from cfa.cloudops.provider.executor import (
    Capabilities,
    Node,
    NodeEnd,
    NodeSpec,
    NodeStatus,
)
from cfa.cloudops.provider.oci_images import ContainerImages

#: Seconds that an engine may take to report the end of a container whose stream has ended.
_SETTLE_S = 5.0
#: Seconds that a killed container may take to be gone.
_KILL_S = 15.0
_STEP_S, _MAX_STEP_S = 0.01, 0.1

#: Exit code of a program that was ended by KILL.
_KILLED = 128 + 9


def why(error: BaseException) -> str:
    """A few words on why an engine does not answer.

    SDKs wrap the system's own words several times over; these are looked for first.
    """
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror.lower()
        inner = inner.__cause__ or inner.__context__
    return str(error).rstrip(".") or type(error).__name__


class ContainerNode(Node):
    """A running container with its streams."""

    def __init__(self, executor: ContainerExecutor, container: str, stream: AttachStream) -> None:
        self.engine_id = container
        self._executor = executor
        self._stream = stream
        self._end: NodeEnd | None = None
        self._closing = threading.Lock()

    def fileno(self) -> int:
        """See `Node`."""
        return self._stream.fileno()

    def read(self) -> bytes | None:
        """See `Node`."""
        return self._stream.read()

    def write(self, data: bytes) -> None:
        """See `Node`."""
        self._stream.write(data)

    def drain(self) -> None:
        """See `Node`."""
        self._stream.end_input()

    def close(self, grace_s: float) -> NodeEnd:
        """See `Node`. When the engine does not answer, a later call tries again."""
        with self._closing:
            if self._end is None:
                self._end = self._executor.end(self.engine_id, grace_s, self._stream.ended)
                self._stream.close()
            return self._end


class ContainerExecutor(ContainerImages):
    """An executor on an OCI engine. A backend gives the verbs, see `EngineVerbs`."""

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        super().__init__(options)
        self._names: set[str] = set()  # names of containers that are being opened
        self._guard = threading.Lock()

    # --- engine

    def probe(self) -> Capabilities:
        """See `Executor`."""
        found = self.engine()
        return self._hardening().describe(found.capabilities, self.name)

    def _hardening(self) -> hardening.Hardening:
        return hardening.read(self.name, self.options, os.environ)

    def advise(self, output: str) -> str:
        """See `Executor`."""
        try:
            found, given = self.engine(), self._hardening()
        except CloudOpsError:
            return ""
        root = found.capabilities.rootless or os.getuid() == 0
        limited = found.capabilities.enforces_pids and given.pids_limit > 0
        return advice.advise(
            output, self.name, given, root=root, ambient=found.ambient, limited=limited
        )

    # --- nodes

    def open_node(self, spec: NodeSpec) -> Node:
        """See `Executor`."""
        if spec.image is None:
            raise NodeError(
                f"The {self.name} backend cannot open a node without an image.",
                "Give the pool a container_image_name.",
            )
        engine = self.engine()
        container, stream = "", None
        with contextlib.ExitStack() as reserved:
            try:
                container = self._create(spec, spec.image, engine, reserved)
                stream = self.attach(container)
                self.start(container)
                return ContainerNode(self, container, stream)
            except BaseException as error:  # Ctrl-C too: nothing half-made may stay
                if stream is not None:
                    stream.close()
                self._clean_up(spec, container, error)
                if isinstance(error, EngineError):
                    raise self._not_opened(spec, container, error) from None
                if isinstance(error, OSError) and not isinstance(error, BackendUnavailableError):
                    raise BackendUnavailableError(
                        f"The connection to {self.name} broke while a node was opened: {error}.",
                        "Try again. If that does not help, check that the engine is running.",
                    ) from None
                raise

    def _create(
        self, spec: NodeSpec, image: str, engine: Engine, reserved: contextlib.ExitStack
    ) -> str:
        """Create the container under the first free name; a stale one of ours gives its up."""
        taken: EngineError | None = None
        for name in (spec.name, f"{spec.name}-{spec.node_id}"):
            if not reserved.enter_context(self._reserve(name)):
                continue
            wanted = plan(spec, name, image, engine, self.name, self._hardening())
            for replaced in (False, True):
                try:
                    return self.create(wanted)
                except EngineError as error:
                    if not error.name_taken:
                        raise
                    taken = error
                if replaced or not self._remove_stale(name, spec.workspace):
                    break
        words = f": {taken.words}" if taken else ""
        raise NodeError(f"No name is free for the node {spec.name!r}{words}.")

    @contextlib.contextmanager
    def _reserve(self, name: str) -> Iterator[bool]:
        """Whether no other thread is opening a container of this name; until the context ends.

        Without it a thread would take a container that another has created and not yet started for
        a stale one.
        """
        with self._guard:
            free = name not in self._names
            self._names.add(name)
        try:
            yield free
        finally:
            if free:
                with self._guard:
                    self._names.discard(name)

    def _remove_stale(self, name: str, workspace: str) -> bool:
        """Remove the container of that name if it is the workspace's and not running."""
        found = self.inspect(name)
        if found is None:
            return True
        if found.running or found.labels.get(WORKSPACE_LABEL) != workspace:
            return False
        self.end_unstarted(found.id)
        self.remove(found.id)
        return True

    def _clean_up(self, spec: NodeSpec, container: str, error: BaseException) -> None:
        """Remove what a failed opening made."""
        if container:
            self.discard(container)
        elif not isinstance(error, EngineError):  # interrupted while the engine was creating it
            with contextlib.suppress(EngineError, BackendUnavailableError):
                self.remove_node(spec.workspace, spec.node_id)

    def _not_opened(
        self, spec: NodeSpec, container: str, error: EngineError
    ) -> NodeError | ImageError:
        if not container and error.image_missing:
            return ImageError(
                f"The image {spec.image!r} is not on this machine: {error.words}.",
                f"To pull it: {self.name} pull {spec.image}",
            )
        return NodeError(
            f"{self.name} cannot start a node from the image {spec.image!r}: {error.words}.",
            "Check the image, the mounts and the size of the pool. 'cloudops doctor' tries a container.",
        )

    def end(self, container: str, grace_s: float, stream_ended: bool) -> NodeEnd:
        """End and remove a container; for `ContainerNode.close`."""
        killed = False
        try:
            found = self.inspect(container)
            if stream_ended and found is not None and found.running:
                found = self._await_end(container, _SETTLE_S)
            if grace_s > 0 and found is not None and found.running:
                self._try_signal(container, "TERM")
                found = self._await_end(container, grace_s)
            if found is not None and found.running:
                killed = True
                self._try_signal(container, "KILL")
                found = self._await_end(container, _KILL_S)
            self.remove(container)
        except EngineError as error:
            raise BackendUnavailableError(
                f"{self.name} cannot end the container {container[:12]}: {error.words}.",
                f"Try again, or by hand: {self.name} rm --force {container[:12]}",
            ) from None
        return self._node_end(found, killed)

    def _node_end(self, found: Container | None, killed: bool) -> NodeEnd:
        """Why a container ended, from its last state; `killed`: we sent it KILL."""
        if found is None:
            return NodeEnd(reason="The container was removed by someone else.")
        out_of_memory, reason = found.out_of_memory, found.error
        if out_of_memory:
            reason = f"The node used more memory than its {found.memory_bytes} bytes."
        elif (
            found.memory_bytes
            and found.exit_code == _KILLED
            and not killed
            and not self.engine().reports_oom
        ):
            out_of_memory = True
            reason = (
                "The node was killed from outside, probably because it used more memory than its "
                f"{found.memory_bytes} bytes."
            )
        return NodeEnd(
            exit_code=None if found.running else found.exit_code,
            out_of_memory=out_of_memory,
            reason=reason,
        )

    def _try_signal(self, container: str, signal: str) -> None:
        """Signal a container that may have ended meanwhile."""
        with contextlib.suppress(EngineError):  # the state that is asked for next tells
            self.signal(container, signal)

    def _await_end(self, container: str, timeout_s: float) -> Container | None:
        """The state once it does not run any more, or the last one when time is up.

        Asks in a loop: Podman 4.3 needs 350 ms in its own `wait`.
        """
        deadline = time.monotonic() + timeout_s
        step = _STEP_S
        while True:
            found = self.inspect(container)
            left = deadline - time.monotonic()
            if found is None or not found.running or left <= 0:
                return found
            time.sleep(min(step, left))
            step = min(step * 1.5, _MAX_STEP_S)

    def list_nodes(self, workspace: str) -> Sequence[NodeStatus]:
        """See `Executor`."""
        found = self._labelled(f"{WORKSPACE_LABEL}={workspace}")
        return [
            NodeStatus(
                node_id=container.labels.get(NODE_LABEL, ""),
                engine_id=container.id,
                running=container.running,
            )
            for container in found
            if container.labels.get(WORKSPACE_LABEL) == workspace
        ]

    def workspaces(self) -> Mapping[str, str]:
        """See `Executor`."""
        return {
            container.labels[WORKSPACE_LABEL]: container.labels.get(HOME_LABEL, "")
            for container in self._labelled(WORKSPACE_LABEL)
            if container.labels.get(NODE_LABEL)
        }

    def _labelled(self, label: str) -> Sequence[Container]:
        self.engine()
        try:
            return self.containers(label)
        except EngineError as error:
            raise BackendUnavailableError(
                f"{self.name} cannot list its containers: {error.words}."
            ) from None

    def remove_node(self, workspace: str, node_id: str) -> None:
        """See `Executor`."""
        for status in self.list_nodes(workspace):
            if status.node_id != node_id:
                continue
            try:
                if status.running:
                    self._try_signal(status.engine_id, "KILL")
                else:
                    self.end_unstarted(status.engine_id)
                self.remove(status.engine_id)
            except EngineError as error:
                raise BackendUnavailableError(
                    f"{self.name} cannot remove the container {status.engine_id[:12]}: "
                    f"{error.words}.",
                    f"Try again, or by hand: {self.name} rm --force {status.engine_id[:12]}",
                ) from None

    def removed(self, container: str) -> bool:
        """Wait until a container that someone else is removing is gone; whether it went in time."""
        deadline = time.monotonic() + _KILL_S
        while self.inspect(container) is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(_MAX_STEP_S)
        return True
