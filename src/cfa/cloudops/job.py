"""Jobs made of the cloud's job objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cfa.cloudops.azure_only import azure_only
from cfa.cloudops.errors import InvalidInputError, JobExistsError
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
    """Make a job.

    Args:
        client: `client.batch_service_client`.
        job: an object or mapping with `id` and `pool_info.pool_id`, and, if it has them,
            `constraints` (`max_task_retry_count`, `max_wall_clock_time`) and `all_tasks_complete_mode`
            (or `on_all_tasks_complete`), as the SDK's; or the name of a job.
        verify_pool: refuse a pool that does not exist.
        exist_ok: go on with a job of this name.
        verbose: print what was done.
        **keywords: arguments of `CloudClient.create_job`, which win.

    Returns:
        True when it was made, False when there was one.

    Raises:
        ValueError: no such pool, or a value that can never work.
        RuntimeError: a job of this name exists and `exist_ok` is false.
    """
    found = client_of(client)
    named = {"job_name": job} if isinstance(job, str) else _arguments(job)
    arguments: dict[str, Any] = {**named, **keywords, "verify_pool": verify_pool}
    if not exist_ok:
        found.create_job(**arguments, verbose=verbose)
        return True
    try:
        found.create_job(**arguments, existing_job="error", verbose=verbose)
    except JobExistsError:
        found.create_job(**arguments, exist_ok=True, verbose=verbose)
        return False
    return True


def _arguments(job: Any) -> dict[str, Any]:
    name = _value(job, "id")
    if name is None:
        raise InvalidInputError(f"The job {job!r} has no id.", "Set its id, or pass a name.")
    limits = _value(job, "constraints")
    mode = _value(job, "all_tasks_complete_mode") or _value(job, "on_all_tasks_complete")
    found = {
        "job_name": name,
        "pool_name": _value(_value(job, "pool_info"), "pool_id"),
        "task_retries": _value(limits, "max_task_retry_count"),
        "timeout": _value(limits, "max_wall_clock_time"),
        "mark_complete_after_tasks_run": None if mode is None else "terminate" in str(mode).lower(),
    }
    return {key: value for key, value in found.items() if value is not None}


def _value(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, Mapping) else getattr(item, name, None)


create_job_schedule = azure_only(
    "job.create_job_schedule", "Use client.create_job_schedule, which takes the same values."
)
