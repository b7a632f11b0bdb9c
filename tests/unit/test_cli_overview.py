"""`cloudops status`, and `cloudops` without a command."""

from __future__ import annotations

import json
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pyte
import pytest
from attrs import evolve

from cfa.cloudops import settings
from cfa.cloudops.cli import output, overview
from cfa.cloudops.model.values import (
    Failure,
    Job,
    JobSpec,
    JobState,
    PoolSpec,
    Task,
    TaskCounts,
    TaskResult,
    TaskSpec,
    TaskState,
)
from cfa.cloudops.service.link import Link
from cfa.cloudops.service.local import LocalBatch

MANY = 12


@pytest.fixture
def batch(workdir, monkeypatch):
    """The service of a workspace in which no agent runs."""
    monkeypatch.setattr(Link, "wake", lambda self: None)
    made = LocalBatch(settings.load(default_backend="subprocess"))
    made.create_pool(PoolSpec(id="p", backend="subprocess"))
    yield made
    made.close()


class TestStatus:
    """One screen about a workspace."""

    @pytest.mark.parametrize("words", [(), ("status",)])
    def test_shown(self, cloudops, batch, workdir, words):
        """Workspace, backend, pools, agent and jobs are shown; without a command as well."""
        batch.create_job(JobSpec(id="fit", pool_id="p"))
        batch.add_tasks("fit", [TaskSpec(id="a", command_line="true")])
        status, out, err = cloudops(*words)
        assert (status, err) == (0, "")
        lines = out.splitlines()
        assert lines[0] == f"workspace  {workdir / '.cloudops'}"
        assert lines[1].startswith("backend    ")
        assert lines[2] == "pools      p on subprocess"
        assert lines[3].startswith("agent      none")
        assert lines[5].split()[:3] == ["JOB", "STATE", "ACTIVE"]
        assert lines[6].split()[:3] == ["fit", "active", "1"]

    def test_many_jobs(self, cloudops, batch):
        """Of many jobs the newest are shown, and how to see the others."""
        for number in range(MANY):
            batch.create_job(JobSpec(id=f"job{number}", pool_id="p"))
        out = cloudops()[1]
        assert "job11" in out
        assert "job3 " not in out
        assert "... and 4 more: cloudops job list" in out

    def test_json(self, cloudops, batch, workdir):
        """As JSON it is one document."""
        found = json.loads(cloudops("--json")[1])
        assert found["workspace"] == str(workdir / ".cloudops")
        assert found["agent"]["state"] == "none"
        assert (found["pools"], found["jobs"]) == ({"p": "subprocess"}, [])

    def test_json_is_complete(self, cloudops, batch, monkeypatch):
        """As JSON it has all jobs, all tasks that run and all that failed, however many there are."""
        for number in range(MANY):
            batch.create_job(JobSpec(id=f"job{number}", pool_id="p"))
        found = json.loads(cloudops("status", "--json")[1])
        assert len(found["jobs"]) == MANY
        monkeypatch.setattr(overview, "open_batch", lambda _: nullcontext(Crowd(MANY)))
        found = json.loads(cloudops("status", "--json")[1])
        assert [len(found[key]) for key in ("jobs", "running", "failed")] == [MANY] + [MANY * 3] * 2

    def test_nothing_yet(self, cloudops, batch):
        """A workspace without jobs is shown."""
        status, out, err = cloudops("status")
        assert (status, err) == (0, "cloudops: no jobs\n")
        assert "pools      p on subprocess" in out

    def test_without_a_workspace(self, cloudops, workdir):
        """Where there is none, `cloudops` shows its help, and `cloudops status` says so."""
        status, out, err = cloudops()
        assert status == 2
        assert "Run and watch:" in out + err
        status, _, err = cloudops("status")
        assert status == 3
        assert "no workspace here" in err
        assert cloudops("--home", "elsewhere")[0] == 3
        assert not list(workdir.iterdir())


NOW = datetime.now(UTC)
LONG = "sensitivity-of-the-attack-rate-to-contact-matrices-of-2026-01-31"


class Crowd:
    """A service with many pools and jobs, in each of which tasks run, wait and have failed."""

    def __init__(self, jobs, tasks=3, name=LONG):
        self._tasks = tasks
        self._jobs = [
            Job(
                spec=JobSpec(id=f"{number}-{name}"[:64], pool_id="p"),
                state=JobState.ACTIVE,
                created=NOW - timedelta(days=jobs - number),
                counts=TaskCounts(active=1, running=tasks, failed=tasks),
                problem="The image of the pool cannot be pulled: the registry does not answer.",
            )
            for number in range(jobs)
        ]

    def list_jobs(self):
        return self._jobs

    def list_pools(self):
        return [
            SimpleNamespace(spec=PoolSpec(id=f"pool-of-{number}", backend="subprocess"))
            for number in range(20)
        ]

    def list_tasks(self, job_id):
        task = Task(
            id="",
            job_id=job_id,
            command_line="python3 simulate.py " + "--rate 0.1 " * 20,
            state=TaskState.RUNNING,
            created=NOW,
            started=NOW - timedelta(seconds=3723),
        )
        for number in range(self._tasks):
            yield evolve(task, id=f"{job_id}--{number}"[-64:])
            yield evolve(
                task,
                id=f"{job_id}--{number + 9}"[-64:],
                state=TaskState.COMPLETED,
                result=TaskResult.FAILURE,
                failure=Failure(code="FailureExitCode", message="It ended with exit code 3. " * 9),
            )


class TestOneScreen:
    """What a terminal shows of `cloudops status` without scrolling."""

    @pytest.fixture
    def screen(self, cloudops, batch, monkeypatch):
        """Shows a service on a terminal; the lines, below which is room for a prompt."""

        def show(service, columns, lines):
            @contextmanager
            def opened(_):
                yield service

            monkeypatch.setattr(overview, "open_batch", opened)
            monkeypatch.setattr(output, "is_terminal", lambda _: True)
            monkeypatch.setenv("COLUMNS", str(columns))
            monkeypatch.setenv("LINES", str(lines))
            status, out, err = cloudops("status")
            assert (status, err) == (0, "")
            drawn = pyte.Screen(columns, lines)
            pyte.Stream(drawn).feed(f"{out}$ ".replace("\n", "\r\n"))
            return [line.rstrip() for line in drawn.display]

        return show

    @pytest.mark.parametrize("name", [LONG, "fit"])
    @pytest.mark.parametrize("size", [(80, 24), (60, 24), (200, 50)])
    def test_crowded(self, screen, size, name):
        """Workspace, agent, the newest jobs, what runs and what failed are there, a line for each."""
        shown = screen(Crowd(40, name=name), *size)
        assert shown[0].startswith("workspace  ")
        assert any(line.startswith("agent      none") for line in shown)
        assert sum(line.startswith("39-") for line in shown) >= 1
        assert shown[-1] in ("$", "")
        text = "\n".join(shown)
        assert "/.cloudops" in text.replace("\n", "")
        assert "more: cloudops job list" in text
        assert "Running, " in text
        assert "Failed, " in text
        assert "Its last lines: cloudops task show 39-" in text.replace("\n", "")
        assert "…" in text

    def test_all_that_fits(self, screen):
        """Jobs take the room that nothing else needs."""
        shown = screen(Crowd(11, tasks=0), 80, 24)
        assert sum("-sens" in line for line in shown) == 11
        assert "more:" not in "\n".join(shown)

    def test_hardly_any_room(self, screen):
        """However small the terminal is, there is a line of each."""
        assert "Its last lines" in "\n".join(screen(Crowd(11, name="x"), 60, 12))

    def test_signs(self, screen, monkeypatch):
        """A stream that cannot show an ellipsis has a full stop there."""
        monkeypatch.setattr(output, "_ellipsis", lambda: ".")
        assert "…" not in "\n".join(screen(Crowd(11), 80, 24))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("study-of-2026--12", "study-…-12"),
        ("exit code 3 of it", "exit code…"),
        ("0123456789", "0123456789"),
        ("é" * 11, "é" * 9 + "…"),
        ("語" * 6, "語" * 4 + " …"),
    ],
)
def test_cut(text, shown):
    """Text keeps its beginning, an id its end as well."""
    assert output.cut(text, 10) == shown


@pytest.mark.parametrize(
    ("room", "wanted", "given"),
    [
        (19, [11, 7, 5], [3, 3, 3]),
        (16, [11, 1, 0], [8, 1, 0]),
        (2, [3, 3, 3], [1, 1, 1]),
        (13, [2, 0, 0], [2, 0, 0]),
        (13, [20, 0, 0], [9, 0, 0]),
    ],
)
def test_limits(room, wanted, given):
    """Lines are shared evenly; what one part does not need others get; each has one at least."""
    assert overview._limits(room, wanted) == given
