"""A script that ends with tasks under way stays with them, shows them, and says how they ended."""

from __future__ import annotations

import atexit
import json
import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from cfa.cloudops.client import forks
from cfa.cloudops.client.ending import (
    OneInterrupt,
    end_by_interrupt,
    interrupted,
    remember_status,
    set_exit_status,
)
from cfa.cloudops.client.remarks import say, say_detached
from cfa.cloudops.client.rerun import fresh_run, is_child_of_run, is_interactive
from cfa.cloudops.errors import CloudOpsError, NotFoundError
from cfa.cloudops.model.plain import some
from cfa.cloudops.model.values import TaskResult
from cfa.cloudops.settings import REPORT_VARIABLE

if TYPE_CHECKING:
    from cfa.cloudops.client.watch import Watch
    from cfa.cloudops.provider.batch import BatchProvider

#: Clients of this process, and of those from which it was forked.
_names: set[str] = set()


class Farewell:
    """Stays with a script's unfinished tasks when it ends, so that it needs no line to wait.

    The exit status stays what the script made it. It is 1 instead of 0 when `on_failure` is `exit` and
    tasks failed. Ctrl-C detaches: the tasks go on, and the script ends by SIGINT, which is status 130
    for a shell. `cloudops run`, whose exit status is about the tasks as well, gets a report. What
    children of the script added counts as if the script had; see `forks`.
    """

    def __init__(
        self,
        batch: BatchProvider,
        at_exit: str,
        at_end: Callable[[], None] | None = None,
        *,
        existing_job: str = "error",
        on_failure: str = "show",
        workspace: str = "",
    ) -> None:
        self._batch = batch
        self._workspace = workspace
        self._name = f"{os.getpid()}-{len(_names)}"
        _names.add(self._name)
        self._at_end = at_end
        self._existing_job = existing_job
        self._on_failure = on_failure
        self._made: set[str] = set()
        self._refused: set[str] = set()
        self._expected: dict[str, set[str]] = {}
        self._added: dict[str, set[str]] = {}
        self._detached: set[str] = set()
        self._pid = os.getpid()
        self._interactive = is_interactive()
        self._detach = at_exit == "detach" or self._interactive
        self._own_status: Callable[[], int] = int if self._interactive else remember_status()
        atexit.register(self._at_exit)

    def expect(self, job_id: str, task_ids: Iterable[str]) -> None:
        """Tasks that this script added."""
        new = set(task_ids)
        self._expect(job_id, new)
        self._tell(job_id, new)

    def _expect(self, job_id: str, new: Iterable[str]) -> None:
        self._expected.setdefault(job_id, set()).update(new)
        self._added.setdefault(job_id, set()).update(new)

    def _tell(self, job_id: str, ids: Iterable[str], *, done: bool = False) -> None:
        """In a child: let the script know of tasks."""
        forks.tell(
            forks.Note(
                self._name,
                self._workspace,
                self._detach,
                self._on_failure,
                job_id,
                sorted(ids),
                done,
            )
        )

    def _hear(self, *, others: bool = True) -> None:
        """Take over what children added with this client and nobody has waited for.

        Args:
            others: also what they added with clients of their own, in the same workspace.
        """

        def wanted(note: forks.Note) -> bool:
            if note.client in _names:
                return note.client == self._name
            return others and note.workspace == self._workspace

        for note in forks.told(wanted):
            if not note.done:
                self._expect(note.job_id, note.task_ids)
            elif expected := self._expected.get(note.job_id):
                expected.difference_update(note.task_ids)
                if not expected:
                    del self._expected[note.job_id]

    def made(self, job_id: str) -> None:
        """A job that this script made."""
        self._made.add(job_id)

    def refused(self, job_id: str) -> None:
        """A job to which a task could not be added."""
        self._refused.add(job_id)

    def forget(self, job_id: str) -> None:
        """The user has seen how the job ended, or deleted it."""
        self._hear()
        self._tell(job_id, self._expected.pop(job_id, set()), done=True)

    def detach(self, job_id: str) -> None:
        """Ctrl-C while a job was watched: say what goes on."""
        self._detached.add(job_id)
        say_detached(self._batch, job_id)

    def cancel(self) -> None:
        """The client is closed: nothing is shown at exit."""
        atexit.unregister(self._at_exit)
        if os.getpid() == self._pid:
            self._hear(others=False)
            self._let_go()
            if not forks.heard() and self._report(0) and self._decides():
                atexit.register(self._fail)
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
        heard = forks.heard()  # then all that follows is the script's
        try:
            if interrupted():
                interrupt.hold()
            else:
                forks.join_workers()
            self._hear()
            if self._expected and not heard:
                if self._detach or interrupted():
                    self._say_detached()
                else:
                    self._stay()
            if not self._interactive:
                self._clear_way()
        except KeyboardInterrupt:
            status = 130
            self._hear()
            if not heard:
                self._say_detached()
        except BrokenPipeError:
            # Nobody reads any more; the tasks go on. Python flushes once more when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        except CloudOpsError as error:
            status = error.exit_status
            say(str(error))
        finally:
            interrupt.hold()
            try:
                if not heard:
                    self._let_go()
                    bad = self._report(status)
                if self._at_end is not None:
                    self._at_end()
                self._batch.close()
            finally:
                if status == 130 or interrupt.seen:
                    end_by_interrupt()
                elif bad and self._decides():
                    self._fail(status)

    def _decides(self) -> bool:
        """Whether what tasks came to decides over the exit status. A `cloudops run` that started this
        very process sees to that by itself, and so sees the script's own status."""
        return self._on_failure == "exit" and not is_child_of_run()

    def _fail(self, status: int = 1) -> None:
        """Let the script end with its own exit status, or else with this one, or 1."""
        if os.getpid() == self._pid and not interrupted():
            set_exit_status(self._own_status() or status or 1)

    def _let_go(self) -> None:
        """In a child that has a client of its own: the script need not wait again."""
        for job_id, ids in self._expected.items():
            self._tell(job_id, ids, done=True)

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
        from cfa.cloudops import report  # for `cloudops run` alone

        line = json.dumps({"failed": failed, "unrun": unrun, "status": status})
        report.append(path, f"{line}\n")
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
        failed = error is not None or self._own_status() != 0
        for job_id in sorted(self._made):
            try:
                if self._batch.task_counts(job_id).total == 0:
                    if failed or job_id in self._refused:
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
            self.detach(job_id)


@atexit.register  # before any client does, and so called after all of them
def _stay_for_workers() -> None:
    """Stay with what children added in workspaces of which the script has no client itself."""
    try:
        with OneInterrupt():
            if not interrupted():
                forks.join_workers()
    except KeyboardInterrupt:
        end_by_interrupt()
    for note in forks.senders():
        from cfa.cloudops import backends, settings

        if not os.path.isdir(note.workspace):
            continue  # deleted, and not to be made anew
        home = {"CLOUDOPS_HOME": note.workspace}
        try:
            batch = backends.load_batch("local")(
                settings.load(default_backend="auto", arguments=home)
            )
        except CloudOpsError as error:
            say(str(error))
            continue
        Farewell(
            batch,
            "detach" if note.detach else "wait",
            on_failure=note.on_failure,
            workspace=note.workspace,
        )._at_exit()
