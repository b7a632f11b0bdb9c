"""`CloudClient` with local defaults."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import Any, ClassVar, Concatenate, ParamSpec

from cfa.cloudops.client import CloudClient as _CloudClient
from cfa.cloudops.errors import AmbiguousCallError

P = ParamSpec("P")


def _with_summary(
    method: Callable[Concatenate[_CloudClient, P], None],
) -> Callable[Concatenate[_CloudClient, P], dict[str, Any]]:
    """Let `create_pool` return what scripts for the cloud package's local client read."""

    def call(self: _CloudClient, /, *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        start = time.monotonic()
        method(self, *args, **kwargs)
        return {"pool_id": self.pool_name, "creation_time": round(time.monotonic() - start, 2)}

    functools.update_wrapper(call, method)
    return call


class CloudClient(_CloudClient):
    __doc__ = _CloudClient.__doc__

    _default_backend: ClassVar[str] = "auto"

    def __init__(
        self,
        keyvault: str | os.PathLike[str] | None = None,
        dotenv_path: str | None = None,
        use_sp: bool = False,
        use_federated: bool = False,
        force_keyvault: bool = False,
        **kwargs: Any,
    ) -> None:
        first = None if keyvault is None else os.fspath(keyvault)
        # The cloud package's local client has dotenv_path first. No key vault has such a name.
        if first is not None and {".", "/"} & set(first):
            if dotenv_path is not None:
                raise AmbiguousCallError(
                    f"keyvault={first!r} looks like a path, and dotenv_path is given too.",
                    "Pass the dotenv file alone, as dotenv_path.",
                )
            first, dotenv_path = None, first
        super().__init__(first, dotenv_path, use_sp, use_federated, force_keyvault, **kwargs)

    create_pool = _with_summary(_CloudClient.create_pool)  # type: ignore[assignment]  # more than None

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
