"""What a notebook shows of values: HTML tables. Text of users and tasks is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cfa.cloudops.model.plain import plain, shortened

#: Rows of a table; a notebook with more of them is slow.
_MOST_ROWS = 1000
#: Characters of a cell.
_LONGEST = 300


def table(rows: Sequence[Mapping[str, Any]], nothing: str = "nothing") -> str:
    """A table with a row for each mapping, whose keys are the headings.

    Args:
        rows: all with the same keys.
        nothing: what to say when there are none.
    """
    if not rows:
        return f"<p>{_cell(nothing)}</p>"
    body = [_row("th", rows[0]), *(_row("td", row.values()) for row in rows[:_MOST_ROWS])]
    left = len(rows) - _MOST_ROWS
    more = f"<p>... and {left:,} more</p>" if left > 0 else ""
    return f"<table>{''.join(body)}</table>{more}"


def record(fields: Mapping[str, Any]) -> str:
    """A table with a row for each field: its name, its value."""
    rows = "".join(f"<tr><th>{_cell(k)}</th><td>{_cell(v)}</td></tr>" for k, v in fields.items())
    return f"<table>{rows}</table>"


def _row(tag: str, values: Any) -> str:
    return f"<tr>{''.join(f'<{tag}>{_cell(value)}</{tag}>' for value in values)}</tr>"


def _cell(value: Any) -> str:
    from html import escape  # for notebooks alone

    return "" if value is None else escape(plain(shortened(str(value), _LONGEST)))
