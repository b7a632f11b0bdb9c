"""What an OCI engine must be able to do: the small verbs that a backend implements with its SDK."""

from __future__ import annotations

import abc
import logging
from collections.abc import Iterator, Sequence
from typing import IO

from cfa.cloudops.errors import BackendUnavailableError
from cfa.cloudops.provider.attach import AttachStream, EngineError
from cfa.cloudops.provider.container import Container, Engine, Plan, PullProgress
from cfa.cloudops.provider.executor import Executor, ImageInfo

_log = logging.getLogger(__name__)


class EngineVerbs(Executor):
    """An executor on an OCI engine, as far as backends differ. Every verb has a time limit.

    Verbs raise `EngineError` for the engine's refusals and `BackendUnavailableError` when it does
    not answer. `container` is an id or a name.
    """

    # --- images and containers

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

    # --- making images: a backend that has these says `builds` in its capabilities

    def build(self, context: IO[bytes], dockerfile: str, tag: str) -> Iterator[str]:
        """Build an image from a tar file; the engine's output as it comes, in pieces of text.

        `dockerfile` is a name in the context. An `EngineError` while it is read is a failed build.
        """
        del context, dockerfile, tag
        raise self._no_images("build an image")

    def tag(self, image: str, repository: str, tag: str) -> None:
        """Give an image that is present a further name."""
        del image, repository, tag
        raise self._no_images("tag an image")

    def push(self, repository: str, tag: str) -> Iterator[str]:
        """Upload an image under its name; the engine's output, a line at a time."""
        del repository, tag
        raise self._no_images("push an image")

    def image_names(self, repository: str) -> Sequence[str]:
        """Names of the images that are present, `<repository>:<tag>`; may have other repositories."""
        del repository
        raise self._no_images("list tags")

    def end_unstarted(self, container: str) -> None:
        """Before a container that does not run is removed: end what an engine that was killed while
        it started it has left of it. `container` is an id."""

    # --- what follows from them

    def discard(self, container: str) -> None:
        """Remove a container while another error is on its way; its own failure is only logged."""
        try:
            self.end_unstarted(container)
            self.remove(container)
        except (EngineError, BackendUnavailableError) as error:
            _log.warning("container %s could not be removed: %s", container[:12], error)
