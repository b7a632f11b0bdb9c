"""What users pass about tasks, as values that the service takes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from numbers import Integral
from typing import Any, TypedDict

from cfa.cloudops.errors import InvalidInputError
from cfa.cloudops.model.plain import shortened

_log = logging.getLogger(__name__)


class CommonOptions(TypedDict, total=False):
    """Keywords of `add_task` that may hold for all tasks of one call."""

    mount_pairs: Sequence[Mapping[str, str]] | None
    name_suffix: str
    run_dependent_tasks_on_fail: bool
    container_image_name: str | None
    timeout: float | timedelta | None


class TaskOptions(CommonOptions, total=False):
    """Keywords of `add_task` besides the job and the command."""

    depends_on: str | Iterable[str] | None
    depends_on_range: tuple[int, int] | None


def command_text(command: Any) -> str:
    """A command as text. Each element of a list stays one word: what needs quotes gets them.

    Raises:
        InvalidInputError: it is neither text nor a list of texts.
    """
    if isinstance(command, str):
        return command
    if isinstance(command, Sequence) and all(isinstance(word, str) for word in command):
        from cfa.cloudops.model import commands  # most commands are text

        _warn_of_words(command)
        return commands.joined(command)
    raise InvalidInputError(
        f"A command must be a string or a list of strings, got {command!r}.", "Pass command_line."
    )


#: Warnings that were given: one of a kind is enough, however many tasks a script adds.
_said: set[str] = set()


def _warn_of_words(words: Sequence[str]) -> None:
    """Say it when a list looks as if it were to be joined with blanks, as the cloud's client does."""
    if words and len(words[0].split()) > 1 and "program" not in _said:
        _said.add("program")
        _log.warning(
            "The program of a command is %r, as one word. Pass one element per argument, or the whole "
            "command as text.",
            shortened(words[0], 60),
        )
    from cfa.cloudops.model import commands

    quotes = next(filter(commands.is_quoted, words), None)
    if quotes is not None and "quotes" not in _said:
        _said.add("quotes")
        _log.warning(
            "The element %r has quotes, which the program gets too. Leave them out: each element of "
            "a list is one argument.",
            shortened(quotes, 60),
        )


def tell(parts: Iterable[str]) -> None:
    """Name what objects and options ask for and nothing acts on, each once in a process."""
    new = [part for part in dict.fromkeys(parts) if part not in _said]
    if new:
        _said.update(new)
        _log.warning("These have no effect on this machine: %s.", ", ".join(new))


def dependencies(value: Any) -> tuple[str, ...]:
    """Ids of tasks, as users write them. Raises: InvalidInputError."""
    if value is None:
        return ()
    if isinstance(value, str | int):
        return (str(value),)
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        found = tuple(value)
        if all(isinstance(item, str | Integral) for item in found):
            return tuple(dict.fromkeys(map(str, found)))
    raise InvalidInputError(
        f"depends_on={value!r} is neither the id of a task nor a list of ids.",
        "Pass what add_task returned.",
    )


def positions(value: Any) -> tuple[int, ...]:
    """Places in a list of tasks, as users write them. Raises: InvalidInputError."""
    if value is None:
        return ()
    if isinstance(value, Iterable):
        found = tuple(value)
        if all(type(item) is int for item in found):
            return found
    raise InvalidInputError(
        f"depends_on_positions={value!r} is not a list of integers.",
        "Pass positions in the list of tasks, counted from 0.",
    )


def id_range(value: Any) -> tuple[int, int] | None:
    """First and last integer id, as users write them. Raises: InvalidInputError."""
    if value is None:
        return None
    try:
        if isinstance(value, str | bytes):  # "12" is no (1, 2)
            raise TypeError
        low, high = (int(item) for item in value)
        if any(isinstance(item, float) and item != int(item) for item in value):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise InvalidInputError(
            f"depends_on_range={value!r} is not a pair of integer ids.",
            "Pass (first, last), both included.",
        ) from None
    if low > high:
        raise InvalidInputError(
            f"depends_on_range={value!r} is empty: the first is above the last.", "Exchange them."
        )
    return low, high
