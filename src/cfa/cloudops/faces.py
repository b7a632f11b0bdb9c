"""The two faces of the package: `cfa.cloudops` and `cfa.cloudops.local` differ in defaults only.

Functions of the low-level modules that are handed a client work with that. Those that are not, but
reach a store or an engine, belong to a face, which knows what to use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from cfa.cloudops.errors import InvalidInputError

if TYPE_CHECKING:
    from cfa.cloudops.client import CloudClient
    from cfa.cloudops.client.handles import Handle
    from cfa.cloudops.provider.blob import BlobProvider


@frozen
class Face:
    """Defaults of one of the two packages."""

    default_backend: str

    def client(self, **keywords: Any) -> CloudClient:
        """A client with the defaults of the face.

        Raises: as `CloudClient`.
        """
        if self.default_backend == "auto":
            from cfa.cloudops.local import CloudClient as LocalClient

            return LocalClient(**keywords)
        from cfa.cloudops.client import CloudClient

        return CloudClient(**keywords)

    def blobs(self, account: str | None = None) -> BlobProvider:
        """The storage that such a client would use.

        Args:
            account: the storage account; None for the default.

        Raises:
            BackendError: the face's backend is not installed.
            InvalidNameError: there can be no such account.
        """
        from cfa.cloudops import backends, settings

        found = settings.load(default_backend=self.default_backend)
        if found.backend != "auto":
            backends.choose(found.backend)
        url = found.storage
        if account:
            from cfa.cloudops.client import accounts

            url = accounts.storage_url(url, account)
        return backends.load_storage(url)


CLOUD = Face("azure")
LOCAL = Face("auto")


def client_of(handle: Handle | Any) -> CloudClient:
    """The `CloudClient` behind what a script passes as an SDK client; a `CloudClient` is one too.

    Raises:
        InvalidInputError: it is something else.
    """
    from cfa.cloudops.client import CloudClient

    found = handle if isinstance(handle, CloudClient) else getattr(handle, "cloud_client", None)
    if not isinstance(found, CloudClient):
        raise InvalidInputError(
            f"{handle!r} is not a client of this package.",
            "Pass an attribute of a CloudClient: client.batch_service_client, "
            "client.batch_mgmt_client or client.blob_service_client.",
        )
    return found
