"""Images: build, name, push, list. What the engine does is behind `Executor`."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cfa.cloudops import backends, settings
from cfa.cloudops.client.pools import PoolMixin
from cfa.cloudops.errors import (
    ImageError,
    InvalidInputError,
    LocalFileNotFoundError,
    UnsupportedError,
)
from cfa.cloudops.model import references
from cfa.cloudops.model.references import Reference

if TYPE_CHECKING:
    from cfa.cloudops.provider.executor import Executor

_log = logging.getLogger(__name__)


class ImageMixin:
    """Methods of `CloudClient` about images."""

    _settings: settings.Settings
    full_container_name: str | None
    container_registry_server: str | None
    registry_url: str | None
    container_image_name: str | None

    if TYPE_CHECKING:

        def _choose_backend(self) -> str: ...

    def package_and_upload_dockerfile(
        self,
        registry_name: str,
        repo_name: str,
        tag: str,
        path_to_dockerfile: str = "./Dockerfile",
        use_device_code: bool = False,
    ) -> str:
        """Build an image and return its name, `<registry_name>.azurecr.io/<repo_name>:<tag>`.

        The build sees the current directory, less what its `.dockerignore` excludes and less the
        workspace. The engine's output goes to the log, level info. The image is pushed only to a
        registry that is configured: one that the engine's own tools hold a login for, or the one that
        `CLOUDOPS_REGISTRY` names; `CLOUDOPS_REGISTRY=none` never pushes. What was done is printed.

        On a backend without images nothing is built: a warning says so, and the name is returned, so
        that the script goes on. Tasks that this client adds later run in this image unless they name
        another.

        Args:
            registry_name: an Azure registry, in any case; a name with `.` or `:` is a server.
            repo_name: repository in it.
            tag: tag of the image.
            path_to_dockerfile: the file that says how to build.
            use_device_code: a way to log in to Azure; means nothing here.

        Raises:
            FileNotFoundError: there is no such Dockerfile.
            ValueError: a part of the name that no registry takes.
            RuntimeError: the backend does not answer, the build failed (the engine's own last lines
                are in the message), or a configured registry refused the image.
        """
        del use_device_code
        wanted = references.reference(registry_name, repo_name, tag)
        with self._engine() as executor:
            dockerfile = _dockerfile(path_to_dockerfile)
            if executor is None:
                self._warn_of_no_images(f"{wanted.name} is not built")
            else:
                executor.build_image(
                    str(dockerfile),
                    os.getcwd(),
                    wanted.name,
                    leave_out=(str(self._settings.home),),
                    report=_log.info,
                )
                print(f"Built {wanted.name}")  # noqa: T201  promised
                self._push(executor, wanted)
        return self._remember(wanted)

    def upload_docker_image(
        self,
        image_name: str,
        registry_name: str,
        repo_name: str,
        tag: str,
        use_device_code: bool = False,
    ) -> str:
        """Give an image of this machine a name in a registry, push it if that is configured.

        Returns, pushes and remembers as `package_and_upload_dockerfile`.

        Args:
            image_name: an image that is present in the engine; it is not pulled.
            registry_name: an Azure registry, in any case; a name with `.` or `:` is a server.
            repo_name: repository in it.
            tag: tag of the image.
            use_device_code: a way to log in to Azure; means nothing here.

        Raises:
            ValueError: a part of the name that no registry takes.
            RuntimeError: the backend does not answer, it has no such image, or a configured registry
                refused it.
        """
        del use_device_code
        image = str(image_name or "").strip()
        if not image:
            raise InvalidInputError("image_name is empty.", "Name an image of this machine.")
        wanted = references.reference(registry_name, repo_name, tag)
        with self._engine() as executor:
            if executor is None:
                self._warn_of_no_images(f"{image} is not named {wanted.name}")
            else:
                executor.tag_image(image, wanted.name)
                print(f"Tagged {image} as {wanted.name}")  # noqa: T201  says what was done
                self._push(executor, wanted)
        return self._remember(wanted)

    def list_acr_tags(self, registry_name: str, repo_name: str) -> list[str]:
        """Tags of the images `<registry_name>.azurecr.io/<repo_name>` on this machine, sorted.

        The registry is not asked. On a backend without images the list is empty, with a warning.

        Args:
            registry_name: an Azure registry, in any case; a name with `.` or `:` is a server.
            repo_name: repository in it.

        Raises:
            ValueError: a name that no registry takes.
            RuntimeError: the backend does not answer.
        """
        server, repository = references.server(registry_name), references.repository(repo_name)
        with self._engine() as executor:
            if executor is None:
                self._warn_of_no_images("there are no tags to list")
                return []
            return list(executor.list_tags(f"{server}/{repository}"))

    # --- parts

    @contextmanager
    def _engine(self) -> Iterator[Executor | None]:
        """The executor that builds, after it answered; None where nodes are not made from images.

        Raises:
            UnsupportedError: nodes are made from images, and this backend cannot build them.
            BackendError: it does not answer.
        """
        name = self._choose_backend()
        with backends.opened(name) as executor:
            found = backends.probe(name, executor)
            if found.images and not found.builds:
                raise UnsupportedError(
                    f"The {executor.name} backend uses images but cannot build, tag or list them.",
                    "Do it with the engine's own tools and give the name to create_pool.",
                )
            yield executor if found.builds else None

    def _warn_of_no_images(self, what: str) -> None:
        _log.warning(
            "Tasks run here without images: %s. Commands use the programs of this machine. To build "
            "and use images, set CLOUDOPS_BACKEND=docker or podman.",
            what,
        )

    def _push(self, executor: Executor, wanted: Reference) -> None:
        """Push where that is configured; say in one line what was done."""
        reason = self._why_not_push(executor, wanted.server)
        if reason:
            print(f"Nothing was pushed: {reason}")  # noqa: T201  says what was not done
            return
        try:
            executor.push_image(wanted.name, report=_log.info)
        except ImageError as error:
            raise ImageError(
                f"{error.message} The image itself is on this machine.",
                "; ".join(
                    filter(
                        None, [error.hint, "to work without pushing, set CLOUDOPS_REGISTRY=none"]
                    )
                ),
            ) from None
        print(f"Pushed {wanted.name}")  # noqa: T201  says what was done

    def _why_not_push(self, executor: Executor, server: str) -> str:
        """Why an image is not pushed to a registry, and how it would be; '' when it is to be."""
        setting = self._settings.registry
        if setting == "none":
            return f"CLOUDOPS_REGISTRY=none (from {self._settings.origins['CLOUDOPS_REGISTRY']})."
        if setting == server or (not setting and executor.has_login(server)):
            return ""
        if setting:
            return f"CLOUDOPS_REGISTRY is {setting}; to push, set it to {server}."
        how = references.login_command(executor.name, server)
        return (
            f"{executor.name} has no login for {server}; to push, type {how} and call this again."
        )

    def _remember(self, wanted: Reference) -> str:
        """Keep the name where scripts, and tasks that are added later, look for it."""
        self.full_container_name = wanted.name
        self.container_registry_server = wanted.server
        self.registry_url = f"https://{wanted.server}"
        self.container_image_name = f"https://{wanted.name}"
        return wanted.name


class Images(ImageMixin, PoolMixin):
    """The methods about images alone: they need no workspace."""

    def __init__(self, settings: settings.Settings) -> None:
        self._settings = settings


def _dockerfile(path: str) -> Path:
    """The absolute path of a Dockerfile.

    Raises:
        LocalFileNotFoundError: it does not exist or is no file.
    """
    found = Path(os.path.abspath(path))
    if not found.is_file():
        raise LocalFileNotFoundError(
            f"There is no Dockerfile {str(path)!r} (looked for {found}).",
            "Change to its directory or pass path_to_dockerfile.",
        )
    return found
