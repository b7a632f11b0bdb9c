"""Images on OCI engines: made present, looked into, built, tagged, pushed.

The rules live here once, in terms of the verbs: which image can run a node, what a failed build or
push is called, what a build sees of the caller's files.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cfa.cloudops.errors import ImageError
from cfa.cloudops.model.references import login_command
from cfa.cloudops.provider import build_context
from cfa.cloudops.provider.attach import EngineError
from cfa.cloudops.provider.container import PEEK_LABEL, Plan, PullProgress
from cfa.cloudops.provider.executor import ImageInfo, ImageProgress
from cfa.cloudops.provider.oci_verbs import EngineVerbs

# Mode bits of Go's os.FileMode, in which both engines report the type of a file.
_GO_DIRECTORY, _GO_SYMLINK = 1 << 31, 1 << 27
_MAX_LINKS = 20

#: Lines of a failed build that its error repeats.
_LAST_LINES = 10
#: Colours, in which Docker wraps what a step writes to its standard error.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class ContainerImages(EngineVerbs):
    """The part of a container executor that is about images."""

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        super().__init__(options)
        self._shells: set[str] = set()  # ids of images that have a shell
        self._looking = threading.Lock()

    # --- present images

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
            ) from None
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
                f"{self.name} cannot inspect the image {image!r}: {error.words}.",
                f"Try by hand: {self.name} run --rm {image} /bin/sh -c true",
            ) from None
        finally:
            if container:
                self.discard(container)
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
                self.discard(old.id)

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

    # --- making images

    def build_image(
        self,
        dockerfile: str,
        context: str,
        tag: str,
        *,
        leave_out: Sequence[str] = (),
        report: Callable[[str], None] | None = None,
    ) -> ImageInfo:
        """See `Executor`."""
        self.engine()
        report = report or (lambda _: None)
        told = _Told(report)
        with build_context.pack(context, dockerfile, leave_out) as packed:
            report(f"{self.name} is sent {packed.size} bytes in {packed.files} file(s)")
            try:
                for text in self.build(packed.file, packed.dockerfile, tag):
                    told.text(text)
                told.end()
                found = self.find_image(tag)
            except EngineError as error:
                told.end()
                last = "".join(f"\n  {line}" for line in told.last)
                raise ImageError(
                    f"{self.name} cannot build {tag} from {dockerfile}. Its last lines:{last}"
                    f"\n{error.words}.",
                    self._advice(error),
                ) from None
        if found is None:
            raise ImageError(f"{self.name} says that it built {tag}, but the image is not there.")
        return found

    def _advice(self, error: EngineError) -> str:
        words = error.words.lower()
        if "buildkit" in words or "unknown instruction" in words:
            return (
                "Correct the Dockerfile. Or, if it needs BuildKit (RUN --mount, here-"
                f"documents), build it by hand, {self.name} buildx build --load -t NAME ., and pass "
                "NAME to upload_docker_image."
            )
        return "Correct the Dockerfile or the files that it copies, and build again."

    def tag_image(self, image: str, tag: str) -> None:
        """See `Executor`."""
        self.engine()
        repository, _, label = tag.rpartition(":")
        try:
            self.tag(image, repository, label)
        except EngineError as error:
            words = error.words if not error.image_missing else "it is not on this machine"
            raise ImageError(
                f"{self.name} cannot give the image {image!r} the name {tag}: {words}.",
                f"To list the images: {self.name} images",
            ) from None

    def push_image(self, tag: str, report: Callable[[str], None] | None = None) -> None:
        """See `Executor`."""
        self.engine()
        repository, _, label = tag.rpartition(":")
        told = _Told(report or (lambda _: None))
        try:
            for line in self.push(repository, label):
                told.line(line)
        except EngineError as error:
            server = tag.partition("/")[0]
            raise ImageError(
                f"{self.name} cannot push {tag}: {error.words}.",
                f"Check that the registry answers, log in with: {login_command(self.name, server)}, and "
                f"push it with: {self.name} push {tag}",
            ) from None

    def list_tags(self, repository: str) -> Sequence[str]:
        """See `Executor`."""
        self.engine()
        try:
            names = self.image_names(repository)
        except EngineError as error:
            raise ImageError(f"{self.name} cannot list its images: {error.words}.") from None
        found = (name.rpartition(":") for name in names)
        return sorted({tag for name, _, tag in found if name == repository})


class _Told:
    """The output of a build as lines; keeps the last ones."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._rest = ""
        self.last: deque[str] = deque(maxlen=_LAST_LINES)

    def text(self, text: str) -> None:
        """Take a piece of output, cut anywhere."""
        *lines, self._rest = (self._rest + text).replace("\r\n", "\n").split("\n")
        for line in lines:
            self.line(line)

    def line(self, line: str) -> None:
        """Take a whole line; blank ones are left out."""
        clean = "".join(
            sign for sign in _COLOUR.sub("", line) if sign.isprintable() or sign == "\t"
        )
        if clean.strip():
            self.last.append(clean.rstrip())
            self._report(clean.rstrip())

    def end(self) -> None:
        """Take what came without an end of line."""
        self.line(self._rest)
        self._rest = ""
