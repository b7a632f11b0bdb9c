"""`cloudops pool`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import click

from cfa.cloudops.cli import completion, output
from cfa.cloudops.cli.context import Json, all_of, listed, open_batch, open_client
from cfa.cloudops.cli.declare import Commands, argument, option
from cfa.cloudops.errors import CloudOpsError
from cfa.cloudops.model import names
from cfa.cloudops.model.values import Mount, Pool, PoolSpec

commands = Commands()


@commands.add("list")
def list_pools(ctx: click.Context, as_json: Json = False) -> None:
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
        spared=("created", "slots", "backend", "nodes"),
    )


@commands.add()
def create(
    ctx: click.Context,
    pool_name: Annotated[str, option("-p", "--pool-name", help="Name of the pool; blanks become _.")],
    mounts: Annotated[
        list[str] | None,
        option(
            "--mounts", metavar="CONTAINER[:TARGET]",
            help="A blob container that tasks see as a folder: results at /results, results:out at "
            "/out; repeatable.",
        ),
    ] = None,
    container_image_name: Annotated[
        str | None,
        option(
            "-i", "--container-image-name", metavar="IMAGE",
            help="Image of tasks that name none; plain processes need no image.",
        ),
    ] = None,
    vm_size: Annotated[
        str, option("--vm-size", help="VM size, which limits cores and memory.")
    ] = "standard_d4ads_v5",
    autoscale: Annotated[
        bool, option("--autoscale", help="Adapt the number of nodes to the tasks.")
    ] = False,
    dedicated_nodes: Annotated[
        int, option("--dedicated-nodes", metavar="N", help="Dedicated nodes without --autoscale.")
    ] = 0,
    low_priority_nodes: Annotated[
        int, option("--low-priority-nodes", metavar="N", help="Low-priority nodes without --autoscale.")
    ] = 1,
    max_autoscale_nodes: Annotated[
        int, option("--max-autoscale-nodes", metavar="N", help="Most nodes with --autoscale.")
    ] = 3,
    task_slots_per_node: Annotated[
        int, option("--task-slots-per-node", metavar="N", help="Tasks that run at once on a node.")
    ] = 1,
    availability_zones: Annotated[
        str,
        option(
            "--availability-zones", help="regional or zonal; has no effect on this machine."
        ),
    ] = "regional",
    cache_blobfuse: Annotated[
        bool, option("--cache-blobfuse", help="Has no effect on this machine.")
    ] = False,
    replace: Annotated[
        bool, option("--replace-existing-pool", help="Replace a pool of this name.")
    ] = False,
) -> None:  # fmt: skip
    """Create a pool: a description of the nodes that run tasks.

    An image that is missing is pulled. A pool that exists stays as it is, unless you replace it. The
    pool belongs to the backend that --backend or CLOUDOPS_BACKEND names.
    """
    wanted = [_mount(text) for text in listed(mounts) or ()]
    with open_client(ctx, make=True) as client:
        client.create_pool(
            pool_name,
            wanted,
            container_image_name,
            vm_size,
            autoscale=autoscale,
            dedicated_nodes=dedicated_nodes,
            low_priority_nodes=low_priority_nodes,
            max_autoscale_nodes=max_autoscale_nodes,
            task_slots_per_node=task_slots_per_node,
            availability_zones=availability_zones,
            cache_blobfuse=cache_blobfuse,
            replace_existing_pool=replace,
        )
    output.line(f"pool {names.pool_id(pool_name)} is ready")


def _mount(text: str) -> str | tuple[str, str]:
    source, colon, target = text.partition(":")
    return (source, target) if colon else source


@commands.add()
def show(
    ctx: click.Context,
    pool: Annotated[str, argument(shell_complete=completion.pools)],
    as_json: Json = False,
) -> None:
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
            (
                "slots",
                f"{spec.slots_per_node} per node, {found.nodes * spec.slots_per_node} in all",
            ),
            ("isolation", f"{spec.isolation} ({_ISOLATION[spec.isolation]})"),
            ("size", spec.vm_size),
            ("limits", _limits(spec)),
            *_autoscale(found),
            *((f"metadata {name}", value) for name, value in spec.metadata),
        ]
    )
    if spec.autoscale_formula is not None:
        output.heading("autoscale formula")
        output.text(spec.autoscale_formula.rstrip())


@commands.add()
def delete(
    ctx: click.Context,
    pools: Annotated[
        list[str] | None,
        argument(metavar="[POOL]...", shell_complete=completion.pools),
    ] = None,
    pool_name: Annotated[
        list[str] | None,
        option(
            "-p", "--pool-name", metavar="POOL", help="The same, as an option.",
            shell_complete=completion.pools,
        ),
    ] = None,
) -> None:  # fmt: skip
    """Delete pools. Their running tasks end and wait for a new pool; jobs stay."""
    wanted = [names.pool_id(name) for name in all_of(pools, pool_name, "pool")]
    with open_batch(ctx) as batch:
        for pool in wanted:
            batch.delete_pool(pool)
            output.line(f"deleted pool {pool}")


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
    """Limits of one node, and whether the backend enforces them, as far as it answers."""
    cpus, memory = spec.resources.cpus, spec.resources.memory_bytes
    if cpus is None and memory is None:
        return "none"
    from cfa.cloudops import backends

    words = [
        "" if cpus is None else f"{cpus:g} cores",
        "" if memory is None else f"{output.size(memory)} of memory",
    ]
    both = " and ".join(filter(None, words))
    try:
        can = backends.ask(spec.backend)
    except CloudOpsError:  # the definition is readable all the same
        return f"{both} per node (as far as {spec.backend} enforces them: it does not answer)"
    note = f" (not enforced by {spec.backend})"
    holds = (can.enforces_cpus, can.enforces_memory)
    shown = [(word, held) for word, held in zip(words, holds, strict=True) if word]
    if not any(held for _, held in shown):
        return f"{both} per node{note}"
    return " and ".join(word if held else f"{word}{note}" for word, held in shown) + " per node"
