"""Adding tasks: their ids, what they depend on, their rows. Inside a transaction of the caller."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from cfa.cloudops.errors import (
    DependencyCycleError,
    InvalidInputError,
    InvalidNameError,
    JobCompletedError,
    JobNotFoundError,
    TaskExistsError,
    TaskNotFoundError,
)
from cfa.cloudops.model import names
from cfa.cloudops.model.plain import counted, some
from cfa.cloudops.model.values import Job, TaskSpec
from cfa.cloudops.service import definitions as text
from cfa.cloudops.service.ledger import Ledger
from cfa.cloudops.service.store import ACTIVE, COMPLETED, NOTHING, Store
from cfa.cloudops.service.sums import count_sum, sound, task_sums

#: Reasons after which a job takes tasks again: it ended only because it had nothing left to do.
BY_ITSELF = "AllTasksComplete"

_MAX_DEPENDENCY_CHARACTERS = 64_000


def no_job(store: Store, job_id: str) -> JobNotFoundError:
    """The error for a job that the store does not have."""
    rows = store.rows(f"SELECT {sound('job.id')} FROM job ORDER BY number DESC")  # noqa: S608
    ids = [repr(row[0]) for row in rows]
    return JobNotFoundError(
        f"There is no job {job_id!r} in {store.path.parent}. Its jobs are: {some(ids) or 'none'}.",
        "Check the name, and whether the script ran in this directory.",
    )


def add(store: Store, job_id: str, specs: Sequence[TaskSpec]) -> list[str]:
    """Add tasks, at least one, to a job, and open it again if it completed by itself; their ids.

    Raises as `BatchProvider.add_tasks`; the caller's transaction must then be rolled back.
    """
    job, number = _open_job(store, job_id)
    _check_image(store, job, specs)
    identifiers, last = _identifiers(job, specs)
    first = store.next_number("task")
    edges, blocked = _dependencies(store, number, specs, identifiers, first)
    _insert(store, number, job, specs, identifiers, first, edges)
    numbered = last - job.last_task_number
    store.execute(
        "UPDATE job SET active = active + ?, last_task_number = last_task_number + ?, sum = sum + ? "
        "WHERE number = ?",
        (len(specs), numbered, count_sum(len(specs), fifth=numbered), number),
    )
    if job.state != "active":
        store.execute(
            "UPDATE job SET state = 'active', ended = NULL, terminate_reason = NULL WHERE number = ?",
            (number,),
        )
    ledger = Ledger(store)
    for child, parent in blocked:
        ledger.block(number, [child], parent)
    ledger.flush()
    return identifiers


def _open_job(store: Store, job_id: str) -> tuple[Job, int]:
    """The job, if it takes tasks."""
    row = store.row(
        f"SELECT {text.JOB_COLUMNS}, number FROM job WHERE id = ?",  # noqa: S608
        (job_id,),
    )
    if row is None:
        raise no_job(store, job_id)
    job = text.job_value(row[:-1])
    by_itself = job.state == "completed" and job.terminate_reason == BY_ITSELF
    if job.state != "active" and not by_itself:
        raise JobCompletedError(
            f"The job {job_id!r} is {job.state} ({job.terminate_reason or 'by the user'}) "
            "and accepts no more tasks.",
            "Create another job.",
        )
    return job, row[-1]


def _check_image(store: Store, job: Job, specs: Sequence[TaskSpec]) -> None:
    if all(spec.image is not None for spec in specs):
        return
    row = store.row(
        f"SELECT {sound('pool.definition')} FROM pool WHERE id = ?",  # noqa: S608
        (job.spec.pool_id,),
    )
    if row is None:
        return  # the pool may come later
    pool = text.pool_spec(row[0])
    if pool.needs_image and pool.image is None:
        raise InvalidInputError(
            f"No image: the pool {pool.id!r} has none, and the task names none.",
            "Pass container_image_name to create_pool or to add_task.",
        )


def _insert(
    store: Store,
    job_number: int,
    job: Job,
    specs: Sequence[TaskSpec],
    identifiers: Sequence[str],
    first: int,
    edges: dict[int, set[int]],
) -> None:
    _refuse_duplicates(store, job_number, job.spec.id, specs, identifiers)
    store.execute_many(
        "INSERT INTO task (number, job, id, unmet, command, image, mounts, timeout, retries, "
        "release, created, log_day, sum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        _rows(job_number, job, specs, identifiers, first, edges),
    )
    store.execute_many(
        "INSERT INTO upload (task, definition) VALUES (?, ?)",
        ((first + n, spec.upload.text()) for n, spec in enumerate(specs) if spec.upload),
    )
    store.execute_many(
        "INSERT INTO edge VALUES (?, ?)",
        ((parent, child) for child, parents in edges.items() for parent in parents),
    )


def _rows(
    job_number: int,
    job: Job,
    specs: Sequence[TaskSpec],
    identifiers: Sequence[str],
    first: int,
    edges: dict[int, set[int]],
) -> Iterator[tuple[Any, ...]]:
    """Rows of new tasks. Most have all but number, id and command in common."""
    now = time.time()
    day = time.strftime("%Y-%m-%d")
    summing: dict[tuple[Any, ...], Callable[[int, str, str], int]] = {}
    for number, (spec, identifier) in enumerate(zip(specs, identifiers, strict=True), first):
        retries = job.spec.max_task_retries if spec.max_retries is None else spec.max_retries
        key = unmet, image, mounts, timeout, _, release, log_day = (
            len(edges.get(number, ())),
            spec.image,
            text.mounts_text(spec.mounts),
            None if spec.timeout_s is None else float(spec.timeout_s),
            retries,
            int(spec.run_dependents_on_failure),
            day if spec.upload or job.spec.log_container else None,
        )
        task_sum = summing.get(key)
        if task_sum is None:
            task_sum = summing[key] = task_sums(
                unmet,
                job_number,
                ACTIVE,
                NOTHING,
                *key[1:-1],
                0,
                0,
                0,
                None,
                now,
                *[None] * 5,
                log_day,
            )
        command = spec.command_line
        yield (
            number, job_number, identifier, unmet, command, image, mounts, timeout, retries, release,
            now, log_day, task_sum(number, identifier, command),
        )  # fmt: skip


def _refuse_duplicates(
    store: Store, number: int, job_id: str, specs: Sequence[TaskSpec], identifiers: Sequence[str]
) -> None:
    """Given ids must be new; numbered ones can only meet an id that was given earlier."""
    seen: set[str] = set()
    given = any(spec.id is not None for spec in specs)
    anything_given = given or store.row(
        "SELECT 1 FROM meta WHERE name = ?", (f"given-ids-{number}",)
    )
    if given:
        store.set_meta(f"given-ids-{number}", "1")
    if not anything_given:
        return
    for identifier in identifiers:
        key = names.key(identifier)
        if key in seen or store.row(
            "SELECT 1 FROM task WHERE job = ? AND id = ?", (number, identifier)
        ):
            raise TaskExistsError(
                f"The job {job_id!r} has a task {identifier!r}.", "Choose another id."
            )
        seen.add(key)


def _dependencies(
    store: Store, job: int, specs: Sequence[TaskSpec], identifiers: Sequence[str], first: int
) -> tuple[dict[int, set[int]], list[tuple[int, str]]]:
    """Unsatisfied dependencies (child -> parents), and (child, parent id) of lost ones."""
    edges: dict[int, set[int]] = {}
    blocked: list[tuple[int, str]] = []
    new: dict[str, int] = {}
    if any(spec.depends_on or spec.depends_on_range for spec in specs):
        new = {names.key(identifier): first + i for i, identifier in enumerate(identifiers)}
    for index, spec in enumerate(specs):
        if spec.depends_on_positions:
            parents = edges.setdefault(first + index, set())
            parents.update(first + position for position in _positions(spec, len(specs)))
        for parent_id in _parents(spec):
            parent = new.get(names.key(parent_id))
            if parent is None:
                row = store.row(
                    f"SELECT number, state, failure, release, {sound('task.id')} FROM task "  # noqa: S608
                    "WHERE job = ? AND id = ?",
                    (job, parent_id),
                )
                if row is None:
                    raise TaskNotFoundError(
                        f"The task {identifiers[index]!r} depends on {parent_id!r}, which the "
                        "job does not have.",
                        "Add that task first, or pass the id that add_task returned for it.",
                    )
                parent, state, failure, release, name = row
                if state == COMPLETED:
                    if failure is not None and not release:
                        blocked.append((first + index, name))
                    continue
            edges.setdefault(first + index, set()).add(parent)
    _refuse_cycles(edges, identifiers, first)
    return edges, blocked


def _identifiers(job: Job, specs: Sequence[TaskSpec]) -> tuple[list[str], int]:
    """Ids of new tasks and the last number used."""
    number = job.last_task_number
    prefix = job.spec.id.replace(":", "-")  # which a job of a schedule has, and no task may
    found = []
    for spec in specs:
        if spec.id is not None:
            found.append(names.task_id(spec.id))
            continue
        number += 1
        found.append(
            str(number)
            if job.spec.integer_task_ids
            else f"{prefix}-{names.name_suffix(spec.name_suffix)}-{number}"
        )
    longest = max(found, key=len)
    if len(longest) > 64:
        raise InvalidNameError(
            f"The task id {longest!r} would have {len(longest)} characters, but only 64 are allowed.",
            "Shorten the job name or the name suffix, or use task_id_ints=True.",
        )
    return found, number


def _parents(spec: TaskSpec) -> Iterator[str]:
    size = sum(map(len, spec.depends_on))
    if size > _MAX_DEPENDENCY_CHARACTERS:
        raise InvalidInputError(
            f"The ids in depends_on have {size} characters together, but only 64,000 are allowed.",
            "Use depends_on_range with integer ids (task_id_ints=True).",
        )
    yield from spec.depends_on
    if spec.depends_on_range is not None:
        low, high = spec.depends_on_range
        yield from map(str, range(low, high + 1))


def _positions(spec: TaskSpec, count: int) -> Sequence[int]:
    for position in spec.depends_on_positions:
        if not 0 <= position < count:
            raise TaskNotFoundError(
                f"A task depends on the task at position {position} of a call with "
                f"{counted(count, 'task')}.",
                "Positions count from 0.",
            )
    return spec.depends_on_positions


def _refuse_cycles(edges: dict[int, set[int]], identifiers: Sequence[str], first: int) -> None:
    """Only tasks of one call can form a circle: earlier ones cannot depend on later ones."""
    inner = {
        child: [parent for parent in parents if parent >= first] for child, parents in edges.items()
    }
    if not any(inner.values()):
        return
    try:
        TopologicalSorter(inner).prepare()
    except CycleError as error:
        cycle = [identifiers[number - first] for number in error.args[1]]
        raise DependencyCycleError(
            f"The tasks depend on one another in a circle: "
            f"{some([repr(name) for name in cycle], between=' -> ')}.",
            "Remove one dependency.",
            cycle,
        ) from None
