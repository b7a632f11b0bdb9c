"""`cloudops generate-sample-env`."""

from __future__ import annotations

from cfa.cloudops.cli.declare import Commands
from cfa.cloudops.errors import ConflictError
from cfa.cloudops.settings import VARIABLES

root = Commands()

FILE = "cloudops-sample.env"

#: What the cloud's client reads, grouped.
_AZURE = (
    ("AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"),
    ("AZURE_RESOURCE_GROUP_NAME", "AZURE_USER_ASSIGNED_IDENTITY", "AZURE_SUBNET_ID"),
    ("AZURE_BATCH_ACCOUNT", "AZURE_BATCH_LOCATION"),
    ("AZURE_BLOB_STORAGE_ACCOUNT", "AZURE_CONTAINER_REGISTRY_ACCOUNT"),
    ("AZURE_KEYVAULT_NAME", "AZURE_KEYVAULT_SP_SECRET_ID"),
)


@root.add()
def generate_sample_env() -> None:
    """Write cloudops-sample.env: all settings, with what they mean. A file there is kept.

    Rename it to .env, or give it with -p. Exit status: 4 when there is such a file.
    """
    try:
        with open(FILE, "x", encoding="utf-8") as file:
            file.write(_text())
    except FileExistsError:
        raise ConflictError(
            f"There is a file {FILE} here, and it is kept.", "Rename or remove it first."
        ) from None
    print(FILE)


def _text() -> str:
    lines = [
        "# Settings of cfa-cloudops. Rename this file to .env and keep it out of version control.",
        "",
        "# Where and how tasks run. The environment wins over this file.",
    ]
    for name, meaning in VARIABLES.items():
        lines += [f"# {meaning}", f"# {name}="]
    lines += ["", "# Azure. Nothing of it is needed to run tasks on this machine."]
    for group in _AZURE:
        lines += [*(f"# {name}=" for name in group), ""]
    return "\n".join(lines)
