"""Constants of the cloud package that scripts read, and the autoscale formula of pools without one."""

from __future__ import annotations

import os
from typing import Any

from cfa.cloudops.autoscale import remaining_task_autoscale_formula
from cfa.cloudops.azure_only import azure_only

__all__ = [
    "assign_container_config",
    "default_autoscale_evaluation_interval",
    "default_azure_batch_endpoint_subdomain",
    "default_azure_batch_location",
    "default_azure_batch_resource_url",
    "default_azure_blob_storage_endpoint_subdomain",
    "default_azure_container_registry_domain",
    "default_azure_keyvault_endpoint_subdomain",
    "default_kv_keys",
    "default_logs_folder",
    "default_max_autoscale_nodes",
    "default_monitor_timeout_minutes",
    "default_task_slots_per_node",
    "default_vm_size",
    "get_default_pool_config",
    "get_default_pool_identity",
    "remaining_task_autoscale_formula",
    "set_env_vars",
]

default_azure_batch_location = "eastus"
default_azure_batch_endpoint_subdomain = "batch.azure.com/"
default_azure_batch_resource_url = "https://batch.core.windows.net/"
default_azure_keyvault_endpoint_subdomain = "vault.azure.net"
default_azure_blob_storage_endpoint_subdomain = "blob.core.windows.net/"
default_azure_container_registry_domain = "azurecr.io"

#: How often the cloud evaluates a formula, ISO 8601.
default_autoscale_evaluation_interval = "PT5M"
default_max_autoscale_nodes = 3
default_task_slots_per_node = 1
default_vm_size = "standard_d4ads_v5"
default_logs_folder = "stdout_stderr"
default_monitor_timeout_minutes = 480

#: What the cloud's client reads from a Key Vault.
default_kv_keys = [
    "AZURE_BATCH_ACCOUNT",
    "AZURE_BATCH_LOCATION",
    "AZURE_USER_ASSIGNED_IDENTITY",
    "AZURE_SUBNET_ID",
    "AZURE_CLIENT_ID",
    "AZURE_KEYVAULT_SP_SECRET_ID",
    "AZURE_BLOB_STORAGE_ACCOUNT",
    "AZURE_CONTAINER_REGISTRY_ACCOUNT",
]


def set_env_vars() -> None:
    """Set the `AZURE_*` variables of this process that follow from constants and from one another."""
    fixed = {
        "AZURE_BATCH_ENDPOINT_SUBDOMAIN": default_azure_batch_endpoint_subdomain,
        "AZURE_BATCH_RESOURCE_URL": default_azure_batch_resource_url,
        "AZURE_KEYVAULT_ENDPOINT_SUBDOMAIN": default_azure_keyvault_endpoint_subdomain,
        "AZURE_BLOB_STORAGE_ENDPOINT_SUBDOMAIN": default_azure_blob_storage_endpoint_subdomain,
        "AZURE_CONTAINER_REGISTRY_DOMAIN": default_azure_container_registry_domain,
    }
    get: Any = os.environ.get
    account, location = get("AZURE_BATCH_ACCOUNT"), get("AZURE_BATCH_LOCATION")
    os.environ.update(
        fixed,
        AZURE_BATCH_ENDPOINT=f"https://{account}.{location}.{default_azure_batch_endpoint_subdomain}",
        AZURE_KEYVAULT_ENDPOINT=(
            f"https://{get('AZURE_KEYVAULT_NAME')}.{default_azure_keyvault_endpoint_subdomain}"
        ),
        AZURE_BLOB_STORAGE_ENDPOINT=(
            f"https://{get('AZURE_BLOB_STORAGE_ACCOUNT')}."
            f"{default_azure_blob_storage_endpoint_subdomain}"
        ),
        ACR_TAG_PREFIX=(
            f"{get('AZURE_CONTAINER_REGISTRY_ACCOUNT')}.{default_azure_container_registry_domain}/"
        ),
    )


_POOL = "Describe the pool with the arguments of client.create_pool."
get_default_pool_identity = azure_only("defaults.get_default_pool_identity", _POOL)
get_default_pool_config = azure_only("defaults.get_default_pool_config", _POOL)
assign_container_config = azure_only("defaults.assign_container_config", _POOL)
