"""What commands print: tables, facts, JSON, errors. Rich and in colour on a terminal, else plain."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

from cfa.cloudops.cli.declare import kebab
from cfa.cloudops.cli.scripts import SCRIPTS
from cfa.cloudops.errors import CloudOpsError
from cfa.cloudops.model.colours import coloured, in_colour, is_terminal
from cfa.cloudops.model.plain import abbreviated, plain, shortened
from cfa.cloudops.model.words import duration as duration
from cfa.cloudops.model.words import when as when

#: Longer tables are printed plain also on a terminal: laying them out would take minutes.
_MOST_ROWS = 2000

#: Cells of so many signs stay whole: numbers, states, lengths of time.
_WHOLE = 14
#: Where a terminal is narrow, this much is left to longer text, such as names; to text in the last
#: column, a command or a reason; and to the header above numbers.
_TEXT_WIDTH = 12
_LAST_WIDTH = 20
_NUMBER_WIDTH = 4
_GAP = 2

_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")

#: Colours of words that say how something is.
_STYLES = {
    "success": "green",
    "ready": "green",
    "ok": "green",
    "running": "cyan",
    "preparing": "cyan",
    "active": "yellow",
    "not answering": "yellow",
    "not installed": "yellow",
    "failure": "bold red",
    "broken": "bold red",
    "conflict": "bold red",
    "problem": "bold red",
}


def show_error(error: CloudOpsError) -> None:
    """Print an error for people: what happened, and, on a line of its own, what to do."""
    message = shortened(plain(error.message or str(error), keep="\n"))
    _aside(coloured(f"cloudops: {message}", "red", sys.stderr))
    if error.hint:
        _aside(f"  {shortened(plain(_in_commands(error.hint), keep=chr(10)))}")


#: Methods of a client that are commands too: names of scripts that cannot be words of a sentence.
_METHOD = re.compile(
    rf"(?<!cloudops )(?<![\w'\"./:-])(?:client\.)?({'|'.join(name for name in SCRIPTS if '_' in name)})"
    r"(?:\((?:'([^'()]*)'|[^()]*)\))?(?![\w=-]|\.\w)"
)
#: What stands before the argument of a method in the command that it is.
_ARGUMENT = {"create_blob_container": "-c ", "list_blob_files": ""}
#: What a hint says of scripts alone.
_IN_SCRIPT = re.compile(r"\s*In the (?:script|call): [^.]*\.")


def _in_commands(hint: str) -> str:
    """A hint in the words of the command line, where it has what the hint says in Python."""
    text = _IN_SCRIPT.sub("", hint)
    text = re.sub(r"\bPass (\w+)=True\b", r"Give \1=True", text)
    text = re.sub(r"\b(\w+)=True\b", lambda found: f"--{kebab(found[1])}", text)
    return _METHOD.sub(_command, text)


def _command(found: re.Match[str]) -> str:
    """The command that a method is, with the argument if that is known."""
    name, argument = found.groups()
    words = " ".join(SCRIPTS[name].words)
    if argument and name in _ARGUMENT:
        words += f" {_ARGUMENT[name]}{argument}"
    return f"'cloudops {words}'"


def note(text: str) -> None:
    """Print a remark where it does not disturb what others read."""
    remark(text, coloured("cloudops:", "yellow", sys.stderr) + " ")


def remark(text: str, before: str = "") -> None:
    """Print what belongs to a note before it."""
    _aside(before + plain(text, keep="\n\t"))


def _aside(text: str) -> None:
    """Print to standard error; that nobody can read it changes nothing."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)


def line(text: str, *, flush: bool = False) -> None:
    """Print a line that may have names in it: nothing that a terminal would obey."""
    print(plain(text), flush=flush)


def text(value: str, *, raw: bool = False) -> None:
    """Print what somebody wrote: without control characters on a terminal, unless they are wanted."""
    print(plain(value, keep="\n\t") if sys.stdout.isatty() and not raw else value)


def written(line: bytes, before: str = "", *, raw: bool = False) -> None:
    """Print a line that a program wrote: on a terminal as one of its own would show it."""
    text = line.decode(errors="replace")
    if sys.stdout.isatty() and not raw:
        from cfa.cloudops.model.written import shown

        text = shown(line, colours=in_colour(sys.stdout))
    print(before + text)


# --- JSON


def document(value: Any) -> None:
    """Print one JSON document. Values of ours become objects, times ISO 8601 in UTC."""
    print(json.dumps(_plain(value), indent=2))


def _plain(value: Any) -> Any:
    if hasattr(type(value), "__attrs_attrs__"):
        names = [one.name for one in type(value).__attrs_attrs__]
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one) for one in value]
    return value


# --- words


def size(count: int) -> str:
    """Bytes with a binary unit."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def _word(value: Any) -> str:
    """A cell: one line, nothing that a terminal would obey."""
    return "" if value is None else plain(str(value))


# --- tables and facts


def screen() -> os.terminal_size | None:
    """Columns and lines of the terminal on which people see what is printed; None: there is none."""
    if not is_terminal(sys.stdout):
        return None
    import shutil

    return shutil.get_terminal_size()


def cut(text: str, width: int) -> str:
    """Text that is at most so many columns wide, with an ellipsis for what is left out.

    Ids keep their ends, where those of one series differ.
    """
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= width:
        return text
    if text.isascii() and " " not in text:
        return abbreviated(text, width, _ellipsis())
    return set_cell_size(text, width - 1) + _ellipsis()


def _ellipsis() -> str:
    return "…" if "utf" in (sys.stdout.encoding or "").lower() else "."


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    empty: str = "",
    folded: bool = True,
    spared: Sequence[str] = (),
) -> None:
    """Print rows below headers; where there are none, `empty` goes to standard error.

    Args:
        headers: of the columns.
        rows: their cells.
        empty: said where there are no rows.
        folded: cells that are too wide for a terminal take several lines; else they are cut.
        spared: headers of columns that a narrow terminal does without, the least important first.
    """
    lines = [[_word(cell) for cell in row] for row in rows]
    if not lines and empty:
        note(empty)
        return
    if is_terminal(sys.stdout) and len(lines) <= _MOST_ROWS:
        _rich_table(headers, lines, folded=folded, spared=spared)
        return
    widths = [
        max(len(cell) for cell in column)
        for column in zip(map(str.upper, headers), *lines, strict=True)
    ]

    def show(cells: Iterable[str], styles: Iterable[str]) -> None:
        padded = (
            (coloured(cell, style, sys.stdout) if style else cell) + " " * (width - len(cell))
            for cell, width, style in zip(cells, widths, styles, strict=True)
        )
        print("  ".join(padded).rstrip())

    show((header.upper() for header in headers), ["bold"] * len(widths))
    for line in lines:
        show(line, [_STYLES.get(cell, "") for cell in line])


def _rich_table(
    headers: Sequence[str], lines: Sequence[Sequence[str]], *, folded: bool, spared: Sequence[str]
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    columns = _fit(headers, lines, console.width, folded=folded, spared=spared)
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    for column in columns:
        shown.add_column(column.title[: column.width], width=column.width, overflow="fold")
    for cells in zip(*(column.cells for column in columns), strict=True):
        shown.add_row(
            *(
                Text(cell if folded else cut(cell, column.width), style=_STYLES.get(cell, ""))
                for cell, column in zip(cells, columns, strict=True)
            )
        )
    console.print(shown)
    titles = {column.title for column in columns}
    values = zip(headers, *lines, strict=True)
    left_out = [title for title, *cells in values if title not in titles and any(cells)]
    if left_out and folded:
        note(f"a wider terminal also shows: {', '.join(left_out)}")


class _Column:
    """A column of a table, as wide as its title and its cells are.

    `least`: the columns of a terminal that it can do with. `text`: whether its cells may be broken.
    """

    def __init__(self, title: str, cells: Sequence[str], *, last: bool, folded: bool) -> None:
        from rich.cells import cell_len

        self.title = title
        self.cells = cells
        widest = max(map(cell_len, cells), default=0)
        self.width = self.least = max(cell_len(title), widest)
        filled = [cell for cell in cells if cell]
        self.text = False
        if filled and all(cell.lstrip("-").isdigit() for cell in filled):
            self.least = max(min(self.width, _NUMBER_WIDTH), widest)
        elif filled and all(map(_TIME.match, filled)):
            if folded:  # the date above the hour
                self.least = max(len(word) for cell in (title, *filled) for word in cell.split())
        elif self.width > _WHOLE:
            self.text = True
            self.least = min(self.width, _LAST_WIDTH if last else _TEXT_WIDTH)


def _fit(
    headers: Sequence[str],
    lines: Sequence[Sequence[str]],
    room: int,
    *,
    folded: bool = True,
    spared: Sequence[str] = (),
) -> list[_Column]:
    """The columns that a terminal of `room` signs shows, and their widths.

    What does not fit gives way in this order: columns without any value, headers above numbers, times
    (date above hour) if cells are folded, long text, and then whole columns: `spared` ones, then the
    last. The first column stays. Numbers, times and short words are never broken.
    """
    cells = zip(*lines, strict=True) if lines else ((),) * len(headers)
    last = len(headers) - 1
    columns = [
        _Column(title, column, last=number == last, folded=folded)
        for number, (title, column) in enumerate(zip(headers, cells, strict=True))
    ]

    def excess(*, least: bool = False) -> int:
        widths = (one.least if least else one.width for one in columns)
        return sum(widths) + _GAP * len(columns) - room  # rich counts the last gap too

    if excess() > 0 and lines:
        columns[1:] = [one for one in columns[1:] if any(one.cells)]
    for title in (*spared, *reversed(headers[1:])):
        if excess(least=True) > 0:
            columns[1:] = [one for one in columns[1:] if one.title != title]
    for one in columns:
        if excess() > 0 and not one.text:
            one.width = one.least
    while excess() > 0 and (wide := [one for one in columns if one.width > one.least]):
        max(wide, key=lambda one: one.width - one.least).width -= 1
    if excess() > 0:  # the first column alone, on hardly a terminal
        columns[0].width = max(room - _GAP, 1)
    return columns


def facts(pairs: Iterable[tuple[str, Any]]) -> None:
    """Print names and values below one another; pairs without a value are left out."""
    kept = [(_word(name), _word(value)) for name, value in pairs if value not in (None, "", ())]
    width = max((len(name) for name, _ in kept), default=0)
    for name, value in kept:
        print(f"{coloured(name.ljust(width), 'bold', sys.stdout)}  {value}".rstrip())


def heading(text: str) -> None:
    """Print the heading of a group of facts."""
    print(f"\n{coloured(text, 'bold', sys.stdout)}")


def styled(word: str) -> str:
    """A word that says how something is, in its colour where there are colours."""
    return coloured(word, _STYLES.get(word, "yellow"), sys.stdout)
