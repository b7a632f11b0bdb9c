"""Values of a configuration: given in code, else from the environment."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

__all__ = ["get_config_val", "try_get_val_from_dict", "try_get_val_from_env"]

_log = logging.getLogger(__name__)


def get_config_val(
    key: str,
    config_dict: Mapping[str, Any] | None = None,
    try_env: bool = True,
    env_variable_name: str | None = None,
    value_name: str | None = None,
    value_if_missing: Any = None,
) -> Any:
    """A value of a mapping, else of an environment variable. Where neither has it, the log says so
    at level debug.

    Args:
        key: its name, like `azure_batch_account`.
        config_dict: looked at first, when given.
        try_env: whether to look at the environment then.
        env_variable_name: the variable; the name in capitals when not given.
        value_name: what to call it in the log.
        value_if_missing: returned when it is nowhere.
    """
    value, said = None, []
    if config_dict is not None:
        value, message = try_get_val_from_dict(key, config_dict, value_name)
        said.append(message)
    if value is None and try_env:
        variable = env_variable_name or key.upper()
        value, message = try_get_val_from_env(variable, value_name or key)
        said.append(message)
    if value is None:
        _log.debug("%s", " ".join(filter(None, said)) or f"There is no value for {key!r}.")
        return value_if_missing
    return value


def try_get_val_from_dict(
    key: str, config_dict: Mapping[str, Any] | None = None, value_name: str | None = None
) -> tuple[Any, str | None]:
    """A mapping's value and None; or None, and a sentence that says what was looked for."""
    value = (config_dict or {}).get(key)
    if value is not None:
        return value, None
    return None, f"There is no {value_name or key!r} under the key {key!r} of the configuration."


def try_get_val_from_env(
    env_variable_name: str, value_name: str | None = None
) -> tuple[str | None, str | None]:
    """A variable's value and None; or None, and a sentence that says what was looked for."""
    value = os.environ.get(env_variable_name)
    if value is not None:
        return value, None
    name = value_name or env_variable_name
    return None, f"There is no {name!r}: the variable {env_variable_name} is not set."
