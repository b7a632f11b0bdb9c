"""What is said beside the output of a script."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from cfa.cloudops.errors import CloudOpsError, NotFoundError
from cfa.cloudops.model.colours import coloured
from cfa.cloudops.model.plain import command_line, counted, plain

if TYPE_CHECKING:
    from cfa.cloudops.provider.batch import BatchProvider


def write(stream: TextIO, text: str) -> None:
    """Write text; signs that the stream cannot show are escaped."""
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def say(text: str) -> None:
    """A line of ours, when the script has ended: on standard error, if there is one."""
    if sys.stderr is not None:
        name = coloured("cloudops:", "yellow", sys.stderr)
        with contextlib.suppress(OSError):  # nobody can read it
            write(sys.stderr, f"{name} {plain(text, keep=chr(10))}\n")


@contextlib.contextmanager
def going_on(what: str) -> Iterator[None]:
    """While this is entered, a stream that cannot be written is no error: a line says what is missing.

    A reader that left, `BrokenPipeError`, stays one.

    Args:
        what: what is not shown, with its verb: `The summary is`.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        say(f"{what} not shown: writing failed ({error.strerror or error}).")


def say_detached(batch: BatchProvider, job_id: str) -> None:
    """Say that the tasks of a job go on, how to follow them and how to stop them, or why the service
    cannot tell."""
    try:
        counts = batch.task_counts(job_id)
    except NotFoundError:
        return
    except CloudOpsError as error:
        say(str(error))
        return
    left = counts.active + counts.running
    if left:
        say(
            f"detached; {counted(left, 'task')} of {job_id} {'goes' if left == 1 else 'go'} on.\n"
            f"  Follow: {command_line('logs -f', job_id)}\n"
            f"  Stop: {command_line('job terminate', job_id)}"
        )
