"""Checksums of rows: what a damaged disk gave back for them is an error, never a value.

SQLite finds damage to the structure of its file, not to what is written in it. So each row has a
checksum, `sum`, and every query for values asks for it by `sound`. It is the CRC of the values in
`SUMMED`, plus the numbers in `COUNTED`, each times its place. Whoever counts such a number counts `sum`
along, without reading the row: a single wrong byte never adds nothing.

Triggers renew the checksum of a row that changes. What happens to every task would be slowed down by
them, so the statements of its start and end set `sum` too, from what the agent knows of the row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import cache
from marshal import dumps
from typing import Any
from zlib import crc32

from cfa.cloudops.service.schema import summed

#: Of marshalled values: the quickest way from a row to bytes. This format is the same in all
#: versions of Python, and has no references, which would depend on who made the values.
_FORMAT = 2
#: What SQLite says when a function of ours raises.
RAISED = "user-defined function raised exception"


class DamagedRowError(Exception):
    """A row does not have its checksum. Ends a query; nobody outside sees it."""


def row_sum(counted: int, *values: Any) -> int:
    """The checksum of a row, of whose values so many, the first, are in `COUNTED`, the rest in `SUMMED`.

    They have the types that SQLite gives them.
    """
    if not counted:
        return crc32(dumps(values, _FORMAT))
    return crc32(dumps(values[counted:], _FORMAT)) + count_sum(*values[:counted])


def count_sum(
    first: int = 0, second: int = 0, third: int = 0, fourth: int = 0, fifth: int = 0
) -> int:
    """What the numbers in `COUNTED`, or changes of them, add to a checksum."""
    return first + 2 * second + 3 * third + 4 * fourth + 5 * fifth


def _renewed_sum(found: int | None, *rows: Any) -> int:
    """The checksum of a changed row, whose old values come before its new ones."""
    width = len(rows) // 2
    if found is not None and found != row_sum(*rows[:width]):
        raise DamagedRowError
    return row_sum(*rows[width:])


def sound_value(value: Any, found: int | None, *row: Any) -> Any:
    """A value of a row whose checksum is right."""
    if found is not None and found != row_sum(*row):
        raise DamagedRowError
    return value


def install(db: sqlite3.Connection) -> None:
    """Give a connection the functions that the triggers and queries call."""
    for name, function in (
        ("row_sum", row_sum),
        ("renewed_sum", _renewed_sum),
        ("sound", sound_value),
    ):
        db.create_function(name, -1, function, deterministic=True)


@cache
def sound(column: str) -> str:
    """SQL for a column, `table.column`, whose row must have its checksum."""
    table, _, _ = column.partition(".")
    return f"sound({column}, {table}.sum, {summed(table, table)})"


#: SQL that gives tasks written without one their checksum.
SUM_TASK = f"UPDATE task SET sum = row_sum({summed('task', 'task')})"  # noqa: S608  constants


def task_sums(unmet: int, *common: Any) -> Callable[[int, str, str], int]:
    """Checksums of new tasks, by number, id and command, which have the other values in common."""
    begun = crc32(dumps((*common, None, None, None), _FORMAT)[:-3])  # each None is a byte
    head = len(dumps((), _FORMAT))

    def task_sum(number: int, identifier: str, command: str) -> int:
        return crc32(dumps((number, identifier, command), _FORMAT)[head:], begun) + unmet

    return task_sum
