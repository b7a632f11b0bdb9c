"""The parts of the pages that are made from the package: `python docs/generate.py` writes them anew.

    python docs/generate.py           # writes the parts that are out of date, and names their pages
    python docs/generate.py --check   # names them, and writes nothing

A part stands between two marks; what is outside of them is written by hand:

    <!-- begin commands -->
    <!-- end -->

The word after `begin` is one of `PARTS`. `object` and `members` also take the dotted path of a module
or class, whose docstrings they show, one level below the heading before the mark. Pages are kept
with their parts, so that they can be read where they lie.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import griffe

from cfa.cloudops import cli, errors, settings
from cfa.cloudops.cli.scripts import SCRIPTS

DOCS = Path(__file__).parent
ROOT = DOCS.parent
_PART = re.compile(
    r"(?<=^<!-- begin )([^\n]+)( -->\n).*?(?=^<!-- end -->$)", re.MULTILINE | re.DOTALL
)
_MARK = re.compile(r"^<!-- (begin|end)\b", re.MULTILINE)
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#+) ", re.MULTILINE)
#: A section of a help that lists commands, and a command in it: no end of a text that lists names.
_SECTION = re.compile(r"^(?!Usage|Options|Arguments)(\S.*):\n((?:(?:  .*)?\n)+)", re.MULTILINE)
_COMMAND = re.compile(r"(?<!,\n)^  ([a-z][a-z0-9_-]*)(?:  +.*)?$", re.MULTILINE)
#: A signature that is longer has a line for each parameter.
_WIDTH = 88


def main(arguments: list[str]) -> int:
    """Write the pages, or check them; the exit status."""
    if arguments not in ([], ["--check"]):
        print(__doc__)
        return 2
    old = [page for page in sorted(DOCS.rglob("*.md")) if made(page) != page.read_text()]
    for page in old:
        print(f"{page.relative_to(ROOT)} {'is out of date' if arguments else 'is written anew'}")
        if not arguments:
            page.write_text(made(page))
    if old and arguments:
        print("python docs/generate.py writes them anew.")
        return 1
    return 0


def made(page: Path) -> str:
    """A page as it should be.

    Raises:
        ValueError: a mark is missing or unknown; the message names the page.
    """
    text = page.read_text()
    marks = _MARK.findall(text)
    if marks != ["begin", "end"] * (len(marks) // 2):
        raise ValueError(f"{page}: after each '<!-- begin ... -->' comes one '<!-- end -->'.")

    def part(found: re.Match[str]) -> str:
        name, *path = found[1].split()
        if name not in PARTS:
            raise ValueError(f"{page}: there is no part {name!r}; there are: {', '.join(PARTS)}.")
        above = _HEADING.findall(_FENCED.sub("", _PART.sub("", text[: found.start()]))) or [""]
        return f"{found[1]}{found[2]}\n{PARTS[name](len(above[-1]) + 1, *path).strip()}\n\n"

    return _PART.sub(part, text)


# --- the command line


@cache
def help_of(*path: str) -> str:
    """What `cloudops ... --help` prints, whatever library reads the command line."""
    out = io.StringIO()
    status: object = 0
    with (
        mock.patch.object(sys, "argv", ["cloudops", *path, "--help"]),
        mock.patch.dict(os.environ, {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}),
        contextlib.redirect_stdout(out),
    ):
        try:
            cli.main()
        except SystemExit as leaving:
            status = leaving.code
    if status:
        raise RuntimeError(f"cloudops {' '.join(path)} --help ends with status {status}")
    return "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines()) + "\n"


def commands(level: int, *path: str) -> str:
    """The help of a command and of those below it."""
    text = help_of(*path)
    below = [
        commands(min(level + 1, 4), *path, name)
        for section in _SECTION.findall(text)
        for name in _COMMAND.findall(section[1])
    ]
    heading = f"{'#' * level} {' '.join(['cloudops', *path])}"
    return "\n".join([f"{heading}\n\n```text\n{text}```\n", *below])


def scripts(_level: int) -> str:
    """The cloud's scripts, and the command that each is."""
    rows = [
        (f"`{name}`", f"`cloudops {' '.join(script.words)}`") for name, script in SCRIPTS.items()
    ]
    return table(("Script", "Command"), rows)


# --- tables


def variables(_level: int) -> str:
    """The variables, as `settings.py` describes them."""
    rows = [(f"`{name}`", meaning) for name, meaning in settings.VARIABLES.items()]
    return table(("Variable", "Meaning"), rows)


def exit_statuses(_level: int) -> str:
    """Errors by the exit status that they give the command line."""
    found: dict[int, list[str]] = {}
    for name, one in vars(errors).items():
        if inspect.isclass(one) and issubclass(one, errors.CloudOpsError):
            found.setdefault(one.exit_status, []).append(f"`{name}`")
    return table(("Status", "Errors"), ((str(s), ", ".join(found[s])) for s in sorted(found)))


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    head = list(head)
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |\n"
        for line in (head, ["---"] * len(head), *rows)
    )


# --- files of the repository


def examples(level: int) -> str:
    """The script of each example."""
    parts = []
    for script in sorted((ROOT / "examples").glob("*/run.*")):
        language = {".py": "python", ".sh": "sh"}[script.suffix]
        heading = f"{'#' * level} {script.parent.name}"
        parts.append(f"{heading}\n\n```{language}\n{script.read_text()}```\n")
    return "\n".join(parts)


def reporting(level: int) -> str:
    """The sections of `SECURITY.md`."""
    _, *sections = (ROOT / "SECURITY.md").read_text().split("\n## ")
    return "\n".join(f"{'#' * level} {section}" for section in sections)


# --- docstrings


@cache
def module(path: str) -> Any:
    """A module, read and not imported."""
    place = ROOT.joinpath("src", *path.split("."))
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return griffe.visit(path, filepath=file, code=file.read_text())


def one_object(level: int, path: str) -> str:
    """A class and its members, or a function."""
    parent, _, name = path.rpartition(".")
    return "\n".join(_described(level, module(parent)[name]))


def members(level: int, path: str) -> str:
    """What a module or class defines."""
    parent, _, name = path.rpartition(".")
    holder = module(parent)[name] if name[0].isupper() else module(path)
    return "\n".join(_members(level, holder))


def _members(level: int, holder: Any) -> Iterator[str]:
    for one in holder.members.values():
        public = not one.name.startswith("_") and not one.is_alias and one.has_docstring
        if public and (one.is_function or one.is_class or "property" in one.labels):
            yield from _described(level, one)


def _described(level: int, one: Any) -> Iterator[str]:
    code = _class(one) if one.is_class else _signatures(one)
    yield f"{'#' * level} `{one.name}`\n\n```python\n{code}\n```\n"
    yield from _docstring(one)
    if one.is_class:
        yield from _members(min(level + 1, 6), one)


def _signatures(one: Any) -> str:
    if one.is_attribute:  # a property
        return f"{one.name}: {_code(one.annotation)}"
    return "\n".join(
        _signature(("async " if "async" in one.labels else "") + one.name, each)
        for each in one.overloads or [one]
    )


def _signature(name: str, function: Any, *, returns: bool = True) -> str:
    parameters = list(_parameters(function))
    end = f" -> {_code(function.returns)}" if returns and function.returns is not None else ""
    line = f"{name}({', '.join(parameters)}){end}"
    if len(line) <= _WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {one},\n" for one in parameters) + f"){end}"


def _parameters(function: Any) -> Iterator[str]:
    star = False
    for one in function.parameters:
        if one.name in ("self", "cls"):
            continue
        kind = griffe.ParameterKind
        star = star or one.kind is kind.var_positional
        if one.kind is kind.keyword_only and not star:
            star = True
            yield "*"
        stars = {kind.var_positional: "*", kind.var_keyword: "**"}.get(one.kind, "")
        text = f"{stars}{one.name}"
        if one.annotation is not None:
            text += f": {_code(one.annotation)}"
        if one.default is not None and not stars:
            text += (
                f" = {_code(one.default)}"
                if one.annotation is not None
                else f"={_code(one.default)}"
            )
        yield text


def _class(one: Any) -> str:
    """A class with its fields, or with what it is made of."""
    bases = ", ".join(name for name in map(str, one.bases) if not name.endswith("Mixin"))
    lines = [f"class {one.name}({bases})" if bases else f"class {one.name}"]
    init = one.members.get("__init__")
    for field in one.members.values():
        shown = field.is_attribute and "property" not in field.labels
        if init is not None:  # the others are assigned there
            shown = shown and "class-attribute" in field.labels
        if shown and not field.name.startswith("_"):
            kind = f": {_code(field.annotation)}" if field.annotation is not None else ""
            value = f" = {_code(field.value)}" if field.value is not None else ""
            lines.append(f"    {field.name}{kind}{value if len(value) < _WIDTH else ' = ...'}")
    if len(lines) > 1:
        lines[0] += ":"
    if init is not None and init.is_function:
        lines.append(_signature(one.name, init, returns=False))
    return "\n".join(lines)


def _code(expression: Any) -> str:
    """An expression, with quotes as the formatter has them."""
    text = str(expression)
    return text if '"' in text else text.replace("'", '"')


def _docstring(one: Any) -> Iterator[str]:
    init = one.members.get("__init__") if one.is_class else None
    for documented in (one, init):
        if documented is not None and documented.has_docstring:
            for section in documented.docstring.parse("google", **_STYLE):
                yield _section(section)


def _section(section: Any) -> str:
    title = _TITLES.get(section.kind.value, "")
    if section.kind is griffe.DocstringSectionKind.text:
        return f"{section.value}\n"
    if section.kind is griffe.DocstringSectionKind.admonition:
        return f"**{section.title}** {section.value.description}\n"
    if section.kind is griffe.DocstringSectionKind.examples:
        return f"**{title}**\n\n" + "\n\n".join(text for _, text in section.value) + "\n"
    items = []
    for item in section.value:
        name = getattr(item, "name", "") or ""
        if section.kind is griffe.DocstringSectionKind.raises:
            name = str(item.annotation).strip("()")
        text = " ".join(item.description.split())
        items.append(f"- `{name}`: {text}" if name else f"- {text}")
    return f"**{title}**\n\n" + "\n".join(items) + "\n"


#: How the docstrings are written: a result is one text, whose lines belong together.
_STYLE: dict[str, Any] = {
    "returns_multiple_items": False,
    "warn_unknown_params": False,
}
_TITLES = {
    "parameters": "Arguments",
    "other parameters": "Arguments",
    "attributes": "Attributes",
    "returns": "Returns",
    "yields": "Yields",
    "raises": "Raises",
    "examples": "Examples",
}

PARTS: dict[str, Callable[..., str]] = {
    "commands": commands,
    "scripts": scripts,
    "variables": variables,
    "exit-statuses": exit_statuses,
    "examples": examples,
    "reporting": reporting,
    "object": one_object,
    "members": members,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
