"""The ways to call `add_task`, and what is refused."""

from __future__ import annotations

import inspect
import json

import pytest

from cfa.cloudops import CloudClient as AnyClient
from cfa.cloudops.errors import (
    AmbiguousCallError,
    BlobContainerNotFoundError,
    CloudOpsError,
    DependencyCycleError,
    InvalidInputError,
    InvalidNameError,
    JobCompletedError,
    JobExistsError,
    JobNotFoundError,
    PoolNotFoundError,
    TaskExistsError,
    TaskNotFoundError,
)
from cfa.cloudops.local import CloudClient


@pytest.fixture
def client(bench):
    """A client with the job `j`."""
    return bench.ready()


@pytest.mark.promise(
    "add_task",
    "Job and command, in the ways that scripts write them.",
    local=(
        "`(job, command)`, both by name, `(command, job_name=)`, or the command alone for the"
        " latest job"
    ),
    cloud="`(job, command)` or by name",
    difference="the last two ways work only here",
)
def test_four_ways_to_call(bench, client):
    """Command alone, command with job_name, job and command in order, both by name."""
    assert client.add_task("echo one") == "j--1"
    assert client.add_task("echo two", job_name="j") == "j--2"
    assert client.add_task("j", "echo three") == "j--3"
    assert client.add_task(job_name="j", command_line="echo four") == "j--4"
    assert client.add_task(command_line="echo five") == "j--5"
    assert client.add_task("j", command_line="echo six", name_suffix="s") == "j-s-6"
    tasks = bench.finished(client)
    assert [bench.output(client, task) for task in tasks] == [
        f"{word}\n" for word in ("one", "two", "three", "four", "five", "six")
    ]


@pytest.mark.promise(
    "add_task",
    "Which job a command alone goes to.",
    local="the one that was made or used last",
    cloud="a command alone is a `TypeError`",
    difference="ours only",
)
def test_latest_job(bench, client):
    """A command alone goes to the job that was made or used last."""
    client.create_job("k", "p")
    assert client.add_task("true") == "k--1"
    assert client.add_task("j", "true") == "j--1"
    assert client.add_task("true") == "j--2"


AMBIGUOUS = [
    lambda client: client.add_task(),
    lambda client: client.add_task("j"),
    lambda client: client.add_task("echo x", "j"),
    lambda client: client.add_task("a", "b", job_name="j"),
    lambda client: client.add_task("x", job_name="j", command_line="true"),
    lambda client: client.add_task(job_name="j"),
]


def test_ambiguous_calls(client):
    """A call that can be read in two ways is refused in words, and adds nothing."""
    for number, call in enumerate(AMBIGUOUS):
        with pytest.raises(AmbiguousCallError) as caught:
            call(client)
        assert isinstance(caught.value, TypeError), number
        assert isinstance(caught.value, ValueError), number
        assert "add_task" in str(caught.value)
    assert client._batch.task_counts("j").total == 0


def test_help_shows_the_signature():
    """The plain signature stands in `help()`, in the cloud client's order."""
    for one in (CloudClient, AnyClient):
        assert list(inspect.signature(one.add_task).parameters) == [
            "self", "job_name", "command_line", "mount_pairs", "name_suffix", "depends_on",
            "depends_on_range", "run_dependent_tasks_on_fail", "container_image_name", "timeout",
        ]  # fmt: skip
        assert "add_task(command_line" in (one.add_task.__doc__ or "")


@pytest.mark.promise(
    "add_task",
    "A command may be a list of words.",
    local="each stays one word: what needs quotes gets them",
    cloud="joined with blanks, without quoting",
    difference="words with blanks or quotes; a rehearsal warns of them",
)
def test_command_as_a_list(bench, client):
    """Each element of a list reaches the program as one argument."""
    client.add_task("j", ["echo", "a", "b"])
    client.add_task(
        "j", ["printf", "[%s]", "a b", "", "it's", '"q"', "back\\slash", "$HOME", "l\nm"]
    )
    bench.finished(client)
    assert bench.output(client, "j--1") == "a b\n"
    assert bench.output(client, "j--2") == '[a b][][it\'s]["q"][back\\slash][$HOME][l\nm]'


@pytest.mark.promise(
    "add_task",
    "No shell runs a command: `|`, `>`, `&&` and `$VAR` are plain text.",
    local="write `sh -c '...'`",
)
def test_no_implicit_shell(bench, client):
    """Signs of the shell are plain text to a command, on every backend."""
    client.add_task("j", "echo $HOME * | cat > x && echo \"a  b\" 'c d' \\$")
    bench.finished(client)
    assert bench.output(client, "j--1") == "$HOME * | cat > x && echo a  b c d $\n"


def test_other_blanks_belong_to_words(bench, client):
    """Only blanks, tabs and line ends separate words."""
    client.add_task("j", "printf [%s] a\u00a0b\tc\nd")
    bench.finished(client)
    assert bench.output(client, "j--1") == "[a\u00a0b][c][d]"


@pytest.mark.promise(
    "add_task_collection",
    ("A collection is added in order, and the result has the ids; what was passed is not changed."),
    local="a list that also has `result_values`",
    cloud="the SDK's result with `result_values`; the mappings are changed",
    difference="the class of the result",
)
def test_collection(bench, client):
    """A collection gives its ids in order; the list that was passed is not changed."""
    tasks = [{"command_line": f"echo {n}"} for n in range(5)]
    tasks.append({"command_line": ["echo", "x"], "name_suffix": "own"})
    copy = json.loads(json.dumps(tasks))
    ids = client.add_task_collection("j", tasks, name_suffix="s")
    assert tasks == copy
    assert list(ids) == [f"j-s-{n}" for n in range(1, 6)] + ["j-own-6"]
    assert ids.result_values == list(ids)
    assert [str(t.result) for t in bench.finished(client).values()] == ["success"] * 6


@pytest.mark.promise(
    "add_task_collection",
    "Tasks of a collection may depend on one another.",
    local="by `id`, also on later ones, or by position",
    cloud="by id",
    difference="`depends_on_positions` is ours only",
)
def test_collection_depends_on_itself(bench, client):
    """Tasks of a collection may name one another, also later ones."""
    client.add_task_collection(
        "j",
        [
            {"command_line": "echo 1", "depends_on": ["j--2", "j--3"]},
            {"command_line": "echo 2", "depends_on": "j--3"},
            {"command_line": "echo 3"},
        ],
    )
    tasks = bench.finished(client)
    starts = [tasks[f"j--{n}"].started for n in (3, 2, 1)]
    assert starts == sorted(starts)


BAD_COLLECTIONS = [
    ([{"command_line": "true", "depends_on": "j--1"}], DependencyCycleError),
    (
        [
            {"command_line": "true", "depends_on": "j--2"},
            {"command_line": "true", "depends_on": "j--1"},
        ],
        DependencyCycleError,
    ),
    ([{"command_line": "true"}, {"command_line": "x 'y"}], InvalidInputError),
    ([{"command_line": "true"}, {"command_line": ""}], InvalidInputError),
    ([{"command_line": "true"}, {}], InvalidInputError),
    ([{"command_line": "true"}, {"command_line": "true", "typo": 1}], InvalidInputError),
    ([{"command_line": "true"}, {"command_line": "a", "depends_on": "no"}], TaskNotFoundError),
    (
        [{"command_line": "true"}, {"command_line": "a", "mounts": [("nowhere", "d")]}],
        BlobContainerNotFoundError,
    ),
    (
        [{"command_line": "true", "id": "same"}, {"command_line": "true", "id": "SAME"}],
        TaskExistsError,
    ),
    ({"command_line": "true"}, InvalidInputError),
    ("true", InvalidInputError),
]


@pytest.mark.promise(
    "add_task_collection",
    "One bad task and the rest of the collection.",
    local="an error; none is added, and no number is used",
    cloud="`False`, with a line in the log; some may have been added",
    difference="check the result on the cloud",
)
def test_collection_is_all_or_nothing(client):
    """One bad task refuses the whole collection; neither a task nor a number is used."""
    for tasks, error in BAD_COLLECTIONS:
        with pytest.raises(error) as caught:
            client.add_task_collection("j", tasks)
        assert isinstance(caught.value, ValueError | RuntimeError)
    assert client._batch.task_counts("j").total == 0
    assert client.add_task("true") == "j--1"


BAD_CALLS = [
    (lambda c: c.add_task("no-such-job", "true"), JobNotFoundError, ValueError),
    (lambda c: c.add_task("j", ""), InvalidInputError, ValueError),
    (lambda c: c.add_task("j", "   "), InvalidInputError, ValueError),
    (lambda c: c.add_task("j", "echo 'x"), InvalidInputError, ValueError),
    (lambda c: c.add_task("j", "echo \0"), InvalidInputError, ValueError),
    (lambda c: c.add_task("j", "echo \udcff"), InvalidInputError, ValueError),
    (lambda c: c.add_task("j", 7), InvalidInputError, ValueError),
    (lambda c: c.add_task("j", "true", name_suffix="a/b"), InvalidNameError, ValueError),
    (lambda c: c.add_task("j", "true", name_suffix="s" * 64), InvalidNameError, ValueError),
    (lambda c: c.add_task("j", "true", depends_on="j--9"), TaskNotFoundError, ValueError),
    (lambda c: c.add_task("j", "true", depends_on=[None]), CloudOpsError, ValueError),
    (lambda c: c.add_task("j", "true", depends_on_range=(3, 1)), InvalidInputError, ValueError),
    (lambda c: c.add_task("j", "true", depends_on_range=5), InvalidInputError, ValueError),
    (lambda c: c.add_task("j", "true", depends_on_range=(1, 2)), TaskNotFoundError, ValueError),
    (
        lambda c: c.add_task("j", "true", depends_on_range=(1, 10**12)),
        CloudOpsError,
        ValueError,
    ),
    (lambda c: c.add_task("j", "true", timeout=-1), InvalidInputError, ValueError),
    (lambda c: c.add_task("j", "true", timeout="soon"), InvalidInputError, ValueError),
    (lambda c: c.add_task("j", "true", mount_pairs="x"), InvalidInputError, ValueError),
    (
        lambda c: c.add_task("j", "true", mount_pairs=[{"source": "none", "target": "t"}]),
        BlobContainerNotFoundError,
        ValueError,
    ),
    (lambda c: c.create_job("j", "p"), JobExistsError, RuntimeError),
    (lambda c: c.create_job("J", "p"), JobExistsError, RuntimeError),
    (lambda c: c.create_job("k", "nowhere"), PoolNotFoundError, ValueError),
    (lambda c: c.create_job("k/l", "p"), InvalidNameError, ValueError),
    (lambda c: c.create_job("k" * 65, "p"), InvalidNameError, ValueError),
    (lambda c: c.create_job("", "p"), InvalidNameError, ValueError),
    (lambda c: c.create_job("k", "p", task_retries=-2), InvalidInputError, ValueError),
    (lambda c: c.create_job("k", "p", task_retries=1.5), InvalidInputError, ValueError),
    (lambda c: c.create_job("k", "p", timeout=-1), InvalidInputError, ValueError),
    (lambda c: c.get_task_status("none"), JobNotFoundError, ValueError),
    (lambda c: c.get_task_status("j", "none"), TaskNotFoundError, ValueError),
    (lambda c: c.monitor_job("none"), JobNotFoundError, ValueError),
    (lambda c: c.delete_job("none"), JobNotFoundError, ValueError),
    (lambda c: c.delete_pool("none"), PoolNotFoundError, ValueError),
    (lambda c: c.create_pool("a/b"), InvalidNameError, ValueError),
    (lambda c: c.create_pool("q", mounts=[("a/b", "t")]), CloudOpsError, ValueError),
    (lambda c: c.create_pool("q", mounts=[("a", "../t")]), CloudOpsError, ValueError),
    (lambda c: c.create_pool("q", mounts=[("a", "etc")]), CloudOpsError, ValueError),
    (lambda c: c.create_pool("q", mounts=[("a", "t"), ("b", "t")]), CloudOpsError, ValueError),
    (lambda c: c.create_pool("q", mounts=["a\0"]), CloudOpsError, ValueError),
    (lambda c: c.create_pool("q", task_slots_per_node=0), InvalidInputError, ValueError),
]


@pytest.mark.promise(
    "delete_pool",
    "A pool that does not exist is an error.",
    local="`PoolNotFoundError`, a `ValueError`",
    cloud="left to the service; deletion is not waited for",
    difference="the type of the error",
)
@pytest.mark.promise(
    "create_job",
    "A job of this name that exists, in any case, is an error.",
    local="`JobExistsError`, a `RuntimeError`",
    cloud="the SDK's `ResourceExistsError`",
    difference="the type of the error",
)
@pytest.mark.promise(
    "delete_job",
    "A job that does not exist is an error.",
    local="`JobNotFoundError`, a `ValueError`",
    cloud="the SDK's error; documented is `RuntimeError`",
    difference="the type of the error",
)
@pytest.mark.promise(
    "add_task",
    "A dependency that does not exist is an error.",
    local="`TaskNotFoundError`, a `ValueError`, when the task is added",
    cloud="not checked by the client",
    difference="here it is said earlier",
)
@pytest.mark.promise(
    "add_task",
    (
        "A job, a command, a suffix, a time limit or a mount that cannot work is an error, "
        "and no number is used."
    ),
    local="each its own type, a `ValueError` or `RuntimeError`",
    cloud="errors of the SDK",
    difference="the type of the error",
)
@pytest.mark.promise(
    "get_task_status",
    "A job or task that does not exist is a `ValueError`.",
    local="`ValueError`",
)
def test_bad_calls(client):
    """Each mistake is an error of its type, also by the built-in that cloud scripts catch."""
    for number, (call, error, builtin) in enumerate(BAD_CALLS):
        with pytest.raises(error) as caught:
            call(client)  # number `number` of the table
        assert isinstance(caught.value, builtin), number
        assert isinstance(caught.value, CloudOpsError), number
        assert caught.value.hint, number
    assert client._batch.task_counts("j").total == 0
    assert [job.spec.id for job in client._batch.list_jobs()] == ["j"]
    assert [pool.spec.id for pool in client._batch.list_pools()] == ["p"]


@pytest.mark.promise(
    "add_task",
    "A job that was terminated takes no further tasks.",
    local="`JobCompletedError`, a `RuntimeError`",
    cloud="`JobCompleted`, an error of the SDK",
    difference="the type of the error",
)
def test_job_ended_by_the_user_takes_no_tasks(bench, client):
    """A job that was terminated, or is being deleted, takes no further tasks."""
    client._batch.terminate_job("j")
    with pytest.raises(JobCompletedError, match=r"terminating|completed"):
        client.add_task("true")


@pytest.mark.promise(
    "check_job_status",
    "`does not exist`, `complete`, else the state in lower case.",
    local="`active` and so on",
    cloud="version 0.8.0 gives `BatchJobState.ACTIVE`; documented is `active`",
    difference="a defect of version 0.8.0, not repeated here",
)
@pytest.mark.promise(
    "get_task_status",
    "A JSON text: an object with `id`, `state`, `exit_code`, or a list of all.",
    local="states in lower case",
)
def test_status_names(bench, client):
    """`check_job_status` and `get_task_status` speak as the cloud client does."""
    assert client.check_job_status("none") == "does not exist"
    assert client.check_job_status("j") == "active"
    client.add_task("sh -c 'exit 4'")
    bench.completed(client)
    assert client.check_job_status("j") == "complete"
    assert json.loads(client.get_task_status("j")) == [
        {"id": "j--1", "state": "completed", "exit_code": 4}
    ]
    assert json.loads(client.get_task_status("j", "j--1"))["exit_code"] == 4
    assert client.get_task_status("J", "J--1") == client.get_task_status("j", "j--1")


@pytest.mark.promise(
    "add_task_collection",
    "A collection may be large.",
    local="ten thousand are one step",
    cloud="sent in requests of at most 100 each",
    difference="not one step on the cloud",
)
def test_ten_thousand_tasks_at_once(bench, client):
    """A collection of ten thousand is one step: all are there, or, with one bad task, none."""
    many = [{"command_line": "true"} for _ in range(10_000)]
    with pytest.raises(TaskNotFoundError):
        client.add_task_collection("j", [*many, {"command_line": "true", "depends_on": "x"}])
    assert client._batch.task_counts("j").total == 0
    client.create_job(
        "none", "nowhere", verify_pool=False
    )  # nothing runs: only the adding is shown
    assert len(client.add_task_collection("none", many)) == 10_000
    assert client._batch.task_counts("none").active == 10_000
    client.delete_job("none")
    assert client.check_job_status("none") == "does not exist"
