"""Functions about pools, sizes of VMs and quotas, for a client that the caller has.

They are imported from `cfa.cloudops.batch_helpers`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from attrs import evolve

from cfa.cloudops.azure_only import azure_only
from cfa.cloudops.client.handles import Handle
from cfa.cloudops.defaults import default_azure_container_registry_domain
from cfa.cloudops.errors import InvalidInputError, PoolNotFoundError
from cfa.cloudops.faces import client_of
from cfa.cloudops.model import names, sizes
from cfa.cloudops.model.records import Record
from cfa.cloudops.model.values import Pool

_log = logging.getLogger(__name__)

# --- pools


class PoolInfo(Record):
    """Everything about a pool, under the names of the cloud's object.

    `vm_size`, `task_slots_per_node`, `deployment_configuration`, `scale_settings`,
    `mount_configuration` and so on, as attributes and as items; `as_dict()` gives plain dictionaries.
    `mounts` are `{"source", "target"}`. Resource group and account do not exist on this machine.
    """


def check_pool_exists(*args: Any, **kwargs: Any) -> bool:
    """Whether there is a pool: `(resource_group_name, account_name, pool_name, batch_mgmt_client)`."""
    try:
        _pool(args, kwargs)
    except PoolNotFoundError:
        return False
    return True


def get_pool_full_info(*args: Any, **kwargs: Any) -> PoolInfo:
    """All of a pool: `(resource_group_name, account_name, pool_name, batch_mgmt_client)`.

    Raises:
        PoolNotFoundError (a ValueError): there is no such pool. So do the next functions, which take
            the same arguments.
    """
    pool = _pool(args, kwargs)
    spec = pool.spec
    images = [spec.image] if spec.image else []
    scale = Record(
        auto_scale=None,
        fixed_scale=Record(
            target_dedicated_nodes=pool.dedicated_nodes,
            target_low_priority_nodes=pool.low_priority_nodes,
        ),
    )
    if spec.autoscale_formula:
        interval = timedelta(seconds=spec.autoscale_interval_s)
        formula = Record(formula=spec.autoscale_formula, evaluation_interval=interval)
        scale = Record(auto_scale=formula, fixed_scale=None)
    return PoolInfo(
        name=spec.id,
        id=spec.id,
        vm_size=spec.vm_size,
        allocation_state="steady",
        current_dedicated_nodes=pool.dedicated_nodes,
        current_low_priority_nodes=pool.low_priority_nodes,
        task_slots_per_node=spec.slots_per_node,
        container_image_names=images,
        autoscale_formula=spec.autoscale_formula,
        mounts=[{"source": one.source, "target": one.target} for one in spec.mounts],
        metadata=dict(spec.metadata),
        creation_time=pool.created,
        deployment_configuration=Record(
            virtual_machine_configuration=Record(
                container_configuration=Record(container_image_names=images)
            )
        ),
        scale_settings=scale,
        mount_configuration=[
            Record(
                azure_blob_file_system_configuration=Record(
                    container_name=one.source, relative_mount_path=one.target
                )
            )
            for one in spec.mounts
        ],
    )


def get_vm_size(size: str) -> str:
    """The name of a VM size by a word: `small` is `Standard_D4ads_v5`. Capitals do not matter.

    Raises:
        InvalidInputError (a ValueError): it is no such word.
    """
    found = sizes.TSHIRT.get(str(size).lower().removesuffix("_amd"))
    if found is None:
        raise InvalidInputError(
            f"Invalid size descriptor {size!r}.", f"Use one of {', '.join(sizes.TSHIRT)}."
        )
    return found


def get_pool_mounts(*args: Any, **kwargs: Any) -> list[dict[str, str]]:
    """Mounts of a pool: `{"source", "target"}`."""
    return list(get_pool_full_info(*args, **kwargs).mounts)


def get_full_container_image_name(
    container_name: str,
    registry: str = "azure",
    acr_name: str | None = None,
    github_org: str | None = None,
) -> str:
    """The full name of an image in a registry.

    Args:
        container_name: name and tag, such as `model:latest`.
        registry: `azure`, `docker` (Docker Hub) or `github`.
        acr_name: name of the registry, for `azure`.
        github_org: name of the organisation, for `github`.

    Raises:
        InvalidInputError (a ValueError): the name that the registry needs is missing, or there is no
            such registry.
    """
    match registry:
        case "docker":
            return container_name
        case "azure" if acr_name:
            return f"{acr_name}.{default_azure_container_registry_domain}/{container_name}"
        case "github" if github_org:
            return f"ghcr.io/{github_org}/{container_name}"
        case "azure" | "github":
            needed = "acr_name" if registry == "azure" else "github_org"
            raise InvalidInputError(f"The registry {registry!r} needs {needed}.", f"Pass {needed}.")
        case _:
            raise InvalidInputError(
                f"registry={registry!r} is not known.", "Use 'azure', 'docker' or 'github'."
            )


def get_rel_mnt_path(blob_name: str, *args: Any, **kwargs: Any) -> str:
    """Where a blob container is mounted in a pool, below `/`; the rest as `check_pool_exists`.

    `ERROR!` when the pool does not mount it or there is no such pool; the log says which.
    """
    try:
        found = get_pool_full_info(*args, **kwargs)
    except PoolNotFoundError as error:
        _log.error("%s", error)
        return "ERROR!"
    for mount in found.mounts:
        if mount["source"] == blob_name:
            return str(mount["target"])
    _log.error("The pool %s does not mount %r. Pass mounts to create_pool.", found.name, blob_name)
    return "ERROR!"


class DonePoller:
    """What is left to wait for after a call that is done: nothing."""

    def result(self, timeout: float | None = None) -> None:
        """None, at once."""

    def wait(self, timeout: float | None = None) -> None:
        """Return at once."""

    def done(self) -> bool:
        """True."""
        return True

    def status(self) -> str:
        """`Succeeded`."""
        return "Succeeded"


def delete_pool(*args: Any, **kwargs: Any) -> DonePoller:
    """Delete a pool: `(resource_group_name, account_name, pool_name, batch_mgmt_client)`.

    See `CloudClient.delete_pool`. It is gone when this returns. Only the name in its place counts:
    one of the others may be that of a pool, too.
    """
    client = _client(args, kwargs)
    if "pool_name" not in kwargs and len(args) > 2 and isinstance(args[2], str):
        kwargs = {**kwargs, "pool_name": args[2]}
    client.delete_pool(_pool(args, kwargs).spec.id)
    return DonePoller()


def _client(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    handles = [one for one in (*args, *kwargs.values()) if isinstance(one, Handle)]
    return client_of(handles[0] if handles else None)


def _pool(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Pool:
    """The pool that a call means.

    The cloud's functions take its name beside those of the resource group and the account, not all in
    the same order. Without a keyword it is the one text that is the name of a pool.
    """
    batch = _client(args, kwargs)._batch
    if "pool_name" in kwargs:
        return _get_pool(batch, kwargs["pool_name"])
    texts = [one for one in args if isinstance(one, str)]
    for text in texts:
        try:
            return _get_pool(batch, text)
        except (PoolNotFoundError, InvalidInputError):
            continue
    raise PoolNotFoundError(
        f"None of {', '.join(map(repr, texts)) or 'the arguments'} is the name of a pool.",
        "Create it with client.create_pool, or pass pool_name=...",
    )


def _get_pool(batch: Any, name: str) -> Pool:
    found: Pool = batch.get_pool(names.pool_id(name))
    return found


def check_mount_format(mount: str) -> str:
    """The name of a mount without slashes at its ends.

    Raises:
        InvalidInputError (a ValueError): a slash is inside.
    """
    text = mount.strip("/")
    if "/" in text:
        raise InvalidInputError(
            f"{mount!r} cannot be the name of a mount: it has a slash inside.",
            "Use a name like 'data'.",
        )
    return text


# --- VM sizes and quotas


def construct_vm_name(family: str, cores: int) -> str:
    """The name of a VM size: `standardDADSv5Family` with 4 cores is `standard_D4ads_v5`.

    Raises:
        InvalidInputError (a ValueError): the family is not known.
    """
    found = sizes.family_components(family)
    if found is None:
        raise InvalidInputError(
            f"{family!r} is not the family of a VM size.", "Use one like 'standardDADSv5Family'."
        )
    return evolve(found, cores=cores).name


def get_vm_name(
    series: str = "D",
    cores: int = 4,
    amd: bool = False,
    temp_disk: bool = True,
    ssd: bool = False,
    version: int = 5,
    verify: bool = True,
    *_: Any,
    **__: Any,
) -> str:
    """See `CloudClient.get_vm_name`; further arguments have no effect on this machine."""
    make = sizes.verified_vm_name if verify else sizes.construct_vm_name
    return make(series, cores, amd, temp_disk, ssd, version)


def vm_name_to_family(vm_name: str) -> str:
    """The family of a VM size: `standard_d4ads_v5` is of `standardDADSv5Family`.

    Raises:
        InvalidInputError (a ValueError): it is no name of the form `standard_D4ads_v5`.
    """
    found = sizes.vm_components(sizes.vm_name(vm_name))
    if found is None:
        raise InvalidInputError(
            f"{vm_name!r} is not the name of a VM size.", "Use one like 'standard_d4ads_v5'."
        )
    return found.family


# What these take and give is documented nowhere: a guess would mean something else than on the cloud.
get_vm_components = azure_only(
    "batch_helpers.get_vm_components",
    "vm_name_to_family(vm_name) gives the family, client.get_vm_name(...) makes a name of its parts.",
)
find_similar_vm_families = azure_only(
    "batch_helpers.find_similar_vm_families",
    "client.get_vm_name(...) proposes similar names for one that does not exist, "
    "client.get_vm_series_quotas(series) lists families.",
)


def check_if_pool_vm_deprecated(*args: Any, **kwargs: Any) -> bool:
    """Whether the version of a pool's VM size is below 4, which the cloud phases out; then a warning.

    Takes a pool, as `check_pool_exists` does.

    Raises:
        PoolNotFoundError (a ValueError): there is no such pool.
        InvalidInputError (a ValueError): no client is given.
    """
    pool = _pool(args, kwargs).spec
    version = re.search(r"_v(\d+)\Z", pool.vm_size, re.IGNORECASE)
    if version and int(version[1]) < 4:
        _log.warning(
            "The VM size %s of the pool %s is phased out; use one of version 5.",
            pool.vm_size,
            pool.id,
        )
        return True
    return False


def get_all_vm_quotas(*args: Any, **kwargs: Any) -> list[dict[str, Any]]:
    """See `CloudClient.get_all_vm_quotas`; the client is among the arguments."""
    return list(_client(args, kwargs).get_all_vm_quotas())


def get_vm_series_quotas(
    series: str | Sequence[str], *args: Any, **kwargs: Any
) -> list[dict[str, Any]]:
    """See `CloudClient.get_vm_series_quotas`; the client is among the arguments."""
    return list(_client(args, kwargs).get_vm_series_quotas(series))
