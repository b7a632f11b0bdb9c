"""Parts of objects of the cloud's SDK: read, refused, or named in the log.

The SDK's models have attributes in snake_case and, as mappings, the service's keys in camelCase;
scripts also pass plain mappings in either spelling. What is not offered here and would change the
result is refused; what only the cloud knows is named in the log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from cfa.cloudops.client.arguments import tell
from cfa.cloudops.errors import UnsupportedError

#: Parts of a job and a task that change what runs, with what to do instead.
_REFUSED = {
    "auto_pool_specification": "Create the pool with client.create_pool, and name it in pool_info.",
    "job_manager_task": "Add it as a task that others depend on.",
    "job_preparation_task": "Add it as a task that the others depend on.",
    "job_release_task": "Add it as a task that depends on the others.",
    "common_environment_settings": "Write env NAME=value in front of the commands.",
    "environment_settings": "Write env NAME=value in front of the command.",
    "resource_files": "Upload them to a blob container and mount it.",
    "application_package_references": "Put the program into the image.",
    "multi_instance_settings": "Run one task, with as many cores as the node has.",
}
#: Parts that nothing acts on, where more can be said than their names.
_WITHOUT_EFFECT = {
    "constraints.retention_time": "files stay until the job is deleted",
    "exit_conditions.job_action": "the job continues",
    "on_task_failure": "the job continues",
    "task_failure_mode": "the job continues",
    "output_files": "files stay in the task's directory; write into a mount",
}
#: Parts that say nothing about what runs, and values that ask for nothing.
_SILENT = frozenset({"display_name", "uses_task_dependencies", "additional_properties"})
_NOTHING = frozenset({"none", "noaction"})


def value(item: Any, *spellings: str) -> Any:
    """A part of an object or a mapping; None when it has none.

    Args:
        item: an object of the SDK, one like it, or a mapping.
        spellings: names of the part in snake_case; the first one that is there counts.
    """
    for name in spellings:
        found = None if isinstance(item, dict) else getattr(item, name, None)
        if found is None and isinstance(item, Mapping):
            found = item.get(name, item.get(_camel(name)))
        if found is not None:
            return found
    return None


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.title, rest))


def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name)


def _parts(item: Any) -> dict[str, Any]:
    """What an object or a mapping has that is not empty, by names in snake_case."""
    found = item if isinstance(item, Mapping) else getattr(item, "__dict__", {})
    return {
        _snake(name): part
        for name, part in found.items()
        if part and isinstance(name, str) and not name.startswith("_")
    }


def word(item: Any) -> str:
    """A value of an enumeration, in lower case."""
    return str(getattr(item, "value", item)).lower()


def check_parts(item: Any, what: str, known: frozenset[str], within: str = "") -> None:
    """Refuse parts that are not offered here, and name those that nothing acts on.

    Args:
        item: an object or a mapping.
        what: what it is, for people.
        known: names of the parts that are read.
        within: the part that it is, with a point behind.

    Raises:
        UnsupportedError: there is a part without which the result would be another.
    """
    found = _parts(item)
    for name, instead in _REFUSED.items():
        if name in found:
            raise UnsupportedError(
                f"{what} has {name}, which is not available on this machine.", instead
            )
    tell_parts(
        f"{within}{name}"
        for name, part in found.items()
        if name not in known | _SILENT and word(part) not in _NOTHING
    )


def tell_parts(names_of_parts: Iterable[str]) -> None:
    """Name parts that nothing acts on, with the reason where there is more to say."""
    tell(
        f"{name} ({_WITHOUT_EFFECT[name]})" if name in _WITHOUT_EFFECT else name
        for name in names_of_parts
    )
