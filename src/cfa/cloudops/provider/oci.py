"""What executors on OCI engines share: everything but the calls of one engine's SDK.

`ContainerExecutor` opens, closes, lists and removes containers in terms of a few small verbs that a
backend implements with its SDK. The rules live here once: labels, names, owners of files, what is
removed when, how an image is checked for a shell, which error means what.
"""

from __future__ import annotations

import abc
import contextlib
import logging
import os
import posixpath
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from cfa.cloudops.errors import BackendUnavailableError, ImageError, NodeError
from cfa.cloudops.provider.attach import AttachStream, EngineError
from cfa.cloudops.provider.container import (
    HOME_LABEL,
    NODE_LABEL,
    PEEK_LABEL,
    WORKSPACE_LABEL,
    Container,
    Engine,
    Plan,
    PullProgress,
    plan,
)
from cfa.cloudops.provider.executor import (
    Capabilities,
    Executor,
    ImageInfo,
    ImageProgress,
    Node,
    NodeEnd,
    NodeSpec,
    NodeStatus,
)

_log = logging.getLogger(__name__)

#: Seconds that an engine may take to report the end of a container whose stream has ended.
_SETTLE_S = 5.0
#: Seconds that a killed container may take to be gone.
_KILL_S = 15.0
_STEP_S, _MAX_STEP_S = 0.01, 0.1

# Mode bits of Go's os.FileMode, in which both engines report the type of a file.
_GO_DIRECTORY, _GO_SYMLINK = 1 << 31, 1 << 27
_MAX_LINKS = 20

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


class ContainerExecutor(Executor):
    """An executor on an OCI engine. A backend gives the verbs; every verb has a time limit.

    Verbs raise `EngineError` for the engine's refusals and `BackendUnavailableError` when it does
    not answer. `container` is an id or a name.
    """

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        super().__init__(options)
        self._names: set[str] = set()  # names of containers that are being opened
        self._guard = threading.Lock()
        self._shells: set[str] = set()  # ids of images that have a shell
        self._looking = threading.Lock()

    # --- verbs

    @abc.abstractmethod
    def engine(self) -> Engine:
        """Reach the engine if it is not yet, and say what it is. Raises as `probe`."""

    @abc.abstractmethod
    def find_image(self, image: str) -> ImageInfo | None:
        """An image that is present, or None."""

    @abc.abstractmethod
    def pull_image(self, image: str, progress: PullProgress) -> None:
        """Pull an image."""

    @abc.abstractmethod
    def create(self, plan: Plan) -> str:
        """Create a container and return its id."""

    @abc.abstractmethod
    def attach(self, container: str) -> AttachStream:
        """Connect to a container that is not started yet."""

    @abc.abstractmethod
    def start(self, container: str) -> None:
        """Start a container."""

    @abc.abstractmethod
    def inspect(self, container: str) -> Container | None:
        """A container's present state, None when there is none."""

    @abc.abstractmethod
    def signal(self, container: str, signal: str) -> None:
        """Signal the main process: `TERM` or `KILL`."""

    @abc.abstractmethod
    def remove(self, container: str) -> None:
        """Kill and remove a container with its anonymous volumes."""

    @abc.abstractmethod
    def containers(self, label: str) -> Sequence[Container]:
        """All containers with a label, as `name=value` or by `name` alone, running or not."""

    @abc.abstractmethod
    def stat(self, container: str, path: str) -> tuple[int, str] | None:
        """Mode (in Go's bits) and link target of a path in a container, None when there is none."""

    # --- engine

    def probe(self) -> Capabilities:
        """See `Executor`."""
        return self.engine().capabilities

    # --- images

    def ensure_image(
        self, image: str, progress: Callable[[ImageProgress], None] | None = None
    ) -> ImageInfo:
        """See `Executor`."""
        self.engine()
        try:
            found = self.find_image(image)
            if found is None:
                self.pull_image(image, PullProgress(image, progress or (lambda _: None)))
                found = self.find_image(image)
        except EngineError as error:
            raise ImageError(
                f"The image {image!r} is not on this machine and {self.name} cannot pull it: "
                f"{error.words}.",
                f"Check the name, or try by hand: {self.name} pull {image} "
                f"(a private registry needs: {self.name} login REGISTRY).",
            ) from error
        if found is None:
            raise ImageError(
                f"{self.name} says that it pulled {image!r}, but the image is not there.",
                f"Try by hand: {self.name} pull {image}",
            )
        with self._looking:  # when many nodes are opened at once, one thread looks for all
            if found.id not in self._shells:
                self._require_shell(image, found)
                self._shells.add(found.id)
        return found

    def _require_shell(self, image: str, found: ImageInfo) -> None:
        """Look for `/bin/sh` in a container that is never started."""
        container = ""
        try:
            self._remove_old_peeks()
            container = self.create(
                Plan(
                    name="",
                    image=found.id,
                    argv=("/bin/sh",),
                    labels={PEEK_LABEL: str(os.getpid())},
                )
            )
            has_shell = self._is_program(container, "/bin/sh")
        except EngineError as error:
            raise ImageError(
                f"{self.name} cannot look into the image {image!r}: {error.words}.",
                f"Try by hand: {self.name} run --rm {image} /bin/sh -c true",
            ) from error
        finally:
            if container:
                self._discard(container)
        if not has_shell:
            raise ImageError(
                f"The image {image!r} has no /bin/sh, which a node needs to run tasks.",
                "Build it from a base that has a shell (for instance debian:stable-slim or alpine "
                "instead of scratch or distroless), or add a static busybox as /bin/sh.",
            )

    def _remove_old_peeks(self) -> None:
        """Remove what processes that were killed while they looked into an image have left."""
        for old in self.containers(PEEK_LABEL):
            owner = old.labels.get(PEEK_LABEL, "")
            if owner.isdecimal() and not Path("/proc", owner).exists():
                self._discard(old.id)

    def _is_program(self, container: str, path: str) -> bool:
        """Whether a path, links followed within the container, is a file that can be executed."""
        for _ in range(_MAX_LINKS):
            found = self.stat(container, path)
            if found is None:
                return False
            mode, target = found
            if not mode & _GO_SYMLINK:
                return not mode & _GO_DIRECTORY and bool(mode & stat.S_IXUSR)
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        return False

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
                    raise self._not_opened(spec, container, error) from error
                if isinstance(error, OSError) and not isinstance(error, BackendUnavailableError):
                    raise BackendUnavailableError(
                        f"The connection to {self.name} broke while a node was opened: {error}.",
                        "Try again; if it stays so, see whether the engine runs.",
                    ) from error
                raise

    def _create(
        self, spec: NodeSpec, image: str, engine: Engine, reserved: contextlib.ExitStack
    ) -> str:
        """Create the container under the first free name; a stale one of ours gives its up."""
        taken: EngineError | None = None
        for name in (spec.name, f"{spec.name}-{spec.node_id}"):
            if not reserved.enter_context(self._reserve(name)):
                continue
            wanted = plan(spec, name, image, engine, self.name)
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
        self.remove(found.id)
        return True

    def _clean_up(self, spec: NodeSpec, container: str, error: BaseException) -> None:
        """Remove what a failed opening made."""
        if container:
            self._discard(container)
        elif not isinstance(error, EngineError):  # interrupted while the engine was creating it
            with contextlib.suppress(EngineError, BackendUnavailableError):
                self.remove_node(spec.workspace, spec.node_id)

    def _discard(self, container: str) -> None:
        """Remove a container while another error is on its way; its own failure is only logged."""
        try:
            self.remove(container)
        except (EngineError, BackendUnavailableError) as error:
            _log.warning("container %s could not be removed: %s", container[:12], error)

    def _not_opened(
        self, spec: NodeSpec, container: str, error: EngineError
    ) -> NodeError | ImageError:
        if not container and error.image_missing:
            return ImageError(
                f"The image {spec.image!r} is not on this machine: {error.words}.",
                f"Get it with: {self.name} pull {spec.image}",
            )
        return NodeError(
            f"{self.name} cannot start a node from the image {spec.image!r}: {error.words}.",
            "Check the image, the mounts and the size of the pool.",
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
            ) from error
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
                "The node was killed from outside, in all likelihood for using more memory than "
                f"its {found.memory_bytes} bytes."
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
            ) from error

    def remove_node(self, workspace: str, node_id: str) -> None:
        """See `Executor`."""
        for status in self.list_nodes(workspace):
            if status.node_id != node_id:
                continue
            try:
                if status.running:
                    self._try_signal(status.engine_id, "KILL")
                self.remove(status.engine_id)
            except EngineError as error:
                raise BackendUnavailableError(
                    f"{self.name} cannot remove the container {status.engine_id[:12]}: "
                    f"{error.words}.",
                    f"Try again, or by hand: {self.name} rm --force {status.engine_id[:12]}",
                ) from error

    def removed(self, container: str) -> bool:
        """Wait until a container that someone else is removing is gone; whether it went in time."""
        deadline = time.monotonic() + _KILL_S
        while self.inspect(container) is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(_MAX_STEP_S)
        return True
