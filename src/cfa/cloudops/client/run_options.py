"""What the options of a task's container mean here: those of `docker create`, as text."""

from __future__ import annotations

import re
import shlex
from collections import deque
from collections.abc import Iterator
from typing import Any

from cfa.cloudops.client.arguments import tell
from cfa.cloudops.errors import InvalidInputError, UnsupportedError
from cfa.cloudops.model.values import Mount

#: Where the cloud's nodes have their mounts, for a shell.
MOUNTS_DIRECTORY = "$AZ_BATCH_NODE_MOUNTS_DIR"
#: The same written out: the service's variable, or what it says on a Linux node.
_IN_MOUNTS = re.compile(
    r"(?:\$AZ_BATCH_NODE_MOUNTS_DIR|\$\{AZ_BATCH_NODE_MOUNTS_DIR\}|/.+/fsmounts)"
)

_SHORT = {
    "-a": "--attach", "-c": "--cpu-shares", "-d": "--detach", "-e": "--env", "-h": "--hostname",
    "-i": "--interactive", "-l": "--label", "-m": "--memory", "-p": "--publish",
    "-P": "--publish-all", "-t": "--tty", "-u": "--user", "-v": "--volume", "-w": "--workdir",
}  # fmt: skip
#: Options that take no value.
_FLAGS = frozenset(
    {
        "--detach", "--init", "--interactive", "--no-healthcheck", "--oom-kill-disable",
        "--privileged", "--publish-all", "--read-only", "--rm", "--tty",
    }
)  # fmt: skip
#: Options without which a task would do something else, with what to do instead.
_REFUSED = {
    "--entrypoint": "Write the program in front of the command.",
    "--env": "Write env NAME=value in front of the command.",
    "--env-file": "Write env NAME=value in front of the command.",
    "--workdir": "Write sh -c 'cd DIRECTORY && ...' as the command.",
}
#: What they ask for is so anyway.
_HOLDS = frozenset({"--rm", "--entrypoint="})


def mounts(options: str | None, directory: str = MOUNTS_DIRECTORY) -> tuple[Mount, ...] | None:
    """The mounts among the options; None, so those of the pool, when there are none.

    What else they ask for is refused, where the task would do something else without it, or named in
    the log.

    Args:
        options: such as `--rm --mount type=bind,source=<directory>/<name>,target=/<path>`.
        directory: where the cloud's nodes have their mounts, as the options say it.

    Raises:
        InvalidInputError: they cannot be read.
        UnsupportedError: one that is not offered here.
    """
    check(options)
    found: list[Mount] = []
    ignored: list[str] = []
    for name, text in _pairs(options or ""):
        if name in ("--mount", "--volume"):
            source, target, read_only = _mount(text) if name == "--mount" else _volume(text)
            found.append(_bound(f"{name} {text}", source, target, directory))
            if read_only:
                ignored.append(f"{name} that is read-only")
        elif name in _REFUSED and f"{name}={text}" not in _HOLDS:
            raise UnsupportedError(
                f"The container's options have {name}, which is not available on this machine.",
                _REFUSED[name],
            )
        elif name not in _REFUSED and name not in _HOLDS:
            ignored.append(name)
    tell(f"container_run_options {name}" for name in ignored)
    return tuple(found) or None


def check(options: Any) -> None:
    """Raises: InvalidInputError: options are no text."""
    if options is not None and not isinstance(options, str):
        raise InvalidInputError(
            f"The container's options {options!r} are not a text.", "Pass them as one string."
        )


def _pairs(options: str) -> Iterator[tuple[str, str]]:
    """Options by their long names, and their values.

    Raises:
        InvalidInputError: a quote is open, or something is neither.
    """
    try:
        words = deque(shlex.split(options))
    except ValueError as error:
        raise InvalidInputError(
            f"The container's options {options!r} cannot be split into words: {error}.",
            "Close every quote.",
        ) from None
    while words:
        word = words.popleft()
        if word.startswith("--"):
            name, equals, text = word.partition("=")
        elif word.startswith("-") and len(word) > 1:
            name, text = _SHORT.get(word[:2], word[:2]), word[2:].removeprefix("=")
            equals = text
        else:
            raise InvalidInputError(
                f"{word!r} in the container's options {options!r} belongs to no option.",
                "Correct container_run_options.",
            )
        if not equals and name not in _FLAGS and words and not words[0].startswith("-"):
            text = words.popleft()
        yield name, text


def _mount(text: str) -> tuple[str, str, bool]:
    """Source, target and whether it is read-only, of `type=bind,source=...,target=...`."""
    parts = {
        name.strip(): value for name, _, value in (one.partition("=") for one in text.split(","))
    }
    source = parts.get("source", parts.get("src", "")) if parts.get("type") == "bind" else ""
    target = parts.get("target", parts.get("destination", parts.get("dst", "")))
    flags = (parts.get(name, "false") for name in ("readonly", "ro"))
    return source, target, any(value not in ("false", "0") for value in flags)


def _volume(text: str) -> tuple[str, str, bool]:
    """The same of `source:target:options`."""
    source, _, rest = text.partition(":")
    target, _, options = rest.partition(":")
    return source, target, "ro" in options.split(",")


def _bound(option: str, source: str, target: str, directory: str) -> Mount:
    parent, _, name = source.rstrip("/").rpartition("/")
    known = parent == directory.rstrip("/") or _IN_MOUNTS.fullmatch(parent)
    if not known or not name or not target:
        raise UnsupportedError(
            f"The container's option {option} is not available on this machine: it mounts no blob "
            "container.",
            f"Write --mount type=bind,source={MOUNTS_DIRECTORY}/<blob container>,target=/<path>, or "
            "pass mount_pairs.",
        )
    return Mount(name, target)
