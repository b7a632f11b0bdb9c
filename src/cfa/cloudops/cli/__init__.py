"""The command line, `cloudops`.

Start-up is quick: this module imports nothing heavy, and every command imports what it needs.
"""

from __future__ import annotations

import contextlib
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
    workspace's, 7 for time that ran out. It is 1 as well when standard output cannot be written.
    After Ctrl-C the process ends by SIGINT, which is 130 for a shell, and ends its loops as well.
    """
    _open_streams()
    status: int | str | None = 1
    interrupted = False
    unwritten: OSError | None = None
    try:
        status = _run()
    except SystemExit as leaving:
        status = leaving.code
    except KeyboardInterrupt:  # also while this is loaded
        status = 130
        interrupted = True
    except OSError as error:
        unwritten = error
        if not isinstance(error, BrokenPipeError) and not _fails():
            raise
    unwritten = _flush() or unwritten
    if unwritten is not None:
        status = status or 1
        if not isinstance(unwritten, BrokenPipeError):  # else nobody reads any more
            with contextlib.suppress(OSError):
                print(
                    f"cloudops: Could not write to standard output: {unwritten.strerror}.",
                    file=sys.stderr,
                )
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


def _open_streams() -> None:
    """Stand in for streams that the caller has closed: files that are opened next would take their
    numbers.

    To write to standard output fails then, as in any program; what goes to standard error is lost.
    """
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", opener=_for_reading)  # noqa: SIM115  until the end
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def _for_reading(path: str, _flags: int) -> int:
    return os.open(path, os.O_RDONLY)


def _fails() -> bool:
    """Whether standard output cannot be written: an error does not tell which file it is about."""
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError:
        return True
    return False


def _flush() -> OSError | None:
    """Flush what is buffered; that it cannot be written is no reason for a traceback at exit.

    Returns:
        What is wrong with standard output, if anything.
    """
    found: OSError | None = None
    for stream in (sys.stderr, sys.stdout):
        try:
            stream.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            found = error if stream is sys.stdout else None
    return found
