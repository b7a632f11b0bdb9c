"""The rules about names, pools, jobs and schedules. Facts: the REST reference of Azure Batch and the
naming rules of Azure Storage."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from cfa.cloudops.model import names, sizes
from cfa.cloudops.model.values import Job, JobSpec, JobState, PoolSpec, TaskSpec, Usage
from cfa.cloudops.rehearsal.findings import Finding, refuse, warn

MAX_TASKS_A_REQUEST = 100
MAX_MOUNTS = 10
MAX_FORMULA_CHARACTERS = 8192
MAX_FORMULA_STATEMENTS = 100
MAX_SLOTS = 256
LEAST_INTERVAL = timedelta(minutes=1)
LONGEST_TASK = timedelta(days=180)

_VERSION = re.compile(r"_v(\d+)\Z", re.IGNORECASE)


# --- blobs


def container_name(name: str) -> Iterator[Finding]:
    """A blob container has 3 to 63 lower-case letters, digits and single hyphens."""
    if not names.is_azure_container(name):
        why = "OutOfRangeInput" if not 3 <= len(name) <= 63 else "InvalidResourceName"
        yield refuse(
            "container-name",
            f"{name!r} is the name of a blob container.",
            f"The storage account refuses it (400 {why}).",
            "Use 3 to 63 lower-case letters, digits and single hyphens, a letter or digit at both "
            "ends.",
        )


def blob_name(name: str) -> Iterator[Finding]:
    """No part of a blob's name ends in a dot."""
    if any(part.endswith(".") for part in name.split("/")):
        yield warn(
            "blob-name",
            f"{name!r} is the name of a blob.",
            "Some of Azure's tools drop or mangle a part that ends in a dot.",
            "Name the file without the dot at the end.",
        )


# --- pools


def mounts(spec: PoolSpec, given: Any) -> Iterator[Finding]:
    """The form, number and targets of a pool's mounts."""
    if any(not isinstance(one, str) and not hasattr(one, "keys") for one in given or ()):
        yield warn(
            "mount-form",
            f"The pool {spec.id} has mounts written as pairs.",
            "The cloud's client ignores pairs: nothing is mounted.",
            'Write "container" or {"source": "container", "target": "path"}.',
        )
    if len(spec.mounts) > MAX_MOUNTS:
        yield refuse(
            "mount-count",
            f"The pool {spec.id} has {len(spec.mounts)} mounts.",
            f"The service refuses more than {MAX_MOUNTS} mounts per pool.",
            "Put several folders into one blob container.",
        )
    for mount in spec.mounts:
        yield from container_name(mount.source)
        if "/" in mount.target:
            yield refuse(
                "mount-target",
                f"The pool {spec.id} mounts {mount.source} at /{mount.target}.",
                "The cloud's client refuses a target with a slash inside (ValueError).",
                "Use one word, such as 'data'. The mount_pairs of a task may have slashes.",
            )


def image(name: str | None, where: str) -> Iterator[Finding]:
    """An image has a registry that the nodes of the cloud reach."""
    if name is None:
        return
    registry = name.partition("/")[0] if "/" in name else ""
    if registry.partition(":")[0] in ("localhost", "127.0.0.1"):
        yield refuse(
            "image-registry",
            f"{where} has the image {name!r}, which only this machine has.",
            "Nodes cannot pull it: tasks fail with ContainerInvalidImage and no exit code.",
            "Push it with client.upload_docker_image and use the name that it returns.",
        )
    elif "." not in registry and ":" not in registry:
        full = name if "/" in name else f"library/{name}"
        yield warn(
            "image-registry",
            f"{where} has the image {name!r}, whose name has no registry.",
            f"Nodes pull docker.io/{full}; if it is only on this machine, tasks fail with "
            "ContainerInvalidImage and no exit code.",
            "Name its registry (docker.io/..., <registry>.azurecr.io/...); push an image of your own "
            "with client.upload_docker_image.",
        )


def vm_size(spec: PoolSpec) -> Iterator[Finding]:
    """A VM size is one that exists, and not one that is phased out."""
    if sizes.resources(spec.vm_size) is None:
        yield warn(
            "vm-size",
            f"The pool {spec.id} has vm_size={spec.vm_size!r}, which this package does not know.",
            "The service refuses a size that the region does not offer.",
            f"Use a name such as 'standard_d4ads_v5', or one of {', '.join(sizes.TSHIRT)}.",
        )
    version = _VERSION.search(spec.vm_size)
    if version and int(version[1]) < 4:
        yield warn(
            "vm-version",
            f"The pool {spec.id} has vm_size={spec.vm_size!r}, a size of version {version[1]}.",
            "Sizes below version 4 are phased out.",
            "Use a size of version 5.",
        )


def memory_limit(spec: PoolSpec) -> Iterator[Finding]:
    """A VM has the memory of its size; to be asked where the backend does not hold tasks to it."""
    one = sizes.resources(spec.vm_size)
    if one is not None and one.memory_bytes:
        yield warn(
            "memory-limit",
            f"The backend {spec.backend} does not limit the memory of the pool {spec.id} to that of a "
            "VM: this rehearsal does not notice a task that needs more.",
            f"A task that needs more than the {one.memory_bytes / sizes.GIB:.0f} GiB of "
            f"{spec.vm_size}, less what other tasks and the system need, is killed.",
            "Rehearse with CLOUDOPS_BACKEND=docker or podman too, where 'cloudops doctor' says that "
            "memory is enforced.",
        )


def slots(spec: PoolSpec) -> Iterator[Finding]:
    """A node has at most four slots a core, and 256."""
    one = sizes.resources(spec.vm_size)
    most = MAX_SLOTS if one is None else min(MAX_SLOTS, int(4 * (one.cpus or MAX_SLOTS)))
    if spec.slots_per_node > most:
        yield refuse(
            "task-slots",
            f"The pool {spec.id} has task_slots_per_node={spec.slots_per_node}.",
            f"The service refuses more than {most} for {spec.vm_size} (4 per core, 256 in all).",
            f"Use at most {most}, or a larger size.",
        )


def formula(spec: PoolSpec) -> Iterator[Finding]:
    """An autoscale formula has at most 8192 characters and 100 statements."""
    text = spec.autoscale_formula or ""
    statements = text.count(";")
    if len(text) > MAX_FORMULA_CHARACTERS or statements > MAX_FORMULA_STATEMENTS:
        yield refuse(
            "autoscale-formula",
            f"The autoscale formula of {spec.id} has {len(text)} characters and {statements} "
            "statements.",
            f"The service refuses more than {MAX_FORMULA_CHARACTERS} characters or "
            f"{MAX_FORMULA_STATEMENTS} statements.",
            "Shorten it.",
        )


# --- jobs and tasks


def retries(spec: JobSpec) -> Iterator[Finding]:
    """Retries have an end."""
    if spec.max_task_retries < 0:
        yield warn(
            "task-retries",
            f"The job {spec.id} tries failing tasks again without limit.",
            "A task that can never succeed keeps a node busy, and costs money, until somebody ends it.",
            "Give task_retries a number.",
        )


def addition(job: Job) -> Iterator[Finding]:
    """A job that is completed takes no tasks."""
    if job.state is JobState.COMPLETED:
        yield refuse(
            "job-completed",
            f"The job {job.spec.id} gets tasks after it has completed.",
            "The service refuses them (409 JobCompleted); on this machine the job continues.",
            "Add all tasks before monitor_job, create another job, or create this one with "
            "mark_complete_after_tasks_run=False.",
        )


def log_container(spec: JobSpec) -> Iterator[Finding]:
    """The container for logs has a name that the cloud takes."""
    if spec.log_container is not None:
        yield from container_name(spec.log_container)


def collection(specs: Sequence[TaskSpec]) -> Iterator[Finding]:
    """A request adds at most 100 tasks. Those of `run_dag` are added one by one on the cloud."""
    count = len(specs)
    if count > MAX_TASKS_A_REQUEST and not any(spec.depends_on_positions for spec in specs):
        yield warn(
            "collection-size",
            f"add_task_collection was called with {count} tasks.",
            f"The service refuses more than {MAX_TASKS_A_REQUEST} tasks in a request. A client that "
            "sends one request adds none of them (the cloud's logs an error and returns False); one "
            "that splits it may add some, in any order.",
            f"Add at most {MAX_TASKS_A_REQUEST} tasks per call, and check what each call returns.",
            key="size",
        )


def task_image(pool: PoolSpec | None, task: TaskSpec) -> Iterator[Finding]:
    """A task has an image, its own or its pool's."""
    if task.image is not None:
        yield from image(task.image, "A task")
    elif pool is not None and pool.image is None:
        yield refuse(
            "no-image",
            f"A task of the pool {pool.id} has no image, nor has the pool.",
            "The cloud's client refuses it (ValueError).",
            "Pass container_image_name to create_pool or add_task.",
        )


def task_mounts(task: TaskSpec) -> Iterator[Finding]:
    """Containers that a task mounts have names that the cloud takes."""
    for mount in task.mounts or ():
        yield from container_name(mount.source)


def task_time(task: TaskSpec) -> Iterator[Finding]:
    """A task may take 180 days."""
    if task.timeout_s is not None and task.timeout_s > LONGEST_TASK.total_seconds():
        yield warn(
            "task-timeout",
            f"A task may take {timedelta(seconds=task.timeout_s).days} days.",
            "The service ends a task 180 days after it was added.",
            "Pass a smaller timeout, in minutes.",
        )


def memory(pool: PoolSpec, job_id: str, usage: Mapping[str, Usage]) -> Iterator[Finding]:
    """A task needs less memory than a VM of its pool has; known of tasks with a container of their
    own."""
    one = sizes.resources(pool.vm_size)
    most = (one.memory_bytes if one else None) or 0
    for task_id, used in usage.items():
        if most and (used.peak_memory_bytes or 0) >= most:
            yield warn(
                "task-memory",
                f"The task {task_id} of {job_id} took all {most / sizes.GIB:.0f} GiB that a VM of the "
                f"size {pool.vm_size} has.",
                "The task is killed, because other tasks and the system need memory too, unless most of "
                "it was cached files.",
                "Use a larger vm_size.",
                key=f"{job_id} {pool.vm_size}",
            )


# --- schedules


def intervals(
    schedule: str, start_window: timedelta | None, recurrence_interval: timedelta | None
) -> Iterator[Finding]:
    """A window and an interval have a minute at least."""
    given = (("start_window", start_window), ("recurrence_interval", recurrence_interval))
    for name, value in given:
        if value is not None and value < LEAST_INTERVAL:
            yield refuse(
                "schedule-interval",
                f"The schedule {schedule} has {name}={value}.",
                "The service refuses times below one minute (400).",
                "Use timedelta(minutes=1) or more.",
            )
    if start_window and recurrence_interval and start_window > recurrence_interval:
        yield warn(
            "schedule-window",
            f"The schedule {schedule} has a start_window above its recurrence_interval.",
            "The window counts as endless, and a missed job is not carried over.",
            "Make the window smaller.",
        )


def pool_rules(spec: PoolSpec, given_mounts: Sequence[Any] | None) -> Iterator[Finding]:
    """All rules about a pool."""
    yield from mounts(spec, given_mounts)
    yield from image(spec.image, f"The pool {spec.id}")
    yield from vm_size(spec)
    yield from slots(spec)
    yield from formula(spec)
