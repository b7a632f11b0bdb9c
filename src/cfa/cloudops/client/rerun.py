"""What `cloudops run` tells the scripts that it runs, and how to run a script again."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
import time
from pathlib import Path

from cfa.cloudops.model.plain import plain
from cfa.cloudops.settings import OF_A_RUN, REPORT_VARIABLE

#: The command line of the `cloudops run` that made the report, as JSON in three parts: up to the name of
#: the command, its options, its words. Not for tasks: see `settings.own_environment`.
COMMAND_VARIABLE = f"{OF_A_RUN}COMMAND"
#: Modules of programs that run what a user wrote, or commands: to start them again says nothing.
_RUNNERS = frozenset({"cfa.cloudops.cli", "ipykernel", "pydevd", "pytest"})


def run_id() -> str:
    """Stands for all processes of a living `cloudops run`, and is kept with their jobs; else ''."""
    path = os.environ.get(REPORT_VARIABLE)
    if not path:
        return ""
    from cfa.cloudops import report  # for `cloudops run` alone

    return os.path.basename(path) if report.is_there(path) else ""


def run_metadata() -> tuple[tuple[str, str], ...]:
    """What jobs and pools of a living `cloudops run` have in common; nothing outside of one."""
    run = run_id()
    return (("run", run),) if run else ()


def is_child_of_run() -> bool:
    """Whether a living `cloudops run` started this very process."""
    if not run_id():
        return False
    from cfa.cloudops import report

    return run_id().startswith(f"{report.PREFIX}{os.getppid()}-")


def begin_of_script() -> float:
    """When the process began of which this one is a worker of `multiprocessing`.

    Returns:
        Seconds since the epoch; infinity in the script itself, and where the system does not tell.
    """
    module = sys.modules.get("multiprocessing.process")
    parent = module.parent_process() if module else None
    try:
        status = Path("/proc", str(parent.pid), "stat").read_text() if parent else ""
    except OSError:
        return math.inf  # it has ended, or the system has no such files
    if not status:
        return math.inf
    ticks = int(status.rpartition(")")[2].split()[19])  # since the machine started
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age_s


def replacing(choice: str, *, by_variable: bool = True) -> str:
    """How to run again so that jobs are replaced; empty where only an edit helps.

    Args:
        choice: the setting, `replace` or `force-replace`.
        by_variable: whether the variable of the setting would count, too.
    """
    command = fresh_run(*(["--force"] if choice == "force-replace" else []))
    variable = f"CLOUDOPS_EXISTING_JOB={choice}" if by_variable else ""
    return ", or ".join(filter(None, (command, variable)))


def is_interactive() -> bool:
    """Whether a person types what runs: in a notebook, or at a prompt, also that after `python -i`."""
    return hasattr(sys, "ps1") or "ipykernel" in sys.modules


def runs_script() -> bool:
    """Whether what runs is a user's script, and not a program that runs what a user wrote."""
    return _RUNNERS.isdisjoint(sys.modules) and not is_interactive()


def fresh_run(*options: str) -> str:
    """The command that runs this script again, as it was started, and replaces its jobs.

    Returns:
        The command; empty where there is none: no file is run, or what runs is not the user's script.
    """
    if not runs_script():
        return ""
    head, given, words = _command()
    wanted = ["--fresh", *options]
    command = [*head, *wanted, *(one for one in given if one not in wanted), *words]
    if not words or any(word != plain(word) for word in command):
        return ""
    return shlex.join(command)


def _command() -> tuple[list[str], list[str], list[str]]:
    """The `cloudops run` of this script, its options, and its words, none if it is not known."""
    if run_id() and (command := _command_of_run()):
        return command
    python, *words = sys.orig_argv or [""]
    if not words or (sys.argv or [""])[0] in ("", "-", "-c"):  # typed or piped
        return [], [], []
    if not words[0].startswith("-") or words[0] == "-m":
        return ["cloudops", "run"], [], words
    # Options of Python; with -c it is a worker of multiprocessing.
    return ["cloudops", "run"], ["--"], [] if "-c" in words else [python, *words]


def _command_of_run() -> tuple[list[str], list[str], list[str]] | None:
    """The command line in `COMMAND_VARIABLE`; None if it is not one of ours."""
    try:
        parts = json.loads(os.environ.get(COMMAND_VARIABLE, ""))
    except (ValueError, RecursionError):
        return None
    if not isinstance(parts, list) or len(parts) != 3:
        return None
    if not all(isinstance(part, list) and all(isinstance(x, str) for x in part) for part in parts):
        return None
    head, given, words = parts
    return (head, given, words) if (head[:1], head[1:][-1:]) == (["cloudops"], ["run"]) else None
