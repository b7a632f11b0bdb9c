"""Addresses of Azure's services, made of their names. Nothing is asked."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, urljoin

from cfa.cloudops import defaults

__all__ = [
    "construct_azure_container_registry_endpoint",
    "construct_batch_endpoint",
    "construct_blob_account_endpoint",
    "construct_blob_container_endpoint",
    "is_valid_acr_endpoint",
]

_ACR = re.compile(r"(https://)?([a-zA-Z0-9]{5,50})\.azurecr\.io/?\Z")


def construct_batch_endpoint(
    batch_account: str,
    batch_location: str,
    batch_endpoint_subdomain: str = defaults.default_azure_batch_endpoint_subdomain,
) -> str:
    """`https://<account>.<location>.batch.azure.com/`."""
    return f"https://{batch_account}.{batch_location}.{batch_endpoint_subdomain}"


def construct_azure_container_registry_endpoint(
    azure_container_registry_account: str,
    azure_container_registry_domain: str = defaults.default_azure_container_registry_domain,
) -> str:
    """`https://<account>.azurecr.io`."""
    return f"https://{azure_container_registry_account}.{azure_container_registry_domain}"


def construct_blob_account_endpoint(
    blob_account: str,
    blob_endpoint_subdomain: str = defaults.default_azure_blob_storage_endpoint_subdomain,
) -> str:
    """`https://<account>.blob.core.windows.net/`."""
    return f"https://{blob_account}.{blob_endpoint_subdomain}"


def construct_blob_container_endpoint(
    blob_container: str,
    blob_account: str,
    blob_endpoint_subdomain: str = defaults.default_azure_blob_storage_endpoint_subdomain,
) -> str:
    """`https://<account>.blob.core.windows.net/<container>`."""
    account = construct_blob_account_endpoint(blob_account, blob_endpoint_subdomain)
    return urljoin(account, quote(blob_container))


def is_valid_acr_endpoint(endpoint: Any) -> tuple[bool, str | None]:
    """Whether an address is that of an Azure container registry, and if not, why."""
    if isinstance(endpoint, str) and _ACR.match(endpoint):
        return True, None
    return False, f"{endpoint!r} is not https://<name>.azurecr.io with 5 to 50 letters and digits."
