"""`cloudops pool`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from cfa.cloudops.cli import output
from cfa.cloudops.cli.context import Json, open_batch
from cfa.cloudops.model.values import Mount, Pool, PoolSpec

app = typer.Typer(no_args_is_help=True, help="List, show and delete pools.")


@app.command("list")
def list_pools(ctx: typer.Context, as_json: Json = False) -> None:
    """List the pools of the workspace, oldest first."""
    with open_batch(ctx) as batch:
        pools = batch.list_pools()
    if as_json:
        output.document(pools)
        return
    output.table(
        ("pool", "state", "backend", "nodes", "slots", "created", "image"),
        (
            (
                pool.spec.id,
                pool.state,
                pool.spec.backend,
                pool.nodes,
                pool.spec.slots_per_node,
                output.when(pool.created),
                pool.spec.image or "-",
            )
            for pool in pools
        ),
        empty="no pools",
    )


@app.command()
def show(ctx: typer.Context, pool: str, as_json: Json = False) -> None:
    """Show the definition of a pool."""
    with open_batch(ctx) as batch:
        found = batch.get_pool(pool)
    if as_json:
        output.document(found)
        return
    spec = found.spec
    output.facts(
        [
            ("pool", spec.id),
            ("state", found.state),
            ("created", output.when(found.created)),
            ("backend", spec.backend),
            ("image", spec.image or "none"),
            ("mounts", mounts_text(spec.mounts) or "none"),
            ("storage", spec.storage),
            ("nodes", _nodes(found)),
            ("slots", f"{spec.slots_per_node} a node, {found.nodes * spec.slots_per_node} in all"),
            ("isolation", f"{spec.isolation} ({_ISOLATION[spec.isolation]})"),
            ("size", spec.vm_size),
            ("limits", _limits(spec)),
            *_autoscale(found),
            *((f"metadata {name}", value) for name, value in spec.metadata),
        ]
    )
    if spec.autoscale_formula is not None:
        output.heading("autoscale formula")
        print(spec.autoscale_formula.rstrip())


@app.command()
def delete(ctx: typer.Context, pools: Annotated[list[str], typer.Argument()]) -> None:
    """Delete pools. Tasks that run on them are ended and wait; jobs stay."""
    with open_batch(ctx) as batch:
        for pool in pools:
            batch.delete_pool(pool)
            print(f"deleted pool {pool}")


_ISOLATION = {
    "job": "the tasks of a job share a node",
    "task": "each task gets a fresh node",
}


def mounts_text(mounts: Iterable[Mount]) -> str:
    """`input-test at /data, ...`."""
    return ", ".join(f"{mount.source} at /{mount.target}" for mount in mounts)


def _nodes(pool: Pool) -> str:
    return (
        f"{pool.nodes} ({pool.dedicated_nodes} dedicated, {pool.low_priority_nodes} low priority)"
    )


def _autoscale(pool: Pool) -> list[tuple[str, str]]:
    """How a pool's formula fared."""
    if pool.spec.autoscale_formula is None:
        return []
    run = pool.autoscale_run
    every = f"every {output.duration(pool.spec.autoscale_interval_s)} while there are tasks"
    if run is None:
        return [("autoscale", f"{every}; not evaluated yet")]
    return [
        ("autoscale", f"{every}; last at {output.when(run.evaluated)}"),
        ("results", run.results),
        ("problem", run.error or ""),
    ]


def _limits(spec: PoolSpec) -> str:
    """Limits of one node, as far as the backend enforces them."""
    found = []
    if spec.resources.cpus is not None:
        found.append(f"{spec.resources.cpus:g} cores")
    if spec.resources.memory_bytes is not None:
        found.append(f"{output.size(spec.resources.memory_bytes)} of memory")
    return f"{' and '.join(found)} a node" if found else "none"
