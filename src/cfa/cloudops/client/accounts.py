"""Storage accounts: containers of one name in two accounts are two containers here as well.

The containers of the default account lie in the storage root. A container of another account, which is
one that a script names, lies in a folder of the root that no container can have the name of.
"""

from __future__ import annotations

import logging
import os
from typing import Any
from urllib.parse import urlsplit

from cfa.cloudops.errors import InvalidInputError
from cfa.cloudops.model import names

_log = logging.getLogger(__name__)

#: What names the default account.
VARIABLE = "AZURE_BLOB_STORAGE_ACCOUNT"
#: Accounts that were named while no default was known.
_named: set[str] = set()


def storage_url(root: str, account: str | None) -> str:
    """Where the containers of an account lie: `root`, or `<root>/@<account>`.

    Args:
        root: URL of the storage.
        account: the account, in any case; None for the default.

    Raises:
        InvalidNameError: it is another than the default and cannot be an account.
    """
    if not account:
        return root
    own, wanted = os.environ.get(VARIABLE), names.key(str(account))
    if own and names.key(own) != wanted:
        return f"{root.rstrip('/')}/@{names.storage_account(account)}"
    if not own and wanted not in _named:
        _named.add(wanted)
        if len(_named) == 2:  # said once
            _log.warning(
                "The storage accounts %s share their containers. To keep them apart, set %s to the "
                "account whose containers are in the storage root.",
                " and ".join(map(repr, sorted(_named))),
                VARIABLE,
            )
    return root


def of_url(url: Any) -> str | None:
    """The account of `https://<account>.blob.core.windows.net/...`; None when there is no URL.

    Raises:
        InvalidInputError: it is no such URL. It may hold a secret, so the message does not show it.
    """
    if not url:
        return None
    try:
        host = urlsplit(str(url)).hostname
    except ValueError:
        host = None
    if not host:
        raise InvalidInputError(
            "The URL of a storage account names no host.",
            "Write it as https://<account>.blob.core.windows.net.",
        )
    return host.partition(".")[0]
