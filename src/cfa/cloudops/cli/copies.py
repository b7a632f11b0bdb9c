"""Uploads and downloads of `cloudops blob`."""

from __future__ import annotations

import logging
import os
from typing import Annotated

import click

from cfa.cloudops.cli import completion, output
from cfa.cloudops.cli.context import listed, open_storage
from cfa.cloudops.cli.declare import Commands, option
from cfa.cloudops.model.plain import counted

Container = Annotated[
    str,
    option(
        "-c", "--container-name", help="A blob container.", shell_complete=completion.containers
    ),
]
Include = Annotated[
    list[str] | None,
    option(
        "--include-extensions",
        metavar="EXT",
        help="Only files that end in EXT, such as .csv; repeatable.",
    ),
]
Exclude = Annotated[
    list[str] | None,
    option(
        "--exclude-extensions",
        metavar="EXT",
        help="Only files that do not end in EXT; excludes --include-extensions.",
    ),
]
Location = Annotated[
    str, option("--location-in-blob", help="Folder in the container; . is the container itself.")
]
CheckSize = Annotated[
    bool,
    option("--check-size", help="At a terminal, ask before a large download."),
]
Source = Annotated[
    str, option("--src-path", help="Folder in the container; . is the container itself.")
]
Destination = Annotated[str, option("-o", "--dest-path", help="Local folder; created if missing.")]


commands = Commands()


@commands.add()
def upload_file(
    ctx: click.Context,
    source_path: Annotated[
        str, option("--source-path", help="The file, relative to --local-root-dir.")
    ],
    container_name: Container,
    local_root_dir: Annotated[
        str, option("--local-root-dir", help="Folder of the file; not part of the blob's name.")
    ] = ".",
    location_in_blob: Annotated[
        str,
        option("--location-in-blob", help="Folder in the container; . is the container itself."),
    ] = ".",
) -> None:
    """Upload one file. A blob that exists is replaced."""
    with open_storage(ctx) as storage:
        storage.upload_files(source_path, container_name, local_root_dir, location_in_blob)
    output.line(f"uploaded {source_path} to {container_name}")


@commands.add()
def upload_folder(
    ctx: click.Context,
    folder_name: Annotated[
        str,
        option("--folder-name", help="The folder, as a relative path; part of the blobs' names."),
    ],
    container_name: Container,
    include_extensions: Include = None,
    exclude_extensions: Exclude = None,
    exclude_patterns: Annotated[
        list[str] | None,
        option(
            metavar="PATTERN",
            help="Leave out files whose path contains or matches PATTERN; repeatable.",
        ),
    ] = None,
    location_in_blob: Location = ".",
    force_upload: Annotated[
        bool, option("--force-upload", help="Do not ask before a large upload.")
    ] = False,
    create_new_folder: Annotated[
        bool, option("--create-new-folder", help="Create the folder in the container.")
    ] = False,
) -> None:
    """Upload a folder with everything in it. Its name is part of the blobs' names."""
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
    output.line(f"uploaded {counted(len(paths), 'file')} to {container_name}")


@commands.add()
def async_upload_folder(
    ctx: click.Context,
    folders: Annotated[
        list[str], option("--folders", metavar="FOLDER", help="The folders; repeatable.")
    ],
    container_name: Container,
    include_extensions: Include = None,
    exclude_extensions: Exclude = None,
    location_in_blob: Location = ".",
    max_concurrent_uploads: Annotated[
        int, option("--max-concurrent-uploads", metavar="N", help="Number of files at once.")
    ] = 20,
    legal_hold: Annotated[
        bool,
        option("--legal-hold", help="Protect the blobs from deletion and replacement."),
    ] = False,
    immutability_lock_days: Annotated[
        int,
        option(
            "--immutability-lock-days", metavar="DAYS", help="Protect the blobs for so many days."
        ),
    ] = 0,
    read_only: Annotated[
        bool, option("--read-only", help="Seal the blobs: they can never be replaced.")
    ] = False,
) -> None:
    """Upload the contents of folders, several files at once, without the folders' own names."""
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
    output.line(f"uploaded {counted(len(paths), 'file')} to {container_name}")


@commands.add()
def download_file(
    ctx: click.Context,
    container_name: Container,
    blob_name: Annotated[str, option("--blob-name", help="The blob.")],
    destination_path: Annotated[str, option("-o", "--destination-path", help="The file to write.")],
    check_size: CheckSize = False,
) -> None:
    """Download one blob. A file that exists is replaced."""
    with open_storage(ctx) as storage:
        storage.download_file(blob_name, destination_path, container_name, check_size=check_size)
    _say(storage.fetched, destination_path)


@commands.add()
def download_folder(
    ctx: click.Context,
    src_path: Source,
    dest_path: Destination,
    container_name: Container,
    include_extensions: Include = None,
    exclude_extensions: Exclude = None,
    verbose: Annotated[
        bool, option("-v", "--verbose", help="Print the name of each file.")
    ] = False,
    check_size: CheckSize = False,
) -> None:
    """Download all blobs below a folder. The files keep the blobs' full names."""
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


@commands.add()
def async_download_folder(
    ctx: click.Context,
    src_path: Source,
    dest_path: Destination,
    container_name: Container,
    include_extensions: Include = None,
    exclude_extensions: Exclude = None,
    check_size: CheckSize = False,
    max_concurrent_downloads: Annotated[
        int, option("--max-concurrent-downloads", metavar="N", help="Number of files at once.")
    ] = 20,
) -> None:
    """Download all blobs below a folder, several files at once."""
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
    output.line(f"downloaded {counted(files, 'file')} to {target}")
