"""Logins for registries, as Docker's own tools keep them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

_log = logging.getLogger(__name__)


def find(server: str) -> Mapping[str, Any] | None:
    """The login for a registry from Docker's configuration or its credential helper; None: none.

    May run the helper. A configuration that cannot be used counts as none.
    """
    import docker.auth
    import docker.errors

    try:
        login: Mapping[str, Any] | None = docker.auth.load_config().resolve_authconfig(server)
    except (docker.errors.DockerException, OSError, ValueError) as error:
        _log.warning("Docker's login for %s cannot be read: %s", server, error)
        return None
    return login or None
