"""When the next job of a schedule is due: a pure function of its definition and the wall clock."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from cfa.cloudops.model.values import JobScheduleSpec


@frozen
class Occurrence:
    """One job that a schedule is to make: the `number`-th, from 0, `due` at a time."""

    number: int
    due: datetime


def next_occurrence(
    spec: JobScheduleSpec, created: datetime, used: int, now: datetime
) -> Occurrence | None:
    """The occurrence whose job may start now (`due <= now`) or that is next; None: no more come.

    An occurrence is lost when its start window is over, or when the next one is due. What was missed
    is not made up for, but for the latest when it is still in its window.

    Args:
        spec: the schedule.
        created: when it was made.
        used: the lowest number that had no job yet.
        now: the wall clock.
    """
    first = max(created, spec.do_not_run_until or created)
    interval, window = spec.recurrence_interval, spec.start_window
    try:
        # Of exact types, so that no occurrence is met twice or left out by rounding.
        number = used if interval is None else max(used, (now - first) // interval)
        due = first if interval is None else first + number * interval
        if window is not None and now - due > window:
            number += 1
            due = due if interval is None else due + interval
    except OverflowError:  # beyond the calendar
        return None
    last = spec.do_not_run_after
    over = last is not None and max(due, now) > last
    return None if over or (interval is None and number > 0) else Occurrence(number, due)
