"""What all commands share: global options, settings, the workspace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from attrs import frozen

from cfa.cloudops.errors import WorkspaceNotFoundError

if TYPE_CHECKING:
    from cfa.cloudops.service.local import LocalBatch
    from cfa.cloudops.service.workspace import Workspace
    from cfa.cloudops.settings import Settings

#: The option of every command that lists or shows.
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@frozen(kw_only=True)
class Options:
    """Options before the command."""

    home: str | None = None
    dotenv: str | None = None


def load_settings(
    ctx: typer.Context, arguments: Mapping[str, str | None] | None = None
) -> Settings:
    """The settings, with `auto` as the default backend.

    Raises:
        SettingError: a value cannot be used.
    """
    from cfa.cloudops import settings

    options = ctx.find_object(Options) or Options()
    return settings.load(
        default_backend="auto",
        dotenv_path=options.dotenv,
        arguments={"CLOUDOPS_HOME": options.home, **(arguments or {})},
    )


def find_workspace(settings: Settings) -> Workspace:
    """The workspace that the settings name. Nothing is made.

    Raises:
        WorkspaceNotFoundError: there is none.
    """
    from cfa.cloudops.service.workspace import Workspace

    workspace = Workspace(settings.home)
    if not workspace.store.exists():
        raise WorkspaceNotFoundError(
            f"There is no workspace here: {settings.home} does not exist or has no store.",
            "Change to the directory where the script ran, or name its workspace with --home DIR "
            "or CLOUDOPS_HOME.",
        )
    return workspace


@contextmanager
def open_batch(ctx: typer.Context) -> Iterator[LocalBatch]:
    """The service of an existing workspace.

    Raises:
        WorkspaceNotFoundError: there is none. StoreError: it cannot be used.
    """
    settings = load_settings(ctx)
    find_workspace(settings)
    # By its own path, not through the registry, which costs a tenth of a second.
    from cfa.cloudops.service.local import LocalBatch

    batch = LocalBatch(settings)
    try:
        yield batch
    finally:
        batch.close()
