"""`cloudops schedule`: what it prints, where, and with which exit status."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from cfa.cloudops import settings
from cfa.cloudops.model.values import JobScheduleSpec, PoolSpec
from cfa.cloudops.service.link import Link
from cfa.cloudops.service.local import LocalBatch


@pytest.fixture
def batch(workdir, monkeypatch):
    """The service of a workspace with the pool `p`, where no agent runs."""
    monkeypatch.setattr(Link, "wake", lambda self: None)
    chosen = settings.load(default_backend="subprocess", arguments={})
    made = LocalBatch(chosen)
    made.create_pool(PoolSpec(id="p", backend="subprocess"))
    yield made
    made.close()


@pytest.fixture
def nightly(batch):
    """The service with the schedule `nightly`."""
    batch.create_job_schedule(
        JobScheduleSpec(
            id="nightly",
            pool_id="p",
            command_line="python run.py",
            display_name="Nightly",
            recurrence_interval=timedelta(hours=24),
            metadata=(("owner", "ada"),),
        )
    )
    return batch


def test_create(cloudops, batch):
    """The options are those of the cloud's script; what is printed is the id."""
    status, out, err = cloudops(
        "create_job_schedule", "-n", "My Run", "-pn", "p", "-c", "echo 'a b'", "-t", "5",
        "-sw", "0.5", "-ri", "15", "-dnu", "2040-01-01 00:00:00", "-dna", "2041-01-01 00:00:00",
        "-v",
    )  # fmt: skip
    assert status == 0
    assert out.splitlines()[0] == "created job schedule my-run"
    assert "its first job is due: 20" in out
    assert "cloudops agent --stay" in err
    spec = batch.get_job_schedule("my-run").spec
    assert (spec.display_name, spec.pool_id, spec.command_line) == ("My Run", "p", "echo 'a b'")
    assert spec.start_window == timedelta(seconds=30)
    assert spec.recurrence_interval == timedelta(minutes=15)
    assert (spec.do_not_run_until.year, spec.do_not_run_after.year) == (2040, 2041)


def test_create_by_long_names(cloudops, batch):
    """Each option has its long name."""
    status, out, _ = cloudops(
        "schedule", "create", "--job_schedule_name", "s", "--pool_name", "p", "--command", "true",
        "--timeout", "5", "--start_window_minutes", "1", "--recurrence_interval_minutes", "1",
        "--do_not_run_until", "2040-01-01 00:00:00", "--do_not_run_after", "2041-01-01 00:00:00",
        "--exist_ok", "--verbose",
    )  # fmt: skip
    assert (status, out.splitlines()[0]) == (0, "created job schedule s")


def test_create_twice(cloudops, nightly):
    """A second one is a conflict, and with `-e` the first is kept."""
    again = ("create_job_schedule", "-n", "nightly", "-pn", "p", "-c", "other")
    status, out, err = cloudops(*again)
    assert (status, out) == (4, "")
    assert "'nightly' exists" in err
    assert cloudops(*again, "-e")[:2] == (0, "job schedule nightly exists\n")
    assert nightly.get_job_schedule("nightly").spec.command_line == "python run.py"


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (("-pn", "nowhere"), 3, "no pool"),
        (("-pn", "p", "-ri", "0"), 2, "--recurrence-interval-minutes 0 is not above 0"),
        (("-pn", "p", "-ri", "nan"), 2, "minutes"),
        (("-pn", "p", "-sw", "inf"), 2, "minutes"),
        (("-pn", "p", "-dnu", "soon"), 2, "format"),
    ],
)
def test_create_refused(cloudops, batch, options, status, says):
    """A wrong call says what is wrong, and makes nothing."""
    found = cloudops("create_job_schedule", "-n", "s", "-c", "true", *options)
    assert (found[0], found[1]) == (status, "")
    assert says in found[2]
    assert batch.list_job_schedules() == []


def test_list_and_show(cloudops, nightly):
    """A schedule is shown with its state, its interval and its command."""
    status, out, _ = cloudops("schedule", "list")
    assert status == 0
    assert out.splitlines()[0].split()[:4] == ["SCHEDULE", "POOL", "STATE", "EVERY"]
    assert out.splitlines()[1].startswith("nightly   p     active  1 day, 0:00:00")
    status, out, _ = cloudops("schedule", "show", "Nightly")
    assert status == 0
    facts = {line[:14].strip(): line[16:] for line in out.splitlines()}
    assert facts["schedule"] == "nightly"
    assert facts["start window"] == "until the next is due"
    assert facts["command"] == "python run.py"
    assert facts["metadata owner"[:14]] == "ada"
    (listed,) = json.loads(cloudops("schedule", "list", "--json")[1])
    shown = json.loads(cloudops("schedule", "show", "nightly", "--json")[1])
    assert listed == shown
    assert shown["spec"]["recurrence_interval"] == 86400
    assert cloudops("schedule", "show", "weekly")[0] == 3


def test_list_nothing(cloudops, batch):
    """Without schedules, standard output is empty."""
    assert cloudops("schedule", "list") == (0, "", "cloudops: no job schedules\n")


@pytest.mark.parametrize(
    "naming", [("nightly",), ("--job-schedule-id", "nightly"), ("--job_schedule_id", "NIGHTLY")]
)
def test_suspend_resume_delete(cloudops, nightly, naming):
    """They take ids as arguments or by the option of the cloud's scripts."""
    for verb, done, state in (
        ("suspend", "suspended", "disabled"),
        ("resume", "resumed", "active"),
    ):
        assert cloudops("schedule", verb, *naming) == (0, f"{done} job schedule nightly\n", "")
        assert nightly.get_job_schedule("nightly").state == state
    assert cloudops("schedule", "delete", *naming) == (0, "deleted job schedule nightly\n", "")
    assert nightly.list_job_schedules() == []
    for verb in ("suspend", "resume", "delete"):
        assert cloudops("schedule", verb, *naming)[0] == 3
        assert cloudops("schedule", verb)[0] == 2
