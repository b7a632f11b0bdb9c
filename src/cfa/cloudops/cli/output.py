"""What commands print: tables, facts, JSON, errors. Rich and in colour on a terminal, else plain."""

from __future__ import annotations

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
from cfa.cloudops.model.plain import plain, shortened
from cfa.cloudops.model.words import duration as duration
from cfa.cloudops.model.words import when as when

#: Longer tables are printed plain also on a terminal: laying them out would take minutes.
_MOST_ROWS = 2000

#: Where a terminal is narrow, this much is left to the last column, a command or a reason, where it
#: can be; to any other text; and to the header above numbers.
_LAST_WIDTH = 20
_TEXT_WIDTH = 9
_NUMBER_WIDTH = 4
_GAP = 2

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
    print(coloured(f"cloudops: {message}", "red", sys.stderr), file=sys.stderr)
    if error.hint:
        print(f"  {shortened(plain(_in_commands(error.hint), keep=chr(10)))}", file=sys.stderr)


#: Methods of a client that are commands too: names of scripts that cannot be words of a sentence.
_METHOD = re.compile(
    rf"(?<!cloudops )(?<![\w'\"./:-])(?:client\.)?({'|'.join(name for name in SCRIPTS if '_' in name)})"
    r"(?:\([^()]*\))?(?![\w=-]|\.\w)"
)
#: What a hint says of scripts alone.
_IN_SCRIPT = re.compile(r"\s*In the script: [^.]*\.")


def _in_commands(hint: str) -> str:
    """A hint in the words of the command line, where it has what the hint says in Python."""
    text = _IN_SCRIPT.sub("", hint)
    text = re.sub(r"\bPass (\w+)=True\b", r"Give \1=True", text)
    text = re.sub(r"\b(\w+)=True\b", lambda found: f"--{kebab(found[1])}", text)
    return _METHOD.sub(lambda found: f"'cloudops {' '.join(SCRIPTS[found[1]].words)}'", text)


def note(text: str) -> None:
    """Print a remark where it does not disturb what others read."""
    remark(text, coloured("cloudops:", "yellow", sys.stderr) + " ")


def remark(text: str, before: str = "") -> None:
    """Print what belongs to a note before it."""
    print(before + plain(text, keep="\n\t"), file=sys.stderr)


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
    end = text[-(width // 3) :] if text.isascii() and " " not in text and width >= 3 else ""
    return set_cell_size(text, width - 1 - len(end)) + _ellipsis() + end


def _ellipsis() -> str:
    return "…" if "utf" in (sys.stdout.encoding or "").lower() else "."


def table(
    headers: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str = "", folded: bool = True
) -> None:
    """Print rows below headers; where there are none, `empty` goes to standard error.

    Args:
        headers: of the columns.
        rows: their cells.
        empty: said where there are no rows.
        folded: cells that are too wide for a terminal take several lines; else they are cut.
    """
    lines = [[_word(cell) for cell in row] for row in rows]
    if not lines and empty:
        note(empty)
        return
    if is_terminal(sys.stdout) and len(lines) <= _MOST_ROWS:
        _rich_table(headers, lines, folded=folded)
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


def _rich_table(headers: Sequence[str], lines: Sequence[Sequence[str]], *, folded: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    titles, widths = _fit(headers, lines, console.width, folded=folded)
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    for title, width in zip(titles, widths, strict=True):
        shown.add_column(title, width=width, overflow="fold")
    for line in lines:
        cells = [
            Text(cell if folded else cut(cell, width), style=_STYLES.get(cell, ""))
            for cell, width in zip(line, widths, strict=False)  # the last may have given way
        ]
        shown.add_row(*cells)
    console.print(shown)


def _fit(
    headers: Sequence[str], lines: Sequence[Sequence[str]], room: int, *, folded: bool = True
) -> tuple[list[str], list[int]]:
    """Headers and widths of the columns that a terminal of `room` signs shows.

    What does not fit gives way in this order: a last column without any value, headers above
    numbers, times (date above hour) if cells are folded, then what has most to give. What is narrower
    than can be read is left to rich.
    """
    from rich.cells import cell_len

    titles = list(headers)
    columns = [[line[number] for line in lines] for number in range(len(titles))]
    widths = [max(map(cell_len, one)) for one in zip(titles, *lines, strict=True)]

    def excess() -> int:
        last = min(widths[-1], _LAST_WIDTH)
        return sum(widths[:-1]) + last + _GAP * len(widths) - room  # rich counts the last gap too

    if excess() > 0 and len(titles) > 1 and not any(columns[-1]):
        for column in (titles, columns, widths):
            column.pop()
    least = [min(width, _TEXT_WIDTH) for width in widths]
    for number, cells in enumerate(columns[:-1]):
        numbers = [cell.lstrip("-").isdigit() for cell in cells if cell]
        if excess() > 0 and numbers and all(numbers):
            needed = max(_NUMBER_WIDTH, *map(cell_len, cells))
            widths[number] = least[number] = min(widths[number], needed)
            titles[number] = titles[number][: widths[number]]
    for number in sorted(range(len(widths) - 1), key=lambda one: -widths[one]):
        words = [word for cell in (titles[number], *columns[number]) for word in cell.split()]
        if folded and excess() > 0 and any(" " in cell for cell in columns[number]):
            widths[number] = least[number] = max(map(cell_len, words))
    while excess() > 0 and any(map(int.__gt__, widths[:-1], least)):
        most = max(range(len(widths) - 1), key=lambda one: widths[one] - least[one])
        widths[most] -= 1
    left = room - sum(widths[:-1]) - _GAP * len(widths)
    widths[-1] = min(widths[-1], max(left, _TEXT_WIDTH))
    return titles, widths


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
