"""The commands of `cloudops` that are in no group. What they do is in the modules beside this one."""

from __future__ import annotations

import os
from typing import Annotated

import click
from click.exceptions import Exit, NoArgsIsHelpError

from cfa.cloudops.cli import COMPLETE, PROGRAM, completion, output, programs
from cfa.cloudops.cli.context import (
    Json,
    Options,
    Raw,
    find_workspace,
    load_settings,
    open_batch,
    wants_json,
)
from cfa.cloudops.cli.declare import Commands, argument, kebab, option
from cfa.cloudops.cli.groups import Root, common_options
from cfa.cloudops.errors import AmbiguousCallError, BackendError, WorkspaceNotFoundError

root = Commands()


@root.add(cls=programs.RunCommand, allow_interspersed_args=False)
def run(
    ctx: click.Context,
    words: Annotated[
        list[str], argument(metavar="SCRIPT|-m MODULE|-- PROGRAM [ARGS]...", type=click.Path())
    ],
    module: Annotated[
        bool, option("-m", "--module", help="Run a module, as python3 -m does.")
    ] = False,
    max_parallel: Annotated[
        str | None, option(metavar="N", help="Run at most N tasks at once on this machine.")
    ] = None,
    detach: Annotated[bool, option("--detach", help="Do not wait for the script's tasks.")] = False,
    fresh: Annotated[
        bool,
        option(
            "--fresh", help="Replace its jobs and pools of earlier runs, whatever the script says."
        ),
    ] = False,
    force: Annotated[
        bool, option("--force", help="With --fresh: also replace jobs with running tasks.")
    ] = False,
    check: Annotated[
        bool, option("--check", help="End the script when monitor_job finds failed tasks.")
    ] = False,
    strict: Annotated[
        bool,
        option("--strict", help="Rehearse: report what Azure would refuse or do differently."),
    ] = False,
    as_json: Annotated[
        bool,
        option(
            "--json",
            callback=wants_json,
            help="With --strict: print the findings as a JSON document.",
        ),
    ] = False,
) -> None:
    """Run a script for the cloud on this machine, without changes.

    After --, any program can run: cloudops run -- make all. The program finds the scripts of the
    cloud's package, such as create_job, on its PATH. An executable script whose first line names
    another program than Python, such as #!/bin/sh, needs no --. Options of cloudops come first.
    Everything after the script, the module or the program is passed to it.

    Exit status: the script's own if that is not 0; otherwise 1 if tasks that it added failed, and 0
    if none did.
    """
    from cfa.cloudops.cli.run import existing_job, run

    choice = existing_job(fresh=fresh, force=force)
    settings = load_settings(
        ctx,
        {
            "CLOUDOPS_MAX_PARALLEL": max_parallel,
            "CLOUDOPS_AT_EXIT": "detach" if detach else None,
            "CLOUDOPS_ON_FAILURE": "exit" if check else None,
            "CLOUDOPS_STRICT": "1" if strict else None,
        },
    )
    if as_json and not settings.strict:
        raise AmbiguousCallError(
            "--json prints the findings of --strict, which is missing.", "Add --strict."
        )
    argv = programs.argv(words, module=module, program=programs.after_dashes(ctx))
    command = programs.command(ctx, words)
    raise Exit(run(argv, settings, command, fresh=choice, as_json=as_json))


@root.add()
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
        empty="no backends: reinstall cfa-cloudops",
        spared=("distribution", "group", "version"),
    )


@root.add()
def doctor(ctx: click.Context, as_json: Json = False) -> None:
    """Examine this machine and the workspace, and say what to do about each problem.

    Exit status: 0 if a backend can run tasks and files can be written, otherwise 1.
    """
    from cfa.cloudops.cli.doctor import examine, show

    found = examine(lambda: load_settings(ctx))
    if as_json:
        output.document(found)
    else:
        show(found)
    raise Exit(0 if found.usable else 1)


@root.add()
def logs(
    ctx: click.Context,
    job: Annotated[str, argument(shell_complete=completion.jobs)],
    tasks: Annotated[
        list[str] | None,
        argument(help="Tasks to show; default: all.", shell_complete=completion.tasks),
    ] = None,
    follow: Annotated[
        bool, option("-f", "--follow", help="Show new output until the tasks have completed.")
    ] = False,
    tail: Annotated[
        int | None,
        option(
            "-n",
            "--tail",
            metavar="N",
            type=click.IntRange(min=0),
            help="Show only the last N lines of each task; with --follow, also new lines.",
        ),
    ] = None,
    since: Annotated[
        str | None,
        option(
            metavar="TIME",
            help="Leave out tasks that ended before TIME: 10m, 2h, 3d, or 2026-03-04T22:15+01:00.",
        ),
    ] = None,
    timestamps: Annotated[
        bool,
        option(
            "--timestamps",
            help="Begin each line with the time when it arrived, or when its task ended.",
        ),
    ] = False,
    stdout: Annotated[bool, option("--stdout", help="Show only standard output.")] = False,
    stderr: Annotated[bool, option("--stderr", help="Show only standard error.")] = False,
    raw: Raw = False,
) -> None:
    """Show the output of a job's tasks.

    Exit status with --follow: 0 if the tasks succeeded, 1 if one failed or never ran. Without
    --follow: 0.
    """
    if stdout and stderr:
        raise AmbiguousCallError(
            "--stdout and --stderr exclude each other.", "To see both streams, leave both out."
        )
    from cfa.cloudops.cli.excerpt import Part, moment
    from cfa.cloudops.cli.logs import show

    part = Part(tail=tail, since=moment(since) if since else None)
    streams = [
        name for name, other in (("stdout.txt", stderr), ("stderr.txt", stdout)) if not other
    ]
    with open_batch(ctx) as batch:
        status = show(
            batch,
            job,
            tasks or [],
            streams,
            wait=follow,
            raw=raw,
            timestamps=timestamps,
            part=part,
        )
    raise Exit(status)


@root.add()
def sweep(
    ctx: click.Context,
    everywhere: Annotated[
        bool,
        option("--all", help="Also remove unused containers of other workspaces."),
    ] = False,
    dry_run: Annotated[bool, option("--dry-run", help="Only show what would be removed.")] = False,
) -> None:
    """Clean up after a crash.

    Removes nodes, sockets and temporary files that no agent uses. Nothing that a running agent uses
    is touched. Tasks of a removed node run again. Exit status: 5 if something could not be removed.
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
        raise Exit(BackendError.exit_status)
    if not broom.count:
        output.note("nothing to remove")


@root.add()
def agent(
    ctx: click.Context,
    stay: Annotated[bool, option("--stay", help="Keep running without work.")] = False,
) -> None:
    """Run the workspace's agent in the foreground.

    Ctrl-C ends the agent; running tasks finish. With --stay, which job schedules need, the agent takes
    over from one that a script started.
    """
    from cfa.cloudops.cli.agent import serve

    raise Exit(serve(load_settings(ctx), stay=stay))


@root.add("completion")
def print_completion(
    shell: Annotated[str, argument(type=click.Choice(["bash", "zsh", "fish"]))],
) -> None:
    """Print the shell code for tab completion: eval "$(cloudops completion bash)"."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is not None:
        print(kind(app, {}, PROGRAM, COMPLETE).source())


def _version(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    del param
    if asked and not ctx.resilient_parsing:
        from cfa.cloudops.service.link import version

        print(f"cloudops {version()}")
        raise Exit


@click.pass_context
def _without_command(ctx: click.Context) -> None:
    """Show the state of the workspace; where there is none, and nothing was asked for, the help."""
    if ctx.invoked_subcommand is not None:
        return
    if ctx.find_object(Options) is None:
        try:
            find_workspace(load_settings(ctx))
        except WorkspaceNotFoundError:
            raise NoArgsIsHelpError(ctx) from None
    command = app.get_command(ctx, "status")
    assert command is not None  # noqa: S101  it is in the table
    with command.make_context("status", [], parent=ctx) as context:
        command.invoke(context)


app = Root(
    name=PROGRAM,
    help="Run Azure Batch scripts on this machine, and manage their jobs.",
    params=[
        *common_options(group=True),
        click.Option(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version,
            help="Show the version.",
        ),
    ],
    callback=_without_command,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": kebab},
)  # fmt: skip
