"""Job schedules: when their jobs are due, and what the calls about them accept and refuse."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from cfa.cloudops.errors import (
    ConflictError,
    InvalidNameError,
    JobScheduleExistsError,
    JobScheduleNotFoundError,
    PoolNotFoundError,
    UnsupportedError,
)
from cfa.cloudops.local import CloudClient
from cfa.cloudops.model import names
from cfa.cloudops.model.values import JobScheduleSpec, JobScheduleState
from cfa.cloudops.provider.batch import BatchProvider
from cfa.cloudops.service import definitions, link, schedules
from cfa.cloudops.service.link import Link
from cfa.cloudops.service.occurrences import Occurrence, next_occurrence
from cfa.cloudops.service.schedules import Schedules
from cfa.cloudops.service.store import Store

MADE = datetime(2030, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def spec(**more) -> JobScheduleSpec:
    """A schedule; times are given in minutes after it was made."""
    for name, value in more.items():
        more[name] = MADE + value * MINUTE if name.startswith("do_not_run") else value * MINUTE
    return JobScheduleSpec(id="s", pool_id="p", command_line="true", **more)


EVERY, WINDOW = "recurrence_interval", "start_window"
UNTIL, AFTER = "do_not_run_until", "do_not_run_after"


@pytest.mark.promise(
    "resume_job_schedule",
    "Jobs come at the times at which they were due anyway.",
    local="what was due meanwhile is skipped, but for the latest one in its window",
    cloud="the same; the window is not documented in detail",
)
@pytest.mark.parametrize(
    ("options", "used", "now", "number", "due"),
    [
        # one job only
        ({}, 0, 0, 0, 0),
        ({}, 0, 99, 0, 0),
        ({}, 1, 99, None, None),
        ({UNTIL: 5}, 0, 1, 0, 5),
        ({UNTIL: -5}, 0, 1, 0, 0),
        ({UNTIL: 5, WINDOW: 2}, 0, 7, 0, 5),
        ({UNTIL: 5, WINDOW: 2}, 0, 8, None, None),
        ({AFTER: 5}, 0, 5, 0, 0),
        ({AFTER: 5}, 0, 6, None, None),
        ({UNTIL: 5, AFTER: 4}, 0, 0, None, None),
        # a job every ten minutes
        ({EVERY: 10}, 0, 0, 0, 0),
        ({EVERY: 10}, 1, 0, 1, 10),
        ({EVERY: 10}, 1, 9, 1, 10),
        ({EVERY: 10}, 1, 10, 1, 10),
        ({EVERY: 10}, 1, 19, 1, 10),
        ({EVERY: 10}, 1, 35, 3, 30),  # of those that were missed, the latest
        ({EVERY: 10}, 4, 35, 4, 40),
        ({EVERY: 10, UNTIL: 5}, 0, 0, 0, 5),
        ({EVERY: 10, UNTIL: 5}, 1, 20, 1, 15),
        # with a window
        ({EVERY: 10, WINDOW: 3}, 1, 13, 1, 10),
        ({EVERY: 10, WINDOW: 3}, 1, 14, 2, 20),
        ({EVERY: 10, WINDOW: 3}, 1, 34, 4, 40),
        ({EVERY: 10, WINDOW: 25}, 1, 19, 1, 10),
        ({EVERY: 10, WINDOW: 25}, 1, 25, 2, 20),  # not carried into the next interval
        # with an end
        ({EVERY: 10, AFTER: 20}, 2, 12, 2, 20),
        ({EVERY: 10, AFTER: 20}, 2, 21, None, None),
        ({EVERY: 10, AFTER: 20}, 3, 12, None, None),
        # the clock was set back
        ({EVERY: 10}, 7, 3, 7, 70),
        ({EVERY: 10}, 0, -30, 0, 0),
    ],
)
def test_next_occurrence(options, used, now, number, due):
    """The next job, its window, what is missed and the end are as the table says."""
    expected = None if number is None else Occurrence(number, MADE + due * MINUTE)
    assert next_occurrence(spec(**options), MADE, used, MADE + now * MINUTE) == expected


def test_beyond_the_calendar():
    """An interval that leads beyond the last year means that no other job comes."""
    endless = JobScheduleSpec(
        id="s", pool_id="p", command_line="true", recurrence_interval=timedelta.max
    )
    assert next_occurrence(endless, MADE, 0, MADE) == Occurrence(0, MADE)
    assert next_occurrence(endless, MADE, 1, MADE) is None


spans = st.timedeltas(timedelta(microseconds=1), timedelta(days=400))


@given(
    interval=spans,
    window=st.none() | spans,
    until=st.none() | spans,
    now=st.timedeltas(timedelta(0), timedelta(days=4000)),
    used=st.integers(0, 5000),
)
def test_occurrences_are_regular(interval, window, until, now, used):
    """A due time is a whole number of intervals after the first one; a used one never comes again;
    one that may start now is in its window and its own interval."""
    found = next_occurrence(
        JobScheduleSpec(
            id="s",
            pool_id="p",
            command_line="true",
            recurrence_interval=interval,
            start_window=window,
            do_not_run_until=None if until is None else MADE + until,
        ),
        MADE,
        used,
        MADE + now,
    )
    assert found is not None
    first = MADE + (until or timedelta(0))
    assert found.due == first + found.number * interval
    assert found.number >= used
    late = MADE + now - found.due
    assert late < interval
    assert window is None or late <= window


def test_definition_survives_the_store():
    """A schedule that was written as text and read again is the same."""
    whole = JobScheduleSpec(
        id="s",
        pool_id="p",
        command_line="true",
        display_name="S",
        start_window=timedelta(microseconds=1),
        recurrence_interval=timedelta(days=3, microseconds=7),
        do_not_run_until=MADE,
        do_not_run_after=MADE + MINUTE,
        metadata=(("owner", "ada"),),
    )
    for one in (whole, spec()):
        assert definitions.schedule_spec(definitions.definition(one)) == one


# --- names


@pytest.mark.promise(
    "create_job_schedule",
    "The id is the name in lower case, with `-` for blanks.",
    local="checked with room for `-job`",
)
def test_schedule_names():
    """The id of a schedule is its name in lower case with hyphens; it leaves room for `-job`."""
    assert names.job_schedule_id("My Nightly_Run 2") == "my-nightly_run-2"
    assert names.job_schedule_id("x" * 60) == "x" * 60
    for text in ("x" * 61, "", "a:b", "a/b", None):
        with pytest.raises(InvalidNameError):
            names.job_schedule_id(text)


def test_names_of_scheduled_jobs():
    """`<schedule>:job-<n>` can be asked for, and cannot be made by a user."""
    assert names.job_id("a-b:job-12") == "a-b:job-12"
    for text in ("a:b", "a:job-", "a:job-0", "a:job-x", ":job-1", "a:job-1:job-1", "../a:job-1"):
        with pytest.raises(InvalidNameError):
            names.job_id(text)
    with pytest.raises(InvalidNameError):
        names.new_job_id("a:job-1")


# --- the client


@pytest.fixture
def client(workdir, monkeypatch) -> Iterator[CloudClient]:
    """A client with the pool `p`, in a workspace where no agent runs."""
    monkeypatch.setenv("CLOUDOPS_SUBPROCESS_SANDBOX", "off")
    monkeypatch.setattr(Link, "wake", lambda self: None)
    made = CloudClient(backend="subprocess", at_exit="detach")
    made.create_pool("p")
    yield made
    made.close()


def test_create(client, capsys):
    """A schedule is kept with all of its definition; what is printed names its id and the agent."""
    client.create_job_schedule(
        "Test Schedule",
        "p",
        "python run.py",
        start_window=timedelta(minutes=5),
        recurrence_interval=timedelta(minutes=15),
        do_not_run_until="2040-01-02 03:04:05",
        do_not_run_after="2041-01-02 03:04:05",
        verbose=True,
    )
    (found,) = client._batch.list_job_schedules()
    assert found == client._batch.get_job_schedule("test-schedule")
    assert found.state is JobScheduleState.ACTIVE
    assert (
        found.next_run == found.spec.do_not_run_until == datetime(2040, 1, 2, 3, 4, 5, tzinfo=UTC)
    )
    assert found.spec.do_not_run_after == datetime(2041, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert found.spec.start_window == timedelta(minutes=5)
    assert found.spec.recurrence_interval == timedelta(minutes=15)
    assert found.spec.command_line == "python run.py"
    assert (found.spec.display_name, found.recent_job) == ("Test Schedule", None)
    out = capsys.readouterr().out
    assert "Created job schedule test-schedule.\n" in out
    assert "cloudops agent --stay" in out


def test_advice_of_an_agent_that_stays(client, capsys, monkeypatch):
    """Who makes a schedule while an agent stays is not told to keep one."""
    monkeypatch.setattr(link, "greeting", lambda _: ["cloudops", "1", "2", "stays"])
    client.create_job_schedule("s", "p", "true")
    assert "agent" not in capsys.readouterr().out


@pytest.mark.promise(
    "create_job_schedule",
    "A second schedule of a name is an error; `exist_ok` keeps the first.",
    local="`RuntimeError`; `exist_ok` hides nothing else",
    cloud="`exist_ok` hides every error of the creation",
    difference="here other errors are raised",
)
@pytest.mark.promise(
    "create_job_schedule",
    "A pool that does not exist is a `ValueError`.",
    local="`PoolNotFoundError`, also with `exist_ok`",
    cloud="`exist_ok` hides it",
    difference="a defect of version 0.8.0, not repeated here",
)
def test_exists(client, capsys):
    """A second schedule of a name is an error; `exist_ok` keeps the first, and hides nothing else."""
    client.create_job_schedule("s", "p", "first")
    with pytest.raises(JobScheduleExistsError):
        client.create_job_schedule("S", "p", "second")
    client.create_job_schedule("S", "p", "second", exist_ok=True, verbose=True)
    assert "Job schedule s exists.\n" in capsys.readouterr().out
    assert client._batch.get_job_schedule("s").spec.command_line == "first"
    with pytest.raises(PoolNotFoundError):
        client.create_job_schedule("s", "nowhere", "x", exist_ok=True)
    client.create_job("j", "p")
    with pytest.raises(ConflictError):
        client.create_job_schedule("J", "p", "x", exist_ok=True)
    with pytest.raises(ConflictError):
        client.create_job("S", "p", exist_ok=True)


@pytest.mark.promise(
    "create_job_schedule",
    "Times are `YYYY-MM-DD HH:MM:SS` in UTC, intervals are `timedelta`; else a `ValueError`.",
    local="nothing is made",
    cloud="the same for times",
    difference=(
        "an interval below a minute is refused by the service; here it works, and a rehearsal"
        " refuses it"
    ),
)
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"do_not_run_until": "tomorrow"}, "'%Y-%m-%d %H:%M:%S'"),
        ({"do_not_run_after": "2030-01-01"}, "'%Y-%m-%d %H:%M:%S'"),
        ({"do_not_run_until": MADE}, "'%Y-%m-%d %H:%M:%S'"),
        (
            {
                "do_not_run_until": "2030-01-02 00:00:00",
                "do_not_run_after": "2030-01-01 00:00:00",
            },
            "before do_not_run_until",
        ),
        ({"recurrence_interval": 15}, "timedelta"),
        ({"recurrence_interval": timedelta(0)}, "above 0"),
        ({"start_window": timedelta(-1)}, "above 0"),
        ({"recurrence_interval": timedelta.max}, "a hundred years"),
        ({"start_window": timedelta(999_999)}, "a hundred years"),
        ({"command": None}, "a string or a list of strings"),
        ({"timeout": 0}, "seconds"),
        ({"timeout": "30"}, "seconds"),
        ({"command": "sh -c 'open"}, "split"),
        ({"command": " "}, "command of a task is empty"),
        ({"pool_name": "nowhere"}, "no pool 'nowhere'"),
    ],
)
def test_refused(client, options, says):
    """What can never work is a `ValueError` that says why; nothing is made."""
    arguments = {"pool_name": "p", "command": "true", **options}
    with pytest.raises(ValueError, match=re.escape(says)):
        client.create_job_schedule("s", **arguments)
    assert client._batch.list_job_schedules() == []


def test_pool_without_image(client, monkeypatch):
    """A pool that needs an image and has none is refused at once, not at the first job."""
    pool = client._batch.get_pool("p")
    needing = evolve(pool, spec=evolve(pool.spec, needs_image=True))
    monkeypatch.setattr(type(client._batch), "get_pool", lambda self, name: needing)
    with pytest.raises(ValueError, match="No image"):
        client.create_job_schedule("s", "p", "true")


@pytest.mark.promise(
    "create_job_schedule",
    "`verify_pool=False` takes a pool that does not exist yet.",
    local="taken",
)
def test_pool_may_come_later(client):
    """`verify_pool=False` accepts a pool that does not exist yet."""
    client.create_job_schedule("s", "later", "true", verify_pool=False)
    assert client._batch.get_job_schedule("s").spec.pool_id == "later"


def test_a_time_that_has_passed(client, capsys):
    """A schedule whose end has passed is made with a warning."""
    client.create_job_schedule("s", "p", "true", do_not_run_after="2020-01-01 00:00:00")
    assert "which has passed" in capsys.readouterr().out


@pytest.mark.promise(
    "resume_job_schedule",
    "Ids are taken as they are printed; each call may be repeated.",
    local="unknown ids are a `ValueError`",
    cloud="unknown ids are an error of the SDK",
    difference="the type of the error",
)
@pytest.mark.promise(
    "delete_job_schedule",
    "The schedule is gone when the call returns; again it is an error.",
    local="`ValueError` the second time",
    cloud="deletion is waited for",
    difference="the type of the error",
)
def test_suspend_resume_delete(client):
    """A schedule is suspended, resumed and deleted by its id; each may be said twice but the last."""
    client.create_job_schedule("s", "p", "true", recurrence_interval=timedelta(minutes=1))
    for call, state in (
        (client.suspend_job_schedule, JobScheduleState.DISABLED),
        (client.resume_job_schedule, JobScheduleState.ACTIVE),
    ):
        for _ in range(2):
            call("s")
            assert client._batch.get_job_schedule("s").state is state
        assert (client._batch.get_job_schedule("s").next_run is None) == (state == "disabled")
    client.delete_job_schedule("s")
    assert client._batch.list_job_schedules() == []
    for call in (
        client.suspend_job_schedule,
        client.resume_job_schedule,
        client.delete_job_schedule,
    ):
        with pytest.raises(JobScheduleNotFoundError, match="Its job schedules are: none"):
            call("s")


@pytest.mark.promise(
    "suspend_job_schedule",
    "A completed schedule can neither be suspended nor resumed.",
    local="`RuntimeError`",
    cloud="`JobScheduleCompleted`, an error of the SDK",
    difference="the type of the error",
)
def test_completed(client):
    """A completed schedule can neither be suspended nor resumed, only deleted."""
    client.create_job_schedule("s", "p", "true")
    client._batch._store.execute("UPDATE schedule SET state = 'completed'")
    for call in (client.suspend_job_schedule, client.resume_job_schedule):
        with pytest.raises(ConflictError, match="completed"):
            call("s")
    client.delete_job_schedule("s")


def test_a_service_without_schedules():
    """A service that has no schedules says so, with what to do instead."""
    kind = type("Plain", (BatchProvider,), {"name": "plain"})
    kind.__abstractmethods__ = frozenset()
    kind.__init__ = lambda self: None
    plain = kind()
    for call in (
        lambda: plain.create_job_schedule(spec()),
        lambda: plain.get_job_schedule("s"),
        plain.list_job_schedules,
        lambda: plain.disable_job_schedule("s"),
        lambda: plain.enable_job_schedule("s"),
        lambda: plain.delete_job_schedule("s"),
    ):
        with pytest.raises(UnsupportedError, match="'plain' has no job schedules"):
            call()


# --- the agent's part, without an agent


class Agent:
    """The clock and the alarms of an agent; `pass_time` lets both clocks go on."""

    def __init__(self) -> None:
        self.wall = MADE.timestamp()
        self.steady = 0.0
        self.alarms: list[tuple[float, object]] = []

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady

    def still_ours(self) -> None:
        pass

    def at(self, when: float, action) -> None:
        self.alarms.append((when, action))

    def pass_time(self, seconds: float) -> None:
        end = self.steady + seconds
        while due := [alarm for alarm in self.alarms if alarm[0] <= end]:
            first = min(due, key=lambda alarm: alarm[0])
            self.alarms.remove(first)
            self._go_to(first[0])
            first[1]()
        self._go_to(end)

    def _go_to(self, steady: float) -> None:
        self.wall += max(0.0, steady - self.steady)
        self.steady = max(self.steady, steady)


class Bench:
    """The schedules of a store, with a scheduler that does nothing but look when it is told to."""

    def __init__(self, store: Store, agent: Agent) -> None:
        self.store = store
        self.agent = agent
        self.looks = 0
        self.schedules = Schedules(self)

    def look(self) -> None:
        self.looks += 1
        self.schedules.make_due()

    def add(self, **more) -> None:
        """Make the schedule `s` at the time it is now."""
        self.store.execute(
            "INSERT INTO schedule (id, state, definition, created) VALUES ('s', 'active', ?, ?)",
            (definitions.definition(spec(**more)), self.agent.wall),
        )
        self.look()

    def jobs(self) -> list[str]:
        return [row[0] for row in self.store.rows("SELECT id FROM job ORDER BY number")]

    def complete(self) -> None:
        """Every job ends now; the agent tells the schedules."""
        self.store.execute("UPDATE job SET state = 'completed'")
        self.look()

    def state(self) -> str:
        return str(self.store.row("SELECT state FROM schedule")[0])


@pytest.fixture
def bench(tmp_path, monkeypatch) -> Iterator[Bench]:
    """A bench whose clock only goes when it is told to."""
    agent = Agent()
    monkeypatch.setattr(schedules, "time", agent)
    with closing(Store(tmp_path / "a.db")) as store:
        yield Bench(store, agent)


@pytest.mark.promise(
    "create_job_schedule",
    (
        "A job that is due waits for the end of the one before, and is lost after its "
        "`start_window`."
    ),
    local="one active job at a time",
)
def test_waits_for_the_job_before(bench):
    """A job that is due waits for the end of the one before, and is skipped after its window."""
    bench.add(recurrence_interval=10, start_window=3)
    assert bench.jobs() == ["s:job-1"]
    bench.agent.pass_time(11 * 60)
    assert bench.jobs() == ["s:job-1"]
    bench.complete()
    assert bench.jobs() == ["s:job-1", "s:job-2"]
    bench.agent.pass_time(14 * 60)
    bench.complete()
    assert len(bench.jobs()) == 2  # minute 25: the window of minute 20 is over
    bench.agent.pass_time(5 * 60 - 1)
    assert len(bench.jobs()) == 2
    bench.agent.pass_time(1)
    assert bench.jobs()[2:] == ["s:job-3"]


def test_looks_only_when_due(bench):
    """Until a job is due, the agent reads the clock now and then, and nothing else; however often
    clients wake it, there is one alarm."""
    bench.add(do_not_run_until=60)
    for _ in range(5):
        bench.look()
    assert len(bench.agent.alarms) == 1
    looks = bench.looks
    bench.agent.pass_time(3599)
    assert (bench.looks, bench.jobs()) == (looks, [])
    bench.agent.pass_time(1)
    assert (bench.looks, bench.jobs()) == (looks + 1, ["s:job-1"])


@pytest.mark.parametrize("slept", [0, 3000])
def test_clock_set_forward(bench, slept):
    """A clock that is set, or a machine that slept, is noticed within half a minute."""
    bench.add(do_not_run_until=60)
    bench.agent.pass_time(slept)
    bench.agent.wall = MADE.timestamp() + 2 * 3600
    bench.agent.pass_time(30)
    assert bench.jobs() == ["s:job-1"]


def test_clock_set_back(bench):
    """When the clock is set back, a job that was due in a moment is due later, and none comes twice."""
    bench.add(recurrence_interval=10)
    bench.complete()
    bench.agent.pass_time(590)
    bench.agent.wall -= 3600
    bench.agent.pass_time(60)
    assert bench.jobs() == ["s:job-1"]
    bench.agent.pass_time(3600)
    assert bench.jobs() == ["s:job-1", "s:job-2"]


@pytest.mark.promise(
    "suspend_job_schedule",
    "A job that was about to start does not.",
    local="looked at again when it is due",
)
def test_suspended_meanwhile(bench):
    """A schedule that was suspended or deleted after its alarm was set makes no job."""
    bench.add(do_not_run_until=1)
    bench.store.execute("UPDATE schedule SET state = 'disabled'")
    bench.agent.pass_time(120)
    assert bench.jobs() == []
    bench.store.execute("UPDATE schedule SET state = 'active'")
    bench.look()
    assert bench.jobs() == ["s:job-1"]


@pytest.mark.promise(
    "create_job_schedule",
    "After `do_not_run_after` and the last job the schedule is completed.",
    local="state `completed`",
)
def test_completes_after_its_last_job(bench):
    """A schedule is completed when no job can come any more and none is active."""
    bench.add(recurrence_interval=10, do_not_run_after=15)
    bench.complete()
    bench.agent.pass_time(12 * 60)
    assert (bench.jobs(), bench.state()) == (["s:job-1", "s:job-2"], "active")
    bench.complete()
    assert bench.state() == "completed"
    bench.agent.pass_time(3600)
    assert len(bench.jobs()) == 2


def test_missed_without_any_job(bench):
    """A single job whose window was missed never comes; its schedule is completed."""
    bench.add(do_not_run_until=-1, start_window=1)
    bench.store.execute("UPDATE schedule SET used = 0, last_job = 0, state = 'active'")
    bench.store.execute("DELETE FROM job")
    bench.agent.wall += 3600
    bench.look()
    assert (bench.jobs(), bench.state()) == ([], "completed")


def test_job_of_a_schedule(bench):
    """A job of a schedule has one task, completes with it, and carries who made the schedule."""
    bench.add()
    row = bench.store.row("SELECT definition, manager, active, auto_complete FROM job")
    assert row[1:] == ("s-job", 1, 0)
    assert definitions.job_spec(row[0]).manager_task_id == "s-job"
    assert bench.store.row("SELECT id, command, retries FROM task") == ("s-job", "true", 0)
