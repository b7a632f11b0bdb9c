"""What all commands share: global options, settings, the workspace."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Annotated

import click
from attrs import frozen

from cfa.cloudops.cli.declare import option
from cfa.cloudops.cli.scripts import SCRIPTS
from cfa.cloudops.errors import AmbiguousCallError, WorkspaceNotFoundError

if TYPE_CHECKING:
    from cfa.cloudops.client.storage import Storage
    from cfa.cloudops.local import CloudClient
    from cfa.cloudops.service.local import LocalBatch
    from cfa.cloudops.service.workspace import Workspace
    from cfa.cloudops.settings import Settings


def wants_json(ctx: click.Context, param: click.Parameter, value: bool) -> bool:
    """Whether JSON is wanted, said after the command or before it."""
    del param
    return value or (ctx.find_object(Options) or Options()).as_json


#: The option of every command that lists or shows.
Json = Annotated[bool, option("--json", callback=wants_json, help="Print one JSON document.")]
#: The option of commands that show what programs wrote.
Raw = Annotated[bool, option("--raw", help="Write control characters as they are.")]


@frozen(kw_only=True)
class Options:
    """Options that all commands take, given before or after the command."""

    home: str | None = None
    dotenv: str | None = None
    backend: str | None = None
    as_json: bool = False


def one_of(word: str | None, option: str | None, what: str) -> str:
    """What is named once, by a word or by an option.

    Raises:
        AmbiguousCallError: nothing is named, or two things are.
    """
    if word is not None and option is not None and word != option:
        raise AmbiguousCallError(
            f"Two {what}s are named, but only one is possible: {word} and {option}.", "Name one."
        )
    return all_of(None if word is None else [word], None if option is None else [option], what)[0]


def all_of(words: Sequence[str] | None, options: Sequence[str] | None, what: str) -> list[str]:
    """What is named by words, by options or by both; twice named is once meant.

    Raises:
        AmbiguousCallError: nothing is named.
    """
    found = list(dict.fromkeys([*(words or ()), *(options or ())]))
    if not found:
        raise AmbiguousCallError(f"No {what} is named.", f"'cloudops {what} list' shows them.")
    return found


def listed(items: Iterable[str] | None) -> list[str] | None:
    """Items of an option that takes a list: `-d a -d b`, `-d a b`, `-d a,b` and `-d 'a b'` are one."""
    if items is None:
        return None
    return [word for item in items for word in item.replace(",", " ").split()]


def load_settings(
    ctx: click.Context, arguments: Mapping[str, str | None] | None = None
) -> Settings:
    """The settings, with `auto` as the default backend.

    Raises:
        SettingError: a value cannot be used, or the dotenv file that was named.
    """
    from cfa.cloudops import settings

    options = ctx.find_object(Options) or Options()
    return settings.load(
        default_backend="auto",
        dotenv_path=options.dotenv,
        # As the scripts of the cloud's package do, theirs go on without a file that is not there.
        dotenv=settings.read_dotenv(options.dotenv, required=ctx.command.name not in SCRIPTS),
        arguments={
            "CLOUDOPS_HOME": options.home,
            "CLOUDOPS_BACKEND": options.backend,
            **(arguments or {}),
        },
    )


def find_workspace(settings: Settings) -> Workspace:
    """The workspace that the settings name. Nothing is made.

    Raises:
        UntrustedWorkspaceError: it is not the caller's alone. WorkspaceNotFoundError: there is none.
        StoreUnreadableError: it may not be looked at.
    """
    from cfa.cloudops.service import owner
    from cfa.cloudops.service.workspace import Workspace

    owner.check(settings.home)
    workspace = Workspace(settings.home)
    if not workspace.exists():
        raise WorkspaceNotFoundError(
            f"There is no workspace here: {settings.home} does not exist or has no store.",
            "Change to the directory where the script ran, or name its workspace with --home DIR "
            "or CLOUDOPS_HOME.",
        )
    return workspace


@contextmanager
def open_batch(ctx: click.Context) -> Iterator[LocalBatch]:
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


@contextmanager
def open_client(
    ctx: click.Context, *, make: bool = False, quiet: bool = True
) -> Iterator[CloudClient]:
    """A client, which goes without a word about what it added.

    Args:
        ctx: of the command.
        make: make a workspace where there is none.
        quiet: what it logs and prints goes to standard error, so that programs can read what the
            command prints.

    Raises:
        WorkspaceNotFoundError: there is none. StoreError: it cannot be used.
    """
    if not make:
        find_workspace(load_settings(ctx))
    from cfa.cloudops.local import CloudClient
    from cfa.cloudops.settings import take_back_dotenv

    options = ctx.find_object(Options) or Options()
    with redirect_stdout(sys.stderr if quiet else sys.stdout):
        client = CloudClient(dotenv_path=options.dotenv, home=options.home, backend=options.backend)
        take_back_dotenv()
        try:
            yield client
        finally:
            client.close()


@contextmanager
def open_storage(ctx: click.Context) -> Iterator[Storage]:
    """The blob calls of a client, without a workspace. Its log is on standard error."""
    from cfa.cloudops.client.storage import Storage

    with redirect_stdout(sys.stderr):
        storage = Storage(load_settings(ctx))
        try:
            yield storage
        finally:
            storage.close()
