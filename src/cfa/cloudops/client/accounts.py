"""Storage accounts: containers of one name in two accounts are two containers here as well.

The containers of the default account lie in the storage root. A container of another account, which is
one that a script names, lies in a folder of the root that no container can have the name of.
"""

from __future__ import annotations

import logging
import os
from typing import Any
from urllib.parse import urlsplit

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
    own = os.environ.get(VARIABLE)
    if own and names.key(own) != names.key(account):
        return f"{root.rstrip('/')}/@{names.storage_account(account)}"
    if not own and names.key(account) not in _named:
        _named.add(names.key(account))
        if len(_named) == 2:  # said once
            _log.warning(
                "The storage accounts %s are one here. To keep their containers apart, set %s to the "
                "one whose containers lie in the storage root.",
                " and ".join(map(repr, sorted(_named))),
                VARIABLE,
            )
    return root


def of_url(url: Any) -> str | None:
    """The account of `https://<account>.blob.core.windows.net/...`; None for anything else."""
    try:
        host = urlsplit(str(url or "")).hostname
    except ValueError:
        return None
    return host.partition(".")[0] if host else None
