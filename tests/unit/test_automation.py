"""TOML files: what they ask for, errors that name file, table and key, and nothing half way."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest

from cfa import cloudops
from cfa.cloudops import automation, local, plans
from cfa.cloudops.client import CloudClient
from cfa.cloudops.errors import (
    BlobContainerNotFoundError,
    FileAccessError,
    InvalidInputError,
    JobExistsError,
    LocalFileNotFoundError,
    MissingKeyError,
    PoolNotFoundError,
    TaskNotFoundError,
    UnsafePathError,
)
from cfa.cloudops.local import automation as local_automation

JOB = '[job]\njob_name = "j"\npool_name = "p"\n'
GRID = JOB + (
    '[experiment]\nbase_cmd = "sim --rate {rate} --seed {seed:03d}"\nrate = [0.1, 0.5]\nseed = [1, 2]\n'
)


@pytest.fixture
def write(workdir):
    """Write a file here; its name."""

    def write(text, name="c.toml"):
        (workdir / name).write_text(text)
        return name

    return write


class TestExperiment:
    """`[experiment]`."""

    @pytest.mark.promise(
        "run_experiment",
        (
            "All combinations, the last variable moving fastest; format specifications such as "
            "`{x:.2f}` work."
        ),
        local="by Python's `str.format`",
    )
    def test_grid(self, write):
        """All combinations, the last variable moving fastest, with format specifications."""
        assert plans.experiment(write(GRID)).command_lines == [
            "sim --rate 0.1 --seed 001",
            "sim --rate 0.1 --seed 002",
            "sim --rate 0.5 --seed 001",
            "sim --rate 0.5 --seed 002",
        ]

    def test_values(self, write, caplog):
        """Values are written as Python does; braces are doubled; no variables make one task."""
        text = JOB + "[experiment]\nbase_cmd = 'a {x} {{y}}'\nx = [true, '90', 'b c']\n"
        assert plans.experiment(write(text)).command_lines == [
            "a True {y}", "a 90 {y}", "a b c {y}"
        ]  # fmt: skip
        single = plans.experiment(write(JOB + '[experiment]\nbase_cmd = "a"\n'))
        assert single.command_lines == ["a"]
        assert not caplog.records

    def test_variable_without_place(self, write, caplog):
        """Equal commands are made, with a warning."""
        text = JOB + '[experiment]\nbase_cmd = "a"\nx = [1, 2]\n'
        assert plans.experiment(write(text)).command_lines == ["a", "a"]
        assert "[experiment] base_cmd: some combinations" in caplog.text

    @pytest.mark.promise(
        "run_experiment",
        "`exp_yaml` takes the place of the grid.",
        local="the job's `container` holds for it too",
        cloud="`container` is not used; broken in version 0.8.0",
        difference="a defect of version 0.8.0, not repeated here",
    )
    def test_yaml(self, write):
        """`exp_yaml` takes the place of the grid; the job's image holds for it too."""
        write("schema: v0.3\nparameters: {a: {vary: [1, 2]}}\n", "p.yaml")
        text = JOB + 'container = "i"\n[experiment]\nbase_cmd = "a"\nexp_yaml = "p.yaml"\nx = 3\n'
        plan = plans.experiment(write(text))
        assert plan.command_lines == ["a --a 1", "a --a 2"]
        assert [task["container_image_name"] for task in plan.tasks] == ["i", "i"]

    @pytest.mark.promise(
        "run_experiment",
        "A mistake in the file is an error.",
        local="file, table and key are named; `KeyError` for what is missing, else `ValueError`",
        cloud="`KeyError`, `TypeError`, or a line in the log and `None`",
        difference="here it always raises",
    )
    @pytest.mark.parametrize(
        ("table", "says"),
        [
            ("", r"c\.toml: the table \[experiment\] is missing"),
            ("experiment = 3\n", r"c\.toml: \[experiment\]: must be a mapping"),
            ("[experiment]\nx = [1]\n", r"c\.toml: \[experiment\]: 'base_cmd' is missing"),
            ("[experiment]\nbase_cmd = 3\n", r"\[experiment\] base_cmd: must be a string, got 3"),
            ("[experiment]\nbase_cmd = 'a {x}'\nx = 'abc'\n", r"\[experiment\] x: must be a list"),
            ("[experiment]\nbase_cmd = 'a {x}'\nx = 3\n", r"\[experiment\] x: must be a list"),
            ("[experiment]\nbase_cmd = 'a {x}'\nx = []\n", r"\[experiment\] x: it has no values"),
            ("[experiment]\nbase_cmd = 'a {y}'\nx = [1]\n", r"base_cmd: the place \{y\} has no"),
            (
                "[experiment]\nbase_cmd = 'a {}'\nx = [1]\n",
                "base_cmd: a place in braces has no name",
            ),
            ("[experiment]\nbase_cmd = 'a {x:q}'\nx = [1]\n", r"base_cmd: it cannot be .*'x': 1"),
            ("[experiment]\nbase_cmd = 'a {x:1000000000000}'\nx = [1]\n", "too many characters"),
            ("[experiment]\nbase_cmd = 'a {x:.1000000f}'\nx = [1]\n", "too many characters"),
            ("[experiment]\nbase_cmd = 'a {'\n", r"base_cmd: it cannot be filled in"),
            ("[experiment]\nbase_cmd = 'a {x.y}'\nx = [1]\n", "base_cmd: it cannot be filled in"),
            (
                "[experiment]\nbase_cmd = 'a {x[5]}'\nx = [[1]]\n",
                "base_cmd: it cannot .* out of range",
            ),
            ("[experiment]\nbase_cmd = 'a {y[5]}'\nx = [1]\n", r"the place \{y\} has no variable"),
            (
                '[experiment]\nbase_cmd = "a \'{x}"\nx = [1]\n',
                "base_cmd: the command cannot be split",
            ),
            ("[experiment]\nbase_cmd = ' '\n", "base_cmd: the command is empty"),
            ("[experiment]\nbase_cmd = 'a'\nexp_yaml = 3\n", r"exp_yaml: must be a string"),
        ],
    )
    def test_errors(self, write, table, says):
        """What cannot work is refused with file, table and key."""
        with pytest.raises(InvalidInputError, match=says) as caught:
            plans.experiment(write(table + JOB))
        assert str(caught.value).startswith("c.toml: ")

    def test_files(self, write):
        """Files that are absent, unreadable or no TOML are named."""
        with pytest.raises(LocalFileNotFoundError, match=r"no experiment 'absent\.toml'"):
            plans.experiment("absent.toml")
        with pytest.raises(FileAccessError):
            plans.experiment(".")
        with pytest.raises(InvalidInputError, match=r"c\.toml: this is not valid TOML: .*line 1"):
            plans.experiment(write("[job\n"))
        text = JOB + '[experiment]\nbase_cmd = "a"\nexp_yaml = "absent.yaml"\n'
        with pytest.raises(
            LocalFileNotFoundError, match=r"c\.toml: \[experiment\] exp_yaml: .*absent\.yaml"
        ):
            plans.experiment(write(text))


class TestTasks:
    """`[[task]]`."""

    @pytest.mark.promise(
        "run_tasks",
        "A task may have `timeout`, `container`, `mount_pairs` and `name_suffix`.",
        local="as in `add_task`",
        cloud="ignored",
        difference="ours only",
    )
    def test_all_keys(self, write):
        """Every key reaches its task, and names become positions."""
        text = JOB + (
            'container = "all"\ntask_retries = 1\nlogs_folder = "l"\nmonitor_job = true\n'
            '[[task]]\nname = "a"\ncmd = "one"\nrun_dependent_tasks_on_fail = true\n'
            '[[task]]\ncmd = "two"\ndepends_on = "a"\ncontainer = "own"\ntimeout = 1.5\n'
            'name_suffix = "s"\nmount_pairs = [{source = "c", target = "t"}]\n'
            '[[task]]\nname = "c"\ncmd = "three"\ndepends_on = ["a"]\n'
        )
        plan = plans.tasks(write(text))
        assert plan.job == {
            "job_name": "j", "pool_name": "p", "logs_folder": "l", "task_retries": 1
        }  # fmt: skip
        assert plan.monitor
        assert plan.upload is None
        assert plan.tasks == [
            {
                "command_line": "one",
                "container_image_name": "all",
                "depends_on_positions": [],
                "run_dependent_tasks_on_fail": True,
            },
            {
                "command_line": "two",
                "container_image_name": "own",
                "depends_on_positions": [0],
                "timeout": 1.5,
                "name_suffix": "s",
                "mount_pairs": [{"source": "c", "target": "t"}],
            },
            {
                "command_line": "three",
                "container_image_name": "all",
                "depends_on_positions": [0],
            },
        ]

    @pytest.mark.promise(
        "run_tasks",
        "Unknown, later and repeated names are errors.",
        local="`ValueError` or `KeyError` with file, table and key; nothing is made",
        cloud="`IndexError`, `KeyError`, or an empty dependency",
        difference="the type of the error",
    )
    @pytest.mark.parametrize(
        ("text", "error", "says"),
        [
            ("", MissingKeyError, r"the table \[\[task\]\] is missing"),
            ("task = []\n", InvalidInputError, "task: must be an array of tables"),
            ("[task]\ncmd = 'a'\n", InvalidInputError, "task: must be an array of tables"),
            ("task = [3]\n", InvalidInputError, r"\[\[task\]\] 1: must be a mapping"),
            ("[[task]]\nname = 'a'\n", MissingKeyError, r"\[\[task\]\] 1: 'cmd' is missing"),
            ("[[task]]\ncmd = 3\n", InvalidInputError, r"\[\[task\]\] 1 cmd: must be a string"),
            ('[[task]]\ncmd = "a \'"\n', InvalidInputError, r"1 cmd: the command cannot be split"),
            (
                "[[task]]\ncmd = 'a'\n[[task]]\ncmd = 'b'\ndepends_on = ['a']\n",
                TaskNotFoundError,
                r"\[\[task\]\] 2 depends_on: no task has the name 'a'\. The tasks with names are: none",
            ),
            (
                "[[task]]\ncmd = 'a'\ndepends_on = 'b'\n[[task]]\nname = 'b'\ncmd = 'b'\n",
                InvalidInputError,
                "1 depends_on: the task 'b' does not come before",
            ),
            (
                "[[task]]\nname = 'a'\ncmd = 'a'\ndepends_on = 'a'\n",
                InvalidInputError,
                "1 depends_on: the task 'a' does not come before",
            ),
            (
                "[[task]]\nname = 'a'\ncmd = 'a'\n[[task]]\nname = 'a'\ncmd = 'b'\n",
                InvalidInputError,
                "2 name: 'a' is also the name of task 1",
            ),
            (
                "[[task]]\ncmd = 'a'\ndepends_on = [3]\n",
                InvalidInputError,
                "1 depends_on: must be a list of strings",
            ),
            (
                "[[task]]\ncmd = 'a'\ntimeout = true\n",
                InvalidInputError,
                "1 timeout: must be a num",
            ),
            (
                "[[task]]\ncmd = 'a'\ndepend_on = 'b'\n",
                InvalidInputError,
                "1: 'depend_on' is not known here. Did you mean 'depends_on'",
            ),
        ],
    )
    def test_errors(self, write, text, error, says):
        """What cannot work is refused with file, table and key."""
        text = text + JOB if text.startswith("task") else JOB + text
        with pytest.raises(error, match=rf"^c\.toml: .*{says}"):
            plans.tasks(write(text))

    def test_foreign_keys(self, write, caplog):
        """Keys that mean nothing are ignored, with a warning."""
        plans.tasks(write(f"note = 1\n{JOB}owner = 'me'\n[[task]]\ncmd = 'a'\nxyzzy = 1\n"))
        assert "c.toml: 'note' is not known" in caplog.text
        assert "c.toml: [job]: 'owner' is not known" in caplog.text
        assert "c.toml: [[task]] 1: 'xyzzy' is not known" in caplog.text


class TestJob:
    """`[job]` and `[upload]`."""

    @pytest.mark.parametrize(
        ("text", "error", "says"),
        [
            ("", MissingKeyError, r"the table \[job\] is missing"),
            (
                JOB + "[uploads]\ncontainer_name = 'c'\n",
                InvalidInputError,
                "'uploads' is not known here. Did you mean 'upload'",
            ),
            ("[job]\n", MissingKeyError, r"\[job\]: 'job_name' is missing"),
            ("[job]\njob_name = 'j'\n", MissingKeyError, r"\[job\]: 'pool_name' is missing"),
            ("[job]\njob_name = 3\n", InvalidInputError, r"\[job\] job_name: must be a string"),
            (
                JOB + "task_retries = 'x'\n",
                InvalidInputError,
                r"\[job\] task_retries: must be a whole number",
            ),
            (JOB + f"task_retries = {10**25}\n", InvalidInputError, "task_retries: .*below"),
            (
                JOB + "monitor_job = 'yes'\n",
                InvalidInputError,
                "monitor_job: must be true or false",
            ),
            (JOB + "timeout = -1\n", InvalidInputError, r"\[job\] timeout: timeout=-1 is not"),
            (JOB + "save_logs_to_blob = 'a/b'\n", InvalidInputError, "save_logs_to_blob: 'a/b'"),
            ("[job]\njob_name = 'a/b'\n", InvalidInputError, r"\[job\] job_name: 'a/b' cannot"),
            (JOB + "[upload]\nfiles = '/x'\n", UnsafePathError, r"\[upload\] files: '/x' is abs"),
            (JOB + "[upload]\nlocation_in_blob = '../x'\n", UnsafePathError, "location_in_blob: "),
            (JOB + "pool_nam = 'x'\n", InvalidInputError, "Did you mean 'pool_name'"),
            (JOB + "[upload]\nfiles = 'x'\n", MissingKeyError, r"\[upload\]: 'container_name' is"),
            (
                JOB + "[upload]\nfiles = [1]\n",
                InvalidInputError,
                r"\[upload\] files: must be a list",
            ),
        ],
    )
    def test_errors(self, write, text, error, says):
        """What cannot work is refused with file, table and key; what is missing is a KeyError."""
        with pytest.raises(error, match=rf"^c\.toml: .*{says}") as caught:
            plans.tasks(write(text + "[[task]]\ncmd = 'a'\n"))
        assert isinstance(caught.value, KeyError) == (error is MissingKeyError)

    def test_upload(self, write):
        """Texts and lists are accepted."""
        text = JOB + "[[task]]\ncmd = 'a'\n[upload]\ncontainer_name = 'c'\nfolders = 'f'\n"
        upload = plans.tasks(write(text)).upload
        assert (upload.folders, upload.files, upload.location) == (("f",), (), ".")


class TestRun:
    """What happens before anything is made."""

    @pytest.fixture
    def client(self, workdir):
        """A client with the pool `p`, whose nodes are never opened."""
        client = local.CloudClient(backend="subprocess")
        client.create_pool("p", autoscale=False, low_priority_nodes=0)
        yield client
        client.close()

    def upload(self, write, **keys):
        lines = "".join(f"{name} = {value}\n" for name, value in keys.items())
        return write(JOB + "[[task]]\ncmd = 'a'\n[upload]\ncontainer_name = 'store'\n" + lines)

    @pytest.mark.promise(
        "run_experiment",
        "A run that cannot be carried out.",
        local="uploads nothing and makes no job",
        cloud="stops half way; nothing is rolled back",
        difference="nothing is left half done here",
    )
    @pytest.mark.parametrize(
        ("keys", "error", "says"),
        [
            (
                {"files": '"no.txt"'},
                LocalFileNotFoundError,
                r"\[upload\] files: there is no file 'no",
            ),
            ({"files": '["good"]'}, LocalFileNotFoundError, "there is no file 'good'"),
            ({"folders": '["good", "no"]'}, LocalFileNotFoundError, "there is no folder 'no'"),
            ({"folders": '["good"]', "files": '["/etc/passwd"]'}, UnsafePathError, "absolute"),
            ({"folders": '["good"]', "files": '["../x"]'}, UnsafePathError, r"\.\."),
            ({"folders": '["good"]', "location_in_blob": '"../x"'}, UnsafePathError, r"\.\."),
        ],
    )
    def test_upload_all_or_none(self, client, write, workdir, keys, error, says):
        """When one thing cannot be uploaded nothing is, and no job is made."""
        (workdir / "good").mkdir()
        (workdir / "good" / "a.txt").touch()
        client.create_blob_container("store")
        with pytest.raises(error, match=says):
            local_automation.run_tasks(self.upload(write, **keys), backend="subprocess")
        assert client.list_blob_files("store") == []
        assert client.check_job_status("j") == "does not exist"

    def test_job_of_another(self, client, write, monkeypatch):
        """A run whose tasks are refused keeps a job that another run made in the meantime."""
        make = CloudClient.create_job

        def late(self, *arguments, **keywords):
            make(client, "j", "p")
            client.add_task("j", "true")
            make(self, *arguments, **keywords)

        monkeypatch.setattr(CloudClient, "create_job", late)
        path = write(JOB + 'exist_ok = true\n[[task]]\ncmd = "a\\u0000"\n')
        with pytest.raises(InvalidInputError, match="NUL"):
            local_automation.run_tasks(path, backend="subprocess")
        assert len(json.loads(client.get_task_status("j"))) == 1

    def test_no_container(self, client, write):
        """A container that does not exist is named, with the call that makes it."""
        with pytest.raises(BlobContainerNotFoundError, match=r"c\.toml: \[upload\] container_name"):
            local_automation.run_tasks(self.upload(write), backend="subprocess")

    def test_no_pool(self, client, write):
        """A pool that does not exist is named, with file and key."""
        path = write(GRID.replace('"p"', '"other"'))
        with pytest.raises(PoolNotFoundError, match=r"c\.toml: \[job\] pool_name: .*'other'"):
            local_automation.run_experiment(path, backend="subprocess")
        assert client.check_job_status("j") == "does not exist"

    @pytest.mark.promise(
        "run_experiment",
        "A job that exists stops the run, unless the file says `exist_ok`.",
        local="before the upload",
        cloud="after the upload; `exist_ok` in the file is ignored",
        difference="nothing is uploaded in vain here",
    )
    def test_job_exists(self, client, write):
        """A job that exists stops the run before the upload, unless the file says otherwise."""
        client.create_job("j", "p")
        client.create_blob_container("store")
        write("x", "x.txt")
        with pytest.raises(JobExistsError, match=r"c\.toml: \[job\] job_name: .*exist_ok = true"):
            local_automation.run_tasks(self.upload(write, files='"x.txt"'), backend="subprocess")
        assert client.list_blob_files("store") == []

    @pytest.mark.promise(
        "run_experiment",
        "`dotenv_path` and other keywords are the client's.",
        local="passed on",
        cloud="documented; version 0.8.0 passes on `dotenv_path` only",
        difference="a defect of version 0.8.0, not repeated here",
    )
    def test_keywords_reach_the_client(self, client, write):
        """`dotenv_path` and other keywords are the client's."""
        write("CLOUDOPS_AT_EXIT=x", "my.env")
        with pytest.raises(ValueError, match=r"CLOUDOPS_AT_EXIT='x' \(from my\.env\)"):
            local_automation.run_tasks(self.upload(write), "my.env")
        with pytest.raises(ValueError, match="CLOUDOPS_ISOLATION='x'"):
            local_automation.run_experiment(write(GRID), isolation="x")

    @pytest.mark.parametrize("module", [automation, local_automation])
    def test_bad_file_needs_no_client(self, workdir, module):
        """A file is read before a client is made: nothing appears on the disk."""
        with pytest.raises(LocalFileNotFoundError):
            module.run_experiment("no.toml")
        with pytest.raises(LocalFileNotFoundError):
            module.run_tasks("no.toml")
        assert not list(workdir.iterdir())


@pytest.mark.parametrize("name", ["Task", "run_experiment", "run_tasks", "CloudClient"])
@pytest.mark.parametrize("package", [cloudops, local])
def test_faces(package, name):
    """Both packages offer the same names; those of `local` belong to the local client."""
    assert name in package.__all__
    assert name in dir(package)
    assert getattr(package, name).__name__ == name
    with pytest.raises(AttributeError):
        getattr(package, f"{name}s")


@pytest.mark.parametrize(
    ("module", "client"),
    [
        ("cfa.cloudops.automation", CloudClient),
        ("cfa.cloudops.local.automation", local.CloudClient),
    ],
)
def test_client_of_the_face(module, client):
    """The functions make the client of the package that they come from."""
    assert importlib.import_module(module).CloudClient is client


class TestCommandLine:
    """`--dry-run`: nothing is made, no service is needed."""

    def run(self, *arguments):
        done = subprocess.run(
            [sys.executable, "-m", "cfa.cloudops.cli", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def test_dry_run(self, write, workdir):
        """The command lines are printed, one a line, and nothing is written."""
        grid = write(GRID)
        listed = write(JOB + "[[task]]\ncmd = 'a b'\n[[task]]\ncmd = 'c'\n", "t.toml")
        sets = write("schema: v0.3\nparameters: {x: {vary: [1, 'a b']}}\n", "p.yaml")
        expected = [
            (("run-experiment", grid), "sim --rate 0.1 --seed 001\n"),
            (("run-tasks", listed), "a b\nc\n"),
            (
                ("add-tasks-from-yaml", "-j", "j", "-c", "sim", "-fp", sets),
                "sim --x 1\nsim --x 'a b'\n",
            ),
            (
                ("add-tasks-from-yaml", "--job_name=j", "--base_cmd", "sim", "--file_path", sets),
                "sim --x 1\n",
            ),
        ]
        for arguments, start in expected:
            status, out, err = self.run(*arguments, "--dry-run")
            assert (status, err) == (0, "")
            assert out.startswith(start)
        assert sorted(path.name for path in workdir.iterdir()) == ["c.toml", "p.yaml", "t.toml"]

    def test_bad_file(self, write):
        """A bad file gives exit status 2 and says where."""
        status, out, err = self.run("run-tasks", write("[job]\n"), "--dry-run")
        assert (status, out) == (2, "")
        assert "c.toml: the table [[task]] is missing" in err
