"""What becomes of tasks: exit codes, retries, time limits, dependencies."""

from __future__ import annotations

import os
import time

import pytest

from cfa.cloudops.errors import ConflictError
from cfa.cloudops.model.values import TaskResult, TaskState

IGNORE_TERM = "trap : TERM; while :; do sleep 0.1; done"


@pytest.mark.promise(
    "add_task",
    (
        "The id is returned at once; the task is active, running, completed, with its "
        "program's exit code."
    ),
    local="id `<job>-<suffix>-<n>`",
)
def test_states_and_exit_codes(bench):
    """A task is active, then running, then completed with its program's exit code."""
    (bench.place / "d").mkdir()
    client = bench.ready(mounts=["d"])
    wait = "sh -c 'echo up; until [ -e /d/gate ]; do sleep 0.05; done; exit {}'"
    client.add_task(wait.format(0))
    client.add_task("true", depends_on="j--1")
    bench.running(client, "j--1")
    first, second = client._batch.list_tasks("j")
    assert (first.state, first.result, first.exit_code) == (TaskState.RUNNING, None, None)
    assert (second.state, second.waits_for, second.started) == (TaskState.ACTIVE, 1, None)
    (bench.place / "d" / "gate").touch()
    for code in (1, 2, 125, 126, 127, 128, 137, 255):
        client.add_task(f"sh -c 'exit {code}'")
    tasks = bench.finished(client)
    assert [task.exit_code for task in tasks.values()] == [0, 0, 1, 2, 125, 126, 127, 128, 137, 255]
    for task in tasks.values():
        assert task.state is TaskState.COMPLETED
        assert task.created <= task.started <= task.ended
        good = task.exit_code == 0
        assert task.result is (TaskResult.SUCCESS if good else TaskResult.FAILURE)
        assert good == (task.failure is None)
        assert good or task.failure.code == "FailureExitCode"
    assert client._batch.get_job("j").state == "completed"


@pytest.mark.promise(
    "add_task",
    "A program that is not there fails the task without an exit code, and is not tried again.",
    local="`CommandProgramNotFound`",
)
def test_program_that_cannot_start(bench):
    """A missing program has no exit code and is not tried again."""
    client = bench.ready(task_retries=3)
    client.add_task("no-such-program --x")
    client.add_task("/etc/passwd")
    missing, denied = bench.finished(client).values()
    assert (missing.exit_code, missing.retry_count) == (None, 0)
    assert missing.failure.code == "CommandProgramNotFound"
    assert "no-such-program" in missing.failure.message
    assert "no-such-program" in bench.output(client, "j--1", name="stderr")
    assert (denied.exit_code, denied.retry_count) == (None, 0)
    assert denied.failure.code == "CommandLaunchFailed"


@pytest.mark.promise(
    "add_task",
    "A program that a signal ended has a non-zero exit code.",
    local="128 + the signal's number",
    cloud="not documented; -9 and 137 were both seen",
    difference="test for not 0 only",
)
def test_signals_are_exit_codes(bench):
    """A program that a signal ended has exit code 128 + its number."""
    client = bench.ready()
    client.add_task("sh -c 'kill -9 $$'")
    client.add_task("sh -c 'kill -15 $$'")
    tasks = bench.finished(client)
    assert [task.exit_code for task in tasks.values()] == [137, 143]


def test_task_that_signals_its_group(bench):
    """`kill 0` in a task ends that task alone."""
    client = bench.ready()
    client.add_task("sh -c 'kill 0; sleep 60'")
    client.add_task("echo on")
    tasks = bench.finished(client)
    assert [task.exit_code for task in tasks.values()] == [143, 0]


def test_task_that_kills_its_group(bench):
    """`kill -9 0` takes the shell beside the task along: tried a few times, then exit code 137."""
    client = bench.ready()
    client.add_task("sh -c 'echo x >>count; kill -9 0; sleep 60'")
    task = bench.finished(client)["j--1"]
    assert (task.exit_code, task.failure.code) == (137, "FailureExitCode")
    # The shell may be missed before the task is gone: such a try does not count as the task's doing.
    assert 2 <= task.requeue_count <= 5


@pytest.mark.promise(
    "create_job",
    "`task_retries=n` means n + 1 tries, in the same uncleaned directory.",
    local="the streams are those of the last try",
    cloud="documented; the client's time limits of tasks may defeat it",
    difference="retries surely happen here",
)
def test_retries_run_in_the_same_directory(bench):
    """n retries are n + 1 tries in one directory; streams are those of the last try."""
    client = bench.ready(task_retries=2)
    client.add_task("sh -c 'echo x >>count; wc -l <count; [ $(wc -l <count) = 3 ]'")
    client.add_task("sh -c 'echo x >>count; wc -l <count; exit 5'")
    good, bad = bench.finished(client).values()
    assert (good.exit_code, good.retry_count) == (0, 2)
    assert (bad.exit_code, bad.retry_count, bad.failure.code) == (5, 2, "FailureExitCode")
    assert bench.output(client, "j--1").split() == ["3"]
    assert bench.output(client, "j--2").split() == ["3"]


@pytest.mark.promise(
    "add_task",
    ("`timeout` is minutes for one try; the task then fails with `TaskEnded` and is not retried."),
    local="TERM, after a moment KILL",
    cloud="the same; whether a try is retried is not documented",
)
def test_time_limit_of_a_task(bench):
    """A task past its time limit gets TERM, is done at once if it heeds it, and is not retried."""
    client = bench.ready(task_retries=3)
    began = time.monotonic()
    client.add_task("sh -c 'trap \"echo asked; exit 3\" TERM; sleep 60 & wait'", timeout=1 / 60)
    task = bench.finished(client)["j--1"]
    assert time.monotonic() - began < 15
    assert (task.failure.code, task.exit_code, task.retry_count) == ("TaskEnded", 3, 0)
    assert "time limit" in task.failure.message
    assert bench.output(client, "j--1") == "asked\n"


@pytest.mark.parametrize("heeds", [True, False])
def test_time_limit_ends_the_whole_tree(bench, heeds):
    """Children and daemons that ignore TERM end with their task, whether it heeds TERM or needs
    KILL after the grace time; other tasks are not touched."""
    data = bench.place / "d"
    data.mkdir()
    client = bench.ready(mounts=["d"])
    (data / "beat.sh").write_text("trap : TERM; while :; do echo x >>$1; sleep 0.05; done")
    script = (
        "setsid sh /d/beat.sh /d/1 & sh /d/beat.sh /d/2 & "
        '(setsid sh -c "sh /d/beat.sh /d/3 & exit" &) ; '
    )
    script += "sleep 60" if heeds else IGNORE_TERM
    client.add_task(f"sh -c '{script}'", timeout=1 / 60)
    client.add_task("sleep 60")  # keeps the node
    bench.until(client, lambda: client._batch.get_task("j", "j--1").state == "completed")
    task = client._batch.get_task("j", "j--1")
    assert (task.failure.code, task.exit_code) == ("TaskEnded", 143 if heeds else 137)
    beats = [data / name for name in "123"]
    bench.until(client, lambda: _still(beats))
    assert client._batch.get_task("j", "j--2").state == "running"
    client.delete_job("j")


def _still(paths):
    """Whether files exist and do not grow."""
    before = [path.stat().st_size for path in paths]
    time.sleep(0.3)  # long enough for a beat
    return before == [path.stat().st_size for path in paths]


def test_terminate_a_task(bench):
    """A running or waiting task that is terminated fails with `TaskEnded`; a completed one cannot."""
    client = bench.ready()
    client.add_task("sh -c 'echo up; sleep 60'")
    client.add_task("true", depends_on="j--1")
    client.add_task("true", depends_on="j--2")
    bench.running(client, "j--1")
    client._batch.terminate_task("j", "j--2")
    bench.until(client, lambda: client._batch.get_task("j", "j--3").state == "completed")
    client._batch.terminate_task("j", "j--1")
    tasks = bench.finished(client)
    codes = [task.failure.code for task in tasks.values()]
    assert codes == ["TaskEnded", "TaskEnded", "DependencyFailed"]
    assert tasks["j--2"].exit_code is None
    with pytest.raises(ConflictError):
        client._batch.terminate_task("j", "j--1")


def test_delete_tasks(bench):
    """A deleted task is gone with its files, whether it ran, runs or waits."""
    client = bench.ready(mark_complete_after_tasks_run=False)
    client.add_task("true")
    client.add_task("sh -c 'echo up; sleep 60'")
    client.add_task("true", depends_on="j--2")
    bench.running(client, "j--2")
    places = [client._batch.get_task("j", f"j--{n}").directory for n in (1, 2)]
    bench.until(client, lambda: client._batch.get_task("j", "j--1").state == "completed")
    for number in (3, 1, 2):
        client._batch.delete_task("j", f"j--{number}")
    assert list(client._batch.list_tasks("j")) == []
    bench.until(client, lambda: not any(map(os.path.exists, places)))
    assert client._batch.task_counts("j").total == 0


# --- dependencies


@pytest.mark.promise(
    "add_task",
    "A task starts after all that it depends on have ended.",
    local="by ids, one or a list",
)
def test_chain_and_diamond(bench):
    """Each task starts after all that it depends on have ended."""
    client = bench.ready(task_slots_per_node=4)
    ids = {}
    graph = {"a": "", "b": "a", "c": "a", "d": "bc", "e": "d", "f": "e", "g": "af"}
    for name, parents in graph.items():
        ids[name] = client.add_task(
            "j", "sleep 0.1", depends_on=[ids[parent] for parent in parents], name_suffix=name
        )
    tasks = bench.finished(client)
    for name, parents in graph.items():
        for parent in parents:
            assert tasks[ids[parent]].ended <= tasks[ids[name]].started
    assert {task.result for task in tasks.values()} == {"success"}


@pytest.mark.promise(
    "add_task",
    "What depends on a failed task does not run.",
    local="it completes as a failure that names its parent, and so on down",
    cloud="it stays `active` for ever, and the job never completes",
    difference="here jobs end",
)
def test_dependents_of_a_failure_are_blocked(bench):
    """What depends on a failed task, however far, completes as a failure that names its parent."""
    client = bench.ready()
    client.add_task("sh -c 'exit 1'")
    client.add_task("echo ran", depends_on="j--1")
    client.add_task("echo ran", depends_on=["j--2"])
    client.add_task("echo ran")
    tasks = bench.finished(client)
    for number in (2, 3):
        task = tasks[f"j--{number}"]
        assert (task.result, task.exit_code, task.started) == ("failure", None, None)
        assert task.failure.code == "DependencyFailed"
        assert repr(f"j--{number - 1}") in task.failure.message
        assert bench.output(client, task.id) == ""
    assert tasks["j--4"].result == "success"
    assert bench.completed(client).counts.failed == 3
    client.add_task("echo late", depends_on="j--3")
    assert bench.finished(client)["j--5"].failure.code == "DependencyFailed"


@pytest.mark.promise(
    "add_task",
    "`run_dependent_tasks_on_fail` is about the tasks that depend on this one.",
    local="set on the task that may fail",
    cloud="the same; some pages of the documentation set it on the wrong task",
)
def test_run_dependents_on_failure(bench):
    """It is the failed task's own setting that lets its dependents run."""
    client = bench.ready()
    client.add_task("sh -c 'exit 1'", run_dependent_tasks_on_fail=True)
    client.add_task("no-such-program", run_dependent_tasks_on_fail=True)
    client.add_task("echo ran", depends_on=["j--1", "j--2"])
    client.add_task("sh -c 'exit 1'")
    client.add_task("echo ran", depends_on=["j--4"], run_dependent_tasks_on_fail=True)
    tasks = bench.finished(client)
    assert [str(task.result) for task in tasks.values()] == [
        "failure", "failure", "success", "failure", "failure"
    ]  # fmt: skip


@pytest.mark.promise(
    "add_task",
    "A task has failed only when its retries are used up.",
    local="one that succeeds in time releases those that wait",
)
def test_failure_after_retries_blocks(bench):
    """A task has failed only when its retries are used up: one that succeeds in time releases."""
    client = bench.ready(task_retries=1)
    client.add_task("sh -c '[ -e again ] || { touch again; exit 1; }'")
    client.add_task("echo ran", depends_on="j--1")
    tasks = bench.finished(client)
    assert [str(task.result) for task in tasks.values()] == ["success", "success"]


@pytest.mark.promise(
    "create_job",
    "`task_id_ints` makes the ids `1`, `2`, ...",
    local="texts of digits",
)
@pytest.mark.promise(
    "add_task",
    "`depends_on_range` is the first and the last integer id, both included.",
    local="wins over `depends_on`",
    cloud="`AttributeError` in version 0.8.0; the service takes ranges",
    difference="a defect of version 0.8.0, not repeated here",
)
def test_integer_ids_and_ranges(bench):
    """With integer ids a range of both ends included is depended on."""
    client = bench.ready(task_id_ints=True)
    assert [client.add_task(f"sh -c 'sleep 0.{n}'") for n in (3, 1, 2)] == ["1", "2", "3"]
    assert client.add_task("true", depends_on_range=(1, 3)) == "4"
    assert client.add_task("true", depends_on_range=("2", "4"), depends_on="nonsense") == "5"
    assert client.add_task("true", depends_on=[1, 5]) == "6"
    tasks = bench.finished(client)
    assert max(tasks[n].ended for n in "123") <= tasks["4"].started
    assert tasks["5"].ended <= tasks["6"].started
    assert {task.result for task in tasks.values()} == {"success"}


@pytest.mark.promise(
    "add_task",
    "A task may depend on one that is done already.",
    local="also in a job that had completed",
    cloud="while the job is active",
    difference="a job that completed takes such a task only here",
)
def test_dependency_on_what_is_done(bench):
    """A task may depend on one that is completed, also in a job that completed by itself."""
    client = bench.ready()
    client.add_task("true")
    bench.completed(client)
    client.add_task("true", depends_on="j--1")
    assert bench.finished(client)["j--2"].result == "success"


def test_wide_layers(bench):
    """Ten layers of ten, each on all of the layer before, run in order."""
    client = bench.ready(task_slots_per_node=4)
    tasks = [{"command_line": "true"} for _ in range(10)]
    for layer in range(1, 10):
        before = [f"j--{number}" for number in range(layer * 10 - 9, layer * 10 + 1)]
        tasks += [{"command_line": "true", "depends_on": before} for _ in range(10)]
    client.add_task_collection("j", tasks)
    found = list(bench.finished(client).values())
    assert {task.result for task in found} == {"success"}
    for layer in range(1, 10):
        before, after = found[layer * 10 - 10 : layer * 10], found[layer * 10 : layer * 10 + 10]
        assert max(task.ended for task in before) <= min(task.started for task in after)
