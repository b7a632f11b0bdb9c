"""The commands of `cloudops`, with their options. What they do is in the modules beside this one."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from cfa.cloudops.cli import automation, completion, greeting, lookups, output, samples
from cfa.cloudops.cli.context import Json, Options, Raw, find_workspace, load_settings, open_batch
from cfa.cloudops.cli.groups import Root, plain
from cfa.cloudops.errors import AmbiguousCallError, BackendError

# Help without boxes and colours: rich would cost every wrong call a tenth of a second.
app = typer.Typer(
    cls=Root,
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="Names of the cloud package's scripts work too: cloudops create_pool --help. "
    "docs/reference/cli.md lists them.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": plain},
)
app.command()(lookups.check_credentials)
app.command()(lookups.get_kv_secret)
app.command()(samples.generate_sample_env)
app.command()(greeting.hello)
app.command(context_settings=greeting.PASSES_ALL)(greeting.test)
automation.register(app)


def _version(asked: bool) -> None:
    if asked:
        from cfa.cloudops.service.link import version

        print(f"cloudops {version()}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    home: Annotated[
        str | None, typer.Option(metavar="DIR", help="The workspace; CLOUDOPS_HOME.")
    ] = None,
    dotenv: Annotated[
        str | None, typer.Option(metavar="FILE", help="Settings; .env here when not given.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Run Azure Batch scripts anywhere, and look after what they run."""
    del version
    ctx.obj = Options(home=home, dotenv=dotenv)


@app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
    }
)
def run(
    ctx: typer.Context,
    script: Annotated[str, typer.Argument(help="A Python script, written for the cloud.")],
    backend: Annotated[
        str | None, typer.Option(help="docker, podman, subprocess, a plugin's name, or auto.")
    ] = None,
    max_parallel: Annotated[
        str | None, typer.Option(metavar="N", help="Tasks at once on this machine.")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Do not wait for the script's tasks.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Replace the script's jobs of an earlier run.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --fresh: also jobs whose tasks run.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="End the script where monitor_job finds that tasks failed."),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Rehearse: say what Azure would refuse or do differently."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --strict: print the findings as a JSON document.")
    ] = False,
) -> None:
    """Run a cloud script on this machine, as it is.

    Options of ours come before SCRIPT; all that follows it is the script's.

    Exit status: the script's own when it is not 0; 1 when tasks that it added failed; else 0.
    """
    from cfa.cloudops.cli.run import existing_job, run

    settings = load_settings(
        ctx,
        {
            "CLOUDOPS_BACKEND": backend,
            "CLOUDOPS_MAX_PARALLEL": max_parallel,
            "CLOUDOPS_AT_EXIT": "detach" if detach else None,
            "CLOUDOPS_EXISTING_JOB": existing_job(fresh=fresh, force=force),
            "CLOUDOPS_ON_FAILURE": "exit" if check else None,
            "CLOUDOPS_STRICT": "1" if strict else None,
        },
    )
    if as_json and not settings.strict:
        raise AmbiguousCallError("--json is about what --strict finds.", "Add --strict.")
    raise typer.Exit(run(script, ctx.args, settings, as_json=as_json))


@app.command()
def backends(as_json: Json = False) -> None:
    """List the backends and their state."""
    from cfa.cloudops import backends

    found = backends.overview()
    if as_json:
        output.document(found)
        return
    output.table(
        ("backend", "group", "distribution", "version", "state", "engine or reason"),
        (
            (one.name, one.group, one.distribution, one.version, one.state, one.why or one.engine)
            for one in found
        ),
        empty="no backends: install cfa-cloudops anew",
    )


@app.command()
def doctor(ctx: typer.Context, as_json: Json = False) -> None:
    """Examine this machine and the workspace.

    Says what to do about each problem. Exit status: 0 when something can run tasks and the write
    tests pass.
    """
    from cfa.cloudops.cli.doctor import examine, show

    found = examine(lambda: load_settings(ctx))
    if as_json:
        output.document(found)
    else:
        show(found)
    raise typer.Exit(0 if found.usable else 1)


@app.command()
def logs(
    ctx: typer.Context,
    job: Annotated[str, typer.Argument(autocompletion=completion.jobs)],
    tasks: Annotated[
        list[str] | None,
        typer.Argument(help="All when none is named.", autocompletion=completion.tasks),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the tasks are completed.")
    ] = False,
    stdout: Annotated[bool, typer.Option("--stdout", help="Only their standard output.")] = False,
    stderr: Annotated[bool, typer.Option("--stderr", help="Only their standard error.")] = False,
    raw: Raw = False,
) -> None:
    """Show what the tasks of a job wrote.

    Exit status with --follow: 0 when the tasks succeeded, 1 when one failed or never ran.
    Without it: 0.
    """
    if stdout and stderr:
        raise AmbiguousCallError("--stdout and --stderr exclude each other.", "Leave both out.")
    from cfa.cloudops.cli.logs import show

    streams = [
        name for name, other in (("stdout.txt", stderr), ("stderr.txt", stdout)) if not other
    ]
    with open_batch(ctx) as batch:
        status = show(batch, job, tasks or [], streams, wait=follow, raw=raw)
    raise typer.Exit(status)


@app.command()
def sweep(
    ctx: typer.Context,
    everywhere: Annotated[
        bool,
        typer.Option("--all", help="Also containers of other workspaces that nobody can use."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed.")
    ] = False,
) -> None:
    """Remove what crashes left behind.

    These are nodes that no agent holds, sockets, and temporary files. Nothing of a living agent is
    touched. Tasks that were running on a removed node run again. Exit status: 5 when something could
    not be removed.
    """
    from cfa.cloudops.cli.sweep import Broom, sweep, sweep_others

    settings = load_settings(ctx)
    workspace = (
        None if everywhere and not os.path.lexists(settings.home) else find_workspace(settings)
    )
    broom = Broom(dry_run)
    if workspace is not None:
        sweep(workspace, broom)
    if everywhere:
        sweep_others(workspace, broom)
    if broom.failed:
        raise typer.Exit(BackendError.exit_status)
    if not broom.count:
        output.note("nothing to remove")


@app.command()
def agent(
    ctx: typer.Context,
    stay: Annotated[bool, typer.Option("--stay", help="Do not leave when idle.")] = False,
) -> None:
    """Run the workspace's agent in the foreground.

    Ctrl-C ends it; what runs finishes. Job schedules need an agent that stays; it takes over from one
    that a script started.
    """
    from cfa.cloudops.cli.agent import serve

    raise typer.Exit(serve(load_settings(ctx), stay=stay))
