"""`cloudops image`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Annotated

import click

from cfa.cloudops.cli import output
from cfa.cloudops.cli.context import Json, load_settings
from cfa.cloudops.cli.declare import Commands, option

if TYPE_CHECKING:
    from cfa.cloudops.client.images import Images

commands = Commands()

Registry = Annotated[
    str, option("-r", "--registry-name", help="Name of an Azure registry, or a server.")
]
Repository = Annotated[str, option("--repo-name", help="The repository in the registry.")]
Tag = Annotated[str, option("--tag", help="The tag of the image.")]
DeviceCode = Annotated[
    bool,
    option("--use-device-code", help="A way to log in to Azure; has no effect on this machine."),
]


@commands.add()
def build(
    ctx: click.Context,
    registry_name: Registry,
    repo_name: Repository,
    tag: Tag = "latest",
    path_to_dockerfile: Annotated[
        str, option("--path-to-dockerfile", help="The Dockerfile.")
    ] = "./Dockerfile",
    use_device_code: DeviceCode = False,
) -> None:
    """Build an image from the current directory, and print its full name.

    The image is pushed only if the engine is logged in to the registry, or if CLOUDOPS_REGISTRY names
    it.
    """
    with _images(ctx) as images:
        name = images.package_and_upload_dockerfile(
            registry_name, repo_name, tag, path_to_dockerfile, use_device_code
        )
    output.line(name)


@commands.add()
def upload(
    ctx: click.Context,
    image_name: Annotated[str, option("-i", "--image-name", help="An image of this machine.")],
    registry_name: Registry,
    repo_name: Repository,
    tag: Tag = "latest",
    use_device_code: DeviceCode = False,
) -> None:
    """Name an image for a registry, and print its full name. It is pushed as by image build."""
    with _images(ctx) as images:
        name = images.upload_docker_image(
            image_name, registry_name, repo_name, tag, use_device_code
        )
    output.line(name)


@commands.add("list-tags")
def list_tags(
    ctx: click.Context, registry_name: Registry, repo_name: Repository, as_json: Json = False
) -> None:
    """List the tags of a repository's images on this machine, one per line."""
    with _images(ctx) as images:
        tags = images.list_acr_tags(registry_name, repo_name)
    if as_json:
        output.document(tags)
        return
    for tag in tags:
        output.line(tag)


@commands.add()
def available(
    operating_system: Annotated[
        str | None, option("--operating-system", help="linux or windows.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the operating systems of nodes: only this machine's. These are not container images."""
    from cfa.cloudops.client.lookups import LookupMixin

    found = LookupMixin().list_available_images(operating_system)
    if as_json:
        output.document(found)
        return
    for one in found:
        output.line(f"{one.node_agent_sku_id} {one.os_type}")


@contextmanager
def _images(ctx: click.Context) -> Iterator[Images]:
    """Tells people what is done where it does not disturb those who read names."""
    from cfa.cloudops.client import logs
    from cfa.cloudops.client.images import Images

    with redirect_stdout(sys.stderr):
        logs.configure()
        if "LOG_LEVEL" not in os.environ:
            logging.getLogger("cfa.cloudops").setLevel(logging.INFO)
        yield Images(load_settings(ctx))
