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

        The build sees the current directory, except for the workspace and for what `.dockerignore`
        excludes. The log shows the engine's output at level info. The image is pushed only if the
        engine's tools are logged in to the registry, or if `CLOUDOPS_REGISTRY` names it. With
        `CLOUDOPS_REGISTRY=none`, nothing is pushed. The call prints what it did.

        On a backend without images, nothing is built: the call logs a warning and returns the name,
        so that the script continues. Tasks that this client adds later run in this image, unless
        they name another.

        Args:
            registry_name: name of an Azure registry, in lower or upper case; a name with `.` or `:`
                is a server.
            repo_name: the repository in the registry.
            tag: tag of the image.
            path_to_dockerfile: the Dockerfile.
            use_device_code: a way to log in to Azure; has no effect on this machine.

        Raises:
            FileNotFoundError: the Dockerfile does not exist.
            ValueError: no registry accepts a part of the name.
            RuntimeError: the backend does not answer, the build failed (the message has the
                engine's last lines), or the registry refused the image.
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
        """Name an image of this machine for a registry, and return its full name.

        Pushes and remembers the image as `package_and_upload_dockerfile` does.

        Args:
            image_name: an image that the engine has; it is not pulled.
            registry_name: name of an Azure registry, in lower or upper case; a name with `.` or `:`
                is a server.
            repo_name: the repository in the registry.
            tag: tag of the image.
            use_device_code: a way to log in to Azure; has no effect on this machine.

        Raises:
            ValueError: no registry accepts a part of the name.
            RuntimeError: the backend does not answer or does not have the image, or the registry
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
        """List the tags of the images `<registry_name>.azurecr.io/<repo_name>` on this machine,
        sorted.

        The call does not ask the registry. On a backend without images, it logs a warning and
        returns an empty list.

        Args:
            registry_name: name of an Azure registry, in lower or upper case; a name with `.` or `:`
                is a server.
            repo_name: the repository in the registry.

        Raises:
            ValueError: no registry accepts the name.
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
                    "Use the engine's own tools, and pass the name of the image to create_pool.",
                )
            yield executor if found.builds else None

    def _warn_of_no_images(self, what: str) -> None:
        _log.warning(
            "Tasks run without images on this machine: %s. They use its programs. To build "
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
