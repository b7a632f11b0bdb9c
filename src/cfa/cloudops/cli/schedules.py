"""`cloudops schedule`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import click

from cfa.cloudops.cli import completion, output
from cfa.cloudops.cli.context import Json, open_batch
from cfa.cloudops.cli.declare import Commands, argument, option
from cfa.cloudops.errors import AmbiguousCallError, InvalidInputError, JobScheduleExistsError
from cfa.cloudops.model import names
from cfa.cloudops.model.values import JobSchedule

commands = Commands()

_Schedules = Annotated[
    list[str] | None, argument(metavar="[ID]...", shell_complete=completion.schedules)
]
_More = Annotated[
    list[str] | None,
    option(
        "--job-schedule-id", metavar="ID", help="The same, as an option.",
        shell_complete=completion.schedules,
    ),
]  # fmt: skip


@commands.add("list")
def list_schedules(ctx: click.Context, as_json: Json = False) -> None:
    """List the job schedules of the workspace, oldest first."""
    with open_batch(ctx) as batch:
        schedules = batch.list_job_schedules()
    if as_json:
        output.document(schedules)
        return
    output.table(
        ("schedule", "pool", "state", "every", "next run", "recent job", "command"),
        (
            (
                schedule.spec.id,
                schedule.spec.pool_id,
                schedule.state,
                _interval(schedule.spec.recurrence_interval),
                output.when(schedule.next_run),
                schedule.recent_job or "-",
                schedule.spec.command_line,
            )
            for schedule in schedules
        ),
        empty="no job schedules",
        spared=("recent job", "pool", "command", "every"),
    )


@commands.add()
def show(
    ctx: click.Context,
    schedule: Annotated[str, argument(shell_complete=completion.schedules)],
    as_json: Json = False,
) -> None:
    """Show the definition and the state of a job schedule."""
    with open_batch(ctx) as batch:
        found = batch.get_job_schedule(names.job_schedule_id(schedule))
    if as_json:
        output.document(found)
        return
    output.facts(_facts(found))


def _facts(found: JobSchedule) -> list[tuple[str, object]]:
    spec = found.spec
    window = spec.start_window
    return [
        ("schedule", spec.id),
        ("name", spec.display_name if spec.display_name != spec.id else None),
        ("state", found.state),
        ("created", output.when(found.created)),
        ("ended", output.when(found.ended)),
        ("pool", spec.pool_id),
        ("command", spec.command_line),
        ("every", _interval(spec.recurrence_interval)),
        ("start window", "until the next is due" if window is None else _interval(window)),
        ("not before", output.when(spec.do_not_run_until)),
        ("not after", output.when(spec.do_not_run_after)),
        ("next run", output.when(found.next_run)),
        ("recent job", found.recent_job),
        *((f"metadata {name}", value) for name, value in spec.metadata),
    ]


@commands.add()
def create(
    ctx: click.Context,
    name: Annotated[
        str,
        option(
            "--job-schedule-name",
            help="Name of the job schedule; becomes lower case, with - for blanks.",
        ),
    ],
    pool: Annotated[
        str,
        option(
            "-p",
            "--pool-name",
            help="The pool on which the tasks run.",
            shell_complete=completion.pools,
        ),
    ],
    command: Annotated[str, option("--command", help="The command that each job runs.")],
    timeout: Annotated[
        float, option("--timeout", help="Seconds; has no effect on this machine.")
    ] = 30,
    start_window: Annotated[
        float | None,
        option(
            "--start-window-minutes", help="Minutes after its due time in which a job may start."
        ),
    ] = None,
    recurrence: Annotated[
        float | None,
        option(
            "--recurrence-interval-minutes", help="Minutes between two starts; without it, one job."
        ),
    ] = None,
    until: Annotated[
        str | None,
        option("--do-not-run-until", help="First start: 'YYYY-MM-DD HH:MM:SS' in UTC."),
    ] = None,
    after: Annotated[
        str | None,
        option("--do-not-run-after", help="End of the schedule: 'YYYY-MM-DD HH:MM:SS' in UTC."),
    ] = None,
    exist_ok: Annotated[
        bool, option("-e", "--exist-ok", help="Keep a job schedule of this name, unchanged.")
    ] = False,
    verbose: Annotated[
        bool, option("-v", "--verbose", help="Also show when the first job is due.")
    ] = False,
) -> None:
    """Create a job schedule, which creates jobs with one task each at fixed times."""
    from cfa.cloudops.client.schedules import job_schedule_spec

    spec = job_schedule_spec(
        name,
        pool,
        command,
        timeout=timeout,
        start_window=_minutes("--start-window-minutes", start_window),
        recurrence_interval=_minutes("--recurrence-interval-minutes", recurrence),
        do_not_run_until=until,
        do_not_run_after=after,
    )
    with open_batch(ctx) as batch:
        batch.get_pool(spec.pool_id)
        try:
            made = batch.create_job_schedule(spec)
        except JobScheduleExistsError:
            if not exist_ok:
                raise
            output.line(f"job schedule {spec.id} exists")
            return
        advice = batch.schedule_advice
    output.line(f"created job schedule {spec.id}")
    if advice:
        output.note(advice)
    if verbose:
        output.line(f"its first job is due: {output.when(made.next_run) or 'never'}")


@commands.add()
def suspend(ctx: click.Context, schedules: _Schedules = None, more: _More = None) -> None:
    """Suspend job schedules: they create no jobs until they are resumed. Active jobs continue."""
    with open_batch(ctx) as batch:
        for schedule in _named(schedules, more):
            batch.disable_job_schedule(schedule)
            output.line(f"suspended job schedule {schedule}")


@commands.add()
def resume(ctx: click.Context, schedules: _Schedules = None, more: _More = None) -> None:
    """Resume job schedules: they create jobs again at their next due times."""
    with open_batch(ctx) as batch:
        for schedule in _named(schedules, more):
            batch.enable_job_schedule(schedule)
            output.line(f"resumed job schedule {schedule}")


@commands.add()
def delete(ctx: click.Context, schedules: _Schedules = None, more: _More = None) -> None:
    """Delete job schedules. Their jobs stay."""
    with open_batch(ctx) as batch:
        for schedule in _named(schedules, more):
            batch.delete_job_schedule(schedule)
            output.line(f"deleted job schedule {schedule}")


def _named(schedules: list[str] | None, more: list[str] | None) -> list[str]:
    found = [names.job_schedule_id(text) for text in [*(schedules or ()), *(more or ())]]
    if not found:
        raise AmbiguousCallError(
            "No job schedule is named.", "Give an id; 'cloudops schedule list' shows them."
        )
    return found


def _minutes(option: str, value: float | None) -> timedelta | None:
    if value is None:
        return None
    try:
        found = timedelta(minutes=value)
    except (OverflowError, ValueError):  # endless, or no number
        raise InvalidInputError(f"{option} {value} cannot be used.", "Give minutes.") from None
    if found <= timedelta(0):
        raise InvalidInputError(
            f"{option} {value:g} is not above 0.", "Give minutes, or leave the option out."
        )
    return found


def _interval(value: timedelta | None) -> str:
    return "" if value is None else output.duration(value.total_seconds())
