"""`CloudClient` with local defaults."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

from cfa.cloudops.client import CloudClient as _CloudClient
from cfa.cloudops.errors import AmbiguousCallError

P = ParamSpec("P")
T = TypeVar("T")


def _called_as(
    method: Callable[Concatenate[_CloudClient, P], object],
) -> Callable[[Callable[..., T]], Callable[Concatenate[Any, P], T]]:
    """Let a method take the arguments of another one, also for `help()` and type checkers."""

    def decorate(own: Callable[..., T]) -> Callable[Concatenate[Any, P], T]:
        return functools.update_wrapper(own, method)

    return decorate


class CloudClient(_CloudClient):
    __doc__ = _CloudClient.__doc__

    _default_backend: ClassVar[str] = "auto"

    @classmethod
    def _names(
        cls,
        keyvault: str | os.PathLike[str] | None,
        dotenv_path: str | os.PathLike[str] | None,
    ) -> tuple[str | None, str | None]:
        first = None if keyvault is None else os.fspath(keyvault)
        # The cloud package's local client has dotenv_path first. No key vault has such a name.
        if first is None or not {".", "/"} & set(first):
            return super()._names(first, dotenv_path)
        if dotenv_path is not None:
            raise AmbiguousCallError(
                f"keyvault={first!r} looks like a path, and dotenv_path is given too.",
                "Pass the dotenv file alone, as dotenv_path.",
            )
        return None, first

    @_called_as(_CloudClient.create_pool)
    def create_pool(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # more than None
        start = time.monotonic()
        super().create_pool(*args, **kwargs)
        return {"pool_id": self.pool_name, "creation_time": round(time.monotonic() - start, 2)}

    def delete_job(self, job_name: str | None = None, job_id: str | None = None) -> None:
        """Delete a job with its tasks and their files; returns when they are gone.

        What the tasks wrote into blob containers stays.

        Args:
            job_name: the job; blanks are removed.
            job_id: the same, under its older name.

        Raises:
            ValueError: there is no such job.
        """
        if (job_name is None) == (job_id is None):
            raise AmbiguousCallError("delete_job takes one job.", "Pass job_name.")
        super().delete_job(job_name if job_name is not None else str(job_id))
