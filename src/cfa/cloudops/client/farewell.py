"""A script that ends with tasks under way stays with them, shows them, and says how they ended."""

from __future__ import annotations

import atexit
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from cfa.cloudops.client.ending import (
    OneInterrupt,
    end_by_interrupt,
    interrupted,
    remember_status,
    set_exit_status,
)
from cfa.cloudops.client.remarks import say, say_detached
from cfa.cloudops.errors import CloudOpsError, NotFoundError
from cfa.cloudops.model.plain import plain, some
from cfa.cloudops.model.values import TaskResult

if TYPE_CHECKING:
    from cfa.cloudops.client.watch import Watch
    from cfa.cloudops.provider.batch import BatchProvider

#: A file that `cloudops run` made, into which each client of the script writes, in a line of JSON,
#: how the tasks that it added ended. The variable may outlive the file.
REPORT_VARIABLE = "CLOUDOPS_RUN_REPORT"
#: The command line of the `cloudops run` that made that file, as JSON in three parts: up to the name of
#: the command, its options, its words. Not for tasks: see `settings.own_environment`.
COMMAND_VARIABLE = "CLOUDOPS_RUN_COMMAND"
#: Modules of programs that run what a user wrote, or commands: to start them again says nothing.
_RUNNERS = frozenset({"cfa.cloudops.cli", "ipykernel", "pydevd", "pytest"})


def run_id() -> str:
    """Stands for all processes of a `cloudops run`, and is kept with their jobs; '' without one."""
    return os.path.basename(os.environ.get(REPORT_VARIABLE, ""))


class Farewell:
    """Stays with a script's unfinished tasks when it ends, so that it needs no line to wait.

    The exit status stays what the script made it. It is 1 instead of 0 when `on_failure` is `exit` and
    tasks failed. Ctrl-C detaches: the tasks go on, and the script ends by SIGINT, which is status 130
    for a shell. `cloudops run`, whose exit status is about the tasks as well, gets a report.
    """

    def __init__(
        self,
        batch: BatchProvider,
        at_exit: str,
        at_end: Callable[[], None] | None = None,
        *,
        existing_job: str = "error",
        on_failure: str = "show",
    ) -> None:
        self._batch = batch
        self._at_end = at_end
        self._existing_job = existing_job
        self._on_failure = on_failure
        self._made: set[str] = set()
        self._refused: set[str] = set()
        self._expected: dict[str, set[str]] = {}
        self._added: dict[str, set[str]] = {}
        self._detached: set[str] = set()
        self._pid = os.getpid()
        self._interactive = hasattr(sys, "ps1") or "ipykernel" in sys.modules
        self._detach = at_exit == "detach" or self._interactive
        watched = on_failure == "exit" and not self._interactive
        self._own_status = remember_status() if watched else lambda: 0
        atexit.register(self._at_exit)

    def expect(self, job_id: str, task_ids: Iterable[str]) -> None:
        """Tasks that this script added."""
        new = set(task_ids)
        self._expected.setdefault(job_id, set()).update(new)
        self._added.setdefault(job_id, set()).update(new)

    def made(self, job_id: str) -> None:
        """A job that this script made."""
        self._made.add(job_id)

    @property
    def interactive(self) -> bool:
        """Whether a person types what runs: a cell of a notebook may well run again."""
        return self._interactive

    def refused(self, job_id: str) -> None:
        """A job to which a task could not be added."""
        self._refused.add(job_id)

    def forget(self, job_id: str) -> None:
        """The user has seen how the job ended, or deleted it."""
        self._expected.pop(job_id, None)

    def detach(self, job_id: str) -> None:
        """Ctrl-C while a job was watched: say what goes on, if the service can tell."""
        self._detached.add(job_id)
        try:
            say_detached(self._batch, job_id)
        except CloudOpsError as error:
            say(str(error))

    def cancel(self) -> None:
        """The client is closed: nothing is shown at exit."""
        atexit.unregister(self._at_exit)
        if os.getpid() == self._pid:
            self._report(0)
            if self._at_end is not None:
                self._at_end()

    def _at_exit(self) -> None:
        if os.getpid() != self._pid:
            return  # a forked child is not the script
        with OneInterrupt() as interrupt:
            self._leave(interrupt)

    def _leave(self, interrupt: OneInterrupt) -> None:
        status = 0
        bad = False
        try:
            if interrupted():
                interrupt.hold()
            if self._expected:
                if self._detach or interrupted():
                    self._say_detached()
                else:
                    self._stay()
            if not self._interactive:
                self._clear_way()
        except KeyboardInterrupt:
            status = 130
            for job_id in self._expected.keys() - self._detached:
                self.detach(job_id)
        except BrokenPipeError:
            # Nobody reads any more; the tasks go on. Python flushes once more when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        except CloudOpsError as error:
            status = error.exit_status
            say(str(error))
        finally:
            interrupt.hold()
            try:
                bad = self._report(status)
                if self._at_end is not None:
                    self._at_end()
                self._batch.close()
            finally:
                if status == 130 or interrupt.seen:
                    end_by_interrupt()
                elif bad and self._on_failure == "exit" and not interrupted():
                    set_exit_status(self._own_status() or status or 1)

    def _report(self, status: int) -> bool:
        """Write how the tasks of this client ended, if anybody asked; whether something is wrong.

        Args:
            status: exit status of what went wrong while we stayed, 0 for nothing.
        """
        path = os.environ.get(REPORT_VARIABLE)
        if not self._added or not (path or self._on_failure == "exit"):
            return bool(status)
        failed = unrun = 0
        try:
            for job_id, ids in self._added.items():
                more = self._outcome(job_id, ids)
                failed, unrun = failed + more[0], unrun + more[1]
        except CloudOpsError as error:
            status = status or error.exit_status
        bad = bool(status or failed or unrun)
        if not path:
            return bad
        line = json.dumps({"failed": failed, "unrun": unrun, "status": status}) + "\n"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except OSError:
            return bad  # the one who asked is gone
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
        return bad

    def _outcome(self, job_id: str, ids: set[str]) -> tuple[int, int]:
        """Tasks that failed, and those that never run because their job has ended."""
        try:
            job = self._batch.get_job(job_id)
            ended = job.state == "completed"
            if not job.counts.failed and not (ended and job.counts.active):
                return 0, 0
            tasks = [task for task in self._batch.list_tasks(job_id) if task.id in ids]
        except NotFoundError:
            return 0, 0  # deleted: whoever did it knows
        failed = sum(task.result is TaskResult.FAILURE for task in tasks)
        return failed, sum(task.result is None for task in tasks) if ended else 0

    def _stay(self) -> None:
        from cfa.cloudops.client.watch import Watch  # only for a script that stays

        expected = self._expected
        open_jobs = set(expected)
        with Watch(
            self._batch,
            lambda job_id, task_id: task_id in expected.get(job_id, ()),
            jobs=tuple(expected),
        ) as watch:
            while open_jobs:
                for job_id in list(open_jobs):
                    if self._look(watch, job_id):
                        open_jobs.discard(job_id)
                if open_jobs:
                    self._batch.wait_for_change(watch.pause_s)
        self._summarise()

    def _look(self, watch: Watch, job_id: str) -> bool:
        """Show what is new; True when nothing more will come from this job."""
        try:
            job = self._batch.get_job(job_id)
            watch.look(job)
        except NotFoundError:
            self._expected.pop(job_id, None)
            watch.forget(job_id)
            watch.remark(f"the job {job_id} was deleted; its tasks are gone.")
            return True
        if job.settled:
            return True
        return not job.logs_owed and all(
            (job_id, task) in watch.view.done for task in self._expected[job_id]
        )

    def _clear_way(self) -> None:
        """See that a script that went wrong can run again: its jobs would be in its way."""
        error = getattr(sys, "last_type", None)
        for job_id in sorted(self._made):
            try:
                if self._batch.task_counts(job_id).total == 0:
                    if error is not None or job_id in self._refused:
                        self._batch.delete_job(job_id)
                        say(f"the job {job_id}, which has no tasks, was removed.")
                elif (
                    error not in (None, KeyboardInterrupt)
                    and self._existing_job == "error"
                    and (command := fresh_run())
                ):
                    say(f"the job {job_id} stays. Run the script afresh: {command}")
            except NotFoundError:
                continue  # deleted

    def _summarise(self) -> None:
        good = 0
        bad: list[str] = []
        unrun = 0
        for job_id, ids in self._expected.items():
            try:
                tasks = list(self._batch.list_tasks(job_id))
            except NotFoundError:
                continue
            for task in tasks:
                if task.id not in ids:
                    continue
                if task.result is TaskResult.SUCCESS:
                    good += 1
                elif task.result is TaskResult.FAILURE:
                    bad.append(task.id)
                else:
                    unrun += 1
        if not self._expected:
            return
        text = f"{good} succeeded, {len(bad)} failed"
        if unrun:
            text += f", {unrun} not run (their job was ended)"
        say(f"{text}: {some(bad)}" if bad else text)

    def _say_detached(self) -> None:
        for job_id in self._expected.keys() - self._detached:
            say_detached(self._batch, job_id)


def replacing(choice: str) -> str:
    """How to run again so that jobs are replaced.

    Args:
        choice: the setting, `replace` or `force-replace`.
    """
    command = fresh_run(*(["--force"] if choice == "force-replace" else []))
    variable = f"CLOUDOPS_EXISTING_JOB={choice}"
    return f"{command}, or {variable}" if command else variable


def fresh_run(*options: str) -> str:
    """The command that runs this script again, as it was started, and replaces its jobs.

    Returns:
        The command; empty where there is none: no file is run, or what runs is not the user's script.
    """
    if not _RUNNERS.isdisjoint(sys.modules):
        return ""
    head, given, words = _command()
    wanted = ["--fresh", *options]
    command = [*head, *wanted, *(one for one in given if one not in wanted), *words]
    if not words or any(word != plain(word) for word in command):
        return ""
    return shlex.join(command)


def _command() -> tuple[list[str], list[str], list[str]]:
    """The `cloudops run` of this script, its options, and its words, none if it is not known."""
    if os.path.exists(os.environ.get(REPORT_VARIABLE, "")) and COMMAND_VARIABLE in os.environ:
        head, given, words = json.loads(os.environ[COMMAND_VARIABLE])
        return head, given, words
    python, *words = sys.orig_argv or [""]
    if not words or (sys.argv or [""])[0] in ("", "-", "-c"):  # typed or piped
        return [], [], []
    if not words[0].startswith("-") or words[0] == "-m":
        return ["cloudops", "run"], [], words
    # Options of Python; with -c it is a worker of multiprocessing.
    return ["cloudops", "run"], ["--"], [] if "-c" in words else [python, *words]
