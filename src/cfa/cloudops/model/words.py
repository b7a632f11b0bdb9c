"""Numbers of tasks and times as words."""

from __future__ import annotations

from datetime import timedelta

from cfa.cloudops.model.values import Job


def duration(seconds: float) -> str:
    """`0.3 s`, `42 s`, `1:02:03`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else str(timedelta(seconds=round(seconds)))


def clock(seconds: float) -> str:
    """Whole seconds: `3 s`, `42 s`, `1:02:03`."""
    return f"{int(seconds)} s" if seconds < 120 else str(timedelta(seconds=int(seconds)))


def counts_text(job: Job) -> str:
    """`12: 10 succeeded, 1 failed, 1 running`, states without a task left out."""
    counts = job.counts
    parts = [
        f"{count} {name}"
        for count, name in (
            (counts.succeeded, "succeeded"),
            (counts.failed, "failed"),
            (counts.running, "running"),
            (counts.active, "waiting"),
        )
        if count
    ]
    return f"{counts.total}: {', '.join(parts)}" if parts else "none"


def tasks(count: int) -> str:
    """`1 task`, `2 tasks`."""
    return f"{count} {'task' if count == 1 else 'tasks'}"
