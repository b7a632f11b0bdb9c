"""What the SDK's `OutputFile` says: which of a task's files are saved where."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote, urlsplit

from attrs import evolve

from cfa.cloudops import backends
from cfa.cloudops.client import accounts, parts
from cfa.cloudops.client.jobs import check_log_container
from cfa.cloudops.errors import InvalidInputError
from cfa.cloudops.model.uploads import STREAMS, Upload
from cfa.cloudops.model.values import TaskSpec

#: Both streams of a task, as seen from its working directory.
LOGS = "../std*.txt"
_ABOVE = re.compile(r"(?:\.\./|\$AZ_BATCH_TASK_DIR/|\$\{AZ_BATCH_TASK_DIR\}/)([^/]+)")
_CONDITIONS = ("taskcompletion", "tasksuccess", "taskfailure")


def upload(
    pattern: str, container: Any, account: Any, path: Any, condition: Any = "taskCompletion"
) -> Upload | None:
    """The streams of a task that a pattern matches, as blobs; None when there are none.

    Args:
        pattern: of files, from the working directory.
        container: the blob container.
        account: its storage account; None for the client's.
        path: with a pattern the folder of the blobs, else the blob's own name.
        condition: `taskCompletion`, `taskSuccess` or `taskFailure`.

    Raises:
        InvalidInputError: the container, path or condition cannot be one.
    """
    when = parts.word(condition)
    if when not in _CONDITIONS:
        raise InvalidInputError(
            f"{condition!r} is not a condition of an upload.",
            "Use 'taskCompletion', 'taskSuccess' or 'taskFailure'.",
        )
    above = _ABOVE.fullmatch(str(pattern))
    found = [name for name in STREAMS if above and fnmatchcase(name, above[1])]
    if not found:
        return None
    folder = str(path or "").strip("/")
    many = re.search(r"[*?\[]", str(pattern)) is not None
    return Upload(
        container=container,
        blobs=[(name, f"{folder}/{name}" if many and folder else folder or name) for name in found],
        condition=when,
        account=account or "",
    )


def of_files(files: Iterable[Any] | None) -> Upload | None:
    """What `OutputFile` objects, or mappings like them, say of a task's streams.

    Files that nothing saves are named in the log: those that are no streams, and those that would go
    to a second container.
    """
    found: Upload | None = None
    for file in files or ():
        destination = parts.value(parts.value(file, "destination"), "container")
        account, container = _address(parts.value(destination, "container_url"))
        one = upload(
            parts.value(file, "file_pattern") or "",
            container,
            account,
            parts.value(destination, "path"),
            parts.value(parts.value(file, "upload_options"), "upload_condition")
            or "taskCompletion",
        )
        if found is None or one is None:
            found = found or one
        elif evolve(found, blobs=one.blobs) == one:
            found = evolve(found, blobs=dict((*found.blobs, *one.blobs)).items())
            continue
        else:
            one = None
        if one is None:
            parts.tell_parts(["output_files"])
    return found


def _address(url: Any) -> tuple[str, str]:
    """Account and container of a container's URL, whose query may hold a secret.

    Raises:
        InvalidInputError: it is none.
    """
    account = accounts.of_url(url)
    container = unquote(urlsplit(str(url)).path.strip("/")) if account else ""
    if not account or not container:
        raise InvalidInputError(
            "An output file has no container_url of the form "
            "https://<account>.blob.core.windows.net/<container>.",
            "Set its destination.",
        )
    return account, container


def resolved(specs: Sequence[TaskSpec], root: str, own: str) -> list[TaskSpec]:
    """Tasks that say of their uploads in which storage the containers lie.

    Args:
        specs: the tasks, with uploads or without.
        root: URL of the storage root.
        own: URL of the client's storage, for uploads that name no account.

    Raises:
        BlobContainerNotFoundError: there is no such container.
    """
    found = []
    checked = set()
    for spec in specs:
        upload = spec.upload
        if upload is None:
            found.append(spec)
            continue
        url = accounts.storage_url(root, upload.account) if upload.account else own
        if (url, upload.container) not in checked:
            with contextlib.closing(backends.load_storage(url)) as blobs:
                check_log_container(blobs, upload.container, upload.account)
            checked.add((url, upload.container))
        found.append(evolve(spec, upload=evolve(upload, storage=url)))
    return found
