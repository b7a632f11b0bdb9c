"""`cloudops schedule`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from cfa.cloudops.cli import completion, output
from cfa.cloudops.cli.context import Json, open_batch
from cfa.cloudops.cli.groups import group
from cfa.cloudops.errors import AmbiguousCallError, InvalidInputError, JobScheduleExistsError
from cfa.cloudops.model import names
from cfa.cloudops.model.values import JobSchedule

app = group()

_Schedules = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", autocompletion=completion.schedules)
]
_More = Annotated[
    list[str] | None,
    typer.Option(
        "--job_schedule_id", "-n", metavar="ID", help="The same, as an option.",
        autocompletion=completion.schedules,
    ),
]  # fmt: skip


@app.command("list")
def list_schedules(ctx: typer.Context, as_json: Json = False) -> None:
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
    )


@app.command()
def show(
    ctx: typer.Context,
    schedule: Annotated[str, typer.Argument(autocompletion=completion.schedules)],
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


@app.command()
def create(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Option("-n", "--job_schedule_name", help="Its id: lower case, - for blanks.")
    ],
    pool: Annotated[
        str,
        typer.Option(
            "-pn", "--pool_name", help="The pool of its tasks.", autocompletion=completion.pools
        ),
    ],
    command: Annotated[str, typer.Option("-c", "--command", help="What each job runs.")],
    timeout: Annotated[
        float, typer.Option("-t", "--timeout", help="Seconds; means nothing on one machine.")
    ] = 30,
    start_window: Annotated[
        float | None,
        typer.Option(
            "-sw", "--start_window_minutes", help="How long after it was due a job may start."
        ),
    ] = None,
    recurrence: Annotated[
        float | None,
        typer.Option(
            "-ri", "--recurrence_interval_minutes", help="From start to start; else one job."
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("-dnu", "--do_not_run_until", help="'YYYY-MM-DD HH:MM:SS' in UTC."),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option("-dna", "--do_not_run_after", help="'YYYY-MM-DD HH:MM:SS' in UTC."),
    ] = None,
    exist_ok: Annotated[
        bool, typer.Option("-e", "--exist_ok", help="Keep one of this name as it is.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Also show when the first job is due.")
    ] = False,
) -> None:
    """Make a job schedule: jobs that are made by the clock, each with one task."""
    from cfa.cloudops.client.schedules import job_schedule_spec

    spec = job_schedule_spec(
        name,
        pool,
        command,
        timeout=timeout,
        start_window=_minutes("--start_window_minutes", start_window),
        recurrence_interval=_minutes("--recurrence_interval_minutes", recurrence),
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


@app.command()
def suspend(ctx: typer.Context, schedules: _Schedules = None, more: _More = None) -> None:
    """Make no more jobs of schedules until they are resumed. Jobs that are active go on."""
    with open_batch(ctx) as batch:
        for schedule in _named(schedules, more):
            batch.disable_job_schedule(schedule)
            output.line(f"suspended job schedule {schedule}")


@app.command()
def resume(ctx: typer.Context, schedules: _Schedules = None, more: _More = None) -> None:
    """Make jobs of suspended schedules again, at the times at which they are due."""
    with open_batch(ctx) as batch:
        for schedule in _named(schedules, more):
            batch.enable_job_schedule(schedule)
            output.line(f"resumed job schedule {schedule}")


@app.command()
def delete(ctx: typer.Context, schedules: _Schedules = None, more: _More = None) -> None:
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
