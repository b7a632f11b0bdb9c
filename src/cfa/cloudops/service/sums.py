"""Checksums of rows: what a damaged disk gave back for them is an error, never a value.

SQLite finds damage to the structure of its file, not to what is written in it. So each row has a
checksum. Triggers renew it when the row changes, and every query for values asks for it by `sound`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from marshal import dumps
from typing import Any
from zlib import crc32

from cfa.cloudops.service.schema import SUMMED

#: Of marshalled values: the quickest way from a row to bytes. This format is the same in all
#: versions of Python, and has no references, which would depend on who made the values.
_FORMAT = 2
#: What SQLite says when a function of ours raises.
RAISED = "user-defined function raised exception"


class DamagedRowError(Exception):
    """A row does not have its checksum. Ends a query; nobody outside sees it."""


def row_sum(*values: Any) -> int:
    """The checksum of values in the order of `SUMMED`, with the types that SQLite gives them."""
    return crc32(dumps(values, _FORMAT))


def _renewed_sum(found: int | None, *rows: Any) -> int:
    """The checksum of a changed row, whose old values come before its new ones."""
    width = len(rows) // 2
    if found is not None and found != row_sum(*rows[:width]):
        raise DamagedRowError
    return row_sum(*rows[width:])


def _sound(value: Any, found: int | None, *row: Any) -> Any:
    """A value of a row whose checksum is right."""
    if found is not None and found != crc32(dumps(row, _FORMAT)):
        raise DamagedRowError
    return value


def install(db: sqlite3.Connection) -> None:
    """Give a connection the functions that the triggers and queries call."""
    for name, function in (
        ("row_sum", row_sum),
        ("renewed_sum", _renewed_sum),
        ("sound", _sound),
    ):
        db.create_function(name, -1, function, deterministic=True)


def sound(column: str) -> str:
    """SQL for a column, `table.column`, whose row must have its checksum."""
    table, _, _ = column.partition(".")
    row = ", ".join(f"{table}.{name}" for name in SUMMED[table])
    return f"sound({column}, {table}.sum, {row})"


#: SQL that gives tasks written without one their checksum.
SUM_TASK = f"UPDATE task SET sum = row_sum({', '.join(SUMMED['task'])})"  # noqa: S608  constants


def task_sums(*common: Any) -> Callable[[int, str, str], int]:
    """Checksums of new tasks, by number, id and command, which have the other values in common."""
    begun = crc32(dumps((*common, None, None, None), _FORMAT)[:-3])  # each None is a byte
    head = len(dumps((), _FORMAT))

    def task_sum(number: int, identifier: str, command: str) -> int:
        return crc32(dumps((number, identifier, command), _FORMAT)[head:], begun)

    return task_sum
