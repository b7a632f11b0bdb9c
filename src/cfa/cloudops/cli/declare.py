"""Commands of click from functions: a function's parameters, as they are annotated, are the command's.

    jobs = Commands()

    @jobs.add("list")
    def list_jobs(ctx: click.Context, as_json: Annotated[bool, option("--json")] = False) -> None:
        \"\"\"What the help says.\"\"\"

The annotated type gives what click is told besides: `bool` is a flag, a list may be given several
times, and a parameter without a default is required. A command is made of its function when it is
asked for, not before.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import NoneType
from typing import Any, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

import click
from attrs import frozen

Function: TypeAlias = Callable[..., None]
_F = TypeVar("_F", bound=Function)
#: Values of which a help need not say that they are the default.
_NOTHING = (None, False, "")


@frozen
class _Declared:
    """What a parameter is, as far as its type and its default do not say it."""

    kind: type[click.Parameter]
    names: tuple[str, ...]
    more: Mapping[str, Any]


def option(*names: str, **more: Any) -> Any:
    """An option: its spellings, that of the parameter when none is given, and what click takes."""
    return _Declared(click.Option, names, more)


def argument(**more: Any) -> Any:
    """A word of its own, with `help` and what click takes."""
    return _Declared(_Argument, (), more)


class _Argument(click.Argument):
    """A word of its own that the help may describe; older versions of click cannot."""

    def __init__(self, names: Sequence[str], *, help: str = "", **more: Any) -> None:
        super().__init__(names, **more)
        self.about = help

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        return self.make_metavar(ctx), self.about


class CommonOption(click.Option):
    """An option that all commands take: help shows it after their own."""


class Command(click.Command):
    """A command that takes lists as the cloud's scripts do: `-d one two` is `-d one -d two`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(spread(self, args)))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what it takes: words, its own options, those of every command."""
        sections: dict[str, list[tuple[str, str]]] = {
            "Arguments": [], "Options": [], "Options of every command": [],
        }  # fmt: skip
        for param in self.get_params(ctx):
            row = param.get_help_record(ctx)
            if row is None:
                continue
            if isinstance(param, CommonOption):
                sections["Options of every command"].append(row)
            elif not isinstance(param, click.Argument):
                sections["Options"].append(row)
            elif row[1]:  # what is not described is in the usage
                sections["Arguments"].append(row)
        for title, rows in sections.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


class AddCommand(Command):
    """A command whose option `--command-line` may also be written as words after `--`, which stay
    words."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        before, words = args, []
        if "--" in args:
            place = args.index("--")
            before, words = args[:place], args[place + 1 :]
        if words and "command_line" in self.make_parser(ctx).parse_args(list(before))[0]:
            raise click.UsageError("--command-line and a program after -- exclude each other.", ctx)
        if words:
            from cfa.cloudops.model import commands

            before = [*before, "--command-line", commands.joined(words)]
        try:
            return super().parse_args(ctx, before)
        except click.MissingParameter as error:
            if error.param is not None and error.param.name == "command_line":
                raise click.UsageError(
                    "No program is given. Write it with its arguments after --, or as one text with "
                    "--command-line.",
                    ctx,
                ) from None
            raise
        except click.UsageError as error:
            if words or "unexpected extra argument" not in error.message:
                raise
            raise click.UsageError(
                f"{error.message}. A program and its arguments come after --.", ctx
            ) from None

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """What the usage shows."""
        return [*super().collect_usage_pieces(ctx), "[-- PROGRAM [ARGS]...]"]


class Commands:
    """The commands of a module, by name.

    `functions`: those of which they are made.
    """

    def __init__(self) -> None:
        self.functions: dict[str, tuple[Function, type[Command], dict[str, Any]]] = {}

    def add(
        self, name: str | None = None, cls: type[Command] = Command, **settings: Any
    ) -> Callable[[_F], _F]:
        """Make a function a command.

        Args:
            name: that of the function, with `-` for `_`, when not given.
            cls: its class.
            settings: the context's.
        """

        def keep(function: _F) -> _F:
            found = name or function.__name__.replace("_", "-")
            self.functions[found] = (function, cls, settings)
            return function

        return keep

    def make(self, name: str) -> Command | None:
        """The command of a name, if there is one."""
        if name not in self.functions:
            return None
        function, cls, settings = self.functions[name]
        params, lists, takes_context = _params(function)

        def call(**values: Any) -> None:
            for one in lists:
                values[one] = list(values[one]) or None
            if takes_context:
                function(click.get_current_context(), **values)
            else:
                function(**values)

        return cls(
            name,
            callback=call,
            params=params,
            help=inspect.getdoc(function),
            context_settings=settings,
        )


def _params(function: Function) -> tuple[list[click.Parameter], list[str], bool]:
    """Parameters for click, names of those that take lists, and whether the context comes first."""
    params: list[click.Parameter] = []
    lists: list[str] = []
    takes_context = False
    hints = get_type_hints(function, include_extras=True)
    for parameter in inspect.signature(function).parameters.values():
        hint = hints[parameter.name]
        if hint is click.Context:
            takes_context = True
            continue
        annotated, declared = get_args(hint)
        kind = next((one for one in get_args(annotated) if one is not NoneType), annotated)
        several = list in (get_origin(annotated), get_origin(kind))
        if several:
            lists.append(parameter.name)
            [kind] = get_args(kind) or [kind]
        params.append(_param(declared, parameter, kind, several))
    return params, lists, takes_context


def _param(
    declared: _Declared, parameter: inspect.Parameter, kind: Any, several: bool
) -> click.Parameter:
    required = parameter.default is parameter.empty
    more: dict[str, Any] = {"required": required, **declared.more}
    more.setdefault("type", kind)
    if issubclass(declared.kind, click.Argument):
        if several:
            more["nargs"] = -1
        return declared.kind([parameter.name], **more)
    if kind is bool:
        more.pop("type")
        more["is_flag"] = True
    if several:
        more["multiple"] = True
    elif not required:
        more["default"] = parameter.default
        more["show_default"] = parameter.default not in _NOTHING
    names = declared.names or (f"--{parameter.name.replace('_', '-')}",)
    return declared.kind([parameter.name, *names], **more)


def kebab(text: str) -> str:
    """Options and commands are the same with `-` and `_`."""
    return text.replace("_", "-")


def spread(command: click.Command, words: Iterable[str]) -> Iterator[str]:
    """The words after a command, with each option that takes a list repeated for each item.

    Left alone where the command takes words of its own, because they could be either.
    """
    if any(isinstance(param, click.Argument) for param in command.params):
        yield from words
        return
    several = (one for one in command.params if isinstance(one, click.Option) and one.multiple)
    lists = {kebab(name) for param in several for name in param.opts}
    option, items = "", 0
    for word in words:
        if word.startswith("-"):
            option = word if kebab(word) in lists else ""
            items = 0
        elif option:
            items += 1
            if items > 1:
                yield option
        yield word
