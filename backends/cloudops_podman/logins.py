"""Logins for registries, as Podman's own tools keep them."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)


def known(server: str) -> bool:
    """Whether there is a login for a registry, in a file or with a credential helper."""
    return any(
        server in (content.get("credHelpers") or {}) or _entry(content, server) is not None
        for content in _contents()
    )


def header(server: str) -> dict[str, str]:
    """The header by which a service is told the login; none where the service must find it itself."""
    for content in _contents():
        entry = _entry(content, server)
        try:
            text = base64.b64decode((entry or {}).get("auth") or "").decode()
        except (binascii.Error, UnicodeDecodeError, TypeError):
            continue
        user, colon, password = text.partition(":")
        if colon:
            login = {"username": user, "password": password.strip("\0"), "serveraddress": server}
            value = base64.urlsafe_b64encode(json.dumps(login).encode()).decode()
            return {"X-Registry-Auth": value}
    return {}


def _entry(content: Mapping[str, Any], server: str) -> Mapping[str, Any] | None:
    """The entry of a registry; older tools wrote its address with a scheme and a path."""
    for name, entry in (content.get("auths") or {}).items():
        if name.removeprefix("https://").removeprefix("http://").partition("/")[0] == server:
            return entry or {}
    return None


def _contents() -> Iterator[Mapping[str, Any]]:
    """The files that Podman reads, in its order."""
    for path in _files():
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            _log.warning("The logins in %s cannot be read: %s", path, error)
            continue
        if isinstance(content, Mapping):
            yield content


def _files() -> list[Path]:
    if os.environ.get("REGISTRY_AUTH_FILE"):
        return [Path(os.environ["REGISTRY_AUTH_FILE"])]
    try:
        home = Path.home()
    except RuntimeError:
        home = Path("/")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    docker = Path(os.environ.get("DOCKER_CONFIG") or home / ".docker")
    return [
        Path(runtime, "containers", "auth.json")
        if runtime
        else Path(f"/run/containers/{os.getuid()}/auth.json"),
        settings / "containers" / "auth.json",
        docker / "config.json",
    ]
