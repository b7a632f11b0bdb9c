"""Names of images as engines and registries take them (the grammar of the distribution project)."""

from __future__ import annotations

import re

from attrs import frozen

from cfa.cloudops.errors import InvalidNameError

_AZURE = ".azurecr.io"
_SERVER = re.compile(
    r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
    r"(?:\.(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9]))*(?::[0-9]+)?"
)
_LEVEL = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_LEVEL}(?:/{_LEVEL})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


#: Signs of a name with a server, levels, a tag and a digest; what else engines ask they say themselves.
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@+-]{0,1023}")


@frozen(kw_only=True)
class Reference:
    """The full name of an image in a registry."""

    server: str
    repository: str
    tag: str

    @property
    def name(self) -> str:
        """`<server>/<repository>:<tag>`."""
        return f"{self.server}/{self.repository}:{self.tag}"


def image(name: object) -> str | None:
    """The name of an image without the scheme that `container_image_name` attributes carry; None for
    none.

    Raises:
        InvalidNameError: no image can have this name.
    """
    if name is None or name == "":
        return None
    bare = _text("image name", name)
    bare = bare.partition("://")[2] or bare
    if not _IMAGE.fullmatch(bare):
        raise InvalidNameError(
            f"{name!r} cannot be the name of an image.",
            "Use a name such as python:3.10-slim or myacr.azurecr.io/model:1.",
        )
    return bare


def server(registry_name: str) -> str:
    """The server of a registry: `x.azurecr.io` for `x`; a name with a dot or colon is one already.

    Raises:
        InvalidNameError: it cannot be a server.
    """
    name = _text("registry name", registry_name).strip()
    if "." not in name and ":" not in name:
        name += _AZURE
    if not _SERVER.fullmatch(name):
        raise InvalidNameError(
            f"{registry_name!r} cannot be the name of a registry.",
            "Use the name of an Azure registry, letters and digits, or a server such as "
            "localhost:5000.",
        )
    return name.lower()  # as hosts are; Docker takes no other, whatever the case of az acr create


def login_command(engine: str, server: str) -> str:
    """What people type to let an engine push to a server."""
    command = f"{engine} login {server}"
    if server.endswith(_AZURE):
        command += f" (or az acr login --name {server.removesuffix(_AZURE)})"
    return command


def repository(repo_name: str) -> str:
    """The name of a repository, checked.

    Raises:
        InvalidNameError: no registry takes it.
    """
    name = _text("repository name", repo_name).strip("/")
    if not _REPOSITORY.fullmatch(name) or len(name) > 255:
        raise InvalidNameError(
            f"{repo_name!r} cannot be the name of a repository.",
            "Use lower-case letters and digits, with '.', '_' or '-' between them, and '/' for levels.",
        )
    return name


def reference(registry_name: str, repo_name: str, tag: str) -> Reference:
    """The full name of an image.

    Raises:
        InvalidNameError: a part cannot be in a name.
    """
    if not _TAG.fullmatch(_text("tag", tag)):
        raise InvalidNameError(
            f"{tag!r} cannot be a tag.",
            "Use up to 128 letters, digits, '_', '.' and '-'; the first a letter, digit or '_'.",
        )
    return Reference(server=server(registry_name), repository=repository(repo_name), tag=tag)


def _text(kind: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidNameError(
            f"The {kind} must be text, got {type(value).__name__}.", f"Pass the {kind} as a string."
        )
    return value
