"""`cloudops run`: a script for the cloud, run here without an edit.

The script runs in a Python of its own, so that it finds everything as if started by `python3
SCRIPT`: `sys.argv`, `__main__`, `sys.path`, its process group, its exit status. Modules and other
programs run alike, and find the cloud's scripts as programs. What its tasks came
to is reported by its clients when it ends (see `cfa.cloudops.client.farewell.Farewell`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import Any, TextIO

from attrs import evolve

from cfa.cloudops import backends, rehearsal, report
from cfa.cloudops.cli import output, programs
from cfa.cloudops.client.rerun import COMMAND_VARIABLE
from cfa.cloudops.errors import AmbiguousCallError, LocalFileNotFoundError
from cfa.cloudops.settings import FRESH_VARIABLE, REPORT_VARIABLE, ExistingJob, Settings


def existing_job(*, fresh: bool, force: bool) -> ExistingJob | None:
    """The choice that `--fresh` and `--force` stand for; None: neither is given.

    Raises:
        AmbiguousCallError: `--force` without `--fresh`.
    """
    if force and not fresh:
        raise AmbiguousCallError("--force needs --fresh.", "Add --fresh.")
    return "force-replace" if force else "replace" if fresh else None


def run(
    argv: Sequence[str],
    settings: Settings,
    command: Sequence[Sequence[str]],
    *,
    fresh: ExistingJob | None = None,
    as_json: bool = False,
) -> int:
    """Run a script or another program with these settings; the exit status for the command.

    Args:
        argv: the program and its arguments; see `programs`.
        settings: those with another origin than `default` go into its environment, and the backend
            always does, because the cloud's client would default to the cloud.
        command: our command line, for advice on how to run again; see `programs.command`.
        fresh: what becomes of jobs that were there before, whatever the script says of them.
        as_json: print what a rehearsal found as one JSON document, on standard output, which the
            script then does not have: what it prints goes to standard error.

    Returns:
        The script's own status when it is not 0; 130 after Ctrl-C while its tasks were shown; the
        status of an error that came up meanwhile; 1 when a task that it added failed or could not
        run; else 0. A script that a signal ended gives 128 and its number, as in a shell.

    Raises:
        BackendError: there is no such backend.
        LocalFileNotFoundError: the program cannot be started.
        KeyboardInterrupt: SIGINT ended the script.
    """
    if settings.backend != "auto":
        backends.choose(settings.backend)
    descriptor, path = tempfile.mkstemp(prefix=f"{report.PREFIX}{os.getpid()}-")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # tells `cloudops sweep` that we live
        stdout = sys.stderr if as_json else None
        environment = _environment(settings, path, command)
        if fresh is not None:
            environment[FRESH_VARIABLE] = fresh
        status = _run(argv, environment, stdout)
        lines = report.read(descriptor)
        _show_rehearsal(lines, settings.strict, as_json, whole=status == 0)
        if status == -signal.SIGINT:
            raise KeyboardInterrupt
        if status < 0:
            return 128 - status
        if not report.is_at(path, descriptor):
            output.note(
                "The report of this run was removed or replaced, maybe by a task: what its tasks came "
                "to is not known. 'cloudops status' shows them."
            )
            status = status or 1
        return status or _verdict(lines)
    finally:
        with contextlib.suppress(OSError):  # see above
            os.unlink(path)
        os.close(descriptor)


def _environment(settings: Settings, path: str, command: Sequence[Sequence[str]]) -> dict[str, str]:
    values = {
        "CLOUDOPS_STORAGE": settings.storage,
        "CLOUDOPS_HOME": str(settings.home),
        "CLOUDOPS_ISOLATION": str(settings.isolation),
        "CLOUDOPS_MAX_PARALLEL": str(settings.max_parallel),
        "CLOUDOPS_REGISTRY": settings.registry,
        "CLOUDOPS_AT_EXIT": settings.at_exit,
        "CLOUDOPS_EXISTING_JOB": settings.existing_job,
        "CLOUDOPS_ON_FAILURE": settings.on_failure,
        "CLOUDOPS_STRICT": "1" if settings.strict else "0",
    }
    given = {
        name: value
        for name, value in values.items()
        if settings.origins[name] not in ("default", "environment")
    }
    return {
        **os.environ,
        **programs.environment(),
        **given,
        "CLOUDOPS_BACKEND": settings.backend,
        REPORT_VARIABLE: path,
        COMMAND_VARIABLE: json.dumps(command),
    }


def _show_rehearsal(
    lines: Sequence[Mapping[str, Any]], strict: bool, as_json: bool, *, whole: bool
) -> None:
    """Print what the rehearsals of a script's clients found."""
    found = rehearsal.read_report(lines)
    if as_json:
        output.document([evolve(one, key="") for one in found])
    elif found or strict:
        output.remark(rehearsal.report(found, whole=whole))


def _verdict(lines: Sequence[Mapping[str, Any]]) -> int:
    """What the reports of a script's clients come to."""
    ends = [line for line in lines if _is_end(line)]
    worst = max((line["status"] for line in ends), default=0)
    if worst:
        return int(worst)
    return 1 if any(line["failed"] or line["unrun"] for line in ends) else 0


def _is_end(line: Mapping[str, Any]) -> bool:
    """Whether a client can have written this line of how its tasks ended."""
    numbers = [line.get(name) for name in ("failed", "unrun", "status")]
    return all(type(one) is int and one >= 0 for one in numbers) and line["status"] <= 255


def _run(argv: Sequence[str], environment: Mapping[str, str], stdout: TextIO | None = None) -> int:
    """Run a program in our place: signals are for it. Its status, negative for a signal."""
    received: list[int] = []
    process: subprocess.Popen[bytes] | None = None

    def forward(number: int, _frame: FrameType | None) -> None:
        if process is None:
            received.append(number)
        elif number != signal.SIGINT or not _in_foreground():
            process.send_signal(number)  # the terminal sends Ctrl-C to both of us

    with _handling(forward):
        try:
            process = subprocess.Popen(argv, env=environment, stdout=stdout)
        except OSError as error:  # its own: a program that is missing, or in another format
            raise LocalFileNotFoundError(
                f"{argv[0]!r} cannot be started: {error.strerror}.",
                "Check the program, and the one that its first line names.",
            ) from None
        for number in received:
            process.send_signal(number)
        return process.wait()


@contextlib.contextmanager
def _handling(handler: signal._HANDLER) -> Iterator[None]:
    """Handle what ends a program otherwise. A handler, unlike "ignore", is not inherited."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _in_foreground() -> bool:
    """Whether a terminal sends Ctrl-C to our process group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
