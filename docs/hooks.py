"""Pages that are made from the package when the site is built, so that they are never out of date.

A page says where: `<!-- commands -->` is replaced by the commands of `cloudops` and their options,
`<!-- scripts -->` by the table of the cloud's scripts, `<!-- settings -->` by the table of settings,
`<!-- exit statuses -->` by the table of errors that end the command line, `<!-- examples -->` by the
scripts of `examples/`, `<!-- reporting -->` by the sections of `SECURITY.md`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from click import Context, Group
from click.testing import CliRunner

from cfa.cloudops import errors, settings
from cfa.cloudops.cli.app import app
from cfa.cloudops.cli.scripts import SCRIPTS

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for each page."""
    for mark, make in MADE.items():
        if mark in markdown:
            markdown = markdown.replace(mark, make())
    return markdown


def commands() -> str:
    """What `--help` says of each command."""
    return "\n".join(_helps([], app))


def _helps(path: list[str], command: Any) -> Iterator[str]:
    done = CliRunner().invoke(app, [*path, "--help"], prog_name="cloudops", terminal_width=100)
    if done.exit_code:
        raise RuntimeError(f"cloudops {' '.join(path)} --help failed: {done.output}")
    yield f"{'#' * min(2 + len(path), 4)} {' '.join(['cloudops', *path])}\n"
    yield f"```text\n{done.output.strip()}\n```\n"
    if isinstance(command, Group):
        context = Context(command)
        for name in command.list_commands(context):
            yield from _helps([*path, name], command.get_command(context, name))


def scripts_table() -> str:
    """The cloud's scripts, and the command that each is."""
    rows = [
        (f"`{name}`", f"`cloudops {' '.join(script.words)}`") for name, script in SCRIPTS.items()
    ]
    return table(("script", "command"), rows)


def settings_table() -> str:
    """The variables, as `settings.py` describes them."""
    return table(
        ("variable", "meaning"),
        ((f"`{name}`", meaning) for name, meaning in settings.VARIABLES.items()),
    )


def exit_statuses() -> str:
    """Errors by the exit status that they give the command line."""
    found: dict[int, list[str]] = {}
    for name, one in vars(errors).items():
        if inspect.isclass(one) and issubclass(one, errors.CloudOpsError):
            found.setdefault(one.exit_status, []).append(f"`{name}`")
    return table(("status", "errors"), ((str(s), ", ".join(found[s])) for s in sorted(found)))


def examples() -> str:
    """The script of each example."""
    parts = []
    for script in sorted(EXAMPLES.glob("*/run.*")):
        language = {".py": "python", ".sh": "sh"}[script.suffix]
        parts.append(f"## {script.parent.name}\n\n```{language}\n{script.read_text()}```\n")
    return "\n".join(parts)


def reporting() -> str:
    """How to report a fault, one level below a section."""
    _, *sections = (ROOT / "SECURITY.md").read_text().split("\n## ")
    return "\n".join(f"### {section}" for section in sections)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return (
        "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |"
            for line in lines
        )
        + "\n"
    )


MADE: dict[str, Callable[[], str]] = {
    "<!-- commands -->": commands,
    "<!-- scripts -->": scripts_table,
    "<!-- settings -->": settings_table,
    "<!-- exit statuses -->": exit_statuses,
    "<!-- examples -->": examples,
    "<!-- reporting -->": reporting,
}
