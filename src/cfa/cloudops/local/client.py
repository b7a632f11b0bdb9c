"""`cfa.cloudops.client` with the local client."""

from __future__ import annotations

from typing import Any

from cfa.cloudops.client.handles import (
    BatchHandle,
    BatchManagementHandle,
    BlobHandle,
    ComputeHandle,
    same_values,
)
from cfa.cloudops.local._client import CloudClient

__all__ = [
    "CloudClient",
    "get_batch_management_client",
    "get_batch_service_client",
    "get_blob_service_client",
    "get_compute_management_client",
]


def get_batch_service_client(credential_handler: Any = None, **kwargs: Any) -> BatchHandle:
    """`CloudClient(**kwargs).batch_service_client`, with the values of a credential handler."""
    return CloudClient(**same_values(credential_handler, kwargs)).batch_service_client


def get_batch_management_client(
    credential_handler: Any = None, **kwargs: Any
) -> BatchManagementHandle:
    """`CloudClient(**kwargs).batch_mgmt_client`."""
    return CloudClient(**same_values(credential_handler, kwargs)).batch_mgmt_client


def get_compute_management_client(credential_handler: Any = None, **kwargs: Any) -> ComputeHandle:
    """`CloudClient(**kwargs).compute_mgmt_client`."""
    return CloudClient(**same_values(credential_handler, kwargs)).compute_mgmt_client


def get_blob_service_client(credential_handler: Any = None, **kwargs: Any) -> BlobHandle:
    """`CloudClient(**kwargs).blob_service_client`."""
    return CloudClient(**same_values(credential_handler, kwargs)).blob_service_client
