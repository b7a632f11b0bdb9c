"""Names: the only place where text from a user becomes an id or a path.

Rules of ids and blob names: Azure Batch REST API (pool, job, task: 1-64 letters, digits, `-`, `_`,
compared without case) and Azure Storage naming rules (blob: 1-1024 characters, no path tricks).
"""

from __future__ import annotations

import os
import re

from cfa.cloudops.errors import InvalidNameError, UnsafePathError

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_SCHEDULED_JOB = re.compile(r"[A-Za-z0-9_-]{1,60}:job-[1-9][0-9]{0,17}\Z")
_SUFFIX = re.compile(r"[A-Za-z0-9_-]*\Z")
_BLOB_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")
_AZURE_CONTAINER = re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]\Z")
_STORAGE_ACCOUNT = re.compile(r"[A-Za-z0-9]{3,24}\Z")
_BLOB_LENGTH = 1024
_BLOB_SEGMENTS = 254


def _text(kind: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidNameError(
            f"The {kind} must be text, got {type(value).__name__}.", f"Pass the {kind} as a string."
        )
    return value


def _identifier(kind: str, text: str) -> str:
    if not _ID.match(text):
        wrong = sorted(set(re.sub(r"[A-Za-z0-9_-]", "", text)))
        raise InvalidNameError(
            f"{text!r} cannot be a {kind}: it has {_list(wrong) or f'{len(text)} characters'}.",
            f"Use 1 to 64 letters, digits, '-' and '_' for a {kind}.",
        )
    return text


def _list(signs: list[str]) -> str:
    """`'!' and '?'`."""
    shown = [repr(sign) for sign in signs]
    return " and ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))


def pool_id(text: str) -> str:
    """The id of a pool: blanks become `_`, then the id rule holds."""
    return _identifier("pool name", _text("pool name", text).replace(" ", "_"))


def job_id(text: str) -> str:
    """The id of a job: blanks are removed, then the id rule holds, or it is one of a schedule's."""
    name = _text("job name", text).replace(" ", "")
    return name if _SCHEDULED_JOB.match(name) else _identifier("job name", name)


def new_job_id(text: str) -> str:
    """The id of a job that a user makes: `<schedule>:job-<n>` is for schedules."""
    return _identifier("job name", _text("job name", text).replace(" ", ""))


def job_schedule_id(text: str) -> str:
    """The id of a job schedule: blanks become `-`, lower case, room for the `-job` of its tasks."""
    name = _text("job schedule name", text).replace(" ", "-").lower()
    if len(name) > 60:
        raise InvalidNameError(
            f"{text!r} cannot be a job schedule name: it has {len(name)} characters.",
            "Use at most 60; the task of each of its jobs is named after it.",
        )
    return _identifier("job schedule name", name)


def task_id(text: str) -> str:
    """The id of a task, as it is."""
    return _identifier("task id", _text("task id", text))


def name_suffix(text: str) -> str:
    """The middle part of a task id; may be empty."""
    if len(_text("name suffix", text)) > 64:
        raise InvalidNameError(
            f"{text!r} cannot be part of a task id: it has {len(text)} characters.",
            "Use at most 64; a whole task id must not be longer either.",
        )
    if not _SUFFIX.match(text):
        raise InvalidNameError(
            f"{text!r} cannot be part of a task id.", "Use letters, digits, '-' and '_' only."
        )
    return text


def key(identifier: str) -> str:
    """The form under which ids are compared: the service does not mind case."""
    return identifier.lower()


def blob_container(text: str) -> str:
    """The name of a blob container.

    Wider than the cloud's rule (3-63 lower-case letters, digits, hyphens), because a container is a
    folder of the user's here and may be named before there is a cloud account.
    """
    text = _text("blob container name", text)
    if not _BLOB_CONTAINER.match(text) or ".." in text or text.endswith("."):
        raise InvalidNameError(
            f"{text!r} cannot be the name of a blob container.",
            "Use 3 to 63 lower-case letters, digits and hyphens, as the cloud requires. Upper "
            "case, '_' and '.' are accepted on this machine only.",
        )
    return text


def is_azure_container(name: str) -> bool:
    """Whether Azure accepts the name of a blob container: 3 to 63 lower-case letters, digits and single
    hyphens, a letter or digit at both ends.

    https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
    """
    return _AZURE_CONTAINER.match(name) is not None


def storage_account(text: str) -> str:
    """The name of a storage account, in lower case: 3 to 24 letters and digits."""
    text = _text("storage account name", text)
    if not _STORAGE_ACCOUNT.match(text):
        raise InvalidNameError(
            f"{text!r} cannot be the name of a storage account.",
            "Use 3 to 24 lower-case letters and digits, as the cloud requires.",
        )
    return text.lower()


def blob(text: str) -> str:
    """The name of a blob: relative, normalised, inside its container.

    `./a//b` becomes `a/b`. An absolute name, `..` (between back slashes as well) or a NUL raise
    `UnsafePathError`.
    """
    path = folder(text)
    if not path:
        raise UnsafePathError(
            f"{text!r} does not name a blob.", "Give a relative name like a/b.csv."
        )
    return path


def folder(text: str) -> str:
    """A prefix inside a container, without slashes at its ends; `''` is the root."""
    text = _text("blob name", text)
    if "\0" in text:
        raise UnsafePathError(f"{text!r} has a NUL character.", "Remove it.")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if text.startswith("/") or (parts and re.match(r"[A-Za-z]:(\\|\Z)", parts[0])):
        raise UnsafePathError(
            f"{text!r} is an absolute path.",
            "Name blobs relative to their container, like a/b.csv.",
        )
    if ".." in text and ".." in re.split(r"[/\\]", text):
        raise UnsafePathError(f"{text!r} leads out of the container.", "Remove '..' from the name.")
    try:
        # As the file system sees it: undecodable bytes in a file's name are valid here.
        sizes = map(len, parts if text.isascii() else map(os.fsencode, parts))
        longest = max(sizes, default=0)
    except UnicodeEncodeError:
        raise InvalidNameError(
            f"{text!r} has characters that no file name can have.", "Remove them."
        ) from None
    if longest > 255:
        raise InvalidNameError(
            f"A part of {text[:40]!r}... is over 255 bytes.", "Shorten the names between slashes."
        )
    path = "/".join(parts)
    if len(path) > _BLOB_LENGTH or len(parts) > _BLOB_SEGMENTS:
        raise InvalidNameError(
            f"{text[:40]!r}... is too long for a blob name.",
            f"Use at most {_BLOB_LENGTH} characters and {_BLOB_SEGMENTS} folders.",
        )
    return path


def mount_target(text: str) -> str:
    """Where a mount appears below `/` in a node, without slashes at its ends: `data`, `a/b`."""
    text = _text("mount target", text)
    try:
        path = folder(text.lstrip("/"))
    except UnsafePathError:
        raise UnsafePathError(
            f"{text!r} cannot be a mount target.", "Use a name or path below '/', like data."
        ) from None
    if not path.isprintable():
        raise UnsafePathError(
            f"{text!r} cannot be a mount target: it has characters that cannot be seen.",
            "Use a path like data/in.",
        )
    if ":" in path:  # engines write binds as source:target
        raise UnsafePathError(
            f"{text!r} cannot be a mount target: it has a colon.", "Use a path like data/in."
        )
    top = path.split("/")[0]
    if not path or top in _SYSTEM_DIRECTORIES or path == "mnt" or path.startswith("mnt/batch"):
        raise UnsafePathError(
            f"A mount at '/{path}' would hide files that a node needs.",
            "Choose another target, like data.",
        )
    return path


# What an image or a sandbox cannot do without.
_SYSTEM_DIRECTORIES = frozenset({"bin", "dev", "etc", "lib", "lib64", "proc", "sbin", "sys", "usr"})


def oci_container(image: str, job: str) -> str:
    """The name of a job's OCI container: `<image with / and : as _>.<job>`."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", image).lstrip("_.-") + "." + job
