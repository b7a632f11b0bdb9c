"""The command line: what it prints, where, and with which exit status."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from cfa.cloudops import backends, settings
from cfa.cloudops.cli import main, output, pools
from cfa.cloudops.client import ending
from cfa.cloudops.client.remarks import say
from cfa.cloudops.errors import (
    BackendUnavailableError,
    CloudOpsError,
    InvalidInputError,
    StoreError,
)
from cfa.cloudops.local import CloudClient
from cfa.cloudops.model.plain import counted
from cfa.cloudops.model.values import JobSpec, Mount, PoolSpec, Resources
from cfa.cloudops.provider.executor import Capabilities
from cfa.cloudops.service.link import greeting
from cfa.cloudops.service.local import LocalBatch
from cfa.cloudops.service.workspace import Workspace

PROGRAM = [sys.executable, "-m", "cfa.cloudops.cli"]


@pytest.fixture
def workspace(workdir):
    """A workspace with a pool and a job, made with settings of its own."""
    chosen = settings.load(
        default_backend="subprocess",
        arguments={"CLOUDOPS_MAX_PARALLEL": "7", "CLOUDOPS_STORAGE": str(workdir / "elsewhere")},
    )
    batch = LocalBatch(chosen)
    batch.create_pool(
        PoolSpec(
            id="small",
            backend="subprocess",
            image="python:3.10-slim",
            mounts=(Mount("input-test", "data"), Mount("results", "out")),
            nodes=2,
            slots_per_node=3,
            resources=Resources(cpus=2, memory_bytes=4 << 30),
            metadata=(("owner", "ada"),),
        )
    )
    batch.create_job(JobSpec(id="fit", pool_id="small", max_task_retries=2, timeout_s=3600))
    batch.close()
    return workdir / ".cloudops"


def run(*arguments, **more):
    """Runs a command in a process of its own."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **more,
    )


def on_terminal(*arguments, **environment):
    """Everything that a command shows on a terminal, of 120 columns unless told, and its status."""
    main_end, its_end = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, *arguments],
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "CI": "", **environment},
        start_new_session=True,
    )
    os.close(its_end)
    shown = b""
    try:
        while chunk := os.read(main_end, 4096):
            shown += chunk
    except OSError:
        pass  # the other end is closed
    finally:
        os.close(main_end)
        status = process.wait(60)
    return status, shown.decode()


# --- calls


def test_version(cloudops):
    """`--version` prints one line and needs no workspace."""
    status, out, _ = cloudops("--version")
    assert status == 0
    assert out.startswith("cloudops ")
    assert out.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["pool", "--help"], ["run", "--help"]])
def test_help(cloudops, arguments):
    """Help is plain text and names the commands or options."""
    status, out, _ = cloudops(*arguments)
    assert status == 0
    assert "Usage: cloudops" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("arguments", [["nonsense"], ["pool", "show"], ["job", "list", "--what"]])
def test_wrong_calls(cloudops, arguments):
    """A wrong call has status 2 and says on standard error what is wrong."""
    status, out, err = cloudops(*arguments)
    assert status == 2
    assert out == ""
    assert "Error" in err


READING = [
    ["pool", "list"],
    ["pool", "show", "p"],
    ["job", "list", "--json"],
    ["job", "monitor", "j"],
    ["task", "list", "j"],
    ["task", "show", "j", "t"],
    ["job", "delete", "j"],
    ["logs", "j"],
    ["sweep"],
]


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_no_workspace(cloudops, workdir, arguments):
    """A command that looks makes no workspace: where there is none it says so, with status 3."""
    status, out, err = cloudops(*arguments)
    assert status == 3
    assert out == ""
    assert "no workspace here" in err
    assert "--home" in err
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["pool", "show", "nope"], 3, "no pool 'nope'"),
        (["job", "show", "nope"], 3, "no job 'nope'"),
        (["job", "delete", "nope"], 3, "no job 'nope'"),
        (["task", "list", "nope"], 3, "no job 'nope'"),
        (["task", "show", "fit", "nope"], 3, "no task 'nope'"),
        (["logs", "fit", "nope"], 3, "no task 'nope'"),
        (["logs", "fit", "--stdout", "--stderr"], 2, "exclude each other"),
        (["job", "monitor", "fit", "--timeout", "0"], 2, "not above 0"),
        (["run", "nope.py"], 3, "no script 'nope.py'"),
        (["run", "--max-parallel", "none", "x.py"], 2, "CLOUDOPS_MAX_PARALLEL='none'"),
        (["run", "--backend", "nope", __file__], 5, "no backend called 'nope'"),
        (
            ["--backend", "nope", "job", "list"],
            5,
            "no backend called 'nope'. The backends are: docker,",
        ),
        (["job", "list", "--backend", "nope"], 5, "no backend called 'nope'"),
        (["--backend", "nope", "status"], 5, "no backend called 'nope'"),
        (["--backend", "nope"], 5, "no backend called 'nope'"),
        (["backends", "--backend", "nope"], 5, "no backend called 'nope'"),
        (["--backend", "azure", "delete_job", "-n", "fit"], 5, "azure backend is not installed"),
        (["--dotenv", "nope.env", "job", "list"], 2, "'nope.env' does not exist"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_errors(cloudops, workspace, arguments, status, words):
    """An error is a message and a hint on standard error, no traceback, with its own status."""
    found, out, err = cloudops(*arguments)
    assert found == status
    assert out == ""
    assert words in err
    assert "Traceback" not in err
    assert err.startswith("cloudops: ")
    assert len(err.splitlines()) >= 2, "no hint"


@pytest.mark.parametrize("name", ["auto", "AUTO", " subprocess", "Docker"])
def test_known_backends(cloudops, workspace, name):
    """A backend's name is taken as in a setting, and need not answer for what asks it nothing."""
    assert cloudops("--backend", name, "job", "list")[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [["job", "delete", "nope"], ["job", "terminate", "nope"], ["logs", "nope"]],
    ids=" ".join,
)
def test_unknown_job(cloudops, workspace, arguments):
    """Who looks for a job that is not there learns which are, and not how to make one."""
    _, _, err = cloudops(*arguments)
    assert "Its jobs are: 'fit'." in err
    assert "create" not in err


def test_times_have_a_zone(cloudops, workspace, monkeypatch):
    """A time is shown with the zone of the user's clock."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        shown = cloudops("job", "list")[1]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert re.search(r" \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+05:30 ?", shown)


def test_unknown_errors_keep_their_traceback(workdir, monkeypatch):
    """What is not an error of ours is a defect, and comes through as it is."""
    monkeypatch.setattr(sys, "argv", ["cloudops", "backends"])
    monkeypatch.setattr(backends, "overview", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main()


def test_ctrl_c(cloudops, monkeypatch):
    """Ctrl-C ends a command quietly, by SIGINT, or with status 130 where that ends nothing."""

    def interrupt():
        raise KeyboardInterrupt

    ended = []
    monkeypatch.setattr(ending, "end_by_interrupt", lambda: ended.append(True))
    monkeypatch.setattr(backends, "overview", interrupt)
    assert cloudops("backends") == (130, "", "")
    assert ended == [True]


def test_reader_that_leaves(workspace):
    """A reader that closes the pipe is no reason for a word on standard error."""
    for arguments in (["pool", "show", "small"], ["--help"]):
        receiver, sender = os.pipe()
        os.close(receiver)
        try:
            done = subprocess.run(
                [*PROGRAM, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=sender,
                stderr=subprocess.PIPE,
                timeout=60,
                check=False,
            )
        finally:
            os.close(sender)
        assert done.stderr == b""
        assert done.returncode == 1


def test_start_up_loads_nothing_slow():
    """To know its commands, the command line loads no plugin, SDK, store or file system library."""
    slow = ("stevedore", "docker", "podman", "fsspec", "sqlite3", "cloudops_docker")
    code = f"import cfa.cloudops.cli.app, sys; print(*[m for m in {slow} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == ""


# --- pools and jobs


def test_pool_show(cloudops, workspace):
    """`pool show` is readable: backend, image, mounts, slots, limits."""
    status, out, _ = cloudops("pool", "show", "small")
    assert status == 0
    facts = dict(line.split("  ", 1) for line in out.splitlines())
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    assert facts["pool"] == "small"
    assert facts["backend"] == "subprocess"
    assert facts["image"] == "python:3.10-slim"
    assert facts["mounts"] == "input-test at /data, results at /out"
    assert facts["slots"] == "3 per node, 6 in all"
    assert facts["limits"] == "2 cores and 4.0 GiB of memory per node (not enforced by subprocess)"
    assert facts["metadata owner"] == "ada"


@pytest.mark.parametrize(
    ("holds", "resources", "shown"),
    [
        ((True, True), (2, 4), "2 cores and 4.0 GiB of memory per node"),
        ((True, False), (2, 4), "2 cores and 4.0 GiB of memory (not enforced by own) per node"),
        ((False, True), (2, None), "2 cores per node (not enforced by own)"),
        ((False, False), (None, 4), "4.0 GiB of memory per node (not enforced by own)"),
        (
            None,
            (2, None),
            "2 cores per node (as far as own enforces them: it does not answer)",
        ),
        (None, (None, None), "none"),
    ],
)
def test_pool_limits(monkeypatch, holds, resources, shown):
    """A limit that the backend does not enforce is shown as such; a backend that does not answer is
    no reason to show nothing."""

    class Own:
        def probe(self):
            if holds is None:
                raise BackendUnavailableError("It does not answer.")
            cpus, memory = holds
            return Capabilities(
                version="1", endpoint="here", enforces_cpus=cpus, enforces_memory=memory
            )

        def close(self):
            """Nothing is held."""

    monkeypatch.setattr(backends, "load_executor", lambda name: Own())
    cpus, gib = resources
    limits = Resources(cpus=cpus, memory_bytes=gib and gib << 30)
    assert pools._limits(PoolSpec(id="p", backend="own", resources=limits)) == shown


def test_job_show(cloudops, workspace):
    """`job show` is readable: pool, state, tasks, retries, time limit, directory."""
    status, out, _ = cloudops("job", "show", "FIT")
    assert status == 0
    for words in ("fit", "active", "small", "1:00:00", str(workspace / "root")):
        assert words in out
    assert "retries" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["pool", "list"],
        ["pool", "show", "small"],
        ["job", "list"],
        ["job", "show", "fit"],
        ["task", "list", "fit"],
    ],
    ids=" ".join,
)
def test_json_is_one_document(cloudops, workspace, arguments):
    """With `--json` standard output is exactly one JSON document."""
    status, out, err = cloudops(*arguments, "--json")
    assert status == 0
    assert err == ""
    json.loads(out)


def test_json_of_a_pool(cloudops, workspace):
    """JSON has the names and units of the values, times in ISO 8601."""
    [pool] = json.loads(cloudops("pool", "list", "--json")[1])
    assert pool["spec"]["id"] == "small"
    assert pool["spec"]["mounts"][0] == {"source": "input-test", "target": "data"}
    assert pool["spec"]["resources"] == {"cpus": 2, "memory_bytes": 4 << 30}
    assert datetime.fromisoformat(pool["created"]).tzinfo is not None


def test_empty_lists(cloudops, workspace):
    """A list without entries says so on standard error and is empty on standard output."""
    assert cloudops("task", "list", "fit") == (0, "", "cloudops: no tasks\n")
    cloudops("pool", "delete", "small")
    assert cloudops("pool", "list") == (0, "", "cloudops: no pools\n")


def test_delete_pool(cloudops, workspace):
    """`pool delete` deletes each pool that it names."""
    assert cloudops("pool", "delete", "small")[:2] == (0, "deleted pool small\n")
    assert cloudops("pool", "show", "small")[0] == 3


def test_looking_changes_nothing(cloudops, workspace):
    """A command that looks leaves the store as it is, whatever this shell's settings are."""

    def dump():
        with contextlib.closing(sqlite3.connect(workspace / "store.db")) as store:
            return list(store.iterdump())

    deadline = time.monotonic() + 20
    while not greeting(Workspace(workspace)):  # the agent writes that it has begun
        assert time.monotonic() < deadline
        time.sleep(0.01)
    before = dump()
    for arguments in (["job", "list"], ["pool", "show", "small"], ["logs", "fit"], ["doctor"]):
        cloudops(*arguments)
    assert dump() == before


def test_home(cloudops, workspace, workdir, monkeypatch):
    """`--home` and CLOUDOPS_HOME name a workspace from anywhere; the option wins."""
    (workdir / "deep").mkdir()
    monkeypatch.chdir(workdir / "deep")
    assert cloudops("job", "list")[0] == 3
    assert "fit" in cloudops("--home", "../.cloudops", "job", "list")[1]
    monkeypatch.setenv("CLOUDOPS_HOME", str(workspace))
    assert "fit" in cloudops("job", "list")[1]
    assert cloudops("--home", "elsewhere", "job", "list")[0] == 3


def test_dotenv(cloudops, workspace, workdir, monkeypatch):
    """`--dotenv` names a file of settings."""
    (workdir / "deep").mkdir()
    (workdir / "my.env").write_text(f"CLOUDOPS_HOME={workspace}\n")
    monkeypatch.chdir(workdir / "deep")
    assert "fit" in cloudops("--dotenv", "../my.env", "job", "list")[1]


def test_damaged_store(cloudops, workdir):
    """A store that cannot be read has status 6 and a hint."""
    (workdir / ".cloudops").mkdir()
    (workdir / ".cloudops" / "store.db").write_text("this is no database, " * 400)
    status, _, err = cloudops("job", "list")
    assert status == 6
    assert "damaged" in err


def test_backends(cloudops, monkeypatch):
    """`backends` lists name, group, distribution, version, state, and why not."""
    infos = [
        backends.BackendInfo(
            name="docker",
            group="executors",
            distribution="cfa-cloudops",
            version="1",
            state="not answering",
            why="It does not answer. Start it.",
        )
    ]
    monkeypatch.setattr(backends, "overview", lambda: infos)
    status, out, _ = cloudops("backends")
    assert status == 0
    assert "not answering" in out
    assert "Start it." in out
    assert json.loads(cloudops("backends", "--json")[1])[0]["state"] == "not answering"


# --- terminals


def test_terminal_tables(workspace):
    """On a terminal a table is laid out by rich and coloured; elsewhere it is plain and aligned."""
    status, shown = on_terminal("job", "list")
    assert status == 0
    assert "\x1b[" in shown
    assert "fit" in shown
    plain = run("job", "list").stdout
    assert "\x1b" not in plain
    header, line = plain.splitlines()
    assert header.index("POOL") == line.index("small")


JOBS = ("job", "pool", "state", "active", "running", "succeeded", "failed", "created", "problem")
LONG = "weekly-forecast-run-2026-11-23-all-states"
TIME = "2026-11-23 12:14:33+01:00"
LINE = (LONG, "production-pool-2026", "completed", "0", "1", "2345", "0", TIME, "")
SPARED = ("pool", "created", "succeeded", "active")


def fitted(headers, *lines, room, **more):
    """Columns that fit into a terminal, by title, and their widths."""
    columns = output._fit(headers, lines, room, **more)
    assert sum(column.width + 2 for column in columns) <= room
    return {column.title: column.width for column in columns}


@pytest.mark.parametrize("room", [80, 120])
def test_tables_fit(room):
    """Long ids are folded; states, numbers and times stay whole; no column is squeezed to nothing."""
    found = fitted(JOBS, LINE, room=room)
    assert "problem" not in found
    assert found["state"] == 9
    assert found["created"] in (14, 25)  # the date above the hour
    assert found["succeeded"] >= 4
    assert min(found["job"], found["pool"]) >= 12


def test_tables_of_60_columns():
    """Where not all fits, what is spared makes room in its order, and the others are readable."""
    found = fitted(JOBS, LINE, room=60, spared=SPARED)
    assert list(found) == ["job", "state", "active", "running", "succeeded", "failed"]
    assert found["job"] >= 20
    found = fitted(JOBS, (*LINE[:-1], "The pool is gone."), room=60, spared=SPARED)
    assert list(found) == ["job", "state", "running", "failed", "problem"]
    found = fitted(JOBS, LINE, room=40, spared=SPARED)
    assert list(found) == ["job", "state", "running", "failed"]


CELLS = st.sampled_from([*LINE, "5", "1:02:03", "12.1 KiB", "a reason " * 9])


@given(
    st.lists(CELLS, min_size=1, max_size=9),
    st.integers(1, 130),
    st.booleans(),
)
def test_tables_never_break_what_is_short(cells, room, folded):
    """However narrow the terminal is, numbers, times and words are whole or left out."""
    headers = [f"header{n}" for n in range(len(cells))]
    columns = output._fit(headers, [cells], room, folded=folded)
    assert columns[0].title == "header0"
    for column in columns[1:]:
        words = column.cells[0].split() if folded and column.cells[0] == TIME else column.cells
        if len(column.cells[0]) <= 14 or column.cells[0] == TIME:
            assert column.width >= max(map(len, words))
        else:
            assert column.width >= 12
    assert sum(column.width + 2 for column in columns) <= max(room, 3)


def test_tables_that_fit():
    """A table that fits is shown whole, with its empty last column."""
    line = ("fit", "p", "active", "0", "0", "0", "0", TIME, "")
    found = fitted(JOBS, line, room=120)
    assert found == dict(zip(JOBS, (3, 4, 6, 6, 7, 9, 6, 25, 7), strict=True))
    assert list(fitted(JOBS, room=120)) == list(JOBS)


def test_narrow_terminal(workspace):
    """`job list` is readable in 80 columns, and an id that is folded is there whole."""
    with contextlib.closing(LocalBatch(settings.load(default_backend="subprocess"))) as batch:
        batch.create_job(JobSpec(id=LONG, pool_id="small"))
    status, shown = on_terminal("job", "list", COLUMNS="80", NO_COLOR="1")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert status == 0
    assert lines[0].split() == ["job", "pool", "state", "acti", "runn", "succ", "fail", "created"]
    assert max(map(len, lines)) <= 80
    assert "".join(line.split(" ")[0] for line in lines[2:]) == LONG
    status, shown = on_terminal("job", "list", COLUMNS="60", NO_COLOR="1")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert lines[0].split() == ["job", "state", "acti", "runn", "succ", "fail"]
    assert lines[-1] == "cloudops: a wider terminal also shows: pool, created"


def test_no_color(workspace):
    """NO_COLOR takes the colours, also on a terminal."""
    _, shown = on_terminal("job", "show", "nope", NO_COLOR="1")
    assert "\x1b[31m" not in shown
    _, shown = on_terminal("job", "show", "nope")
    assert "\x1b[31m" in shown


@pytest.mark.parametrize(
    ("arguments", "coloured"),
    [
        (["job", "list"], "\x1b[33mactive\x1b[0m"),
        (["job", "show", "fit"], "\x1b[1mpool"),
        (["pool", "list"], "\x1b[1mPOOL\x1b[0m"),
        (["pool", "show", "nope"], "\x1b[31mcloudops: "),
        (["task", "list", "fit"], "\x1b[33mcloudops:\x1b[0m no tasks"),
    ],
    ids=str,
)
def test_forced_colours(workspace, arguments, coloured):
    """FORCE_COLOR colours what is no terminal, and changes nothing else; NO_COLOR is stronger."""
    plain, forced, neither = (
        run(*arguments, env={**os.environ, **more})
        for more in ({}, {"FORCE_COLOR": "1"}, {"FORCE_COLOR": "1", "NO_COLOR": "1"})
    )
    assert "\x1b" not in plain.stdout + plain.stderr
    assert coloured in forced.stdout + forced.stderr
    assert [re.sub(r"\x1b\[[0-9;]*m", "", text) for text in (forced.stdout, forced.stderr)] == [
        plain.stdout,
        plain.stderr,
    ]
    assert (neither.stdout, neither.stderr) == (plain.stdout, plain.stderr)


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({}, "cloudops: said"),
        ({"FORCE_COLOR": "1"}, "\x1b[33mcloudops:\x1b[0m said"),
        ({"FORCE_COLOR": ""}, "cloudops: said"),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, "cloudops: said"),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, "\x1b[33mcloudops:\x1b[0m said"),
    ],
    ids=str,
)
def test_colours_of_remarks(monkeypatch, capsys, environment, shown):
    """Our remarks in a script follow the same rule."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    say("said")
    assert capsys.readouterr().err == f"{shown}\n"


def test_remarks_to_anything(monkeypatch):
    """A script may have put something of its own in the place of standard error."""

    class Kept(list):
        write = list.append

    kept = Kept()
    monkeypatch.setattr(sys, "stderr", kept)
    say("said")
    assert kept == ["cloudops: said\n"]


# --- words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (42.4, "42 s"), (3723, "1:02:03")],
)
def test_durations(seconds, text):
    """Durations are short to read."""
    assert output.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB")]
)
def test_sizes(count, text):
    """Sizes have binary units."""
    assert output.size(count) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 files"), (1, "1 file"), (2, "2 files")])
def test_files(count, text):
    """One file is no files."""
    assert counted(count, "file") == text


@pytest.mark.parametrize(
    ("hint", "shown"),
    [
        (
            "Pass exist_ok=True to go on with it, delete it with delete_job, or choose another.",
            "Give --exist-ok to go on with it, delete it with 'cloudops job delete', or choose another.",
        ),
        (
            "Pass create_new_folder=True to make it.",
            "Give --create-new-folder to make it.",
        ),
        ("Create it with create_pool, or run.", "Create it with 'cloudops pool create', or run."),
        (
            "Use client.check_job_status(job_name) first.",
            "Use 'cloudops job status' first.",
        ),
        ("Use integer ids (task_id_ints=True).", "Use integer ids (--task-id-ints)."),
        (
            "Say so: X=resume. In the script: existing_job='replace' or exist_ok=True.",
            "Say so: X=resume.",
        ),
        ("Rename 'create_job' or run cloudops create_job.py.", None),
        ("Make the test pass; say hello.", None),
    ],
)
def test_hints(capsys, hint, shown):
    """What a hint says in Python is said in options and commands, names of the user's stay."""
    output.show_error(CloudOpsError("What happened: create_job.", hint))
    assert capsys.readouterr().err == f"cloudops: What happened: create_job.\n  {shown or hint}\n"


def test_cells_have_no_control_characters(capsys):
    """A command of several lines, or one that would steer the terminal, stays one plain line."""
    output.table(("a", "b"), [("x\ny", "\x1b[31mred"), ("é", "")])
    assert capsys.readouterr().out == "A     B\nx\\ny  \\x1b[31mred\né\n"


def test_facts_leave_out_what_is_empty(capsys):
    """Names without a value are not shown; 0 is a value."""
    output.facts([("one", 0), ("two", None), ("three", ""), ("four", "x")])
    assert capsys.readouterr().out == "one   0\nfour  x\n"


def test_documents(capsys):
    """Values of ours, times and tuples become JSON."""
    output.document(
        {
            "pool": evolve(PoolSpec(id="p", backend="b"), mounts=(Mount("abc", "d"),)),
            "at": datetime(2026, 1, 2, tzinfo=UTC),
            "error": InvalidInputError.exit_status,
        }
    )
    found = json.loads(capsys.readouterr().out)
    assert found["pool"]["isolation"] == "job"
    assert found["pool"]["mounts"] == [{"source": "abc", "target": "d"}]
    assert found["at"] == "2026-01-02T00:00:00+00:00"


@pytest.mark.parametrize("words", [[], ["job"], ["job", "list"], ["run"]])
def test_help_as_a_word(cloudops, words):
    """`cloudops help job list` is `cloudops job list --help`."""
    assert cloudops("help", *words) == cloudops(*words, "--help")
    if words in (["run"], ["job", "list"]):  # what follows is not taken for a script
        assert cloudops("help", *words, "nothing.py", "-x") == cloudops(*words, "--help")
    status, _, err = cloudops("help", "nosuch")
    assert (status, "no command 'nosuch'" in err) == (2, True)


def test_advice_has_the_name(cloudops, workdir):
    """What to type has the name that was meant."""
    _, _, err = cloudops("blob", "list", "nosuch")
    assert err.endswith("To create it: 'cloudops blob create-container -c nosuch'.\n")


def test_a_file_in_the_place_of_the_workspace(cloudops, workdir):
    """The error says what to move away, for a command and for a client."""
    (workdir / ".cloudops").write_text("")
    status, _, err = cloudops("job", "list")
    assert status == 6
    assert f"Move {workdir}/.cloudops away" in err
    with pytest.raises(StoreError, match=f"Move {workdir}/.cloudops away"):
        CloudClient(backend="subprocess")
    with pytest.raises(StoreError, match=f"Move {workdir}/.cloudops away"):
        CloudClient(backend="subprocess", home=workdir / ".cloudops" / "deep" / "home")


def test_sample_that_cannot_be_written(cloudops, workdir, monkeypatch):
    """A folder that cannot be written is no reason for a traceback."""

    def refuse(*_args, **_more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    status, _, err = cloudops("generate-sample-env")
    assert (status, "Could not write cloudops-sample.env: Permission denied." in err) == (2, True)


def test_narrow_list_of_tasks(workdir):
    """Where a terminal has no room for exit codes and commands, it shows the exit codes."""
    with contextlib.closing(CloudClient(backend="subprocess", at_exit="detach")) as client:
        client.create_pool("p", container_image_name="x")
        client.create_job("fit", "p")
        client.add_task("fit", "python3 -c 'import nosuchmodule; print(1)'")
        client.monitor_job("fit")
    status, shown = on_terminal("task", "list", "fit", COLUMNS="50", NO_COLOR="1")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert status == 0
    assert lines[0].split() == ["task", "state", "result", "exit"]
    assert lines[-1].endswith("a wider terminal also shows: time, tries, command")
