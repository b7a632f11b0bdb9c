"""How commands are found: groups that load late, names of the cloud's scripts, common options."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from functools import cache
from typing import Annotated, Any

import typer
from attrs import evolve
from typer.core import TyperGroup

from cfa.cloudops.cli.context import Options
from cfa.cloudops.cli.scripts import SCRIPTS

#: Groups of commands -> what they do. Each is `app` of the module of its name, loaded when used.
GROUPS = {
    "autoscale": "Check autoscale formulas.",
    "blob": "Make blob containers; upload, download, list, protect and delete blobs.",
    "image": "Build, name and push images, and list them.",
    "job": "Create, list, show, monitor, terminate and delete jobs, and fetch their results.",
    "pool": "Create, list, show and delete pools.",
    "schedule": "Create, list, show, suspend, resume and delete job schedules. Their jobs start while "
    "an agent runs: cloudops agent --stay.",
    "task": "Add, list, show, terminate and delete tasks.",
    "vm": "Names and quotas of VM sizes.",
}
_MODULES = {
    "blob": "blobs", "image": "images", "job": "jobs", "pool": "pools", "schedule": "schedules",
    "task": "tasks", "vm": "lookups",
}  # fmt: skip


def group() -> typer.Typer:
    """An application that becomes a group; what it is about says `GROUPS`."""
    return typer.Typer(rich_markup_mode=None)


class _Group(TyperGroup):
    """A group whose commands take lists as the cloud's scripts do: `-d one two` is `-d one -d two`."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  the base class's
        """The command of a name, written with `-` or `_`."""
        return self.commands.get(cmd_name) or self.commands.get(cmd_name.replace("_", "-"))

    def resolve_command(
        self, ctx: Any, args: list[str]
    ) -> tuple[str | None, Any | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if command is None or isinstance(command, TyperGroup):
            return name, command, rest
        return name, command, list(spread(command, rest))


class LateGroup(_Group):
    """A group whose module is imported when one of its commands is asked for."""

    def __init__(self, name: str, module: str, help: str) -> None:
        self._module: str | None = module
        super().__init__(name=name, help=help, no_args_is_help=True, rich_markup_mode=None)

    @property
    def commands(self) -> Any:
        """Name -> command."""
        if self._module is not None:
            module, self._module = self._module, None
            made = typer.main.get_group(importlib.import_module(module).app)
            self._commands = dict(made.commands)
            add_common_options(self._commands.values())
        return self._commands

    @commands.setter
    def commands(self, value: Mapping[str, Any]) -> None:
        """What the base class sets is nothing yet."""


class Root(_Group):
    """The command `cloudops`: it also knows the names of the cloud's scripts, which help leaves out."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        add_common_options(self.commands.values())
        for name, help in GROUPS.items():
            module = f"cfa.cloudops.cli.{_MODULES.get(name, name)}"
            self.commands.setdefault(name, LateGroup(name, module, help))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name, which may be that of a script."""
        found = super().get_command(ctx, cmd_name)
        if found is None and plain(cmd_name) in SCRIPTS:
            found = self
            for word in SCRIPTS[plain(cmd_name)]:
                found = found.commands[word]
        return found

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """What the shell is told: our commands; once something is typed, names of scripts as well."""
        found = super().shell_complete(ctx, incomplete)
        if incomplete:
            names = (name.replace("_", "-") if "-" in incomplete else name for name in SCRIPTS)
            given = {one.value for one in found}
            scripts = {
                name: self.get_command(ctx, name)
                for name in names
                if name.startswith(incomplete) and name.replace("_", "-") not in given
            }
            # A group of their own makes the items: their class moved between versions of typer.
            group = TyperGroup(name="scripts", commands=scripts)
            found += group.shell_complete(type(ctx)(group, parent=ctx), incomplete)
        return found


def plain(text: str) -> str:
    """Options and commands are the same with `-` and `_`."""
    return text.replace("-", "_")


def spread(command: Any, words: Iterable[str]) -> Iterator[str]:
    """The words after a command, with each option that takes a list repeated for each item.

    Left alone where the command takes words of its own, because they could be either.
    """
    if any(param.param_type_name == "argument" for param in command.params):
        yield from words
        return
    lists = {plain(name) for param in command.params if param.multiple for name in param.opts}
    option, items = "", 0
    for word in words:
        if word.startswith("-"):
            option = word if plain(word) in lists else ""
            items = 0
        elif option:
            items += 1
            if items > 1:
                yield option
        yield word


# --- options that all commands take


def add_common_options(commands: Iterable[Any]) -> None:
    """Let commands take what every script of the cloud takes, as far as they do not use the names."""
    for command in commands:
        if isinstance(command, TyperGroup):
            add_common_options(command.commands.values())
            continue
        if command.name == "test":  # `-p` is one of pytest's
            continue
        taken = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
        for option in map(copy, _common_options()):
            option.opts = [name for name in option.opts if name not in taken]
            command.params.append(option)


@cache
def _common_options() -> list[Any]:
    app = typer.Typer(add_completion=False)
    app.command()(_common)
    return list(typer.main.get_command(app).params)


def _use_dotenv(ctx: typer.Context, path: str | None) -> str | None:
    if path is not None:
        ctx.obj = evolve(ctx.find_object(Options) or Options(), dotenv=path)
    return path


def _common(
    dotenv_path: Annotated[
        str | None,
        typer.Option(
            "--dotenv_path", "-p", callback=_use_dotenv, expose_value=False, metavar="FILE",
            help="Settings; .env here when not given.",
        ),
    ] = None,
    use_sp: Annotated[
        bool, typer.Option("--use_sp", "-sp", expose_value=False, hidden=True)
    ] = False,
    use_federated: Annotated[
        bool, typer.Option("--use_federated", "-f", expose_value=False, hidden=True)
    ] = False,
) -> None:  # fmt: skip
    """Options of every command; how to log in means nothing here."""
