"""`client.cred`: the `azure_*` values that a script for the cloud may read back. None is needed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Has a value on the cloud whatever is set.
_DEFAULTS = {
    "azure_batch_location": "eastus",
    "azure_batch_endpoint_subdomain": "batch.azure.com/",
    "azure_batch_resource_url": "https://batch.core.windows.net/",
    "azure_keyvault_endpoint_subdomain": "vault.azure.net",
    "azure_blob_storage_endpoint_subdomain": "blob.core.windows.net/",
    "azure_container_registry_domain": "azurecr.io",
}
#: Made of other values, where these are known.
_DERIVED = {
    "azure_batch_endpoint": "https://{azure_batch_account}.{azure_batch_location}."
    "{azure_batch_endpoint_subdomain}",
    "azure_keyvault_endpoint": "https://{azure_keyvault_name}.{azure_keyvault_endpoint_subdomain}",
    "azure_blob_storage_endpoint": "https://{azure_blob_storage_account}."
    "{azure_blob_storage_endpoint_subdomain}",
    "azure_container_registry_endpoint": "{azure_container_registry_account}."
    "{azure_container_registry_domain}",
}


class CredentialHandler:
    """Values by lower-case name. An `azure_*` name that was not given is None, as on the cloud.

    Args:
        keyvault: becomes `azure_keyvault_name`.
        fields: values given in code; they win.
        sources: variables by name, in capitals, that the others come from; earlier ones win.
    """

    def __init__(
        self,
        keyvault: str | None = None,
        fields: Mapping[str, Any] | None = None,
        sources: Sequence[Mapping[str, str]] = (),
    ) -> None:
        values: dict[str, Any] = dict(_DEFAULTS)
        for source in reversed(sources):
            values.update(
                (name.lower(), text) for name, text in source.items() if name.startswith("AZURE_")
            )
        values.update(fields or {})
        if keyvault is not None:
            values["azure_keyvault_name"] = keyvault
        vars(self).update(values)

    def __getattr__(self, name: str) -> Any:
        if name in _DERIVED:
            try:
                return _DERIVED[name].format_map(vars(self))
            except KeyError:  # an account that is not known
                return None
        if name.startswith("azure_"):
            return None
        raise AttributeError(
            f"credentials have no {name!r}: their names begin with azure_, and what needs Azure "
            "itself is not here"
        )

    def __repr__(self) -> str:
        names = ", ".join(sorted(name for name in vars(self) if name.startswith("azure_")))
        return f"<{type(self).__name__}: {names}>"  # never the values: secrets are among them
