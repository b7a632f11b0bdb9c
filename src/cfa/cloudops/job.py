"""Jobs made of the cloud's job objects."""

from __future__ import annotations

from typing import Any

from cfa.cloudops.azure_only import azure_only
from cfa.cloudops.client import sdk
from cfa.cloudops.errors import JobExistsError
from cfa.cloudops.faces import client_of

__all__ = ["create_job", "create_job_schedule"]


def create_job(
    client: Any,
    job: Any,
    verify_pool: bool = True,
    exist_ok: bool = False,
    verbose: bool = False,
    **keywords: Any,
) -> bool:
    """Create a job. Args:
        client: `client.batch_service_client`.
        job: the name of a job; or an object of the SDK, an object like it or a mapping, with `id`
            and `pool_info.pool_id`. `constraints` (`max_task_retry_count`, `max_wall_clock_time`),
            `all_tasks_complete_mode` and `metadata` count too. The log names other fields that have
            no effect on this machine.
        verify_pool: refuse a pool that does not exist.
        exist_ok: continue with a job of this name.
        verbose: print what was done.
        **keywords: arguments of `CloudClient.create_job`, which win.

    Returns:
        True if the job was created, False if it existed.

    Raises:
        ValueError: the pool does not exist, the object names no pool, or a value can never work.
        NotImplementedError: the object has a part that is not available on this machine and would
            change what runs, such as a preparation task.
        RuntimeError: a job of this name exists, and `exist_ok` is False.
    """
    found = client_of(client)
    named = {"job_name": job} if isinstance(job, str) else sdk.job_arguments(job)
    arguments: dict[str, Any] = {**named, **keywords, "verify_pool": verify_pool}
    if not isinstance(job, str):
        sdk.check_pool(arguments)
    if not exist_ok:
        found.create_job(**arguments, verbose=verbose)
        return True
    try:
        found.create_job(**arguments, existing_job="error", verbose=verbose)
    except JobExistsError:
        found.create_job(**arguments, exist_ok=True, verbose=verbose)
        return False
    return True


create_job_schedule = azure_only(
    "job.create_job_schedule", "Use client.create_job_schedule, which takes the same values."
)
