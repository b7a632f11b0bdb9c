"""The interface of an executor: a plugin that opens nodes.

A *node* is a place with a POSIX shell: a container, a sandbox, a process, an allocation. The service
opens it once, talks to the launcher running in it over its standard input and output, and runs many
tasks in it. An executor never sees a task. What it must do well is start, connect, list and remove.

To write one: derive from `Executor` and `Node`, register the class in the entry-point group
`cfa.cloudops.executors`, and inherit `cfa.cloudops.testing.executor.ExecutorContract` in a test.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from attrs import Factory, frozen

from cfa.cloudops.errors import UnsupportedError
from cfa.cloudops.model.values import Resources

#: Version of the interfaces in this package. A plugin states the number it was written for; another
#: number is refused by the registry. New abilities come as capabilities, never as new abstract
#: methods within one number.
PROVIDER_API = 2


@frozen(kw_only=True)
class Capabilities:
    """What an executor can do on this host, verified by asking the engine, never assumed.

    Attributes:
        version: the engine's own version text.
        endpoint: how the engine was reached (a socket, a program), for people to read.
        rootless: the engine runs as an ordinary user.
        images: nodes are made from OCI images; `ensure_image` means something.
        private_paths: paths inside a node can differ from the host's (mounts appear at `/<target>`).
            Without it the service maps paths in commands to the host's.
        builds: images can be built, tagged, listed and pushed.
        enforces_cpus: the limit of cores in `Resources` really holds.
        enforces_memory: the limit of memory really holds.
        enforces_pids: nodes have a limit of processes, the option `pids_limit`, and it really holds.
        hardened: whatever is in its image, a task can neither become another user of the node nor
            make a file of another owner in a bind.
        shares_network: a node can use the network of another, and starts faster by it; see
            `NodeSpec.network_of`.
        notes: limits and oddities found, one sentence each, for `cloudops doctor`.
    """

    version: str
    endpoint: str
    rootless: bool = False
    images: bool = True
    private_paths: bool = True
    builds: bool = False
    enforces_cpus: bool = False
    enforces_memory: bool = False
    enforces_pids: bool = False
    hardened: bool = False
    shares_network: bool = False
    notes: tuple[str, ...] = ()


@frozen(kw_only=True)
class ImageProgress:
    """One step of a pull. `done` and `total` are bytes over all layers known so far, 0 if unknown."""

    image: str
    status: str
    done: int = 0
    total: int = 0


@frozen(kw_only=True)
class ImageInfo:
    """An image that is present. `id` is the engine's; `user` is the image's own USER, '' for root."""

    name: str
    id: str
    user: str = ""


@frozen(kw_only=True)
class Bind:
    """A host path made visible in a node. `source` is absolute and exists; `target` is absolute."""

    source: str
    target: str
    read_only: bool = False


@frozen(kw_only=True)
class NodeSpec:
    """What to open.

    Attributes:
        workspace: id of the workspace that owns the node; recorded so that `list_nodes` finds it.
        home: the workspace's directory on the host, or ''. Recorded where nodes can outlive every
            process of ours, so that `workspaces` can say where to look for an owner.
        node_id: our id, unique within the workspace, `[a-z0-9-]`; recorded likewise.
        name: preferred name in the engine; taken by another, the executor appends `-<node_id>`.
        image: OCI image, or None where the executor has none.
        argv: the program to run; its standard input and output are the node's streams. It must be
            started as it is: an image's ENTRYPOINT is replaced, its CMD ignored.
        environment: variables added to the image's or the host's.
        binds: host paths to show. A bind may lie below another.
        working_directory: where argv starts; None: the image's own WORKDIR, `/` without an image.
        resources: limits, applied as far as `Capabilities` says they hold.
        caller_uid: who must own, on the host, every file that the node writes into a bind.
        caller_gid: the group of such files.
        keeps_network: others will use the node's network, one after another, and must find nothing
            of each other in it: a closed connection is forgotten at once. Only where
            `Capabilities.shares_network`; refused with a `NodeError` when the node would have no
            network of its own.
        network_of: `engine_id` of a node that keeps a network: use that one. Host name and, by
            binds, `/etc/hosts` and `/etc/resolv.conf` are its own all the same; the name is
            `node_id`.
    """

    workspace: str
    node_id: str
    name: str
    image: str | None
    argv: tuple[str, ...]
    environment: Mapping[str, str] = Factory(dict)
    binds: tuple[Bind, ...] = ()
    working_directory: str | None = None
    resources: Resources = Factory(Resources)
    caller_uid: int = 0
    caller_gid: int = 0
    home: str = ""
    keeps_network: bool = False
    network_of: str | None = None


@frozen(kw_only=True)
class NodeStatus:
    """A node that exists in the engine, running or not.

    `engine_id` is the engine's own handle (a container id, a process id).
    """

    node_id: str
    engine_id: str
    running: bool


@frozen(kw_only=True)
class NodeEnd:
    """Why a node ended. `exit_code` None: unknown. `reason`: one sentence for people, or ''."""

    exit_code: int | None = None
    out_of_memory: bool = False
    reason: str = ""


class Node(abc.ABC):
    """An open node: two streams and an end. One thread uses it, except `close`.

    `engine_id` is the engine's own handle, unique on this host.
    """

    engine_id: str

    @abc.abstractmethod
    def fileno(self) -> int:
        """A descriptor that polls readable when `read` has something to give. Constant until
        `close`."""

    @abc.abstractmethod
    def read(self) -> bytes | None:
        """Read available bytes of the node's standard output, without waiting.

        Returns `None` when nothing is there yet and `b''` at the end of the stream (the node exited,
        was removed, or the connection to it broke). May return several lines or a part of one.
        Standard error is not part of it; it goes to the engine's log. Never raises: a broken
        connection is an end of stream, explained by `ended`.
        """

    @abc.abstractmethod
    def write(self, data: bytes) -> None:
        """Write all of `data` to the node's standard input.

        The service keeps what is under way below 4 KiB, so waiting for buffer space is allowed.

        Raises:
            NodeError: the node or the connection is gone. Nothing more can be written.
        """

    @abc.abstractmethod
    def drain(self) -> None:
        """Close the node's standard input. The launcher finishes what runs and exits by itself.

        The same must happen without a call when this process dies. So a killed agent loses and
        leaks nothing. May be called twice.
        """

    @abc.abstractmethod
    def close(self, grace_s: float) -> NodeEnd:
        """End the node and remove every trace of it: TERM, at most `grace_s` seconds, KILL, remove.

        Returns when it is gone. A node that ended by itself is only removed. May be called twice and
        from another thread. With `grace_s` 0 there is no TERM.

        Raises:
            BackendUnavailableError: the engine does not answer; the node may still be there.
        """


class Executor(abc.ABC):
    """Opens nodes. One object serves one process; calls may come from several threads at once.

    Args:
        options: settings of this executor, all text; unknown keys are ignored. Environment variables
            that the engine's own tools honour are honoured as well.
    """

    #: The name under which the executor is registered.
    name: ClassVar[str]
    #: The version of this interface that the executor was written for.
    api: ClassVar[int] = PROVIDER_API

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        self.options = dict(options or {})

    @abc.abstractmethod
    def probe(self) -> Capabilities:
        """Reach the engine and say what holds on this host.

        Blocks at most five seconds if the engine does not answer. Starts nothing that outlives the
        process, but may start an engine's per-user service on demand. May be called often; the answer
        may be remembered.

        Raises:
            BackendNotInstalledError: a program or library that is needed is missing.
            BackendUnavailableError: the engine does not answer; the message holds its own words and
                the hint says what to start. Trying again can help.
        """

    def forget(self) -> None:  # noqa: B027  most have nothing to forget
        """Drop what other processes have found out about the engine: `probe` asks it anew.

        Here, nothing is remembered beyond a process.
        """

    def ensure_image(
        self, image: str, progress: Callable[[ImageProgress], None] | None = None
    ) -> ImageInfo:
        """Pull `image` if it is missing, and check that it has `/bin/sh`.

        A successful return guarantees that `open_node` with this image does not pull. Blocks for as
        long as a pull takes. The name is resolved by the engine. An executor without images returns
        at once with the name unchanged.

        Raises:
            ImageError: no such image, not allowed, or no shell in it; the engine's own words.
            BackendUnavailableError: as in `probe`.
        """
        del progress
        return ImageInfo(name=image, id=image)

    @abc.abstractmethod
    def open_node(self, spec: NodeSpec) -> Node:
        """Start a node and connect to its streams. All of its output is seen, none is lost.

        Blocks until the program is started (not until it printed). On any failure, also Ctrl-C,
        nothing half-made is left. A stale node of the same workspace and name that is not running is
        replaced.

        Raises:
            NodeError: it could not be started; the engine's own words. Whose fault: the spec's.
            ImageError: the image is not there any more.
            BackendUnavailableError: the engine does not answer; trying again can help.
        """

    @abc.abstractmethod
    def list_nodes(self, workspace: str) -> Sequence[NodeStatus]:
        """List all nodes of `workspace` in the engine, whoever opened them, running or not.

        With it, the next agent finds the nodes of a killed one.

        Raises:
            BackendUnavailableError: the engine does not answer.
        """

    @abc.abstractmethod
    def remove_node(self, workspace: str, node_id: str) -> None:
        """Kill and remove a node found by `list_nodes`. A node that is already gone is not an
        error.

        Returns when nothing of it runs any more.

        Raises:
            BackendUnavailableError: the engine does not answer.
        """

    def workspaces(self) -> Mapping[str, str]:
        """Optional: list the workspaces that have nodes in the engine, with the `home` of each.

        With it, the nodes of a deleted workspace are found. '' stands for a home that was not
        recorded. The default is an empty list, for backends whose nodes end by themselves and leave
        nothing behind.

        Raises:
            BackendUnavailableError: the engine does not answer.
        """
        return {}

    def advise(self, output: str) -> str:
        """Optional: say what a failed task probably lacked, if a setting of this executor can give
        it.

        Args:
            output: the end of its standard error.

        Returns:
            One sentence that names the setting, or '' when nothing looks like it. Never raises; may
            reach the engine as `probe` does.
        """
        del output
        return ""

    def build_image(
        self,
        dockerfile: str,
        context: str,
        tag: str,
        *,
        leave_out: Sequence[str] = (),
        report: Callable[[str], None] | None = None,
    ) -> ImageInfo:
        """Optional, with `Capabilities.builds`: build an image and name it.

        Blocks for as long as the build takes. A failed build leaves no image of this name behind that
        was not there before.

        Args:
            dockerfile: absolute path of the file that says how; it may lie outside of `context`.
            context: absolute path of the directory that the build sees, less what its
                `.dockerignore` excludes.
            tag: the whole name, `<server>/<repository>:<tag>`.
            leave_out: absolute paths below `context` that the build never sees.
            report: takes the engine's output, a line at a time.

        Raises:
            UnsupportedError: this executor builds no images.
            ImageError: the build failed; the engine's own last lines.
            BackendUnavailableError: as in `probe`.
        """
        del dockerfile, context, tag, leave_out, report
        raise self._no_images("build an image")

    def tag_image(self, image: str, tag: str) -> None:
        """Optional, with `Capabilities.builds`: give an image that is present another name.

        Raises:
            UnsupportedError, BackendUnavailableError: as in `build_image`.
            ImageError: there is no such image; nothing is pulled.
        """
        del image, tag
        raise self._no_images("tag an image")

    def push_image(self, tag: str, report: Callable[[str], None] | None = None) -> None:
        """Optional, with `Capabilities.builds`: push an image to the registry in its name.

        The login is that of the engine's own tools. When the call returns, the registry has the
        whole image. May be called again; parts that the registry has are not sent twice.

        Raises:
            UnsupportedError, BackendUnavailableError: as in `build_image`.
            ImageError: the registry does not answer or refuses; the engine's own words.
        """
        del tag, report
        raise self._no_images("push an image")

    def has_login(self, server: str) -> bool:
        """Optional: whether the engine's own tools hold a login for a registry, `<host>[:<port>]`."""
        del server
        return False

    def list_tags(self, repository: str) -> Sequence[str]:
        """Optional, with `Capabilities.builds`: list the tags of a repository's images that are
        present.

        Args:
            repository: `<server>/<repository>`.

        Returns:
            Sorted; empty when there are none. No registry is asked.

        Raises:
            UnsupportedError, BackendUnavailableError: as in `build_image`.
        """
        del repository
        raise self._no_images("list tags")

    def _no_images(self, what: str) -> UnsupportedError:
        return UnsupportedError(
            f"The {self.name} backend cannot {what}.", "Set CLOUDOPS_BACKEND=docker or podman."
        )

    def close(self) -> None:  # noqa: B027  most executors hold nothing
        """Release connections, and stop what the executor itself started. May be called twice."""
