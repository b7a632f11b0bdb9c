"""`AZURE_*` variables that follow from others, in the environment and in a dotenv file."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from cfa.cloudops import defaults

_log = logging.getLogger(__name__)

#: What begins our part of a file. All other lines are the user's.
_HEAD = "# Made of the values above by set_env_vars, which keeps these lines up to date:"
_LINE = re.compile(r"(AZURE_[A-Z_]+)='[^']*'\s*\Z")
#: A part of a host's name.
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")

_FIXED = {
    "AZURE_BATCH_ENDPOINT_SUBDOMAIN": defaults.default_azure_batch_endpoint_subdomain,
    "AZURE_BATCH_RESOURCE_URL": defaults.default_azure_batch_resource_url,
    "AZURE_KEYVAULT_ENDPOINT_SUBDOMAIN": defaults.default_azure_keyvault_endpoint_subdomain,
    "AZURE_BLOB_STORAGE_ENDPOINT_SUBDOMAIN": defaults.default_azure_blob_storage_endpoint_subdomain,
    "AZURE_CONTAINER_REGISTRY_DOMAIN": defaults.default_azure_container_registry_domain,
}
_MADE = {
    "AZURE_BATCH_ENDPOINT": "https://{AZURE_BATCH_ACCOUNT}.{AZURE_BATCH_LOCATION}."
    + defaults.default_azure_batch_endpoint_subdomain,
    "AZURE_KEYVAULT_ENDPOINT": "https://{AZURE_KEYVAULT_NAME}."
    + defaults.default_azure_keyvault_endpoint_subdomain,
    "AZURE_BLOB_STORAGE_ENDPOINT": "https://{AZURE_BLOB_STORAGE_ACCOUNT}."
    + defaults.default_azure_blob_storage_endpoint_subdomain,
    "ACR_TAG_PREFIX": "{AZURE_CONTAINER_REGISTRY_ACCOUNT}."
    + defaults.default_azure_container_registry_domain
    + "/",
}
_SOURCES = (
    "AZURE_BATCH_ACCOUNT", "AZURE_BATCH_LOCATION", "AZURE_KEYVAULT_NAME",
    "AZURE_BLOB_STORAGE_ACCOUNT", "AZURE_CONTAINER_REGISTRY_ACCOUNT",
)  # fmt: skip


def variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that are fixed, or made of names of accounts; of those that are known and valid.

    The log names a variable that cannot be part of an address, and not its value.
    """
    parts = {"AZURE_BATCH_LOCATION": defaults.default_azure_batch_location}
    for name in _SOURCES:
        value = environment.get(name)
        if value and _LABEL.match(value):
            parts[name] = value
        elif value:
            parts.pop(name, None)
            _log.warning("%s cannot be part of an address, so no address is made of it.", name)
    found = dict(_FIXED)
    for name, form in _MADE.items():
        with contextlib.suppress(KeyError):
            found[name] = form.format_map(parts)
    return found


def update_file(path: Path, entries: Mapping[str, str]) -> dict[str, str]:
    """Bring our part of a dotenv file up to date; every other line stays as it is.

    Only `AZURE_*` of `entries` are written, and none that the file has elsewhere. A file that does not
    exist is not made. One that cannot be written stays as it is, and the log says so.

    Returns:
        What the file says elsewhere of the names in `entries`.
    """
    from dotenv import dotenv_values  # only for a script that calls

    try:
        with path.open(encoding="utf-8", newline="") as file:
            before = file.read()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        _log.warning("The dotenv file %r is not brought up to date: %s.", str(path), error)
        return {}
    end = "\r\n" if "\r\n" in before else "\n"
    rest = "".join(_without_ours(before.splitlines(keepends=True)))
    own = dotenv_values(stream=io.StringIO(rest), interpolate=False)
    lines = [
        f"{name}='{value}'"
        for name, value in entries.items()
        if name.startswith("AZURE_") and name not in own
    ]
    after = rest if not rest or rest.endswith("\n") else rest + end
    if lines:
        after += "".join(line + end for line in (_HEAD, *lines))
    if after != before:
        _replace(path, after)
    return {name: value for name, value in own.items() if name in entries and value is not None}


def _without_ours(lines: Iterable[str]) -> Iterable[str]:
    ours = False
    for line in lines:
        if line.strip() == _HEAD:
            ours = True
            continue
        found = _LINE.match(line) if ours else None
        if found is not None and found[1] in (_FIXED | _MADE):
            continue
        ours = False
        yield line


def _replace(path: Path, text: str) -> None:
    """Write a file as a whole or not at all; a link to it stays one."""
    target = Path(os.path.realpath(path))
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="", dir=target.parent, prefix=".env-", delete=False
        ) as file:
            temporary = file.name
            shutil.copymode(target, temporary)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        _log.warning("The dotenv file %r is not brought up to date: %s.", str(path), error)
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
