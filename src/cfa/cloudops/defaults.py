"""Constants of the cloud package that scripts read, and the autoscale formula of pools without one."""

from __future__ import annotations

import os
from pathlib import Path

from cfa.cloudops.autoscale import remaining_task_autoscale_formula
from cfa.cloudops.azure_only import azure_only
from cfa.cloudops.model.records import Record

__all__ = [
    "AZ_MOUNT_DIR",
    "assign_container_config",
    "default_autoscale_evaluation_interval",
    "default_autoscale_formula",
    "default_azure_batch_endpoint_subdomain",
    "default_azure_batch_location",
    "default_azure_batch_resource_url",
    "default_azure_blob_storage_endpoint_subdomain",
    "default_azure_container_registry_domain",
    "default_azure_keyvault_endpoint_subdomain",
    "default_container_configuration",
    "default_datetime_format",
    "default_image_offer",
    "default_image_publisher",
    "default_image_reference",
    "default_image_sku",
    "default_kv_keys",
    "default_logs_folder",
    "default_max_autoscale_nodes",
    "default_monitor_timeout_minutes",
    "default_network_config_dict",
    "default_node_agent_sku_id",
    "default_pool_config_dict",
    "default_task_slots_per_node",
    "default_vm_configuration",
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

default_datetime_format = "%Y-%m-%d %H:%M:%S"
default_autoscale_formula = remaining_task_autoscale_formula(
    task_sample_interval_minutes=15, max_number_vms=10
)

#: Where the cloud's nodes have the blob containers, for a shell.
AZ_MOUNT_DIR = "$AZ_BATCH_NODE_MOUNTS_DIR"

# The operating system of nodes, and the parts of a pool's description. The cloud's package has objects
# of the SDK here; these are records with the same names.
default_image_publisher = "microsoft-dsvm"
default_image_offer = "ubuntu-hpc"
default_image_sku = "2204"
default_node_agent_sku_id = "batch.node.ubuntu 22.04"
default_image_reference = Record(
    publisher=default_image_publisher,
    offer=default_image_offer,
    sku=default_image_sku,
    version="latest",
)
default_container_configuration = Record(type="dockerCompatible")
default_vm_configuration = Record(
    image_reference=default_image_reference,
    container_configuration=default_container_configuration,
    node_agent_sku_id=default_node_agent_sku_id,
)
default_network_config_dict = {
    "public_ip_address_configuration": Record(provision="NoPublicIPAddresses")
}
default_pool_config_dict = {
    "deployment_configuration": Record(virtual_machine_configuration=default_vm_configuration),
    "vm_size": default_vm_size,
    "target_node_communication_mode": "Simplified",
    "scale_settings": Record(
        auto_scale=Record(
            formula=default_autoscale_formula,
            evaluation_interval=default_autoscale_evaluation_interval,
        )
    ),
}

#: What the cloud's client reads from a Key Vault.
default_kv_keys = [
    "AZURE_BATCH_ACCOUNT",
    "AZURE_BATCH_LOCATION",
    "AZURE_USER_ASSIGNED_IDENTITY",
    "AZURE_SUBNET_ID",
    "AZURE_CLIENT_ID",
    "AZURE_BLOB_STORAGE_ACCOUNT",
    "AZURE_CONTAINER_REGISTRY_ACCOUNT",
]


def set_env_vars(dotenv_path: str | Path | None = None) -> None:
    """Set the `AZURE_*` variables of this process that follow from constants and from one another.

    Addresses are made of the names of accounts that are known and valid. The variables are also
    written to the dotenv file, if there is one, in a part of its own at the end. Its other lines stay
    as they are, and what they say wins. No other variable is written, so no secret is.

    Args:
        dotenv_path: the dotenv file; `.env` here when not given.
    """
    from cfa.cloudops import derived  # most scripts only read the constants

    found = derived.variables(os.environ)
    own = derived.update_file(Path(dotenv_path if dotenv_path is not None else ".env"), found)
    os.environ.update(found | own)


_POOL = "Describe the pool with the arguments of client.create_pool."
get_default_pool_identity = azure_only("defaults.get_default_pool_identity", _POOL)
get_default_pool_config = azure_only("defaults.get_default_pool_config", _POOL)
assign_container_config = azure_only("defaults.assign_container_config", _POOL)
