"""Finds a Docker engine the way Docker's own tools do: environment, contexts, usual sockets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from cfa.cloudops.errors import BackendUnavailableError

#: The rootful daemon's socket.
SYSTEM_SOCKET = "/var/run/docker.sock"


@frozen(kw_only=True)
class Endpoint:
    """Where an engine may be.

    Attributes:
        url: `unix://`, `tcp://`, `ssh://`, as in `DOCKER_HOST`.
        origin: what named it, for people to read.
        tls: encrypted. `certificates` holds `ca.pem`, `cert.pem` and `key.pem`; `verify` says
            whether the engine's own certificate must fit.
    """

    url: str
    origin: str
    tls: bool = False
    certificates: str = ""
    verify: bool = True


def user_home() -> Path:
    """The user's home; `/`, as engines have it, where neither HOME nor the user database names one."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")


def candidates(
    host: str | None, environment: Mapping[str, str], home: Path, uid: int
) -> list[Endpoint]:
    """Endpoints to try, in order. What the user names explicitly is the only one.

    Args:
        host: the executor's own option, or None.
        environment: stands for `os.environ`.
        home, uid: of the calling user.

    Raises:
        BackendUnavailableError: the chosen context does not exist or cannot be read.
    """
    if host:
        return [Endpoint(url=host, origin="option host")]
    config = Path(environment.get("DOCKER_CONFIG") or home / ".docker")
    if environment.get("DOCKER_HOST"):
        return [_from_environment(environment, config)]
    context, origin = environment.get("DOCKER_CONTEXT", ""), "DOCKER_CONTEXT"
    if not context:
        context, origin = _current_context(config), str(config / "config.json")
    if context and context != "default":
        return [_from_context(config, context, origin)]
    runtime = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}"
    sockets = [
        SYSTEM_SOCKET,
        f"{runtime}/docker.sock",
        f"{home}/.docker/run/docker.sock",
        f"{home}/.docker/desktop/docker.sock",
    ]
    return [Endpoint(url=f"unix://{socket}", origin="usual place") for socket in sockets]


def _from_environment(environment: Mapping[str, str], config: Path) -> Endpoint:
    certificates = environment.get("DOCKER_CERT_PATH", "")
    verify = bool(environment.get("DOCKER_TLS_VERIFY"))
    return Endpoint(
        url=environment["DOCKER_HOST"],
        origin="DOCKER_HOST",
        tls=verify or bool(certificates),
        certificates=certificates or str(config),
        verify=verify,
    )


def _current_context(config: Path) -> str:
    file = config / "config.json"
    try:
        return str(json.loads(file.read_text(encoding="utf-8")).get("currentContext") or "")
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, AttributeError) as error:
        raise BackendUnavailableError(
            f"Docker's configuration {str(file)!r} cannot be read: {error}.",
            "Repair it, or set DOCKER_HOST.",
        ) from None


def _from_context(config: Path, context: str, origin: str) -> Endpoint:
    """The endpoint of a context; its folder is named by the hash of its name."""
    folder = hashlib.sha256(context.encode()).hexdigest()
    file = config / "contexts" / "meta" / folder / "meta.json"
    try:
        docker: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["Endpoints"]["docker"]
        url = str(docker["Host"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackendUnavailableError(
            f"The Docker context {context!r} (from {origin}) cannot be used: "
            f"{type(error).__name__}: {error}.",
            "List the contexts with 'docker context ls', choose one with 'docker context use', or "
            "set DOCKER_HOST.",
        ) from None
    certificates = config / "contexts" / "tls" / folder / "docker"
    return Endpoint(
        url=url,
        origin=f"context {context}",
        tls=certificates.is_dir(),
        certificates=str(certificates),
        verify=not docker.get("SkipTLSVerify", False),
    )
