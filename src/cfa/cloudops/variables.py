"""Environment variables that begin as ours do, but are not: they may be misspelt settings."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from cfa.cloudops.model.plain import shortened

#: Those that count only in the environment, besides those of backends that are installed as plugins.
ONLY_IN_ENVIRONMENT = frozenset(
    {
        "CLOUDOPS_AGENT_IDLE_S",
        "CLOUDOPS_TRUST",
        "CLOUDOPS_SUBPROCESS_SANDBOX",
        "CLOUDOPS_PODMAN_SOCKET",
        *(
            f"CLOUDOPS_{engine}_{option}"
            for engine in ("DOCKER", "PODMAN")
            for option in ("CAP_ADD", "NO_NEW_PRIVILEGES", "PIDS_LIMIT")
        ),
    }
)
#: Those that we give to tasks and their nodes, in which a script may run.
_OF_TASKS = frozenset({"CLOUDOPS_NODE", "CLOUDOPS_ATTEMPT", "CLOUDOPS_DIRECTORY", "CLOUDOPS_SLOT"})
_BEGIN = "CLOUDOPS_"
_OTHERS = ("CLOUDOPS_RUN_", "CLOUDOPS_TEST_")
_BACKENDS = frozenset({"auto", "docker", "podman", "subprocess"})
#: So many are named.
_MOST = 10


def remarks(
    given: Mapping[str, str],
    file: Mapping[str, str],
    *,
    origin: str,
    settings: Iterable[str],
    backend: str,
) -> list[tuple[str, str]]:
    """What to say of variables that mean nothing: each a sentence, and what to do.

    Args:
        given: the environment.
        file: entries of the dotenv file.
        origin: the name of that file.
        settings: the names of all settings.
        backend: the name of the backend. A plugin may have variables of its own,
            `CLOUDOPS_<BACKEND>_...`.
    """
    known = {*settings, *ONLY_IN_ENVIRONMENT}
    passed = [*_OTHERS]
    if backend not in _BACKENDS:
        passed.append(f"{_BEGIN}{backend.upper()}_")
    found = []
    for place, entries in (("environment", given), (origin, file)):
        for name in sorted(entries):
            if not (name.startswith(_BEGIN) and entries[name]) or name.startswith(tuple(passed)):
                continue
            if name not in known | _OF_TASKS:
                found.append(
                    (
                        f"{shortened(name, 100)} (from {place}) is not a setting, and has no effect.",
                        _advice(name, known),
                    )
                )
            elif name in ONLY_IN_ENVIRONMENT and entries is file and not given.get(name):
                found.append(
                    (
                        f"{name} (from {place}) has no effect: it counts only in the environment.",
                        f"Set it there: export {name}=...",
                    )
                )
    return found[:_MOST]


def _advice(name: str, known: Iterable[str]) -> str:
    words = [one.removeprefix(_BEGIN) for one in known]
    near = difflib.get_close_matches(name.removeprefix(_BEGIN)[:100], sorted(words), n=1)
    return (
        f"Did you mean {_BEGIN}{near[0]}?"
        if near
        else "Correct its name, or ignore this if it belongs to another program."
    )
