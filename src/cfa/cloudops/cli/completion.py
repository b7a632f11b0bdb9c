"""Names that the shell completes: those of the workspace, if there is one. Nothing is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from cfa.cloudops.cli.context import find_workspace, load_settings
from cfa.cloudops.errors import CloudOpsError

if TYPE_CHECKING:
    from cfa.cloudops.provider.batch import BatchProvider

#: More names help nobody at a prompt.
_MOST = 200


def pools(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Pools of the workspace."""
    return _names(ctx, incomplete, lambda batch: (pool.spec.id for pool in batch.list_pools()))


def jobs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Jobs of the workspace."""
    return _names(ctx, incomplete, lambda batch: (job.spec.id for job in batch.list_jobs()))


def schedules(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Job schedules of the workspace."""
    return _names(
        ctx, incomplete, lambda batch: (one.spec.id for one in batch.list_job_schedules())
    )


def tasks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Tasks of the job that the words before name."""
    given = ctx.params.get("job") or ctx.params.get("job_name")
    if not isinstance(given, str):
        return []
    return _names(ctx, incomplete, lambda batch: (task.id for task in batch.list_tasks(given)))


def containers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Blob containers."""
    from cfa.cloudops import backends

    try:
        storage = backends.load_storage(load_settings(ctx).storage)
        try:
            return [name for name in storage.list_containers() if name.startswith(incomplete)]
        finally:
            storage.close()
    except CloudOpsError:
        return []


def _names(
    ctx: click.Context, incomplete: str, names: Callable[[BatchProvider], Iterator[str]]
) -> list[str]:
    try:
        settings = load_settings(ctx)
        find_workspace(settings)
        from cfa.cloudops.service.local import LocalBatch

        batch = LocalBatch(settings)
        try:
            found = (name for name in names(batch) if name.startswith(incomplete))
            return [name for name, _ in zip(found, range(_MOST), strict=False)]
        finally:
            batch.close()
    except CloudOpsError:  # a prompt is no place for it
        return []
