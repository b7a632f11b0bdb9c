"""Tasks that forked workers of a script add are the script's: it waits for them and counts them."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.parametrize("backend", ["subprocess-nosandbox"], indirect=True)

SCRIPT = """\
import multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor
multiprocessing.set_start_method("fork")
{before}
from cfa.cloudops.local import CloudClient

client = CloudClient()
client.create_pool("p")
client.create_job("j", "p")


def add(word):
    client.add_task("j", f"sh -c 'sleep 0.5; echo {{word}}; exit 3'")


def add_by_copy(used):
    used.add_task("j", "sh -c 'sleep 0.5; echo word; exit 3'")


def add_anew(word):
    global client
    client = CloudClient()
    add(word)


{body}
"""
FORK = """\
child = os.fork()
if not child:
    {child}
os.waitpid(child, 0)
"""
WAYS = {
    "fork": FORK.format(child="add('word'); os._exit(0)"),
    "fork of a fork": FORK.format(
        child="multiprocessing.Process(target=add, args=('word',)).start(); sys.exit(0)"
    ),
    "a fork that ends as a script": FORK.format(child="add('word'); sys.exit(0)"),
    "a fork with a client of its own": FORK.format(child="add_anew('word'); sys.exit(0)"),
    "process": (
        "worker = multiprocessing.Process(target=add, args=('word',))\nworker.start()\nworker.join()"
    ),
    "process that nobody joins": (
        "def late():\n"
        "    time.sleep(1)\n"
        "    add('word')\n"
        "multiprocessing.Process(target=late).start()"
    ),
    "pool": (
        "with multiprocessing.Pool(1) as pool:\n"
        "    pool.map(add, ['word'])\n"
        "    pool.map(time.sleep, [0])"
    ),
    "executor": (
        "with ProcessPoolExecutor(1) as pool:\n"
        "    list(pool.map(add, ['word']))"
    ),
    "a copy": (
        "with ProcessPoolExecutor(1) as pool:\n"
        "    list(pool.map(add_by_copy, [client]))"
    ),
    "a client of its own": (
        "with ProcessPoolExecutor(1) as pool:\n"
        "    list(pool.map(add_anew, ['word']))"
    ),
}  # fmt: skip


def script(body, before=""):
    return SCRIPT.format(body=body, before=before)


@pytest.mark.promise(
    "CloudClient",
    "Tasks that forked workers add count as the script's own.",
    local="it waits for them, shows them, and `CLOUDOPS_ON_FAILURE=exit` counts them",
    cloud="the status says nothing of tasks",
    difference="ours only",
)
@pytest.mark.parametrize("body", WAYS.values(), ids=WAYS)
def test_tasks_of_workers(bench, body):
    """A script waits once for what its workers added, and fails when that failed."""
    status, out, err = bench.run(script(body), CLOUDOPS_ON_FAILURE="exit")
    assert (status, out) == (1, "j--1 | word\n"), err
    assert err.count("0 succeeded, 1 failed: j--1") == 1


@pytest.mark.parametrize(
    ("settings", "status", "shown"),
    [
        ("", 0, "j--1 | word\n"),
        ("on_failure='exit'", 1, "j--1 | word\n"),
        ("at_exit='detach'", 0, ""),
    ],
)
def test_clients_of_workers_alone(bench, settings, status, shown):
    """A script without a client waits as well: its workers have made theirs with these settings."""
    bench.ready()
    body = (
        "import os\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from cfa.cloudops.local import CloudClient\n"
        "def add(word):\n"
        f"    client = CloudClient({settings})\n"
        "    client.add_task('j', f\"sh -c 'sleep 0.5; echo {word}; exit 3'\")\n"
        "    os._exit(0)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    add('word')\n"
        "os.waitpid(child, 0)\n"
    )
    ended, out, err = bench.run(body)
    assert (ended, out) == (status, shown), err
    assert ("detached; 1 task" if not shown else "0 succeeded, 1 failed: j--1") in err


@pytest.mark.parametrize("way", ["process that nobody joins", "executor"])
def test_multiprocessing_is_loaded_first(bench, way):
    """It also waits for what workers add that Python itself would wait for only later."""
    # By TCP: the path of its socket could be too long.
    before = (
        "from multiprocessing.managers import SyncManager\n"
        "manager = SyncManager(('127.0.0.1', 0))\n"
        "manager.start()"
    )
    status, out, err = bench.run(script(WAYS[way], before), CLOUDOPS_ON_FAILURE="exit")
    assert (status, out) == (1, "j--1 | word\n"), err


@pytest.mark.parametrize(
    "more",
    ["client.monitor_job('j')", "client.delete_job('j')"],
)
@pytest.mark.parametrize("where", ["child", "script"])
def test_what_was_seen(bench, more, where):
    """What a worker or the script itself has watched to its end, or deleted, is not waited for."""
    end = f"add('word'); {more if where == 'child' else ''}; os._exit(0)".replace("; ;", ";")
    body = FORK.format(child=end) + (more if where == "script" else "")
    status, out, err = bench.run(script(body))
    assert status == 0, err
    assert "word" not in out
    assert "succeeded" not in err


def test_several_workers(bench):
    """Lines of several workers stay whole; the script has tasks of its own beside theirs."""
    body = (
        "add('first')\n"
        "def many(number):\n"
        "    for _ in range(20):\n"
        "        client.add_task('j', 'true')\n"
        "with ProcessPoolExecutor(4) as pool:\n"
        "    list(pool.map(many, range(4)))"
    )
    status, out, err = bench.run(script(body))
    assert (status, out) == (0, "j--1  | first\n"), err
    assert "80 succeeded, 1 failed: j--1\n" in err


def test_clients_that_are_closed(bench):
    """What workers add with one client is waited for, though another one was closed; what they add
    with one that is closed is not, as usual."""
    body = (
        "other = CloudClient()\n"
        "with ProcessPoolExecutor(1) as pool:\n"
        "    list(pool.map(add, ['word']))\n"
        "{}.close()"
    )
    status, out, err = bench.run(script(body.format("other")), CLOUDOPS_ON_FAILURE="exit")
    assert (status, out) == (1, "j--1 | word\n"), err
    again = script(body.format("client")).replace('"j"', '"k"')
    status, out, err = bench.run(again, CLOUDOPS_ON_FAILURE="exit")
    assert (status, out, err) == (0, "", "")


def test_a_daemon(bench):
    """A child that has closed all files writes into none that has got the number of one of ours."""
    end = (
        "os.closerange(3, 100)\n"
        "    files = [os.open(f'data{number}', os.O_RDWR | os.O_CREAT) for number in range(60)]\n"
        "    CloudClient().add_task('j', 'true')\n"
        "    os._exit(0)"
    )
    status, _, err = bench.run(script(FORK.format(child=end)))
    assert status == 0, err
    assert {one.read_bytes() for one in bench.place.glob("data*")} == {b""}


@pytest.mark.parametrize("options", [[], ["--check"]])
def test_run(bench, options):
    """`cloudops run` fails when what a worker added failed."""
    (bench.place / "script.py").write_text(script(WAYS["executor"]))
    done = subprocess.run(
        [sys.executable, "-m", "cfa.cloudops.cli", "run", *options, "script.py"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "j--1 | word\n"), done.stderr
