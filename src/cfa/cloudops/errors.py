"""The error catalogue.

Every error of this package derives from `CloudOpsError` and from the built-in that a script written
for the cloud client already catches. A message says what was tried, what happened and what to do
next; the parts are kept as attributes, so that the command line can lay them out. One that says all
that another error said is raised `from None`: a script that ends with it shows one traceback, not
pages of a library's own before it.

Two questions are answered by the type: whose fault (`InvalidInputError` and its kin: the caller's;
`BackendError`: the backend's or the machine's; `StoreError`: the workspace's), and, by `transient`,
whether trying the same call again can help.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from graphlib import CycleError
from typing import Any

#: Signs of a message, and what is left of a longer one: names in it are of any length.
_LONGEST, _BEGIN, _END = 6000, 4000, 1000


def _bounded(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    left = len(text) - _BEGIN - _END
    return f"{text[:_BEGIN]}... ({left:,} more characters) ...{text[-_END:]}"


class CloudOpsError(Exception):
    """The base class of all errors of this package.

    Args:
        message: what was tried and what happened, in one or two sentences. A long message is cut.
        hint: what to do next; may be empty.
    """

    #: True when the same call may succeed later without any change by the caller.
    transient: bool = False
    #: Exit status of the command line for this error.
    exit_status: int = 1

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = _bounded(message)
        self.hint = _bounded(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.hint)


# --- the caller's fault ---------------------------------------------------------------------------


class InvalidInputError(CloudOpsError, ValueError):
    """An argument has a value that can never work."""

    exit_status = 2


class InvalidNameError(InvalidInputError):
    """A name is empty or too long, or has characters that the service refuses."""


class UnsafePathError(InvalidInputError):
    """A path is absolute, has `..` or a NUL, or leads out of its container through a link."""


class AmbiguousCallError(InvalidInputError, TypeError):
    """The arguments can be read in more than one way, or not at all."""


class MissingKeyError(InvalidInputError, KeyError):
    """A file lacks a table or key that it must have."""


class DependencyCycleError(InvalidInputError, CycleError):
    """Tasks depend on one another in a circle.

    As in `graphlib.CycleError`, the second of `args` lists the circle. Each task depends on the one
    before it, and the first task is also the last.
    """

    def __init__(self, message: str, hint: str = "", cycle: Sequence[object] = ()) -> None:
        super().__init__(message, hint)
        self.args = (self.message, list(cycle))

    def __reduce__(self) -> tuple[type[CloudOpsError], tuple[Any, ...]]:
        return type(self), (self.message, self.hint, self.args[1])


class StrictError(InvalidInputError):
    """The cloud would refuse this call. Only a rehearsal raises this error."""


class SettingError(InvalidInputError):
    """An environment variable, `.env` entry or constructor argument has a bad value."""


class FormulaError(InvalidInputError):
    """An autoscale formula cannot be read, or has no value at present.

    Args:
        code: the service's error code, such as `InsufficientSampleData`.
        line: where in the formula; counts from 1, as does `column`.
    """

    def __init__(
        self, message: str, hint: str = "", *, code: str = "", line: int = 1, column: int = 1
    ) -> None:
        super().__init__(message, hint)
        self.code, self.line, self.column = code, line, column

    def __reduce__(self) -> tuple[Any, ...]:
        make = partial(type(self), code=self.code, line=self.line, column=self.column)
        return make, (self.message, self.hint)


class NotFoundError(CloudOpsError, LookupError, ValueError):
    """An object that a call names does not exist."""

    exit_status = 3

    # LookupError alone would be enough for the type; ValueError is what cloud scripts catch.


class PoolNotFoundError(NotFoundError):
    """No pool has this id."""


class JobNotFoundError(NotFoundError):
    """No job has this id."""


class JobScheduleNotFoundError(NotFoundError):
    """No job schedule has this id."""


class TaskNotFoundError(NotFoundError):
    """The job has no task with this id."""


class BlobContainerNotFoundError(NotFoundError, FileNotFoundError):
    """No blob container has this name."""


class BlobNotFoundError(NotFoundError, FileNotFoundError):
    """The blob container has no such blob."""


class WorkspaceNotFoundError(NotFoundError, FileNotFoundError):
    """The workspace does not exist."""


class LocalFileNotFoundError(NotFoundError, FileNotFoundError):
    """A local file or folder does not exist."""


class ExtraNotInstalledError(CloudOpsError, ImportError):
    """The call needs a library that comes with an extra of this package."""

    exit_status = 5


class FileAccessError(CloudOpsError, PermissionError):
    """A file or folder may not be read or written by the caller."""

    exit_status = 2


class ConflictError(CloudOpsError, RuntimeError):
    """The call does not fit the state of its object."""

    exit_status = 4


class PoolExistsError(ConflictError):
    """A pool with this id exists."""


class JobExistsError(ConflictError):
    """A job with this id exists."""


class JobScheduleExistsError(ConflictError):
    """A job schedule with this id exists."""


class TaskExistsError(ConflictError):
    """The job has a task with this id."""


class JobCompletedError(ConflictError):
    """The job was terminated, by the user or by its time limit, and accepts no more tasks."""


class TasksFailedError(CloudOpsError, RuntimeError):
    """Tasks of a job failed or never ran. Only calls that ask for this error raise it."""


class ProtectedBlobError(ConflictError, PermissionError):
    """A blob is under legal hold or an unexpired immutability policy."""


# --- the backend's or the machine's ---------------------------------------------------------------


class BackendError(CloudOpsError, RuntimeError):
    """A backend could not carry out a call."""

    exit_status = 5


class UnknownBackendError(BackendError, ValueError):
    """No distribution, installed or known, offers a backend of this name."""


class BackendNotInstalledError(BackendError, ImportError):
    """The backend is known, but what it needs is not installed."""


class BackendUnavailableError(BackendError, ConnectionError):
    """The backend is installed, but its engine does not answer."""

    transient = True


class BackendConflictError(BackendError):
    """Two distributions offer a backend of the same name."""


class ImageError(BackendError):
    """An image is missing and cannot be pulled, or it cannot run the launcher."""


class NodeError(BackendError):
    """A node could not be opened or was lost."""


class UnsupportedError(BackendError, NotImplementedError):
    """The backend does not have this ability."""


class CredentialValueError(CloudOpsError, AttributeError):
    """A value for the log-in to the cloud is missing."""

    exit_status = 2


class NotOfferedError(UnsupportedError, AttributeError):
    """An attribute of the cloud's SDK is not available. `hasattr` returns False for it."""


# --- the workspace's ------------------------------------------------------------------------------


class StoreError(CloudOpsError, RuntimeError):
    """The workspace's store cannot be used."""

    exit_status = 6


class StoreUnreadableError(StoreError, OSError):
    """The store is damaged, or its file or directory may not be read or written."""


class UntrustedWorkspaceError(StoreError, PermissionError):
    """The workspace belongs to another user, or others may write to it; nothing in it was opened."""


class StoreVersionError(StoreError):
    """The store was written by a newer version of this package."""


class DiskFullError(StoreError, OSError):
    """No space is left on the disk of the workspace or of a blob container."""

    transient = True


class AgentError(StoreError):
    """The agent of the workspace could not be started or does not answer."""

    transient = True


class WaitTimeoutError(CloudOpsError, RuntimeError, TimeoutError):
    """A wait took longer than its time limit."""

    transient = True
    exit_status = 7
