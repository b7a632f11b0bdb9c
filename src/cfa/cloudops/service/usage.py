"""What tasks took, from what the launcher left in their `exit` files.

A slot's shell writes down how much processor time all of its tasks have taken so far, with a number
that counts them. The difference of two that follow one another is the time of the second. Where the
one before is missing (it was tried again in the same directory, or deleted) nothing is known.
"""

from __future__ import annotations

import re

from attrs import frozen

from cfa.cloudops.model.values import Usage
from cfa.cloudops.service.store import Store
from cfa.cloudops.service.workspace import Workspace

_TIME = re.compile(r"(\d+)m(\d+)[.,](\d+)s")


@frozen
class Reading:
    """A slot's account after a task: its shell, how many tasks it ran, what they took together."""

    shell: str
    count: int
    cpu_s: float
    peak_memory_bytes: int | None


def of_job(store: Store, workspace: Workspace, job: int) -> dict[str, Usage]:
    """Usage of a job's completed tasks, by id, as far as it is known."""
    row = store.row("SELECT id FROM job WHERE number = ?", (job,))
    if row is None:
        return {}
    directory = workspace.job_directory(row[0])
    readings: dict[str, tuple[str, Reading]] = {}
    for task_id, number, attempt, node in store.stream(
        "SELECT id, number, attempt, node FROM task "
        "WHERE job = ? AND state = 3 AND attempt > 0 AND node IS NOT NULL",
        (job,),
    ):
        reading = read(f"{directory}/{task_id}/exit", f"{number}.{attempt}")
        if reading is not None:
            readings[task_id] = (node, reading)
    totals = {(node, one.shell, one.count): one.cpu_s for node, one in readings.values()}
    found = {}
    for task_id, (node, one) in readings.items():
        before = totals.get((node, one.shell, one.count - 1)) if one.count > 1 else 0.0
        cpu_s = None if before is None else round(max(0.0, one.cpu_s - before), 2)
        found[task_id] = Usage(cpu_s=cpu_s, peak_memory_bytes=one.peak_memory_bytes)
    return found


def read(path: str, token: str) -> Reading | None:
    """The account in an `exit` file of an attempt; None when there is none, or not a whole one."""
    try:
        with open(path, errors="replace") as file:
            lines = file.read(1000).split("\n")
    except OSError:
        return None
    if len(lines) < 5 or lines[0].partition(" ")[0] != token:
        return None
    words = lines[1].split()
    times = _TIME.findall(lines[3])  # of the children; the line above is the shell's own
    if len(words) < 2 or not all(map(str.isdecimal, words)) or len(times) != 2:
        return None
    return Reading(
        shell=words[0],
        count=int(words[1]),
        cpu_s=sum(int(m) * 60 + float(f"{s}.{part}") for m, s, part in times),
        peak_memory_bytes=int(words[2]) if len(words) > 2 else None,
    )
