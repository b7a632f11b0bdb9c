"""The command line, `cloudops`.

Start-up is quick: this module imports nothing heavy, and every command imports what it needs.
"""

from __future__ import annotations

import os
import sys

__all__ = ["main"]

PROGRAM = "cloudops"
#: The variable by which a shell asks for completions, and what for.
COMPLETE = "_CLOUDOPS_COMPLETE"


def main() -> None:
    """Run the command line and exit.

    The exit status tells the truth: 0 when what was asked for is done and good, 1 when tasks failed,
    2 for a wrong call, 3 for what is not there, 4 for a conflict, 5 for a backend's fault, 6 for the
    workspace's, 7 for time that ran out. After Ctrl-C the process ends by SIGINT, which is 130 for a
    shell, and ends its loops as well.
    """
    status: int | str | None = 1
    interrupted = False
    try:
        status = _run()
    except SystemExit as leaving:
        status = leaving.code
    except KeyboardInterrupt:  # also while this is loaded
        status = 130
        interrupted = True
    except BrokenPipeError:
        status = 1  # nobody reads any more
    if not _flush():
        status = status or 1
    if interrupted:
        from cfa.cloudops.client.ending import end_by_interrupt

        end_by_interrupt()
    sys.exit(status)


def _run() -> int:
    from click.exceptions import ClickException, Exit

    from cfa.cloudops.cli.app import app
    from cfa.cloudops.cli.groups import explained
    from cfa.cloudops.errors import CloudOpsError

    if (instruction := os.environ.get(COMPLETE)) is not None:
        from click.shell_completion import shell_complete

        return shell_complete(app, {}, PROGRAM, COMPLETE, instruction)
    try:
        with app.make_context(PROGRAM, sys.argv[1:]) as context:
            app.invoke(context)
    except Exit as leaving:
        return leaving.exit_code
    except ClickException as error:
        explained(error).show()
        return error.exit_code
    except CloudOpsError as error:
        from cfa.cloudops.cli.output import show_error

        show_error(error)
        return error.exit_status
    return 0


def _flush() -> bool:
    """Flush what is buffered; a reader that left is no reason for a traceback at exit.

    False when one had left.
    """
    whole = True
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            whole = False
    return whole
