"""`cloudops blob`: containers, what is in them, and its protection. The copies are in `copies`."""

from __future__ import annotations

from typing import Annotated

import click

from cfa.cloudops.cli import completion, output
from cfa.cloudops.cli.context import Json, one_of, open_storage
from cfa.cloudops.cli.copies import Container, commands
from cfa.cloudops.cli.declare import argument, option


@commands.add("create-container")
def create_container(
    ctx: click.Context,
    container_name: Annotated[
        str,
        option(
            "-c",
            "--container-name",
            help="Name: on Azure, 3 to 63 lower-case letters, digits and hyphens.",
        ),
    ],
) -> None:
    """Create a blob container. One that exists stays as it is."""
    with open_storage(ctx) as storage:
        storage.create_blob_container(container_name)
    output.line(f"blob container {container_name} is ready")


@commands.add("list")
def list_blobs(
    ctx: click.Context,
    container: Annotated[
        str | None, argument(metavar="[CONTAINER]", shell_complete=completion.containers)
    ] = None,
    container_name: Annotated[
        str | None,
        option(
            "-c", "--container-name", help="The blob container, as an option.",
            shell_complete=completion.containers,
        ),
    ] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """List the blobs of a container, or all containers if none is named, one per line."""
    with open_storage(ctx) as storage:
        if container is None and container_name is None:
            found = storage.list_containers()
        else:
            found = storage.list_blob_files(one_of(container, container_name, "container"))
    if as_json:
        output.document(found)
        return
    for name in found:
        output.line(name)


@commands.add("delete-file")
def delete_file(
    ctx: click.Context,
    container_name: Container,
    blob_name: Annotated[str, option("--blob-name", help="The blob.")],
) -> None:
    """Delete one blob. Exit status: 4 if it is protected."""
    with open_storage(ctx) as storage:
        storage.delete_blob_file(blob_name, container_name)
    output.line(f"deleted {blob_name}")


@commands.add("delete-folder")
def delete_folder(
    ctx: click.Context,
    container_name: Container,
    blob_folder_name: Annotated[
        str, option("--blob-folder-name", help="A folder of the container.")
    ],
) -> None:
    """Delete all blobs below a folder.

    If one is protected, none is deleted, and the exit status is 4.
    """
    with open_storage(ctx) as storage:
        storage.delete_blob_folder(blob_folder_name, container_name)
    output.line(f"deleted {blob_folder_name}")


@commands.add()
def protect(
    ctx: click.Context,
    source_path: Annotated[
        list[str], option("--source-path", metavar="BLOB", help="The blobs; repeatable.")
    ],
    container_name: Container,
    legal_hold: Annotated[
        bool, option("--legal-hold", help="Set the hold; without this option, clear it.")
    ] = False,
    read_only: Annotated[
        bool, option("--read-only", help="Seal the blobs: they can never be replaced.")
    ] = False,
) -> None:
    """Set or clear the legal hold of blobs, of all or none.

    A blob under a legal hold cannot be deleted.
    """
    with open_storage(ctx) as storage:
        storage.update_blob_protection(source_path, container_name, legal_hold, read_only)
    done = "set" if legal_hold else "cleared"
    output.line(f"{done} the legal hold of {', '.join(source_path)}")
