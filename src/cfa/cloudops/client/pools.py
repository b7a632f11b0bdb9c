"""Pools: create and delete."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from attrs import evolve

from cfa.cloudops import autoscale, backends, settings
from cfa.cloudops.client.rerun import fresh_run, run_metadata
from cfa.cloudops.client.screen import Screen, can_draw
from cfa.cloudops.errors import (
    CloudOpsError,
    ConflictError,
    InvalidInputError,
    PoolExistsError,
    PoolNotFoundError,
    UnsafePathError,
)
from cfa.cloudops.model import names, references
from cfa.cloudops.model.plain import plain, some
from cfa.cloudops.model.values import JobState, Mount, PoolSpec, Resources

if TYPE_CHECKING:
    from cfa.cloudops.provider.batch import BatchProvider
    from cfa.cloudops.provider.blob import BlobProvider
    from cfa.cloudops.provider.executor import Capabilities, ImageProgress
    from cfa.cloudops.rehearsal import Rehearsal

_log = logging.getLogger(__name__)

#: What stands for the ready-made formula.
DEFAULT_FORMULA = "default"
#: Seconds between two lines of a pull where nothing is drawn.
_PLAIN_S = 5.0
_MONITORING = (None, "monitor", "benchmark", "both")


class PoolMixin:
    """Methods of `CloudClient` about pools."""

    _batch: BatchProvider
    _blobs: BlobProvider
    _settings: settings.Settings
    _storage_url: str
    _is_of_this_run: Callable[[str], bool]
    pool_name: str | None
    rehearsal: Rehearsal | None

    def create_pool(
        self,
        pool_name: str,
        mounts: Sequence[str | Mapping[str, str] | Sequence[str]] | None = None,
        container_image_name: str | None = None,
        vm_size: str = "standard_d4ads_v5",
        autoscale: bool = True,
        autoscale_formula: str = "default",
        dedicated_nodes: int = 0,
        low_priority_nodes: int = 1,
        max_autoscale_nodes: int = 3,
        task_slots_per_node: int = 1,
        availability_zones: str = "regional",
        cache_blobfuse: bool = True,
        replace_existing_pool: bool = False,
        enable_node_monitoring: str | None = None,
        monitoring_script_url: str | None = None,
        monitoring_interval_seconds: int = 15,
        benchmark_runtime_seconds: int = 60,
    ) -> None:
        """Create a pool: a named description of the nodes that run tasks.

        When the call returns, the image is present: a missing image is pulled. A pool that exists
        stays as it is, unless `replace_existing_pool` is set or `cloudops run --fresh` runs the script.
        Its storage follows that of the client.

        Args:
            pool_name: name of the pool; blanks become `_`.
            mounts: blob containers that tasks see as folders: `"c"` at `/c`, and `{"source": "c",
                "target": "t"}` or `("c", "t")` at `/t`. A list may mix these forms.
            container_image_name: image of tasks that name none.
            vm_size: name on Azure, or a T-shirt size. It limits cores and memory to those of such a
                VM.
            autoscale: if True, the number of nodes follows `autoscale_formula`; if False, it is
                `dedicated_nodes` + `low_priority_nodes`.
            autoscale_formula: a formula in the language of Azure Batch. `default` stands for one
                node per unfinished task, at most `max_autoscale_nodes`.
            dedicated_nodes: number of nodes without autoscaling. On this machine, only the sum with
                `low_priority_nodes` counts.
            low_priority_nodes: number of nodes without autoscaling that the cloud may take back.
            max_autoscale_nodes: highest number of nodes with the formula `default`.
            task_slots_per_node: number of tasks that run at once on a node. In all, nodes x slots
                tasks run at once, at most `CLOUDOPS_MAX_PARALLEL`.
            availability_zones: `regional` or `zonal`; has no effect on this machine.
            cache_blobfuse: has no effect on this machine, where blob containers are directories.
            replace_existing_pool: replace a pool of this name.
            enable_node_monitoring: `monitor`, `benchmark` or `both`; needs `monitoring_script_url`.
                It is checked, but has no effect on this machine.
            monitoring_script_url: address from which the cloud fetches the monitor; not fetched on
                this machine.
            monitoring_interval_seconds: seconds between two measurements; has no effect on this
                machine.
            benchmark_runtime_seconds: duration of the benchmark; has no effect on this machine.

        Raises:
            ValueError: an argument can never work. For a formula, it is a `FormulaError` with line
                and column.
            RuntimeError: the backend does not answer, or the image does not exist. No pool was
                created. Or an existing pool is in use, and its tasks see another storage than that of
                the client.
        """
        from cfa.cloudops.model import sizes

        del cache_blobfuse, monitoring_interval_seconds, benchmark_runtime_seconds
        pool_id = names.pool_id(pool_name)
        _check_choices(availability_zones, enable_node_monitoring, monitoring_script_url)
        if not isinstance(autoscale, bool):  # the text "False" would be true
            raise InvalidInputError(
                f"autoscale={autoscale!r} is neither True nor False.",
                "Pass one of them. The argument for a formula is autoscale_formula.",
            )
        most = _count("max_autoscale_nodes", max_autoscale_nodes)
        dedicated = _count("dedicated_nodes", dedicated_nodes)
        fixed = dedicated + _count("low_priority_nodes", low_priority_nodes)
        nodes = most if autoscale else fixed
        formula = _formula(autoscale_formula, most) if autoscale else None
        own_formula = autoscale and autoscale_formula != DEFAULT_FORMULA
        slots = _count("task_slots_per_node", task_slots_per_node, least=1)
        size = sizes.vm_name(vm_size)
        wanted = parse_mounts(mounts)
        backend, why = backends.choose(self._settings.backend)
        spec = PoolSpec(
            id=pool_id,
            backend=backend,
            image=references.image(container_image_name),
            mounts=wanted,
            vm_size=size,
            nodes=nodes,
            slots_per_node=slots,
            isolation=self._settings.isolation,
            storage=self._storage_url,
            resources=self._resources(vm_size, None if own_formula else nodes),
            dedicated_nodes=0 if autoscale else dedicated,
            autoscale_formula=formula,
            autoscale_interval_s=self._settings.autoscale_interval_s,
            metadata=(*owner_metadata(), *run_metadata()),
        )
        if self.rehearsal is not None:
            found = _capabilities(backend)
            holds = found is None or found.enforces_memory
            self.rehearsal.pool(spec, mounts, limits_memory=holds)
        existing = None if replace_existing_pool else self._existing_pool(pool_id)
        taken = spec if existing is None else self._renewed(existing, spec)
        runs_on = (taken or existing or spec).backend
        self._say_backend(
            runs_on, why if runs_on == backend else f"the pool {pool_id} was created so"
        )
        if taken is not None:
            progress = _PullProgress()
            replace = replace_existing_pool or existing is not None
            try:
                self._batch.create_pool(taken, replace=replace, progress=progress)
            except PoolExistsError:  # another program has created it just now
                if differs := _differences(self._batch.get_pool(pool_id).spec, spec):
                    _warn_of_differences(pool_id, differs, "")
            finally:
                progress.end()
        if sizes.resources(size) is None:
            _log.warning(
                "No limits are known for vm_size=%r: tasks of the pool %s may use every core and all "
                "memory. Known sizes are names such as 'standard_d4ads_v5', and %s.",
                vm_size,
                pool_id,
                ", ".join(sizes.TSHIRT),
            )
        if wanted:
            _warn_of_host_paths(pool_id, runs_on)
        if nodes == 0 and not own_formula:
            _log.warning("The pool %s has no nodes: its tasks wait until it has some.", pool_id)
        for mount in wanted:
            if not self._blobs.container_exists(mount.source):
                _log.warning(
                    "The blob container %s does not exist yet. Before you add tasks, create it: "
                    "create_blob_container(%r).",
                    mount.source,
                    mount.source,
                )
        self.pool_name = pool_id

    def delete_pool(self, pool_name: str) -> None:
        """Delete a pool. Its running tasks return to the queue; its jobs stay.

        Args:
            pool_name: name of the pool; blanks stand for `_`.

        Raises:
            ValueError: the pool does not exist.
        """
        self._batch.delete_pool(names.pool_id(pool_name))

    def _resources(self, vm_size: str, nodes: int | None) -> Resources:
        """Limits of all nodes of a pool together; None: their number is known only later."""
        if self.rehearsal is not None:
            nodes = 1
        from cfa.cloudops.model import sizes

        return Resources() if nodes is None else sizes.limits(vm_size, nodes, _machine())

    def _choose_backend(self) -> str:
        name, why = backends.choose(self._settings.backend)
        self._say_backend(name, why)
        return name

    def _say_backend(self, name: str, why: str) -> None:
        if self._settings.backend == "auto":
            print(f"cloudops: tasks run on {name} ({plain(why)})", file=sys.stderr)  # noqa: T201  promised

    def _existing_pool(self, pool_id: str) -> PoolSpec | None:
        try:
            return self._batch.get_pool(pool_id).spec
        except PoolNotFoundError:
            return None

    def _renewed(self, existing: PoolSpec, spec: PoolSpec) -> PoolSpec | None:
        """What an existing pool becomes; None if it stays as it is.

        It stays, but that it follows the client's storage, which is a setting of this machine: tasks
        would not see what the client uploads. `cloudops run --fresh` makes it what the script says.

        Raises:
            ConflictError: it is in use, and its tasks see another storage.
        """
        differs = _differences(existing, spec)
        fresh = self._settings.fresh
        of_this_run = fresh and any(one in existing.metadata for one in run_metadata())
        if not differs and (not fresh or of_this_run):
            return None
        if of_this_run:
            why = "this run has created it"
        elif users := self._jobs_in(existing.id):
            why = f"it is in use by {some(users)}"
        elif fresh:
            return spec
        else:
            why = ""
        renewed = None
        if "storage" in differs:
            if why:
                raise ConflictError(
                    f"The pool {existing.id!r} mounts containers of {existing.storage}, and this client "
                    f"uploads to {spec.storage}. The pool keeps its storage, because {why}.",
                    "Wait until its jobs are complete, or use another pool, or set CLOUDOPS_STORAGE to "
                    "the storage of the pool.",
                )
            renewed = evolve(existing, storage=spec.storage)
            differs.remove("storage")
        if differs:
            _warn_of_differences(existing.id, differs, why if fresh else "")
        return renewed

    def _jobs_in(self, pool_id: str) -> list[str]:
        """Jobs that use a pool: tasks are not done, there are none yet, or this run has them open."""
        return [
            job.id
            for job in self._batch.list_jobs()
            if names.key(job.pool_id) == names.key(pool_id)
            and job.state is not JobState.COMPLETED
            and (
                job.counts.active + job.counts.running
                or not job.counts.total
                or self._is_of_this_run(job.id)
            )
        ]


def is_same_storage(one: str, other: str) -> bool:
    """Whether two URLs are of one storage: paths may differ by links."""
    if one == other:
        return True
    if not (one.startswith("file://") and other.startswith("file://")):
        return False
    return os.path.realpath(one[len("file://") :]) == os.path.realpath(other[len("file://") :])


def _differences(existing: PoolSpec, spec: PoolSpec) -> list[str]:
    differs = [
        field
        for field in (
            "backend",
            "image",
            "mounts",
            "nodes",
            "slots_per_node",
            "autoscale_formula",
            "isolation",
        )
        if getattr(existing, field) != getattr(spec, field)
    ]
    return differs if is_same_storage(existing.storage, spec.storage) else [*differs, "storage"]


def _warn_of_differences(pool_id: str, differs: Sequence[str], why: str) -> None:
    """Args: why: for what reason `cloudops run --fresh` keeps it; empty without that."""
    advice = "To replace it, pass replace_existing_pool=True."
    if not why and (command := fresh_run()):
        advice = (
            f"To replace it, pass replace_existing_pool=True, or run the script afresh: {command}."
        )
    _log.warning(
        "The pool %s exists and stays as it is%s, although it differs in: %s. %s",
        pool_id,
        f", because {why}" if why else "",
        ", ".join(differs),
        advice,
    )


def _capabilities(backend: str) -> Capabilities | None:
    """What a backend can do; None when it does not answer: making the pool, or its jobs, will say
    what is wrong."""
    try:
        return backends.ask(backend)
    except CloudOpsError as error:
        _log.debug("cannot tell what %s can do: %s", backend, error)
        return None


def _warn_of_host_paths(pool_id: str, backend: str) -> None:
    """Say it where mounts are not at their places for the programs that tasks run."""
    found = _capabilities(backend)
    if found is not None and not found.private_paths:
        _log.warning(
            "The pool %s has mounts, and its tasks run without a sandbox. Paths of mounts are rewritten "
            "in commands, but not inside the scripts that they run. %s",
            pool_id,
            " ".join(note for note in found.notes if "sandbox" in note),
        )


class _PullProgress:
    """Shows a pull: a line that changes on a terminal; elsewhere the first line, then one in five
    seconds, and the last."""

    def __init__(self) -> None:
        self._last = ""
        self._written = ("", -math.inf)
        self._screen: Screen | None = None

    def __call__(self, step: ImageProgress) -> None:
        text = plain(f"{step.image}: {step.status}")
        if can_draw(sys.stderr):
            if self._screen is None:
                self._screen = Screen(sys.stderr).__enter__()
            percent = f"{100 * step.done // step.total} % " if step.total else ""
            self._screen.status([[(f"{percent}{text}", "")]])
        elif text != self._last and time.monotonic() - self._written[1] >= _PLAIN_S:
            self._write(text)
        self._last = text

    def _write(self, text: str) -> None:
        if sys.stderr is None:  # a program without a console
            return
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
        self._written = (text, time.monotonic())

    def end(self) -> None:
        if self._screen is not None:
            self._screen.line((self._last, ""))
            self._screen.__exit__(None, None, None)
        elif self._last != self._written[0]:
            self._write(self._last)


def parse_mounts(
    mounts: Iterable[str | Mapping[str, str] | Sequence[str]] | None,
) -> tuple[Mount, ...]:
    """Mounts in every form that scripts use.

    Raises:
        InvalidInputError: a form that is none of them, or two mounts at one place.
    """
    if mounts is None:
        return ()
    if isinstance(mounts, str | Mapping) or not isinstance(mounts, Iterable):
        raise InvalidInputError(
            f"mounts must be a list, got {mounts!r}.", f"Pass mounts=[{mounts!r}]."
        )
    found = tuple(_mount(item) for item in mounts)
    targets = [mount.target for mount in found]
    for target in targets:
        if targets.count(target) > 1:
            raise InvalidInputError(
                f"More than one mount has the target /{target}.", "Give each mount its own target."
            )
    return found


def _mount(item: Any) -> Mount:
    if isinstance(item, str):
        name = item.strip("/")
        return Mount(name, name)
    if isinstance(item, Mapping) and {"source", "target"} <= item.keys():
        return Mount(_source(item["source"]), item["target"])
    if isinstance(item, Sequence) and len(item) == 2 and all(isinstance(x, str) for x in item):
        return Mount(_source(item[0]), item[1])
    raise InvalidInputError(
        f"{item!r} is not a mount.",
        'Use "container", {"source": "container", "target": "path"} or ("container", "path").',
    )


def _source(text: Any) -> str:
    if isinstance(text, str) and "/" in text.strip("/"):
        raise UnsafePathError(
            f"{text!r} cannot be the source of a mount: it is not the name of a blob container.",
            "Name a whole container. Its folders appear below the mount.",
        )
    return text.strip("/") if isinstance(text, str) else text


def _check_choices(zones: Any, monitoring: Any, script: Any) -> None:
    if not isinstance(zones, str) or zones.lower() not in ("regional", "zonal"):
        raise InvalidInputError(
            f"availability_zones={zones!r} is neither 'regional' nor 'zonal'.", "Use one of them."
        )
    if monitoring not in _MONITORING:
        raise InvalidInputError(
            f"enable_node_monitoring={monitoring!r} is not known.",
            "Use 'monitor', 'benchmark', 'both' or None.",
        )
    if monitoring is not None and not script:
        raise InvalidInputError(
            "enable_node_monitoring needs monitoring_script_url.", "Pass the URL of the script."
        )


def _count(name: str, value: Any, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidInputError(
            f"{name}={value!r} is not a whole number of at least {least}.", f"Correct {name}."
        )
    return value


def _formula(text: Any, most: int) -> str:
    """The formula of a pool, checked."""
    if text == DEFAULT_FORMULA:
        return autoscale.remaining_task_autoscale_formula(max_number_vms=most)
    if not isinstance(text, str) or not text.strip():
        raise InvalidInputError(
            f"autoscale_formula={text!r} is not a formula.",
            f"Pass one, or {DEFAULT_FORMULA!r}, or autoscale=False.",
        )
    for note in autoscale.parse(text).notes:
        _log.warning("autoscale_formula, line %d: %s", note.at.line, note.text)
    return text


def _machine() -> Resources:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Resources(float(settings.cores()), memory)


def owner_metadata() -> tuple[tuple[str, str], ...]:
    """Who made something, and when."""
    import getpass

    try:
        owner = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in many containers
        owner = str(os.getuid())
    return (("owner", owner), ("datetime_created", datetime.now(UTC).isoformat()))
