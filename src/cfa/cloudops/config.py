"""Values of a configuration: given in code, else from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

__all__ = ["get_config_val", "try_get_val_from_dict", "try_get_val_from_env"]


def get_config_val(
    key: str,
    config_dict: Mapping[str, Any] | None = None,
    try_env: bool = True,
    value_if_missing: Any = None,
) -> Any:
    """A value by its lower-case name: of the mapping, else of the environment variable in capitals.

    Args:
        key: name, like `azure_batch_account`.
        config_dict: looked at first, when given.
        try_env: whether to look at `AZURE_BATCH_ACCOUNT` then.
        value_if_missing: returned when it is nowhere.
    """
    value = try_get_val_from_dict(key, config_dict)
    if value is None and try_env:
        value = try_get_val_from_env(key)
    return value_if_missing if value is None else value


def try_get_val_from_dict(key: str, config_dict: Mapping[str, Any] | None = None) -> Any:
    """The mapping's value, None when it has none."""
    return None if config_dict is None else config_dict.get(key)


def try_get_val_from_env(key: str) -> str | None:
    """The value of the environment variable `KEY`, None when it is not set."""
    return os.environ.get(key.upper())
