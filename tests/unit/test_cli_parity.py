"""The scripts of the cloud package, as commands: their options, and what they do here."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import click
import pytest

from cfa.cloudops import settings
from cfa.cloudops.cli.app import app
from cfa.cloudops.cli.declare import kebab, spread
from cfa.cloudops.cli.scripts import SCRIPTS
from cfa.cloudops.client import copies
from cfa.cloudops.model.values import JobSpec, PoolSpec, TaskSpec
from cfa.cloudops.service.link import Link
from cfa.cloudops.service.local import LocalBatch

PROGRAM = [sys.executable, "-m", "cfa.cloudops.cli"]

#: Script -> its options; `!` marks those that must be given, `+` those that take a list, `?` flags.
OPTIONS = """
check_credentials
create_pool -n/--pool_name! -m/--mounts+ -c/--container_image_name -v/--vm_size -a/--autoscale?
    -d/--dedicated_nodes -l/--low_priority_nodes -max/--max_autoscale_nodes
    -t/--task_slots_per_node -az/--availability_zones -cache/--cache_blobfuse?
delete_pool -n/--pool_name+
create_job -n/--job_name! -pn/--pool_name! -s/--save_logs_to_blob -l/--logs_folder
    -r/--task_retries -m/--mark_complete? -i/--task_id_ints? -t/--timeout -e/--exist_ok?
    -v/--verbose?
delete_job -n/--job_name+
monitor_job -n/--job_name -t/--timeout -d/--download_job_stats?
check_job_status -n/--job_name
add_task -jn/--job_name! -c/--command_line! -n/--name_suffix -d/--depends_on+
    -dr/--depends_on_range -r/--run_dependent_tasks_on_fail? -ci/--container_image_name
    -t/--timeout
add_task_collection -j/--job_name! -tf/--tasks_file! -n/--name_suffix
add_tasks_from_yaml -j/--job_name! -c/--base_cmd! -fp/--file_path!
get_task_status -j/--job_name -t/--task_id
download_job_stats -j/--job_name -path/--file_name
download_after_job -j/--job_name! -b/--blob_paths!+ -t/--target! -c/--container_name!
create_job_schedule -n/--job_schedule_name! -pn/--pool_name! -c/--command! -t/--timeout
    -sw/--start_window_minutes -ri/--recurrence_interval_minutes -dnu/--do_not_run_until
    -dna/--do_not_run_after -e/--exist_ok? -v/--verbose?
delete_job_schedule -n/--job_schedule_id+
resume_schedule -n/--job_schedule_id+
suspend_schedule -n/--job_schedule_id+
create_blob_container -c/--container_name!
upload_file -s/--source_path! -c/--container_name! -l/--local_root_dir -loc/--location_in_blob
upload_folder -n/--folder_name! -c/--container_name! -i/--include_extensions+
    -e/--exclude_extensions+ -l/--location_in_blob -fu/--force_upload? --create_new_folder?
async_upload_folder -n/--folders!+ -c/--container_name! -i/--include_extensions+
    -e/--exclude_extensions+ -l/--location_in_blob -mcu/--max_concurrent_uploads
    -lh/--legal_hold? -ild/--immutability_lock_days -ro/--read_only?
download_file -c/--container_name! -b/--blob_name! -d/--destination_path! -check/--check_size?
download_folder -s/--src_path! -d/--dest_path! -c/--container_name! -i/--include_extensions+
    -e/--exclude_extensions+ -v/--verbose? -check/--check_size?
async_download_folder -s/--src_path! -d/--dest_path! -c/--container_name!
    -i/--include_extensions+ -e/--exclude_extensions+ -check/--check_size?
    -mcd/--max_concurrent_downloads
list_blob_files -c/--container_name
delete_blob_file -c/--container_name! -b/--blob_name!
delete_blob_folder -c/--container_name! -b/--blob_folder_name!
update_blob_protection -s/--source_path!+ -c/--container_name! -lh/--legal_hold? -ro/--read_only?
package_and_upload_dockerfile -r/--registry_name! -n/--repo_name! -t/--tag
    -d/--path_to_dockerfile -u/--use_device_code?
upload_docker_image -i/--image_name! -r/--registry_name! -n/--repo_name! -t/--tag
    -u/--use_device_code?
list_available_images -os/--operating_system
list_acr_tags -r/--registry_name! -n/--repo_name!
get_kv_secret -s/--secret_name! -k/--keyvault
get_all_vm_quotas
get_vm_series_quotas -s/--series+
get_vm_name -s/--series -c/--cores -amd/--amd? -ntd/--no_temp_disk? -ssd/--ssd? -v/--version
    -nv/--no_verify?
generate_sample_env
hello --name
test
"""
COMMON = ("-p/--dotenv_path", "-sp/--use_sp?", "-f/--use_federated?")
ROWS = [row.split() for row in OPTIONS.replace("\n    ", " ").strip().splitlines()]


@pytest.fixture
def batch(workdir, monkeypatch):
    """The service of a workspace with the pool `p` and the job `j`, where no agent runs."""
    monkeypatch.setattr(Link, "wake", lambda self: None)
    made = LocalBatch(settings.load(default_backend="subprocess"))
    made.create_pool(PoolSpec(id="p", backend="subprocess"))
    made.create_job(JobSpec(id="j", pool_id="p"))
    yield made
    made.close()


def command_of(script):
    """What a name of the command line stands for."""
    return app.get_command(click.Context(app), script)


class TestOptions:
    """The options of the scripts."""

    def test_all_scripts(self):
        """Every script of the cloud's package is a command, and no other name is one."""
        assert {row[0] for row in ROWS} == set(SCRIPTS)

    @pytest.mark.parametrize(("script", "options"), [(row[0], row[1:]) for row in ROWS])
    def test_options(self, script, options):
        """A script's options have their names, long and short, and take what they took."""
        command = command_of(script)
        found = {name: param for param in command.params for name in param.opts}
        for option in (*options, *(COMMON if script != "test" else ())):
            spelled = option.rstrip("!+?")
            for name in spelled.split("/"):
                param = found[kebab(name)]
                assert param.opts == found[kebab(spelled.split("/")[-1])].opts
                assert param.required == ("!" in option), name
                assert param.multiple == ("+" in option), name
                assert param.is_flag == ("?" in option), name

    @pytest.mark.parametrize("script", sorted(SCRIPTS))
    def test_spellings(self, script):
        """A script's name is written with `_` or `-`, and is the grouped command."""
        found = command_of(script)
        assert found.help == command_of(script.replace("_", "-")).help
        assert found is not None
        assert not found.hidden

    @pytest.mark.parametrize("script", ["create_job", "add_task", "monitor_job"])
    def test_minutes(self, cloudops, script):
        """Time limits are in minutes, and the help says so."""
        _, out, _ = cloudops(script, "--help")
        assert "-t, --timeout MINUTES" in out

    def test_hello(self, cloudops):
        """`hello` greets."""
        assert cloudops("hello") == (0, "Hello World!\n", "")
        assert cloudops("hello", "--name", "you") == (0, "Hello you!\n", "")

    def test_pytest(self, cloudops, workdir):
        """`test` passes all that follows to pytest, and ends with its exit status."""
        (workdir / "test_one.py").write_text(
            "def test_good(): pass\ndef test_bad(): assert False\n"
        )
        # Not our `-p`, which names a file of settings.
        always = ("-q", "-p", "no:cacheprovider", "test_one.py")
        assert cloudops("test", *always, "-k", "good")[0] == 0
        assert cloudops("test", *always)[0] == 1
        assert cloudops("test", *always, "--no-such-option")[0] == 4

    def test_help_lists_groups(self, cloudops):
        """The help of the program names the groups, and says where the scripts are listed."""
        status, out, _ = cloudops("--help")
        assert status == 0
        assert "  blob " in out
        assert "Scripts of the cloud's package" in out
        assert "create_job_schedule" in out
        assert "\x1b" not in out


def all_commands(group=app):
    """Every command of ours, with those of the groups."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield from all_commands(command) if isinstance(command, click.Group) else [command]


class TestHabits:
    """What our commands have in common."""

    def test_letters(self):
        """One letter means one thing in all commands of ours, and no short spelling has two letters."""
        meanings = {}
        for command in all_commands():
            for param in command.params:
                for short in (name for name in param.opts if not name.startswith("--")):
                    if isinstance(param, click.Option):
                        assert len(short) == 2, (command.name, short)
                        meanings.setdefault(short, set()).update(
                            name for name in param.opts if name.startswith("--")
                        )
        together = {
            "-i": {"--container-image-name", "--image-name"},
            "-o": {"--target", "--destination-path", "--dest-path"},
        }
        for short, names in meanings.items():
            assert len(names) == 1 or names == together[short], (short, names)

    def test_hyphens(self):
        """Options are shown with hyphens."""
        for command in all_commands():
            for param in command.params:
                if isinstance(param, click.Option):
                    assert not any("_" in name for name in (*param.opts, *param.secondary_opts))

    def test_summaries(self, cloudops):
        """No summary is cut, and the sections begin with what is used daily."""
        _, out, _ = cloudops("--help")
        assert "...\n" not in out.replace("[ARGS]...\n", "")
        titles = [line for line in out.splitlines() if line.endswith(":") and line[0] != " "]
        assert titles[:4] == ["Options:", "Run and watch:", "Jobs, tasks and pools:", "Files:"]
        words = " ".join(out.split())
        for name in app.list_commands(click.Context(app)):
            assert f" {name} {command_of(name).get_short_help_str(1000)} " in words

    @pytest.mark.parametrize(
        "words",
        [
            "--home {home} --json job list",
            "job --home {home} list --json",
            "job list --json --home={home}",
            "job --json list --home {home}",
        ],
    )
    def test_anywhere(self, cloudops, batch, workdir, monkeypatch, words):
        """Options of every command come before the command, after it, or in between."""
        (workdir / "deep").mkdir()
        monkeypatch.chdir(workdir / "deep")
        status, out, _ = cloudops(*words.format(home=workdir / ".cloudops").split())
        assert (status, [one["spec"]["id"] for one in json.loads(out)]) == (0, ["j"])

    @pytest.mark.parametrize(
        "words", ["--backend {} pool create -p q", "pool create -p q --backend {}"]
    )
    def test_backend(self, cloudops, batch, words):
        """`--backend` says where a pool is made."""
        assert cloudops(*words.format("subprocess").split())[:2] == (0, "pool q is ready\n")
        assert batch.get_pool("q").spec.backend == "subprocess"
        assert "'nope'" in cloudops(*words.format("nope").split())[2]

    @pytest.mark.parametrize("words", ["--json job delete j", "job delete j --json"])
    def test_no_json(self, cloudops, batch, words):
        """A command that prints no JSON says so, and does nothing."""
        status, out, err = cloudops(*words.split())
        assert (status, out) == (2, "")
        assert "cloudops job delete prints no JSON" in err
        assert batch.get_job("j")

    @pytest.mark.parametrize(
        ("words", "meant"),
        [
            ("jbo", "'job'"),
            ("job lst", "'list'"),
            ("log", "'logs'"),
            ("stats j", "'job stats'"),
            ("terminate j", "'job terminate' or 'task terminate'"),
            ("job-list", " 'job list'?\n"),
            ("job_list", " 'job list'?\n"),
            ("task_list j", " 'task list'?\n"),
            ("taks_list j", " 'task list'"),
            ("create_jobb", " 'create_job'"),
            ("create-jobb", " 'create_job'"),
            ("generate-sample-enw", " 'generate-sample-env'"),
        ],
    )
    def test_suggestions(self, cloudops, workdir, words, meant):
        """A command that is not there is answered with one that is like it."""
        status, _, err = cloudops(*words.split())
        assert status == 2
        assert "Did you mean" in err
        assert meant in err.split("Did you mean")[1]

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            ("job create -n k -pn p", "Here it is --job-name; -n is of the script create_job."),
            ("blob list -x box", "No such option"),
            (
                "blob download-file -b x",
                "Here it is --blob-name; -b is of the script download_file.",
            ),
        ],
    )
    def test_letters_of_scripts(self, cloudops, workdir, words, says):
        """Who gives a script's letter to our command learns the option's name."""
        status, _, err = cloudops(*words.split())
        assert status == 2
        assert says in " ".join(err.split())


class TestLists:
    """Options that take a list."""

    @pytest.mark.parametrize(
        ("words", "spread_words"),
        [
            ("-d a b -n x", "-d a -d b -n x"),
            ("--depends_on a b c", "--depends_on a --depends_on b --depends_on c"),
            ("--depends-on a b", "--depends-on a --depends-on b"),
            ("-d a -d b", "-d a -d b"),
            ("-n a b", "-n a b"),
            ("-d a -r b", "-d a -r b"),
        ],
    )
    def test_spread(self, words, spread_words):
        """Further words after an option that takes a list are items of it."""
        assert list(spread(command_of("add_task"), words.split())) == spread_words.split()

    def test_own_words(self):
        """Where a command takes words of its own, they are left to it."""
        assert list(spread(command_of("delete_job"), ["-n", "a", "b"])) == ["-n", "a", "b"]

    @pytest.mark.parametrize(
        "given",
        ["-d one two", "-d one -d two", "-d one,two", "-d 'one two'", "--depends-on=one -d two"],
    )
    def test_depends_on(self, cloudops, batch, given):
        """Dependencies are given in any of the forms of a list."""
        for suffix in ("one", "two"):
            assert cloudops("add_task", "-jn", "j", "-c", "true", "-n", suffix)[0] == 0
        wanted = given.replace("one", "j-one-1").replace("two", "j-two-2")
        status, out, _ = cloudops("add_task", *shlex.split(wanted), "-jn", "j", "-c", "true")
        assert (status, out) == (0, "j--3\n")
        assert batch.get_task("j", "j--3").waits_for == 2

    def test_mounts(self, cloudops, batch):
        """Mounts are containers, with a place of their own or not."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CLOUDOPS_BACKEND", "subprocess")
            status, out, _ = cloudops("create_pool", "-n", "q", "-m", "in-put", "results:out")
        assert (status, out) == (0, "pool q is ready\n")
        mounts = batch.get_pool("q").spec.mounts
        assert [(one.source, one.target) for one in mounts] == [
            ("in-put", "in-put"),
            ("results", "out"),
        ]


class TestTasks:
    """`task add` and its kin."""

    def test_ids(self, cloudops, batch):
        """Each process goes on where the one before it stopped, and prints the id alone."""
        assert cloudops("add_task", "-jn", "j", "-c", "true") == (0, "j--1\n", "")
        assert cloudops("task", "add", "-j", "j", "--command-line", "true") == (0, "j--2\n", "")
        words = ("-j", "j", "-d", "j--1", "j--2", "--", "sh", "-c", "echo $1", "--", "a b", "-x")
        assert cloudops("task", "add", *words) == (0, "j--3\n", "")
        added = list(batch.list_tasks("j"))[-1]
        assert added.command_line == "sh -c 'echo $1' -- 'a b' -x"
        assert added.waits_for == 2
        for wrong in (
            ["-j", "j"],
            ["-j", "j", "--"],
            ["-j", "j", "--command-line", "a", "--", "b"],
        ):
            status, _, err = cloudops("task", "add", *wrong)
            assert status == 2
            assert "--command-line" in err
        status, _, err = cloudops("task", "add", "-j", "j", "echo", "hi")
        assert status == 2
        assert "after --" in err

    @pytest.mark.parametrize("given", ["1-2", "1,2", "1 2"])
    def test_range(self, cloudops, batch, given):
        """A range of ids is a pair of numbers."""
        batch.create_job(JobSpec(id="ints", pool_id="p", integer_task_ids=True))
        for _ in range(2):
            cloudops("add_task", "-jn", "ints", "-c", "true")
        assert cloudops("add_task", "-jn", "ints", "-c", "true", "-dr", given)[1] == "3\n"
        assert batch.get_task("ints", "3").waits_for == 2

    @pytest.mark.parametrize("given", ["12", "a-b", "1-", "1-2-3", ""])
    def test_bad_range(self, cloudops, batch, given):
        """What is no pair of numbers is refused, with the form in the hint."""
        status, out, err = cloudops("add_task", "-jn", "j", "-c", "true", "-dr", given)
        assert (status, out) == (2, "")
        assert "Write the first and the last: 1-5 or 1,5." in err

    def test_collection(self, cloudops, batch, workdir):
        """A file of tasks is added whole, and the ids are printed one a line."""
        (workdir / "tasks.json").write_text(
            json.dumps([{"command_line": "a"}, {"command_line": "b", "depends_on": ["j-x-1"]}])
        )
        status, out, _ = cloudops("add_task_collection", "-j", "j", "-tf", "tasks.json", "-n", "x")
        assert (status, out) == (0, "j-x-1\nj-x-2\n")
        assert batch.get_task("j", "j-x-2").waits_for == 1

    @pytest.mark.parametrize(
        ("text", "status", "said"),
        [
            (None, 3, "There is no file of tasks 'tasks.json'"),
            ("[{]", 2, "tasks.json: this is not valid JSON: Expecting property name"),
            ("{}", 2, "tasks.json: this is not a list of tasks"),
            ('[{"command_line": "a"}, {"command": "b"}]', 2, "command"),
            ("[" * 100_000, 2, "nested too deeply"),
        ],
    )
    def test_bad_collection(self, cloudops, batch, workdir, text, status, said):
        """A file that cannot be used adds nothing, and the error says what is wrong with it."""
        if text is not None:
            (workdir / "tasks.json").write_text(text)
        found = cloudops("add_task_collection", "-j", "j", "-tf", "tasks.json")
        assert found[:2] == (status, "")
        assert said in found[2]
        assert batch.get_job("j").counts.total == 0

    def test_status(self, cloudops, batch):
        """States are printed as the JSON of the client's call."""
        cloudops("add_task", "-jn", "j", "-c", "true")
        status, out, _ = cloudops("get_task_status", "-j", "j", "-t", "j--1")
        assert (status, json.loads(out)["state"]) == (0, "active")
        assert [one["id"] for one in json.loads(cloudops("task", "status", "j")[1])] == ["j--1"]


class TestJobs:
    """`job create` and its kin."""

    def test_create(self, cloudops, batch):
        """A job is made with what its options say, and its id is printed."""
        given = "-n nightly -pn p -r -1 -i -t 5 --no_mark_complete"
        status, out, err = cloudops("create_job", *given.split())
        assert (status, out, err) == (0, "created job nightly\n", "")
        spec = batch.get_job("nightly").spec
        assert (spec.max_task_retries, spec.integer_task_ids) == (-1, True)
        assert (spec.timeout_s, spec.auto_complete) == (300, False)
        assert cloudops("create_job", "-n", "nightly", "-pn", "p")[0] == 4
        assert cloudops("create_job", "-n", "nightly", "-pn", "p", "-e")[:2] == (
            0,
            "job nightly exists\n",
        )

    def test_one_that_exists(self, cloudops, batch):
        """What to do about a job that exists is said in commands and options, which work."""
        status, out, err = cloudops("create_job", "-n", "j", "-pn", "p")
        assert (status, out) == (4, "")
        assert err.endswith(
            "\n  To continue with it: --exist-ok   "
            "To delete it with its results: cloudops job delete j\n"
        )
        assert cloudops("create_job", "-n", "j", "-pn", "p", "--exist-ok")[0] == 0
        assert cloudops("job", "delete", "j")[0] == 0
        assert cloudops("create_job", "-n", "j", "-pn", "p")[0] == 0

    def test_one_that_is_not_replaced(self, cloudops, batch, monkeypatch):
        """The setting that replaces jobs spares what runs, and the hint is about commands alone."""
        batch.add_tasks("j", [TaskSpec(id="a", command_line="true")])
        monkeypatch.setenv("CLOUDOPS_EXISTING_JOB", "replace")
        status, _, err = cloudops("create_job", "-n", "j", "-pn", "p")
        assert status == 4
        assert err.partition("\n")[2] == (
            "  To wait for them: cloudops job monitor j   "
            "To terminate them: cloudops job terminate j   "
            "To replace the job all the same: CLOUDOPS_EXISTING_JOB=force-replace.\n"
        )

    def test_logs_stay(self, cloudops, batch, workdir):
        """Where logs are saved is kept with the job, for the processes that come after."""
        assert cloudops("create_blob_container", "-c", "logs-test")[0] == 0
        status, out, _ = cloudops(
            "create_job", "-n", "k", "-pn", "p", "-s", "logs-test", "-l", "a", "-v"
        )
        assert status == 0
        assert "logs-test/a" in out
        assert "logs-test/a" in cloudops("job", "show", "k")[1]

    @pytest.mark.parametrize(
        "words",
        [
            "add_task -jn nope -c true",
            "add_task_collection -j nope -tf tasks.json",
            "check_job_status -n nope",
            "delete_job -n nope",
            "download_after_job -j nope -b x -t y -c box",
            "download_job_stats -j nope",
            "get_task_status -j nope",
            "monitor_job -n nope",
        ],
    )
    def test_unknown(self, cloudops, batch, workdir, words):
        """A job that does not exist is an error of one line, with a hint below it."""
        (workdir / "tasks.json").write_text('[{"command_line": "a"}]')
        (workdir / "box").mkdir()
        status, out, err = cloudops(*words.split())
        assert status == 3
        assert out in ("", "does not exist\n")
        assert err.startswith("cloudops: There is no job 'nope'")
        assert err.count("\n") == 2

    @pytest.mark.parametrize(
        "words", ["create_job -n j -pn p", "add_task -jn j -c true", "delete_pool -n p"]
    )
    def test_no_workspace(self, cloudops, workdir, words):
        """Where there is no workspace, none is made."""
        status, _, err = cloudops(*words.split())
        assert status == 3
        assert "There is no workspace here" in err
        assert not list(workdir.iterdir())

    @pytest.mark.parametrize("words", ["monitor_job", "job delete", "get_task_status"])
    def test_nothing_named(self, cloudops, batch, words):
        """What is named neither by a word nor by an option is asked for."""
        status, _, err = cloudops(*words.split())
        assert status == 2
        assert "No job is named." in err

    def test_stats(self, cloudops, batch, workdir):
        """The table of a job is written, and its name printed."""
        assert cloudops("download_job_stats", "-j", "j", "-path", "t") == (0, "t.csv\n", "")
        assert (workdir / "t.csv").read_text().startswith("task_id|")
        assert cloudops("job", "stats", "j")[1] == "j-stats.csv\n"


class TestBlobs:
    """`blob`: no workspace is needed."""

    def test_round(self, cloudops, workdir):
        """Files go up and come back; the listing names them, one a line or as JSON."""
        (workdir / "data").mkdir()
        for name in ("a.csv", "b.txt"):
            (workdir / "data" / name).write_text(name)
        assert cloudops("create_blob_container", "-c", "box") == (
            0,
            "blob container box is ready\n",
            "",
        )
        assert cloudops("upload_file", "-s", "a.csv", "-c", "box", "-l", "data")[0] == 0
        status, out, _ = cloudops("upload_folder", "-n", "data", "-c", "box", "-i", ".csv", ".txt")
        assert (status, out) == (0, "uploaded 2 files to box\n")
        assert cloudops("upload_folder", "-n", "data", "-c", "box", "-i", "csv")[1] == (
            "uploaded 1 file to box\n"
        )
        names = ["a.csv", "data/a.csv", "data/b.txt"]
        assert cloudops("list_blob_files", "-c", "box")[1].splitlines() == names
        assert json.loads(cloudops("blob", "list", "box", "--json")[1]) == names
        assert cloudops("blob", "list")[1].split() == ["box", "data"]
        assert cloudops("download_file", "-c", "box", "-b", "data/a.csv", "-d", "x") == (
            0,
            "downloaded 1 file to x\n",
            "",
        )
        assert (workdir / "x").read_text() == "a.csv"
        assert (
            cloudops("download_folder", "-s", "data", "-d", "y", "-c", "box", "-e", "csv")[0] == 0
        )
        assert [path.name for path in workdir.glob("y/**/*.*")] == ["b.txt"]
        assert cloudops("delete_blob_folder", "-c", "box", "-b", "data")[0] == 0
        assert cloudops("delete_blob_file", "-c", "box", "-b", "a.csv")[0] == 0
        assert cloudops("list_blob_files", "-c", "box") == (0, "", "")
        assert not (workdir / ".cloudops").exists()

    def test_declined(self, cloudops, workdir, monkeypatch):
        """What the user at the terminal did not want is not said to be done."""
        (workdir / "box").mkdir()
        (workdir / "box" / "a").write_text("a")
        monkeypatch.setattr(copies, "ASK_ABOVE_FILE_BYTES", 0)
        monkeypatch.setattr(copies, "ASK_ABOVE_FOLDER_BYTES", 0)
        monkeypatch.setattr(copies, "confirm", lambda question: False)
        words = ["download_file", "-c", "box", "-b", "a", "-d", "x"]
        assert cloudops(*words, "-check")[1] == "downloaded 0 files to x\n"
        for script in ("download_folder", "async_download_folder"):
            out = cloudops(script, "-c", "box", "-s", ".", "-d", "x", "-check")[1]
            assert out == "downloaded 0 files to x\n"
        assert cloudops(*words)[1] == "downloaded 1 file to x\n"

    def test_async(self, cloudops, workdir):
        """Several folders go up at once, and come back."""
        for folder in ("one", "two"):
            (workdir / folder).mkdir()
            (workdir / folder / f"{folder}.txt").write_text(folder)
        cloudops("create_blob_container", "-c", "box")
        status, out, _ = cloudops(
            "async_upload_folder", "-n", "one", "two", "-c", "box", "-mcu", "2"
        )
        assert (status, out) == (0, "uploaded 2 files to box\n")
        assert cloudops("async_download_folder", "-s", ".", "-d", "z", "-c", "box")[0] == 0
        assert sorted(path.name for path in (workdir / "z").iterdir()) == ["one.txt", "two.txt"]

    def test_protection(self, cloudops, workdir):
        """A blob under a hold is not deleted until the hold is cleared."""
        (workdir / "box").mkdir()
        (workdir / "box" / "a").write_text("")
        assert cloudops("update_blob_protection", "-s", "a", "-c", "box", "-lh")[0] == 0
        assert cloudops("delete_blob_file", "-c", "box", "-b", "a")[0] == 4
        assert cloudops("update_blob_protection", "-s", "a", "-c", "box")[0] == 0
        assert cloudops("delete_blob_file", "-c", "box", "-b", "a")[0] == 0

    def test_strict(self, cloudops, workdir, monkeypatch):
        """A rehearsal refuses what the cloud would refuse."""
        monkeypatch.setenv("CLOUDOPS_STRICT", "1")
        status, _, err = cloudops("create_blob_container", "-c", "Box")
        assert status == 2
        assert "Box" in err
        assert cloudops("create_blob_container", "-c", "box")[0] == 0

    def test_unknown(self, cloudops, workdir):
        """A container or a blob that is not there is an error with what to do."""
        status, _, err = cloudops("list_blob_files", "-c", "nope")
        assert status == 3
        assert "There is no blob container 'nope'" in err
        (workdir / "box").mkdir()
        assert cloudops("download_file", "-c", "box", "-b", "a", "-d", "x")[0] == 3


class TestCommonOptions:
    """Options that every script takes."""

    def test_dotenv(self, cloudops, workdir, monkeypatch):
        """`-p` names the file of settings, after the command as well; how to log in is ignored."""
        monkeypatch.delenv("CLOUDOPS_HOME", raising=False)
        (workdir / "my.env").write_text("TOKEN=secret\n")
        assert cloudops("get_kv_secret", "-s", "token", "-k", "v", "-p", "my.env", "-sp") == (
            0,
            "secret\n",
            "",
        )
        assert cloudops("get_kv_secret", "-s", "token", "-p", "no.env", "-f")[0] == 3
        assert "no.env" in cloudops("job", "list", "--dotenv", "no.env")[2]

    def test_missing_dotenv(self, cloudops, batch):
        """Scripts take a dotenv file that is not there for an empty one; our commands refuse it."""
        assert cloudops("create_job", "-n", "k", "-pn", "p", "-p", "no.env") == (
            0,
            "created job k\n",
            "",
        )
        words = "--dotenv no.env create-job -n l -pn p"
        done = subprocess.run(
            [sys.executable, "-m", "cfa.cloudops.cli", *words.split()],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={**os.environ, "LOG_LEVEL": "info"},
        )
        assert done.stdout == "created job l\n"
        assert done.stderr.count("The dotenv file 'no.env' does not exist") == 1
        assert cloudops("check_job_status", "-n", "k", "-p", "no.env")[:2] == (0, "active\n")
        status, _, err = cloudops("job", "status", "k", "--dotenv", "no.env")
        assert (status, err.splitlines()[1]) == (2, "  Correct --dotenv, or leave it out.")

    def test_scripts_alone(self):
        """How to log in is an option of the scripts, whose letters our commands do not take over."""
        found = {name: param for param in command_of("logs").params for name in param.opts}
        assert "--follow" in found["-f"].opts
        assert "--use-federated" not in found

    def test_sample(self, cloudops, workdir):
        """The sample names every setting, can be used as it is, and is not written twice."""
        assert cloudops("generate_sample_env") == (0, "cloudops-sample.env\n", "")
        text = (workdir / "cloudops-sample.env").read_text()
        assert all(f"# {name}=" in text for name in settings.VARIABLES)
        assert settings.read_dotenv("cloudops-sample.env") == {}
        (workdir / "cloudops-sample.env").write_text("mine")
        assert cloudops("generate-sample-env")[0] == 4
        assert (workdir / "cloudops-sample.env").read_text() == "mine"


class TestCompletion:
    """What the shell is told."""

    def complete(self, *words):
        """What bash is given for the last of the words."""
        done = subprocess.run(
            PROGRAM,
            env={
                **os.environ,
                "_CLOUDOPS_COMPLETE": "bash_complete",
                "COMP_WORDS": shlex.join(["cloudops", *words[:-1]]) + f" {words[-1]}",
                "COMP_CWORD": str(len(words)),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stderr == ""
        return [line.partition(",")[2] for line in done.stdout.split()]

    def test_names(self, cloudops, batch):
        """Pools, jobs and tasks of the workspace are completed, for words and for options."""
        cloudops("add_task", "-jn", "j", "-c", "true")
        assert self.complete("pool", "show", "") == ["p"]
        assert self.complete("job", "show", "j") == ["j"]
        assert self.complete("add_task", "-jn", "") == ["j"]
        assert self.complete("logs", "") == ["j"]
        assert self.complete("create_job_schedule", "-pn", "") == ["p"]
        assert self.complete("task", "show", "j", "j-") == ["j--1"]
        assert self.complete("get_task_status", "-j", "j", "-t", "") == ["j--1"]
        assert "create-container" in self.complete("blob", "create")

    def test_scripts(self, workdir):
        """Names of scripts are completed as they are begun, with `_` or `-`; unasked, none is."""
        assert self.complete("create_p") == ["create_pool"]
        assert self.complete("create-p") == ["create-pool"]
        assert self.complete("check") == ["check-credentials", "check_job_status"]
        assert self.complete("check_c") == ["check_credentials"]
        assert self.complete("add-tasks") == ["add-tasks-from-yaml"]
        assert {"create_pool", "create-pool"}.isdisjoint(self.complete(""))

    def test_nothing_made(self, workdir):
        """Where there is no workspace, nothing is completed and nothing made."""
        assert self.complete("job", "show", "") == []
        assert self.complete("list_blob_files", "-c", "") == []
        assert not list(workdir.iterdir())
