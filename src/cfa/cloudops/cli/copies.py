"""Uploads and downloads of `cloudops blob`."""

from __future__ import annotations

import logging
import os
from typing import Annotated

import typer

from cfa.cloudops.cli import completion, output
from cfa.cloudops.cli.context import listed, open_storage

Container = Annotated[
    str,
    typer.Option(
        "--container_name", "-c", help="A blob container.", autocompletion=completion.containers
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option("--include_extensions", "-i", metavar="EXT", help="Only these last suffixes."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude_extensions", "-e", metavar="EXT", help="All but these; not with -i."),
]
Location = Annotated[
    str, typer.Option("--location_in_blob", "-l", help="Folder in the container; . is its root.")
]
CheckSize = Annotated[
    bool,
    typer.Option("--check_size", "-check", help="Ask at a terminal before very much is fetched."),
]
Source = Annotated[
    str, typer.Option("--src_path", "-s", help="A folder of the container; . is all of it.")
]
Destination = Annotated[
    str, typer.Option("--dest_path", "-d", help="Local folder, made if missing.")
]


def register(app: typer.Typer) -> None:
    """Make the commands of this module those of an application."""
    for command in (
        upload_file,
        upload_folder,
        async_upload_folder,
        download_file,
        download_folder,
        async_download_folder,
    ):
        app.command()(command)


def upload_file(
    ctx: typer.Context,
    source_path: Annotated[
        str, typer.Option("--source_path", "-s", help="The file, relative to -l.")
    ],
    container_name: Container,
    local_root_dir: Annotated[
        str, typer.Option("--local_root_dir", "-l", help="No part of the blob's name.")
    ] = ".",
    location_in_blob: Annotated[
        str,
        typer.Option("--location_in_blob", "-loc", help="Folder in the container; . is its root."),
    ] = ".",
) -> None:
    """Upload one file. A blob that exists is replaced."""
    with open_storage(ctx) as storage:
        storage.upload_files(source_path, container_name, local_root_dir, location_in_blob)
    output.line(f"uploaded {source_path} to {container_name}")


def upload_folder(
    ctx: typer.Context,
    folder_name: Annotated[
        str, typer.Option("--folder_name", "-n", help="Relative; part of the blobs' names.")
    ],
    container_name: Container,
    include_extensions: Include = None,
    exclude_extensions: Exclude = None,
    exclude_patterns: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Leave out what holds or matches it; several times."),
    ] = None,
    location_in_blob: Location = ".",
    force_upload: Annotated[
        bool, typer.Option("--force_upload", "-fu", help="Do not ask about many files.")
    ] = False,
    create_new_folder: Annotated[
        bool, typer.Option("--create_new_folder", help="Make the folder in the container.")
    ] = False,
) -> None:
    """Upload a folder with all below it; its name stays part of the blobs' names."""
    with open_storage(ctx) as storage:
        paths = storage.upload_folders(
            folder_name,
            container_name,
            include_extensions=listed(include_extensions),
            exclude_extensions=listed(exclude_extensions),
            exclude_patterns=exclude_patterns,
            location_in_blob=location_in_blob,
            force_upload=force_upload,
            create_new_folder=create_new_folder,
        )
    output.line(f"uploaded {output.files(len(paths))} to {container_name}")


def async_upload_folder(
    ctx: typer.Context,
    folders: Annotated[
        list[str], typer.Option("--folders", "-n", metavar="FOLDER", help="Folders; several.")
    ],
    container_name: Container,
    include_extensions: Include = None,
    exclude_extensions: Exclude = None,
    location_in_blob: Location = ".",
    max_concurrent_uploads: Annotated[
        int, typer.Option("--max_concurrent_uploads", "-mcu", metavar="N", help="Files at once.")
    ] = 20,
    legal_hold: Annotated[
        bool,
        typer.Option("--legal_hold", "-lh", help="Keep them from being deleted and replaced."),
    ] = False,
    immutability_lock_days: Annotated[
        int,
        typer.Option(
            "--immutability_lock_days", "-ild", metavar="DAYS", help="Keep them for so many days."
        ),
    ] = 0,
    read_only: Annotated[
        bool, typer.Option("--read_only", "-ro", help="Seal them: never to be replaced again.")
    ] = False,
) -> None:
    """Upload what is in folders, several files at once, without the folders' own names."""
    with open_storage(ctx) as storage:
        paths = storage.async_upload_folder(
            folders,
            container_name,
            include_extensions=listed(include_extensions),
            exclude_extensions=listed(exclude_extensions),
            location_in_blob=location_in_blob,
            max_concurrent_uploads=max_concurrent_uploads,
            legal_hold=legal_hold,
            immutability_lock_days=immutability_lock_days,
            read_only=read_only,
        )
    output.line(f"uploaded {output.files(len(paths))} to {container_name}")


def download_file(
    ctx: typer.Context,
    container_name: Container,
    blob_name: Annotated[str, typer.Option("--blob_name", "-b", help="The blob.")],
    destination_path: Annotated[
        str, typer.Option("--destination_path", "-d", help="The file to write.")
    ],
    check_size: CheckSize = False,
) -> None:
    """Download one blob. A file that exists is replaced."""
    with open_storage(ctx) as storage:
        storage.download_file(blob_name, destination_path, container_name, check_size=check_size)
    _say(storage.fetched, destination_path)


def download_folder(
    ctx: typer.Context,
    src_path: Source,
    dest_path: Destination,
    container_name: Container,
    include_extensions: Include = None,
    exclude_extensions: Exclude = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Name each file.")] = False,
    check_size: CheckSize = False,
) -> None:
    """Download all blobs below a folder. Their whole names are kept below the target."""
    with open_storage(ctx) as storage:
        if verbose and "LOG_LEVEL" not in os.environ:
            logging.getLogger("cfa.cloudops").setLevel(logging.INFO)
        storage.download_folder(
            src_path,
            dest_path,
            container_name,
            listed(include_extensions),
            listed(exclude_extensions),
            verbose=verbose,
            check_size=check_size,
        )
    _say(storage.fetched, dest_path)


def async_download_folder(
    ctx: typer.Context,
    src_path: Source,
    dest_path: Destination,
    container_name: Container,
    include_extensions: Include = None,
    exclude_extensions: Exclude = None,
    check_size: CheckSize = False,
    max_concurrent_downloads: Annotated[
        int, typer.Option("--max_concurrent_downloads", "-mcd", metavar="N", help="Files at once.")
    ] = 20,
) -> None:
    """Download all blobs below a folder, several at once."""
    with open_storage(ctx) as storage:
        storage.async_download_folder(
            src_path,
            dest_path,
            container_name,
            listed(include_extensions),
            listed(exclude_extensions),
            check_size=check_size,
            max_concurrent_downloads=max_concurrent_downloads,
        )
    _say(storage.fetched, dest_path)


def _say(files: int, target: str) -> None:
    output.line(f"downloaded {output.files(files)} to {target}")
