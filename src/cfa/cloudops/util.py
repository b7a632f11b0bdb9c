"""Small things that scripts use."""

from __future__ import annotations

import logging
from collections.abc import MutableSequence
from typing import Any

from cfa.cloudops.azure_only import azure_only
from cfa.cloudops.defaults import set_env_vars

__all__ = [
    "check_ext_env",
    "ensure_listlike",
    "get_date_time",
    "get_subscriptions",
    "get_user",
    "lookup_available_vm_skus_for_batch",
    "lookup_service_principal",
    "set_env_vars",
    "sku_to_dict",
]

_log = logging.getLogger(__name__)


def ensure_listlike(x: Any) -> MutableSequence[Any]:
    """`x` if it is a list or the like, else a list with `x` in it. A string is one item."""
    return x if isinstance(x, MutableSequence) else [x]


def check_ext_env() -> bool:
    """Whether this is the cloud's external environment: never on a machine of one's own."""
    return False


def get_user() -> str:
    """Who runs the script, as the owner of pools and jobs is recorded."""
    return _owner()["owner"]


def get_date_time() -> str:
    """Now, as the creation of pools and jobs is recorded: ISO 8601, UTC."""
    return _owner()["datetime_created"]


def _owner() -> dict[str, str]:
    from cfa.cloudops.client.pools import owner_metadata

    return dict(owner_metadata())


_SIZES = "client.get_vm_name() names a size, client.get_all_vm_quotas() says what this machine has."
lookup_service_principal = azure_only(
    "util.lookup_service_principal",
    "No service principal is needed on this machine; leave out the call.",
)
get_subscriptions = azure_only(
    "util.get_subscriptions",
    "No subscription is needed on this machine; client.check_credentials() logs what answers.",
)
lookup_available_vm_skus_for_batch = azure_only("util.lookup_available_vm_skus_for_batch", _SIZES)
sku_to_dict = azure_only("util.sku_to_dict", _SIZES)
