"""How commands are found: groups that load late, scripts of the cloud's package, common options."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

import click
from attrs import evolve
from click.formatting import wrap_text

from cfa.cloudops.cli.context import Options
from cfa.cloudops.cli.declare import Command, Commands, CommonOption, kebab
from cfa.cloudops.cli.scripts import SCRIPTS

#: Sections of the help -> commands, what is used most first -> the module that has the command.
SECTIONS: Mapping[str, Mapping[str, str]] = {
    "Run and watch": {
        "run": "app",
        "status": "overview",
        "logs": "app",
        "run-experiment": "automation",
        "run-tasks": "automation",
    },
    "Jobs, tasks and pools": {
        "job": "jobs",
        "task": "tasks",
        "pool": "pools",
        "schedule": "schedules",
        "autoscale": "autoscale",
    },
    "Files": {"blob": "blobs"},
    "Images": {"image": "images"},
    "Cloud look-ups": {
        "vm": "lookups",
        "get-kv-secret": "lookups",
        "check-credentials": "lookups",
    },
    "Maintenance": {
        "doctor": "app",
        "backends": "app",
        "agent": "app",
        "sweep": "app",
        "completion": "app",
        "generate-sample-env": "samples",
    },
}
#: Commands that are groups -> what they do.
GROUPS = {
    "autoscale": "Check autoscale formulas.",
    "blob": "Create blob containers; upload, download, list, protect and delete blobs.",
    "image": "Build, name and push images, and list them.",
    "job": "Create, list, show, monitor, terminate and delete jobs, and fetch their results.",
    "pool": "Create, list, show and delete pools.",
    "schedule": "Create, list, show, suspend, resume and delete job schedules. Their jobs start only "
    "while an agent runs: cloudops agent --stay.",
    "task": "Add, list, show, terminate and delete tasks.",
    "vm": "Show names and quotas of VM sizes.",
}
_MODULES = {name: module for section in SECTIONS.values() for name, module in section.items()}
#: Scripts that are no commands of ours.
_GREETINGS = {"hello": "greeting", "test": "greeting"}
#: Letters that every script has.
_LETTERS = {"dotenv": "p"}
_SCRIPTS_TITLE = "Scripts of the cloud's package, with their own letters for options"


class _Group(click.Group):
    """A group that makes its commands when they are asked for, and shows their summaries whole."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of a name, written with `-` or `_`."""
        return self._kept(kebab(cmd_name))

    def _kept(self, name: str) -> click.Command | None:
        if name not in self.commands:
            made = self.make(name)
            if made is None:
                return None
            self.commands[name] = made
        return self.commands[name]

    def make(self, name: str) -> click.Command | None:
        """The command of a name, if there is one."""
        raise NotImplementedError

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        wanted = args[0]
        if (
            not wanted.startswith("-")
            and not ctx.resilient_parsing
            and self.get_command(ctx, wanted) is None
        ):
            close = self.similar(ctx, kebab(wanted))
            meant = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
            ctx.fail(f"There is no command {wanted!r}.{meant}")
        return super().resolve_command(ctx, args)

    def similar(self, ctx: click.Context, name: str) -> list[str]:
        """Commands that somebody may have meant with a name that is none."""
        return _similar(name, self.list_commands(ctx))

    def write_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter, title: str, names: Any
    ) -> None:
        """Write a section of the help."""
        rows = []
        for name in names:
            command = self.get_command(ctx, name)
            if command is not None:
                rows.append((name, command.get_short_help_str(limit=1000)))
        with formatter.section(title):
            formatter.write_dl(rows)


class LateGroup(_Group):
    """A group whose module is imported when one of its commands is asked for."""

    def __init__(self, name: str, module: str, help: str) -> None:
        super().__init__(
            name=name, help=help, no_args_is_help=True, params=common_options(group=True)
        )
        self._module = module

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  the base class's
        """Names of the commands, in the order of their module."""
        return list(_functions(self._module, "commands"))

    def make(self, name: str) -> Command | None:
        """A new command, if there is one of this name."""
        return _made(self._module, "commands", name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands' names and summaries."""
        self.write_commands(ctx, formatter, "Commands", self.list_commands(ctx))


class Root(_Group):
    """The command `cloudops`: it also knows the names of the cloud's scripts."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  the base class's
        """Names of our commands, as the help has them."""
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of a name. Where a script and a command of ours share it, `_` is the script."""
        ours, script = kebab(cmd_name), cmd_name.replace("-", "_")
        is_script = script in SCRIPTS and ("_" in cmd_name or ours not in _MODULES)
        return self._kept(script if is_script else ours)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As always; `help job list` is `job list --help`."""
        if args[0] != "help":
            return super().resolve_command(ctx, args)
        words = [word for word in args[1:] if word != "--help"]
        if not words:
            click.echo(ctx.get_help())
            ctx.exit()
        # Before what follows the name: `run` would pass it to the script.
        named = 2 if kebab(words[0]) in GROUPS else 1
        return super().resolve_command(ctx, [*words[:named], "--help"])

    def make(self, name: str) -> click.Command | None:
        """A new command or group; it may be a script of the cloud's package."""
        if name in GROUPS:
            return LateGroup(name, _MODULES[name], GROUPS[name])
        if name in _MODULES:
            return _made(_MODULES[name], "root", name)
        return self._script(name) if name in SCRIPTS else None

    def similar(self, ctx: click.Context, name: str) -> list[str]:  # noqa: ARG002  the base class's
        """Commands of groups come first, where the name is exactly theirs."""
        within = [
            (group, command)
            for group in GROUPS
            for command in _functions(_MODULES[group], "commands")
        ]
        known = {
            **{"-".join(words): " ".join(words) for words in within},
            **{kebab(script): script for script in SCRIPTS},
            **{command: command for command in _MODULES},
        }
        if name in known:
            return [known[name]]
        exact = [" ".join(words) for words in within if words[1] == name]
        return exact or [known[one] for one in _similar(name, known)]

    def _script(self, name: str) -> Command:
        """Our command that a script is, with the script's letters instead of ours."""
        script = SCRIPTS[name]
        *group, own = script.words
        module = _MODULES[group[0]] if group else {**_MODULES, **_GREETINGS}[own]
        command = _made(module, "commands" if group else "root", own)
        assert command is not None  # noqa: S101  the table says so, and a test
        command.name = name
        for param in command.params:
            if isinstance(param, click.Option):
                long = [spelling for spelling in param.opts if spelling.startswith("--")]
                letter = {**script.letters, **_LETTERS}.get(long[0][2:]) if long else None
                param.opts = [*long, f"-{letter}"] if letter else long
        if own != "test":  # its options are pytest's
            command.params += script_options()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write our commands by section, and the names of the scripts."""
        for title, names in SECTIONS.items():
            self.write_commands(ctx, formatter, title, names)
        with formatter.section(_SCRIPTS_TITLE):
            indent = " " * formatter.current_indent
            wrapped = wrap_text(", ".join(SCRIPTS), formatter.width, indent, indent)
            formatter.write(f"{wrapped}\n")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """What the shell is told: our commands; once something is typed, names of scripts as well."""
        from click.shell_completion import CompletionItem

        found = super().shell_complete(ctx, incomplete)
        given = {kebab(one.value) for one in found}
        for name in map(kebab, SCRIPTS) if "-" in incomplete else SCRIPTS:
            if incomplete and name.startswith(incomplete) and kebab(name) not in given:
                command = self.get_command(ctx, name)
                help = command.get_short_help_str() if command is not None else None
                found.append(CompletionItem(name, help=help))
        return found


def explained(error: click.ClickException) -> click.ClickException:
    """The error, with what an unknown letter is here when it is one of the script that a command is."""
    if not isinstance(error, click.NoSuchOption) or error.ctx is None:
        return error
    path = error.ctx.command_path.split()[1:]
    for name, script in SCRIPTS.items():
        for long, letter in script.letters.items():
            if list(script.words) == path and f"-{letter}" == error.option_name:
                more = f"Here it is --{long}; -{letter} is of the script {name}."
                return click.UsageError(f"{error.format_message()} {more}", error.ctx)
    return error


def _similar(name: str, known: Iterable[str]) -> list[str]:
    """Names that somebody may have meant with another one, the likeliest first."""
    from difflib import get_close_matches  # only for a call that has a mistake

    return get_close_matches(name, list(known), 3, 0.66)


def _functions(module: str, place: str) -> Mapping[str, Any]:
    return _commands(module, place).functions


def _commands(module: str, place: str) -> Commands:
    found = getattr(importlib.import_module(f"cfa.cloudops.cli.{module}"), place)
    assert isinstance(found, Commands)  # noqa: S101  a module of ours
    return found


def _made(module: str, place: str, name: str) -> Command | None:
    """A new command of a module, with the options that all commands take."""
    command = _commands(module, place).make(name)
    if command is not None and name != "test":
        taken = {param.name for param in command.params}
        command.params += [one for one in common_options() if one.name not in taken]
    return command


# --- options that all commands take


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Keep what is given, before or after the command, for all that asks for settings."""
    if value not in (None, False):
        given = ctx.find_object(Options) or Options()
        ctx.obj = evolve(given, **{str(param.name): value})


def _keep_backend(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Keep a backend's name, which must be known even where nothing asks the backend.

    Raises:
        BackendError: there is no such backend, or it is not installed.
    """
    if value is not None and (name := value.strip().lower()) != "auto":
        from cfa.cloudops import backends

        backends.choose(name)
    _keep(ctx, param, value)


def _refuse_json(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Say of a command that prints no JSON that it does not."""
    del param
    if value or (ctx.find_object(Options) or Options()).as_json:
        raise click.UsageError(f"{ctx.command_path} prints no JSON. Leave --json out.", ctx)


def common_options(*, group: bool = False) -> list[click.Parameter]:
    """Options that every command takes; the last one says of a group that it waits for its command."""
    kept: dict[str, Any] = {"expose_value": False, "callback": _keep}
    return [
        CommonOption(
            ["home", "--home"], metavar="DIR", help="The workspace; default: CLOUDOPS_HOME.", **kept
        ),
        CommonOption(
            ["dotenv", "--dotenv", "--dotenv-path"],
            metavar="FILE", help="File with settings; default: ./.env.", **kept,
        ),
        CommonOption(
            ["backend", "--backend"], metavar="NAME", expose_value=False, callback=_keep_backend,
            help="docker, podman, subprocess, a plugin's name, or auto.",
        ),
        CommonOption(
            ["as_json", "--json"], is_flag=True, hidden=not group, expose_value=False,
            callback=_keep if group else _refuse_json, help="Print one JSON document.",
        ),
    ]  # fmt: skip


def script_options() -> list[click.Parameter]:
    """How scripts log in to the cloud, which means nothing here."""
    return [
        CommonOption(names, is_flag=True, hidden=True, expose_value=False)
        for names in (["-sp", "--use-sp"], ["-f", "--use-federated"])
    ]
