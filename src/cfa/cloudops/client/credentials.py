"""`client.cred`: the `azure_*` values that a script for the cloud may read back. None is needed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cfa.cloudops.errors import CredentialValueError, NotOfferedError

#: Objects of the SDK, which need Azure.
_CREDENTIALS = (
    "user_credential", "client_secret_credential", "client_secret_sp_credential",
    "service_principal_credential", "batch_service_principal_credentials", "default_credential",
)  # fmt: skip
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
    "azure_container_registry_endpoint": "https://{azure_container_registry_account}."
    "{azure_container_registry_domain}",
}


class CredentialHandler:
    """Values by lower-case name. An `azure_*` name that was not given, or as None, is None.

    An address, such as `azure_batch_endpoint`, is made of values when it is read. It is None while one
    of them is not known; on the cloud, that is an error.

    Args:
        keyvault: becomes `azure_keyvault_name`.
        fields: values given in code; they win.
        sources: variables by name, in capitals, that the others come from; earlier ones win.
        **named: values given in code as well, `azure_tenant_id` and so on. `exclude_*`, which choose
            among the cloud's ways to log in, mean nothing here.

    Attributes:
        method: how the cloud's client would log in: `env`, `sp` or `default`; empty when unknown.
        compute_node_identity_reference: a record with `resource_id`, for functions that take the
            SDK's object.
        azure_container_registry: a record with `user_name`, `registry_server` and
            `identity_reference`; None without an account.

    Raises:
        TypeError: a name that begins with neither `azure_` nor `exclude_`.
    """

    method = ""

    def __init__(
        self,
        keyvault: str | None = None,
        fields: Mapping[str, Any] | None = None,
        sources: Sequence[Mapping[str, str]] = (),
        **named: Any,
    ) -> None:
        for name in named:
            if not name.startswith(("azure_", "exclude_")):
                raise TypeError(
                    f"{type(self).__name__}() does not know {name!r}: names begin with azure_"
                )
        values: dict[str, Any] = dict(_DEFAULTS)
        for source in reversed(sources):
            values.update(
                (name.lower(), text) for name, text in source.items() if name.startswith("AZURE_")
            )
        given = {**(fields or {}), **named}
        values.update(
            (k, v) for k, v in given.items() if v is not None and not k.startswith("exclude_")
        )
        if keyvault is not None:
            values["azure_keyvault_name"] = keyvault
        vars(self).update(values)

    def require_attr(self, attributes: str | Sequence[str], goal: str | None = None) -> None:
        """See that values are known.

        Args:
            attributes: one name or several.
            goal: what they are needed for, for the message.

        Raises:
            AttributeError: one is not known; the message names it, and no value.
        """
        wanted = [attributes] if isinstance(attributes, str) else list(attributes)
        missing = [name for name in wanted if getattr(self, name, None) is None]
        if missing:
            raise CredentialValueError(
                f"{', '.join(missing)} must be known{f' for {goal}' if goal else ''}.",
                f"Set {', '.join(name.upper() for name in missing)} in the environment or in the "
                "dotenv file.",
            )

    def __getattr__(self, name: str) -> Any:
        if name == "compute_node_identity_reference":
            from cfa.cloudops.model.records import Record  # few scripts ask

            return Record(resource_id=self.azure_user_assigned_identity)
        if name == "azure_container_registry":
            from cfa.cloudops.model.records import Record

            endpoint = self.azure_container_registry_endpoint
            identity = self.compute_node_identity_reference
            if endpoint is None:
                return None
            return Record(
                user_name=self.azure_container_registry_account,
                registry_server=endpoint,
                identity_reference=identity,
            )
        if name in _CREDENTIALS:
            raise NotOfferedError(
                f"{name} belongs to the Azure SDK and is not available on this machine.",
                "No credential is needed on this machine; names of values begin with azure_.",
            )
        if name in _DERIVED:
            known = {name: value for name, value in vars(self).items() if value}
            try:
                return _DERIVED[name].format_map(known)
            except KeyError:  # an account that is not known
                return None
        if name.startswith("azure_"):
            return None
        raise AttributeError(
            f"credentials have no {name!r}: their names begin with azure_, and what needs Azure "
            "itself is not available on this machine"
        )

    def __repr__(self) -> str:
        names = ", ".join(sorted(name for name in vars(self) if name.startswith("azure_")))
        return f"<{type(self).__name__}: {names}>"  # never the values: secrets are among them
