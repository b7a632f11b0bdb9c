"""Objects of the cloud's SDK, handed to functions of ours, are read as what they say."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace

import pytest

from cfa.cloudops.client import arguments, sdk
from cfa.cloudops.errors import BlobContainerNotFoundError, InvalidInputError, UnsupportedError
from cfa.cloudops.local import CloudClient, auth, batch_helpers, job, task

try:
    from azure.batch import models
except ImportError:
    if os.environ.get("CI"):
        raise
    models = None

needs_sdk = pytest.mark.skipif(
    models is None, reason="azure-batch is not installed; it comes with the extra 'test'"
)


def sdk_job(form: str, **more: object) -> object:
    """One description of a job, as the SDK's object and in the forms that stand for it."""
    if form == "sdk":
        if models is None:
            pytest.skip("azure-batch is not installed; it comes with the extra 'test'")
        return models.BatchJobCreateOptions(
            id="one",
            pool_info=models.BatchPoolInfo(pool_id="wanted"),
            constraints=models.BatchJobConstraints(
                max_task_retry_count=2, max_wall_clock_time=timedelta(minutes=3)
            ),
            all_tasks_complete_mode=models.BatchAllTasksCompleteMode.NO_ACTION,
            metadata=[models.BatchMetadataItem(name="model_version", value="7")],
            **more,
        )
    snake = {
        "id": "one",
        "pool_info": {"pool_id": "wanted"},
        "constraints": {"max_task_retry_count": 2, "max_wall_clock_time": timedelta(minutes=3)},
        "all_tasks_complete_mode": "noaction",
        "metadata": [{"name": "model_version", "value": "7"}],
        **more,
    }
    if form == "mapping":
        return snake
    if form == "object":
        parts = ("pool_info", "constraints")
        return SimpleNamespace(
            **{k: SimpleNamespace(**v) if k in parts else v for k, v in snake.items()}
        )
    return {  # as the service spells it
        "id": "one",
        "poolInfo": {"poolId": "wanted"},
        "constraints": {"maxTaskRetryCount": 2, "maxWallClockTime": "PT3M"},
        "onAllTasksComplete": "noaction",
        "metadata": [{"name": "model_version", "value": "7"}],
    }


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    """What is told once in a process is told once in each test."""
    monkeypatch.setattr(arguments, "_said", set())


@pytest.fixture
def client(workdir, monkeypatch) -> Iterator[CloudClient]:
    """A client with two pools; the latest is not the one that the objects name. Nothing runs."""
    monkeypatch.setenv("CLOUDOPS_SUBPROCESS_SANDBOX", "off")
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    made = CloudClient(at_exit="detach")
    for name in ("wanted", "latest"):
        made.create_pool(name, autoscale=False, low_priority_nodes=0)
    yield made
    made.close()


@pytest.mark.promise(
    "CloudClient",
    "Objects of the SDK that a function of ours is given are read as what they say.",
    local="what has no meaning here is named in the log; what would change the result is refused",
    cloud="the service reads them",
    difference="what is refused",
)
@pytest.mark.parametrize("form", ["sdk", "mapping", "object", "service"])
def test_jobs(client, form):
    """Pool, limits, completion and metadata of a job are those of the object."""
    assert job.create_job(client.batch_service_client, sdk_job(form)) is True
    spec = client._batch.get_job("one").spec
    assert spec.pool_id == "wanted"
    assert (spec.max_task_retries, spec.timeout_s, spec.auto_complete) == (2, 180, False)
    assert ("model_version", "7") in spec.metadata


def test_keywords_win(client):
    """Arguments beside the object win over it."""
    job.create_job(client.batch_service_client, sdk_job("mapping"), pool_name="latest")
    assert client._batch.get_job("one").spec.pool_id == "latest"


@pytest.mark.parametrize(
    "described", [{"id": "one"}, {"id": "one", "pool_info": {}}, SimpleNamespace(id="one")]
)
def test_job_without_a_pool(client, described):
    """A description without a pool is refused: another pool is never taken for it."""
    with pytest.raises(InvalidInputError, match="names no pool"):
        job.create_job(client.batch_service_client, described)


@pytest.mark.parametrize(
    "part",
    [
        {"job_preparation_task": {"command_line": "x"}},
        {"job_manager_task": {"id": "m"}},
        {"common_environment_settings": [{"name": "a", "value": "b"}]},
        {"pool_info": {"auto_pool_specification": {"pool_lifetime_option": "job"}}},
    ],
)
def test_job_with_more(client, part):
    """What would change what runs, and is not offered here, is refused by name."""
    with pytest.raises(UnsupportedError, match=next(iter(part))):
        job.create_job(client.batch_service_client, sdk_job("mapping") | part)


def test_job_with_what_means_nothing(client, capsys):
    """What only the cloud knows is named in the log, once."""
    job.create_job(client.batch_service_client, sdk_job("mapping") | {"priority": 5})
    assert capsys.readouterr().out.count("priority") == 1


@needs_sdk
def test_every_part_of_a_job(client, capsys):
    """A part of a job that nothing acts on is named, whatever it is; what asks for nothing is not."""
    more = {
        "display_name": "One",
        "uses_task_dependencies": True,
        "task_failure_mode": models.BatchTaskFailureMode.PERFORM_EXIT_OPTIONS_JOB_ACTION,
        "max_parallel_tasks": 5,
        "allow_task_preemption": False,
    }
    job.create_job(client.batch_service_client, sdk_job("sdk", **more))
    said = capsys.readouterr().out
    assert "on_task_failure (the job continues)" in said
    assert "max_parallel_tasks" in said
    for name in ("display_name", "uses_task", "preemption", "metadata", "pool_info"):
        assert name not in said
    quiet = models.BatchJobCreateOptions(
        id="two",
        pool_info=models.BatchPoolInfo(pool_id="wanted"),
        task_failure_mode=models.BatchTaskFailureMode.NO_ACTION,
    )
    client.batch_service_client.create_job(quiet)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("PT1.5H", 5400),
        ("PT0,5M", 30),
        ("P1W", 7 * 86400),
        ("P0.5D", 43200),
        ("P1DT1H1M1.5S", 90061.5),
        ("P10675199DT2H48M5.4775807S", None),
        (timedelta.max, None),
    ],
)
def test_durations(client, given, seconds):
    """ISO 8601 is read with fractions and weeks; the service's longest duration is no limit."""
    described = sdk_job("mapping") | {"constraints": {"max_wall_clock_time": given}}
    job.create_job(client.batch_service_client, described)
    assert client._batch.get_job("one").spec.timeout_s == seconds


@pytest.mark.parametrize("given", ["P", "PT", "P1Y", "P1M", "1H", "PT1H30", "P99999999999W"])
def test_durations_that_are_none(client, given):
    """What is no duration, or one without a fixed length, is an error and not a job without limit."""
    described = sdk_job("mapping") | {"constraints": {"max_wall_clock_time": given}}
    with pytest.raises(InvalidInputError, match=given):
        job.create_job(client.batch_service_client, described)


# --- tasks


@needs_sdk
def test_every_part_of_a_task(client, capsys):
    """A part of a task that nothing acts on is named once, however many tasks have it."""
    client.create_job("j", "wanted")
    for number in range(2):
        client.batch_service_client.create_task(
            "j",
            models.BatchTaskCreateOptions(
                id=f"t{number}",
                display_name="T",
                command_line="true",
                constraints=models.BatchTaskConstraints(retention_time=timedelta(days=7)),
                user_identity=models.UserIdentity(username="root"),
                container_settings=models.BatchTaskContainerSettings(
                    image_name="r.io/i:1",
                    container_run_options="--rm -m 2g --cpus=2 -u0",
                    working_directory=models.ContainerWorkingDirectory.TASK_WORKING_DIRECTORY,
                ),
                exit_conditions=models.ExitConditions(
                    default=models.ExitOptions(
                        job_action=models.BatchJobActionKind.TERMINATE,
                        dependency_action=models.DependencyAction.BLOCK,
                    ),
                    file_upload_error=models.ExitOptions(job_action=models.BatchJobActionKind.NONE),
                ),
            ),
        )
    said = capsys.readouterr().out
    for part in (
        "constraints.retention_time (files stay until the job is deleted)",
        "user_identity",
        "exit_conditions.job_action (the job continues)",
        "exit_conditions.file_upload_error",
        "container_settings.working_directory",
        "container_run_options --memory",
        "container_run_options --cpus",
        "container_run_options --user",
    ):
        assert said.count(part) == 1, part
    assert "--rm" not in said
    assert "display_name" not in said


MOUNTED = "$AZ_BATCH_NODE_MOUNTS_DIR/input"


@pytest.mark.parametrize(
    "options",
    [
        f"--mount type=bind,source={MOUNTED},target=/data",
        f"--mount=type=bind,src={MOUNTED}/,dst=/data",
        f"--cpus 2 --mount 'type=bind,source={MOUNTED},destination=/data' --rm",
        f"-v {MOUNTED}:/data",
        f"-v{MOUNTED}:/data:rw",
        "--volume=${AZ_BATCH_NODE_MOUNTS_DIR}/input:/data",
        "--volume /mnt/batch/tasks/fsmounts/input:/data:ro",
        '-it --entrypoint "" -v /mnt/resource/batch/tasks/fsmounts/input:/data',
    ],
)
def test_mounts_among_options(options):
    """Mounts of a blob container count, however Docker lets them be written."""
    settings = {"image_name": "r.io/i:1", "container_run_options": options}
    [mount] = task.get_task_config("mine", "true", settings).spec().mounts
    assert (mount.source, mount.target) == ("input", "data")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("-e A=b", "--env"),
        ("--env A=b", "--env"),
        ("--env-file=x", "--env-file"),
        ("-w /src", "--workdir"),
        ("--workdir=/src", "--workdir"),
        ("--entrypoint python", "--entrypoint"),
        ("-v /home/me:/data", "-?-volume /home/me:/data"),
        ("-v cache:/data", "mounts no blob container"),
        (f"-v {MOUNTED}/part:/data", "mounts no blob container"),
        (f"-v {MOUNTED}", "mounts no blob container"),
        ("--mount type=tmpfs,target=/data", "mounts no blob container"),
    ],
)
def test_options_that_are_refused(options, named):
    """An option without which the task would do something else is refused, before a task is made."""
    with pytest.raises(UnsupportedError, match=named):
        task.get_container_settings("r.io/i:1", additional_options=options)
    with pytest.raises(UnsupportedError, match=named):
        task.get_task_config("mine", "true", {"image_name": "i", "containerRunOptions": options})


@pytest.mark.parametrize("options", ["--env 'A=b", "--rm stray", "stray", 5, ["-m", "1g"]])
def test_options_that_are_none(options):
    """Options that cannot be read are an error."""
    with pytest.raises(InvalidInputError, match="container's options"):
        task.get_container_settings("r.io/i:1", additional_options=options)


def test_a_directory_of_mounts():
    """The cloud's directory of mounts may have another name, and mounts a blank in theirs."""
    found = task.get_container_settings(
        "r.io/i:1",
        az_mount_dir="/where/ever",
        mount_pairs=[{"source": "input", "target": "/my data"}],
        additional_options="-v /where/ever/more:/more",
    )
    assert [(one.source, one.target) for one in found.mounts()] == [
        ("input", "my data"),
        ("more", "more"),
    ]


def test_what_settings_are_given(client, capsys):
    """Settings of a container that nothing acts on are named once."""
    for _ in range(2):
        task.get_container_settings(
            "r.io/i:1",
            registry=SimpleNamespace(registry_server="r.io"),
            working_directory="taskWorkingDirectory",
            container_host_batch_bind_mounts=[{"source": "Task"}],
        )
    said = capsys.readouterr().out
    for part in ("registry", "working_directory", "container_host_batch_bind_mounts"):
        assert said.count(f"container_settings.{part}") == 1


@needs_sdk
def test_dependencies(client):
    """Ids and ranges of the SDK's object are the tasks that are waited for."""
    client.create_job("j", "wanted", task_id_ints=True)
    for _ in range(5):
        client.add_task("j", "true")
    wanted = models.BatchTaskDependencies(
        task_ids=["5"], task_id_ranges=[models.BatchTaskIdRange(start=1, end=2)]
    )
    found = task.get_task_config("mine", "true", depends_on=wanted)
    assert found.spec().depends_on == ("5", "1", "2")
    client.batch_service_client.create_task("j", found)
    assert client._batch.get_task("j", "mine").waits_for == 3
    nothing = task.get_task_config("else", "true", depends_on=models.BatchTaskDependencies())
    assert nothing.spec().depends_on == ()


def test_a_range_alone():
    """A single range stays one, however long it is."""
    found = task.get_task_config(
        "mine", "true", depends_on={"taskIdRanges": [{"start": 1, "end": 10**9}]}
    )
    assert found.spec().depends_on_range == (1, 10**9)
    with pytest.raises(InvalidInputError, match="ranges"):
        task.get_task_config(
            "mine", "true",
            depends_on={"task_ids": ["a"], "task_id_ranges": [{"start": 1, "end": 10**9}]},
        )  # fmt: skip
    with pytest.raises(InvalidInputError, match="depends_on"):
        task.get_task_config("mine", "true", depends_on={"ids": ["a"]})


@needs_sdk
def test_whole_tasks(client):
    """A task of the SDK can be added: command, image, mounts, limits, dependencies."""
    client.create_job("j", "wanted")
    client.create_blob_container("input-test")
    first = models.BatchTaskCreateOptions(id="first", command_line="true")
    second = models.BatchTaskCreateOptions(
        id="second",
        command_line="sh -c 'exit 1'",
        container_settings=models.BatchTaskContainerSettings(
            image_name="r.io/i:1",
            container_run_options="--rm --mount type=bind,"
            "source=$AZ_BATCH_NODE_MOUNTS_DIR/input-test,target=/data",
        ),
        constraints=models.BatchTaskConstraints(
            max_wall_clock_time=timedelta(minutes=2), max_task_retry_count=4
        ),
        depends_on=models.BatchTaskDependencies(task_ids=["first"]),
        exit_conditions=models.ExitConditions(
            default=models.ExitOptions(dependency_action=models.DependencyAction.SATISFY)
        ),
    )
    seen = []
    add = client._batch.add_tasks
    client._batch.add_tasks = lambda job_id, specs: seen.extend(specs) or add(job_id, specs)
    client.batch_service_client.create_task_collection("j", [first, second])
    [_, spec] = seen
    assert (spec.id, spec.command_line, spec.image) == ("second", "sh -c 'exit 1'", "r.io/i:1")
    [mount] = spec.mounts
    assert (mount.source, mount.target) == ("input-test", "data")
    assert (spec.timeout_s, spec.max_retries, spec.depends_on) == (120, 4, ("first",))
    assert spec.run_dependents_on_failure
    assert [one.id for one in client.list_tasks("j")] == ["first", "second"]


@pytest.mark.parametrize("form", ["sdk", "mapping", "service"])
def test_dependencies_of_an_added_task(client, form):
    """`add_task` and `add_task_collection` read what the SDK says of dependencies, not its keys."""
    if form == "sdk" and models is None:
        pytest.skip("azure-batch is not installed; it comes with the extra 'test'")
    wanted = {
        "sdk": lambda: models.BatchTaskDependencies(task_ids=["r--1"]),
        "mapping": lambda: {"task_ids": ["r--1"]},
        "service": lambda: {"taskIds": ["r--1"]},
    }[form]()
    client.create_pool("p", container_image_name="busybox")
    client.create_job("r", "p")
    seen = []
    add = client._batch.add_tasks
    client._batch.add_tasks = lambda job_id, specs: seen.extend(specs) or add(job_id, specs)
    client.add_task("r", "true")
    client.add_task("r", "true", depends_on=wanted)
    client.add_task_collection("r", [{"command_line": "true", "depends_on": wanted}])
    assert [spec.depends_on for spec in seen] == [(), ("r--1",), ("r--1",)]
    with pytest.raises(InvalidInputError, match="neither task_ids nor task_id_ranges"):
        client.add_task("r", "true", depends_on={"tasks": ["r--1"]})


@needs_sdk
def test_container_settings():
    """The SDK's settings of a container are settings for `get_task_config`."""
    settings = models.BatchTaskContainerSettings(
        image_name="r.io/i:1", container_run_options="--rm"
    )
    spec = task.get_task_config("mine", "true", settings).spec()
    assert (spec.image, spec.mounts) == ("r.io/i:1", None)


@pytest.mark.parametrize(
    "part",
    [
        {"environment_settings": [{"name": "A", "value": "b"}]},
        {"resource_files": [{"file_path": "a"}]},
        {"multi_instance_settings": {"coordination_command_line": "x"}},
    ],
)
def test_task_with_more(client, part):
    """What a task would miss here is refused, whichever way it is given."""
    client.create_job("j", "wanted")
    with pytest.raises(UnsupportedError, match=next(iter(part))):
        task.get_task_config("mine", "true", **part)
    with pytest.raises(UnsupportedError, match=next(iter(part))):
        client.batch_service_client.create_task("j", {"id": "a", "command_line": "x"} | part)
    assert client.list_tasks("j") == []


def test_limits_by_keyword():
    """Constraints given as the SDK's object count; those of our own keywords win."""
    limits = SimpleNamespace(max_wall_clock_time=timedelta(minutes=2), max_task_retry_count=4)
    spec = task.get_task_config("mine", "true", constraints=limits, max_task_retry_count=1).spec()
    assert (spec.timeout_s, spec.max_retries) == (120, 1)


def upload_of(**keywords):
    """Container, account, condition and blobs of a task's own upload."""
    found = task.get_task_config("mine", "true", **keywords).spec().upload
    return found and (found.container, found.account, found.condition, dict(found.blobs))


BOTH = {"stdout.txt": "sub/mine/stdout.txt", "stderr.txt": "sub/mine/stderr.txt"}


def test_logs_of_tasks():
    """The logs of a single task go where the cloud puts them, or nowhere of their own."""
    assert upload_of() is None
    assert upload_of(log_subdir="sub", log_blob_account="acct") is None
    logs = {"log_blob_container": "logs", "log_subdir": "/sub/"}
    assert upload_of(**logs) == ("logs", "", "taskcompletion", BOTH)
    more = {"log_blob_account": "acct", "log_upload_condition": "taskFailure"}
    assert upload_of(**logs, **more) == ("logs", "acct", "taskfailure", BOTH)
    _, _, _, bare = upload_of(log_blob_container="logs", log_file_pattern="../stderr.*")
    assert bare == {"stderr.txt": "mine/stderr.txt"}
    for wrong in (
        {"log_upload_condition": "never"},
        {"log_blob_container": "no/name"},
        {"log_subdir": "../.."},
    ):
        with pytest.raises(ValueError, match=r"never|no/name|\.\."):
            upload_of(**logs | wrong)


def test_files_that_are_not_saved(client, capsys):
    """Files that nothing saves are named."""
    assert upload_of(log_blob_container="logs", log_file_pattern="**/*.csv") is None
    assert "log_file_pattern='**/*.csv'" in capsys.readouterr().out
    other = task.output_task_files_to_blob("out/*.csv", "results", "acct", path="x")
    assert upload_of(output_files=[other]) is None
    assert "output_files (files stay in the task's directory" in capsys.readouterr().out


@needs_sdk
@pytest.mark.parametrize("ours", [False, True])
def test_output_files(client, capsys, ours):
    """Output files that are a task's streams are saved; of others, the log says that they stay."""

    def output_file(pattern, container, path, **more):
        if ours:
            return task.output_task_files_to_blob(pattern, container, "acct", path=path, **more)
        return models.OutputFile(
            file_pattern=pattern,
            destination=models.OutputFileDestination(
                container=models.OutputFileBlobContainerDestination(
                    container_url=f"https://acct.blob.core.windows.net/{container}?sig=secret",
                    path=path,
                )
            ),
            upload_options=models.OutputFileUploadConfiguration(
                upload_condition=models.OutputFileUploadCondition.TASK_COMPLETION
            ),
        )

    files = [
        output_file("../stdout.txt", "logs", "a/out.log"),
        output_file("$AZ_BATCH_TASK_DIR/stderr*", "logs", "a"),
    ]
    expected = {"stdout.txt": "a/out.log", "stderr.txt": "a/stderr.txt"}
    assert upload_of(output_files=files) == ("logs", "acct", "taskcompletion", expected)
    assert capsys.readouterr().out == ""
    files += [output_file("../std*.txt", "others", "a"), output_file("**/*", "logs", "a")]
    assert upload_of(output_files=files) == ("logs", "acct", "taskcompletion", expected)
    said = capsys.readouterr().out
    assert said.count("output_files (files stay") == 1
    assert "secret" not in said


def test_output_files_without_a_place():
    """An output file that does not say where it goes is an error."""
    with pytest.raises(InvalidInputError, match="container_url"):
        upload_of(output_files=[{"filePattern": "../std*.txt"}])


def test_log_container_that_is_missing(client):
    """A task whose logs could not be saved is refused before it runs."""
    client.create_job("j", "wanted")
    described = task.get_task_config("mine", "true", log_blob_container="logs")
    with pytest.raises(BlobContainerNotFoundError, match="'logs'"):
        client.batch_service_client.create_task("j", described)
    assert client.list_tasks("j") == []


@needs_sdk
def test_a_whole_program(client):
    """A program that makes a job and tasks of the SDK's objects, by the SDK's calls, runs as it is."""
    for name in ("input", "output", "logs"):
        client.create_blob_container(name)
    service = client.batch_service_client
    service.create_job(
        models.BatchJobCreateOptions(
            id="eval",
            display_name="eval",
            pool_info=models.BatchPoolInfo(pool_id="wanted"),
            uses_task_dependencies=True,
        )
    )
    settings = task.get_container_settings(
        "ghcr.io/org/image:latest",
        working_directory="containerImageDefault",
        mount_pairs=[
            {"source": "input", "target": "/input"},
            {"source": "output", "target": "/output"},
        ],
    )
    node = task.get_batch_compute_id(auth.get_compute_node_identity_reference())
    configurations = [
        task.get_task_config(
            name,
            base_call="/bin/sh -c 'true'",
            container_settings=settings,
            depends_on=before and models.BatchTaskDependencies(task_ids=[before]),
            log_blob_container="logs",
            log_compute_node_identity_reference=node,
        )
        for name, before in (("fit", None), ("postprocess", "fit"))
    ]
    service.create_tasks(job_id="eval", task_collection=configurations)
    [one] = client.list_jobs()
    assert (one.pool_id, one.spec.auto_complete) == ("wanted", False)
    assert [(task.id, task.waits_for) for task in client.list_tasks("eval")] == [
        ("fit", 0),
        ("postprocess", 1),
    ]


@needs_sdk
def test_a_program_that_makes_its_tasks(client):
    """A program that puts tasks together with the helpers for their parts runs as it is."""
    client.create_job("j", "wanted")
    for name in ("input", "output"):
        client.create_blob_container(name)
    mounts = [{"source": "input", "target": "in"}, {"source": "output", "target": "out"}]
    command = batch_helpers._generate_command_for_saving_logs(
        command_line="sh -c 'echo said; echo oops >&2; exit 3'",
        job_name="j",
        task_id="one",
        save_logs_rel_path="out",
        logs_folder="my logs",
    )
    options = ["--name=j_1", "--rm", "--user 0:0", batch_helpers._generate_mount_string(mounts)]
    made = models.BatchTaskCreateOptions(
        id="one",
        command_line=command,
        container_settings=models.BatchTaskContainerSettings(
            image_name="r.io/i:1", container_run_options=" ".join(options)
        ),
        exit_conditions=batch_helpers._generate_exit_conditions(True),
    )
    spec = sdk.task_spec(made)
    assert [(one.source, one.target) for one in spec.mounts] == [("input", "in"), ("output", "out")]
    assert spec.run_dependents_on_failure
    assert not sdk.with_parts(
        spec, {"exit_conditions": batch_helpers._generate_exit_conditions(False)}
    ).run_dependents_on_failure
    assert batch_helpers._generate_mount_string(None) == ""


def test_command_that_saves_logs(tmp_path):
    """Both streams are in files and in the task's output, and the exit code is the command's."""
    command = batch_helpers._generate_command_for_saving_logs(
        "sh -c 'echo \"a  b\"; echo oops >&2; exit 3'", "j", "one", str(tmp_path), "/my logs/"
    )
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "a  b\n", "oops\n")
    saved = {path.name: path.read_text() for path in (tmp_path / "my logs").iterdir()}
    assert saved == {"stdout_j_one.txt": "a  b\n", "stderr_j_one.txt": "oops\n"}


def test_jobs_of_the_sdk_stay_open(client):
    """An object that does not say when its job completes leaves it open, as the service does."""
    described = {"id": "open", "pool_info": {"pool_id": "wanted"}}
    job.create_job(client.batch_service_client, described)
    assert client._batch.get_job("open").spec.auto_complete is False
    job.create_job(client.batch_service_client, "named", pool_name="wanted")
    assert client._batch.get_job("named").spec.auto_complete is True


def test_identity_of_nodes():
    """The identity of nodes is passed on, under the name that the SDK's object has."""
    assert task.get_batch_compute_id(SimpleNamespace(resource_id="/id")).resource_id == "/id"
