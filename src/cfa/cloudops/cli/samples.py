"""`cloudops generate-sample-env`."""

from __future__ import annotations

from cfa.cloudops.cli.declare import Commands
from cfa.cloudops.errors import ConflictError, FileAccessError
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
    """Write cloudops-sample.env, which lists and explains all settings.

    Rename the file to .env, or name it with --dotenv. Exit status: 4 if the file exists; it is kept.
    """
    try:
        with open(FILE, "x", encoding="utf-8") as file:
            file.write(_text())
    except FileExistsError:
        raise ConflictError(
            f"The file {FILE} exists, and is kept.", "Rename or delete it first."
        ) from None
    except OSError as error:
        raise FileAccessError(
            f"Could not write {FILE}: {error.strerror}.",
            "Change to a directory that you may write to.",
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
    lines += ["", "# Azure. Tasks on this machine need none of it."]
    for group in _AZURE:
        lines += [*(f"# {name}=" for name in group), ""]
    return "\n".join(lines)
