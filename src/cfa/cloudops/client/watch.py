"""One view of jobs that run: for scripts that wait, `monitor_job`, `cloudops job monitor`, `logs -f`.

Failures are shown when they happen, with the last lines of the task's standard error. A terminal also
shows a status: how far the jobs are, what runs and for how long, or why nothing runs.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from cfa.cloudops.client.notebook import NotebookScreen, in_notebook
from cfa.cloudops.client.remarks import going_on, say, write
from cfa.cloudops.client.screen import Piece, Screen, can_draw
from cfa.cloudops.client.view import LOOK_S, STREAMS, OutputView
from cfa.cloudops.errors import NotFoundError
from cfa.cloudops.model.plain import abbreviated, command_line, counted, plain, shortened, some
from cfa.cloudops.model.tail import last_lines
from cfa.cloudops.model.values import Event, Job, JobState, TaskCounts
from cfa.cloudops.model.words import clock, duration
from cfa.cloudops.model.written import shown

if TYPE_CHECKING:
    from cfa.cloudops.provider.batch import BatchProvider

#: Failures of a job that are shown one by one.
_MOST_FAILURES = 20
#: Lines of a failed task's standard error.
_LAST_LINES = 5
#: Bytes in which they are looked for.
_LAST_BYTES = 1 << 12
#: Seconds between two lines of counts where there is no terminal.
_PLAIN_S = 5.0
#: Signs of a name, however narrow the terminal is.
_LEAST_NAME = 12
#: Running tasks whose begun lines are shown, and those in which one is looked for.
_MOST_BEGUN = 5
_MOST_ASKED = 20
#: Signs that take turns while something is watched.
_HEARTBEAT = "|/-\\"
#: Seconds that a job may wait for others before that is worth a line.
_PATIENCE_S = 2.0


class Watch:
    """Shows what happens in jobs, while entered, on a terminal or in a notebook; elsewhere in lines.

    Args:
        batch: the service.
        wanted: whether a task of a job is of interest, by (job id, task id); all when not given.
        output: show what tasks write; else lines of counts where there is no terminal.
        prefix: as for `OutputView`, with `raw`, `timestamps`, `jobs` and `streams`. With `raw` nothing
            is drawn.
        source: gives another view of what tasks wrote than the service.
        gives_up: as for `OutputView`.
    """

    def __init__(
        self,
        batch: BatchProvider,
        wanted: Callable[[str, str], bool] | None = None,
        *,
        output: bool = True,
        prefix: bool = True,
        raw: bool = False,
        timestamps: bool = False,
        jobs: Collection[str] = (),
        streams: Sequence[str] = STREAMS,
        source: BatchProvider | None = None,
        gives_up: bool = True,
    ) -> None:
        self._batch = batch
        self._gives_up = gives_up
        self._given_up = False
        self._output = output
        self._shows_errors = output and "stderr.txt" in streams
        self._screen = None if raw else _screen()
        self.view = OutputView(
            source or batch,
            wanted,
            prefix=prefix,
            raw=raw,
            timestamps=timestamps,
            jobs=jobs,
            streams=streams if output else (),
            screen=self._screen,
            gives_up=gives_up,
        )
        self._start_s = time.monotonic()
        self._jobs: dict[str, Job] = {}
        self._running: dict[tuple[str, str], datetime] = {}
        self._failures: Counter[str] = Counter()  # by job
        self._reasons: dict[str, str] = {}
        self._asked_s = 0.0
        self._waits_since: dict[str, float] = {}
        self._busy: list[str] = []
        self._told: dict[str, str] = {}
        self._counted = ("", -_PLAIN_S)

    def __enter__(self) -> Watch:
        if self._screen is not None:
            self._screen.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._screen is not None:
            self._screen.__exit__(kind, error, traceback)

    @property
    def pause_s(self) -> float:
        """Seconds after which to look again though nothing has changed."""
        return LOOK_S if self._output or self.draws else 1.0

    @property
    def draws(self) -> bool:
        """Whether a terminal shows the status, and has shown each failure."""
        return self._screen is not None

    def look(self, job: Job) -> None:
        """Show what is new in a job, which was read just now.

        Raises:
            JobNotFoundError: it was deleted.
        """
        job_id = job.spec.id
        self._jobs[job_id] = job
        for event in self.view.look(job_id, job.last_task_number):
            self._take(job_id, event)
        self._tell_reason(job)
        if self._screen is not None:
            self._screen.flush()
            self._screen.status(self._status())
        elif not self._output and not job.settled:
            self._count(job)

    def conclude(self, job: Job) -> None:
        """The last line of counts of a job that is completed, where there is no terminal."""
        if self._screen is None:
            self._counted = ("", -_PLAIN_S)
            self._count(job)

    def forget(self, job_id: str) -> None:
        """A job is gone: it is no part of the status any more."""
        self._jobs.pop(job_id, None)

    def remark(self, text: str) -> None:
        """A line of ours."""
        if self._screen is None:
            say(text)
        else:
            for line in plain(text, keep="\n").split("\n"):
                self._screen.line((line, "yellow"))
            self._screen.flush()

    # --- failures

    def _take(self, job_id: str, event: Event) -> None:
        if event.task_id is None:
            return
        key = (job_id, event.task_id)
        self._running.pop(key, None)
        if event.what == "running":
            self._running[key] = event.time
        elif event.what == "completed" and event.detail not in ("success", ""):
            self._failures[job_id] += 1
            if self._failures[job_id] <= _MOST_FAILURES:
                self._show_failure(job_id, event.task_id)
            elif self._failures[job_id] == _MOST_FAILURES + 1:
                self.remark(
                    "further failures are only counted. All: "
                    + command_line("task list --failed", job_id)
                )

    def _show_failure(self, job_id: str, task_id: str) -> None:
        try:
            task = self._batch.get_task(job_id, task_id)
            # Where output is shown, the lines have just been seen.
            read = partial(self._batch.read_task_file, job_id, task_id, "stderr.txt")
            lines = [] if self._shows_errors else last_lines(read, _LAST_LINES, _LAST_BYTES)
        except NotFoundError:
            return  # deleted since
        reason = task.failure.message if task.failure else "It failed."
        head = f"{self.view.label(job_id, task_id)} failed: {shortened(reason, 1000)}"
        more = [f"  {shown(line)}" for line in lines]
        if task.started is not None:
            more.append(f"  More: {command_line('task show', job_id, task_id)}")
        if self._screen is None:
            say("\n".join((head, *more)))
            return
        self._screen.line((plain(head), "bold red"))
        for line in more:
            self._screen.line((plain(line, keep="\t"), "dim"))

    # --- why nothing runs

    def _tell_reason(self, job: Job) -> None:
        """Say what keeps a job from running, once for each reason."""
        job_id = job.spec.id
        reason = self._reasons[job_id] = job.problem or self._queued(job)
        if not reason:
            self._waits_since.pop(job_id, None)
            self._told.pop(job_id, None)
            return
        # A job that waits for others shows so in the status; elsewhere only long waits are news.
        waited = time.monotonic() - self._waits_since.setdefault(job_id, time.monotonic())
        news = bool(job.problem) or (not self.draws and waited >= _PATIENCE_S)
        if news and reason != self._told.get(job_id) and (self.draws or self._output):
            self._told[job_id] = reason
            self.remark(f"{job_id}: {reason}")

    def _queued(self, job: Job) -> str:
        """Why a job with waiting tasks runs none, as far as another job is the reason."""
        counts = job.counts
        if counts.running or not counts.active or job.state is not JobState.ACTIVE:
            return ""
        if time.monotonic() - self._asked_s >= 1.0:
            self._asked_s = time.monotonic()
            self._busy = [one.spec.id for one in self._batch.list_jobs() if one.counts.running]
        others = [plain(name) for name in self._busy if name != job.spec.id]
        return f"waits for the job{'s' * (len(others) > 1)} {some(others, 3)}" if others else ""

    # --- how far

    def _count(self, job: Job) -> None:
        """A line when it says something new, at most one in five seconds."""
        text = str(job.counts)
        if reason := self._reasons.get(job.spec.id):
            text += f" ({reason})"
        elapsed = time.monotonic() - self._start_s
        last, shown_s = self._counted
        news = text != last and elapsed - shown_s >= _PLAIN_S
        if news and sys.stdout is not None and not self._given_up:
            self._counted = (text, elapsed)
            self._given_up = True
            with going_on("Progress is") if self._gives_up else nullcontext():
                write(sys.stdout, f"{duration(elapsed)}: tasks {plain(text)}\n")
                sys.stdout.flush()
                self._given_up = False

    def _status(self) -> list[list[Piece]]:
        """Lines of the status: how far, what runs or why nothing does, and what Ctrl-C does here."""
        elapsed = time.monotonic() - self._start_s
        jobs = list(self._jobs.values())
        counts = _sum([job.counts for job in jobs])
        far: list[tuple[str, str]] = [(f": {counts.completed} of {counts.total} done", "")]
        for count, word, style in (
            (counts.failed, "failed", "bold red"),
            (counts.running, "running", "cyan"),
            (counts.active, "waiting", ""),
        ):
            if count:
                far += [(", ", ""), (f"{count} {word}", style)]
        heartbeat = _HEARTBEAT[int(elapsed * 4) % len(_HEARTBEAT)]
        past = f" {clock(elapsed)} "
        name = plain(jobs[0].spec.id) if len(jobs) == 1 else f"{len(jobs)} jobs"
        room = self._width - len(heartbeat) - len(past) - sum(len(text) for text, _ in far)
        name = abbreviated(name, max(room, _LEAST_NAME))
        lines: list[list[Piece]] = [[(heartbeat, "cyan"), (past, ""), (name, "bold"), *far]]
        if owed := sum(job.logs_owed for job in jobs if not job.counts.running):
            lines.append([(f"  saving the logs of {counted(owed, 'task')}", "")])
        if self._running:
            lines += self._running_lines()
        else:
            reasons = list(filter(None, map(self._reasons.get, self._jobs)))
            if reasons or counts.active:
                lines.append([(f"  {plain(reasons[0] if reasons else 'starting')}", "yellow")])
        if threading.current_thread() is threading.main_thread():  # no other is interrupted
            lines.append([("  Ctrl-C detaches, tasks go on", "dim")])
        return lines

    @property
    def _width(self) -> int:
        """Columns of the status."""
        return self._screen.width if self._screen is not None else 80

    def _running_lines(self) -> list[list[Piece]]:
        """Running tasks with their times, longest first: a line for each that has begun one itself, as
        many as there is room for, and all others in one."""
        begun: list[list[Piece]] = []
        others = []
        now = datetime.now(UTC)
        longest = sorted(self._running.items(), key=lambda item: item[1])
        for number, ((job_id, task_id), started) in enumerate(longest):
            time_s = max(0.0, (now - started).total_seconds())
            name = plain(self.view.label(job_id, task_id))
            asked = number < _MOST_ASKED and len(begun) < _MOST_BEGUN
            line = self.view.begun(job_id, task_id) if asked else ""
            if line:
                name = abbreviated(name, max(self._width // 3, _LEAST_NAME))
                begun.append([(f"  {name} {clock(time_s)} ", ""), ("| ", "dim"), (line, "")])
            else:
                name = abbreviated(name, max(self._width // 2, _LEAST_NAME))
                others.append(f"{name} {clock(time_s)}")
        return [*begun, [("  ", ""), (self._listed(others), "")]] if others else begun

    def _listed(self, names: Sequence[str]) -> str:
        """As many names as fit into a line."""
        room = self._width - 2
        text = ""
        for number, name in enumerate(names):
            longer = f"{text}, {name}" if text else name
            left = len(names) - number
            if text and len(longer) + (len(f", and {left - 1} more") if left > 1 else 0) > room:
                return f"{text}, and {left} more"
            text = longer
        return text


def _screen() -> Screen | NotebookScreen | None:
    """What can be drawn on, None when there are only lines."""
    if in_notebook():
        return NotebookScreen()
    return Screen() if can_draw(sys.stdout) else None


def _sum(counts: Sequence[TaskCounts]) -> TaskCounts:
    return TaskCounts(
        active=sum(one.active for one in counts),
        running=sum(one.running for one in counts),
        succeeded=sum(one.succeeded for one in counts),
        failed=sum(one.failed for one in counts),
    )
