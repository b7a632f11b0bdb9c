"""Files that users write: reading them, and errors that say where in them something is wrong."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from cfa.cloudops.errors import (
    FileAccessError,
    InvalidInputError,
    LocalFileNotFoundError,
    MissingKeyError,
)


@frozen
class Place:
    """A file and a place in it, for messages."""

    file: str
    where: str = ""

    def __truediv__(self, inner: object) -> Place:
        """A place inside of this one."""
        return Place(self.file, f"{self.where} {inner}".strip())

    def __str__(self) -> str:
        return f"{self.file}: {self.where}: " if self.where else f"{self.file}: "

    def error(self, problem: str, hint: str = "") -> InvalidInputError:
        """An error about what is here."""
        return InvalidInputError(f"{self}{problem}", hint)

    def table(self, value: Any, hint: str = "") -> dict[str, Any]:
        """The mapping that must be here.

        Raises:
            InvalidInputError: it is something else, or a name in it is not text.
        """
        if not isinstance(value, Mapping):
            raise self.error(f"must be a mapping of names to values, got {value!r}.", hint)
        for name in value:
            if not isinstance(name, str):
                raise self.error(f"the name {name!r} is not text.", "Put it in quotes.")
        return dict(value)

    def array(self, value: Any, hint: str = "") -> list[Any]:
        """The list that must be here. Raises: InvalidInputError."""
        if not isinstance(value, list):
            raise self.error(f"must be a list, got {value!r}.", hint)
        return value

    def need(self, table: Mapping[str, Any], name: str) -> Any:
        """What a mapping must have. Raises: MissingKeyError."""
        if name not in table:
            raise MissingKeyError(f"{self}{name!r} is missing.", f"Add {name!r}.")
        return table[name]

    def only(self, table: Iterable[str], known: Iterable[str]) -> None:
        """Raises: InvalidInputError: there are names besides those that are known."""
        for name in table:
            if name not in known:
                raise self.error(
                    f"{name!r} is not known here.", f"The known ones are: {', '.join(known)}."
                )


def read_text(path: str | os.PathLike[str], what: str) -> str:
    """A text file, in UTF-8.

    Raises:
        LocalFileNotFoundError: it does not exist. FileAccessError: it may not be read.
        InvalidInputError: it is not text.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise LocalFileNotFoundError(
            f"There is no {what} {os.fspath(path)!r} in {Path.cwd()}.", "Check the path."
        ) from None
    except OSError as error:
        raise FileAccessError(
            f"The {what} {os.fspath(path)!r} cannot be read: {error.strerror}."
        ) from None
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"The {what} {os.fspath(path)!r} is not UTF-8 text: {error}.", "Save it as UTF-8."
        ) from None


def read_toml(path: str | os.PathLike[str], what: str) -> dict[str, Any]:
    """A TOML file. Raises: as `read_text`; InvalidInputError: it is not TOML."""
    text = read_text(path, what)
    try:
        return tomllib.loads(text)
    except ValueError as error:  # tells line and column, but not of a number that is too long
        raise InvalidInputError(f"{os.fspath(path)}: this is not valid TOML: {error}.") from None
    except RecursionError:
        raise InvalidInputError(f"{os.fspath(path)}: this is nested too deeply.") from None


def read_json(path: str | os.PathLike[str], what: str) -> Any:
    """A JSON file. Raises: as `read_text`; InvalidInputError: it is not JSON."""
    text = read_text(path, what)
    try:
        return json.loads(text)
    except ValueError as error:  # tells line and column
        raise InvalidInputError(f"{os.fspath(path)}: this is not valid JSON: {error}.") from None
    except RecursionError:
        raise InvalidInputError(f"{os.fspath(path)}: this is nested too deeply.") from None


def read_yaml(path: str | os.PathLike[str], what: str) -> Any:
    """A YAML file with one document, in which no mapping names a key twice.

    Raises:
        As `read_text`; InvalidInputError: it is not YAML, has a key twice, `1:30`, which would be read
        as 90, or aliases that stand for millions of values.
    """
    text = read_text(path, what)
    import yaml  # only for those who have such files

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        _refuse_doubles(root)
        _refuse_many(root)
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, LookupError, TypeError, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        said = "it is nested too deeply" if deep else " ".join(str(error).split())
        raise InvalidInputError(f"{os.fspath(path)}: this is not valid YAML: {said}.") from None


_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
#: Values that a document stands for, each alias counted.
_MOST_VALUES = 10_000_000


def _refuse_many(root: Any) -> None:
    """Refuse aliases of aliases that are small as a file and endless when written out."""
    sizes: dict[int, int] = {}

    def size(node: Any) -> int:
        if node is None or isinstance(node.value, str):
            return 1
        if id(node) not in sizes:
            sizes[id(node)] = 0  # a node within itself ends here
            inner = (
                one for item in node.value for one in (item if type(item) is tuple else [item])
            )
            sizes[id(node)] = 1 + sum(map(size, inner))
        return sizes[id(node)]

    number = size(root)
    if number > _MOST_VALUES:
        raise ValueError(
            f"its aliases stand for {number:,} values, but only {_MOST_VALUES:,} are allowed"
        )


def _refuse_doubles(root: Any) -> None:
    """Look for keys that stand twice in a mapping: YAML would take the last one silently."""
    todo, seen = [root], set()
    while todo:
        node = todo.pop()
        if node is None or id(node) in seen:
            continue
        if isinstance(node.value, str):
            if node.tag in _NUMBERS and ":" in node.value:
                raise ValueError(
                    f"{node.value} in line {node.start_mark.line + 1} would be read as a base-60 "
                    "number; put it in quotes"
                )
            continue
        seen.add(id(node))
        names = set()
        for item in node.value:
            if not isinstance(item, tuple):
                todo.append(item)
                continue
            key, value = item
            todo.append(value)
            if isinstance(key.value, str) and key.value in names and key.value != "<<":
                raise ValueError(f"{key.value!r} appears twice, in line {key.start_mark.line + 1}")
            names.add(key.value if isinstance(key.value, str) else id(key))
