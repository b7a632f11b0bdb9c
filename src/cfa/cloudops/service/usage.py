"""What tasks took, from the accounts in the journals of their nodes.

A slot's shell writes down how much processor time all of its tasks have taken so far, with a number
that counts them. The difference of two that follow one another is the time of the second. Where the
one before is missing, nothing is known.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from cfa.cloudops.model.values import Usage
from cfa.cloudops.service import journal
from cfa.cloudops.service.journal import Record, Secrets
from cfa.cloudops.service.store import Store
from cfa.cloudops.service.workspace import Workspace


def of_job(store: Store, workspace: Workspace, job: int) -> dict[str, Usage]:
    """Usage of a job's completed tasks, by id, as far as it is known."""
    secrets = Secrets(workspace.key())
    known: dict[tuple[str, str], Record] = {}  # by node and attempt
    totals: dict[tuple[str, str, int], float | None] = {}
    for node, record in _records(store, workspace, job, secrets):
        known[node, record.attempt] = record
        totals[node, record.shell, record.count] = record.cpu_s
    found = {}
    for task_id, number, attempt, node in store.stream(
        "SELECT id, number, attempt, node FROM task "
        "WHERE job = ? AND state = 3 AND attempt > 0 AND node IS NOT NULL",
        (job,),
    ):
        one = known.get((node, f"{number}.{attempt}"))
        if one is not None:
            before = totals.get((node, one.shell, one.count - 1)) if one.count > 1 else 0.0
            cpu_s = None
            if before is not None and one.cpu_s is not None:
                cpu_s = round(max(0.0, one.cpu_s - before), 2)
            found[task_id] = Usage(cpu_s=cpu_s, peak_memory_bytes=one.peak_memory_bytes)
    return found


def _records(
    store: Store, workspace: Workspace, job: int, secrets: Secrets
) -> Iterator[tuple[str, Record]]:
    """Nodes and their records: of those that have ended and of those that are there."""
    # In this order: a node that ends meanwhile is met twice, not missed.
    nodes = store.rows("SELECT id FROM node WHERE job = ? AND ended IS NULL", (job,))
    for (node,) in nodes:
        with contextlib.suppress(OSError), workspace.open_journals(node) as journals:
            for record in journal.accounts(journals, node, secrets):
                yield node, record
    with contextlib.suppress(OSError), workspace.open_accounts() as accounts:
        yield from journal.kept(accounts, job, secrets)
