"""Credentials of the cloud, which are kept and returned, but not needed on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cfa.cloudops.azure_only import AzureOnly, azure_only
from cfa.cloudops.client.credentials import CredentialHandler
from cfa.cloudops.model.records import Record
from cfa.cloudops.settings import export_dotenv, read_dotenv

__all__ = [
    "CredentialHandler",
    "DefaultCredential",
    "DefaultCredentialHandler",
    "EnvCredentialHandler",
    "FederatedCredentialHandler",
    "SPCredentialHandler",
    "get_client_secret_sp_credential",
    "get_compute_node_identity_reference",
    "get_keyvault_vars",
    "get_secret_client",
    "get_service_principal_credentials",
    "get_sp_secret",
    "load_env_vars",
    "load_keyvault_vars",
]


class EnvCredentialHandler(CredentialHandler):
    """Values of the environment and a dotenv file, which wins."""

    method = "env"

    def __init__(
        self,
        dotenv_path: str | Path | None = None,
        keyvault: str | None = None,
        force_keyvault: bool = False,
        **fields: Any,
    ) -> None:
        del force_keyvault  # no key vault is asked
        file = read_dotenv(dotenv_path, required=False)
        super().__init__(keyvault, None, [file, os.environ], **fields)


class SPCredentialHandler(EnvCredentialHandler):
    """The values of a service principal, which are needed only on the cloud."""

    method = "sp"


class DefaultCredentialHandler(CredentialHandler):
    """Values of the environment, then of a dotenv file."""

    method = "default"

    def __init__(
        self,
        dotenv_path: str | Path | None = None,
        keyvault: str | None = None,
        force_keyvault: bool = False,
        **fields: Any,
    ) -> None:
        del force_keyvault
        file = read_dotenv(dotenv_path, required=False)
        super().__init__(keyvault, None, [os.environ, file], **fields)


#: Its name in the cloud's documentation.
FederatedCredentialHandler = DefaultCredentialHandler


def load_env_vars(dotenv_path: str | Path | None = None) -> Mapping[str, str]:
    """Put the entries of a dotenv file into the environment, and return them. They win.

    The agent, which runs the tasks, gets only the `CLOUDOPS_*` entries. `CLOUDOPS_TRUST` does not
    count in a file.

    Args:
        dotenv_path: the file. Default: `.env` in the current directory. If the file does not exist,
            the log says so, and there are no entries.

    Raises:
        SettingError: the file cannot be read.
    """
    found = read_dotenv(dotenv_path, required=False)
    export_dotenv(found)
    return found


def get_compute_node_identity_reference(
    credential_handler: CredentialHandler | None = None,
) -> Record:
    """A record with the `resource_id` of nodes' identity, for functions that take the SDK's object."""
    found = EnvCredentialHandler() if credential_handler is None else credential_handler
    reference: Record = found.compute_node_identity_reference
    return reference


class DefaultCredential(AzureOnly):
    """Only on Azure: a credential of the SDK."""

    _instead = "No credential is needed on this machine; leave it out."


_NONE = "No credential is needed on this machine; leave the call out."
_VAULT = "client.get_kv_secret(secret_name, keyvault) reads the environment or the dotenv file."
get_sp_secret = azure_only("auth.get_sp_secret", _VAULT)
get_client_secret_sp_credential = azure_only("auth.get_client_secret_sp_credential", _NONE)
get_service_principal_credentials = azure_only("auth.get_service_principal_credentials", _NONE)
get_secret_client = azure_only("auth.get_secret_client", _VAULT)
load_keyvault_vars = azure_only("auth.load_keyvault_vars", _VAULT)
get_keyvault_vars = azure_only("auth.get_keyvault_vars", _VAULT)
