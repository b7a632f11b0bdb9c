"""Tasks that workers of `multiprocessing` add are the script's, also if they are spawned."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.parametrize("backend", ["subprocess-nosandbox"], indirect=True),
    pytest.mark.usefixtures("short_tmp"),
]

#: Clients are made in the workers, by the import of the script, or are copies.
SCRIPT = """\
import multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from cfa.cloudops.local import CloudClient


def add(used=None):
    used = used or CloudClient()
    used.add_task("j", "sh -c 'sleep 0.5; echo word; exit 3'")


def add_and_close():
    client = CloudClient()
    add(client)
    client.close()


def add_and_watch():
    client = CloudClient()
    add(client)
    client.monitor_job("j")


def add_in_a_worker():
    worker = multiprocessing.get_context("{method}").Process(target=add)
    worker.start()
    worker.join()


def add_without_sentinel():  # as in workers of joblib
    multiprocessing.parent_process()._sentinel = None
    add()


def late():
    time.sleep(1)
    add()


if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    {client}
    {body}
"""
MAKES = "client = CloudClient(); client.create_pool('p'); client.create_job('j', 'p')"
PROCESS = "worker = context.Process(target={}); worker.start(); worker.join()"
WAYS = {
    "process": PROCESS.format("add"),
    "process that nobody joins": "context.Process(target=late).start()",
    "process of another library": PROCESS.format("add_without_sentinel"),
    "worker of a worker": PROCESS.format("add_in_a_worker"),
    "pool": "with context.Pool(1) as pool: pool.apply(add)",
    "executor": "with ProcessPoolExecutor(1, context) as pool: pool.submit(add).result()",
    "a copy": "with context.Pool(1) as pool: pool.apply(add, [client])",
}  # fmt: skip
METHODS = pytest.mark.parametrize("method", ["spawn", "forkserver"])


def script(method, body, client=MAKES):
    return SCRIPT.format(method=method, body=body, client=client)


@METHODS
@pytest.mark.promise(
    "CloudClient",
    "Tasks that spawned workers add count as the script's own.",
    local="it waits for them, shows them, and `CLOUDOPS_ON_FAILURE=exit` counts them",
    cloud="the status says nothing of tasks",
    difference="ours only",
)
@pytest.mark.parametrize("body", WAYS.values(), ids=WAYS)
def test_tasks_of_workers(bench, method, body):
    """A script waits once for what its workers added, and fails when that failed."""
    status, out, err = bench.run(script(method, body), CLOUDOPS_ON_FAILURE="exit")
    assert (status, out) == (1, "j--1 | word\n"), err
    assert err.count("0 succeeded, 1 failed: j--1") == 1


@METHODS
def test_clients_of_workers_alone(bench, method):
    """A script without a client waits as well."""
    bench.ready()
    body = script(method, WAYS["pool"], "pass")
    status, out, err = bench.run(body, CLOUDOPS_ON_FAILURE="exit")
    assert (status, out) == (1, "j--1 | word\n"), err
    assert err.count("0 succeeded, 1 failed: j--1") == 1


@METHODS
@pytest.mark.parametrize("target", ["add_and_close", "add_and_watch"])
def test_what_nobody_waits_for(bench, method, target):
    """What a worker has watched to its end, or added with a client that it closed, is not waited for."""
    status, out, err = bench.run(script(method, PROCESS.format(target)))
    assert (status, out.count("word")) == (0, 0), err
    assert "succeeded" not in err


@METHODS
def test_the_worker_ends_without_waiting(bench, method):
    """A worker ends at once, with its own exit status, so that the script can go on."""
    body = PROCESS.format("add") + "; print(worker.exitcode, client.check_job_status('j'))"
    status, out, err = bench.run(script(method, body), CLOUDOPS_ON_FAILURE="exit")
    assert (status, out.splitlines()[0]) == (1, "0 active"), err


@METHODS
@pytest.mark.parametrize("options", [[], ["--check"]])
def test_run(bench, method, options):
    """`cloudops run` fails when what a worker added failed."""
    (bench.place / "script.py").write_text(script(method, WAYS["pool"]))
    done = subprocess.run(
        [sys.executable, "-m", "cfa.cloudops.cli", "run", *options, "script.py"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "j--1 | word\n"), done.stderr


@METHODS
def test_programs_that_a_script_starts(bench, method):
    """A program that is no worker waits for its own tasks, also below a script that has workers."""
    (bench.place / "other.py").write_text(
        "from cfa.cloudops.local import CloudClient\n"
        "CloudClient().add_task('j', \"sh -c 'sleep 0.5; echo other'\")\n"
    )
    body = (
        "import subprocess; "
        "print([subprocess.run([sys.executable, 'other.py'], capture_output=True).stdout])"
    )
    status, out, err = bench.run(script(method, body))
    assert (status, out) == (0, "[b'j--1 | other\\n']\n"), err
