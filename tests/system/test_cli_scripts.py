"""The cloud's scripts as commands, one process after the other, on every backend."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

PROGRAM = [sys.executable, "-m", "cfa.cloudops.cli"]
LIMIT_S = 60


def cloudops(line, status=0):
    """Runs a command and checks its status; its standard output."""
    done = subprocess.run(
        [*PROGRAM, *shlex.split(line)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == status, (line, done.returncode, done.stdout, done.stderr)
    return done.stdout


def test_one_job_many_processes(workdir, backend, image):
    """Processes that name the same job go on with it: its ids, where its logs go, its end."""
    cloudops("create_blob_container -c logs-test")
    assert cloudops(f"create_pool -n p -c {image} -m logs-test:data -t 2") == "pool p is ready\n"
    create = "create_job -n j -pn p -s logs-test -l shell --exist_ok"
    assert cloudops(create) == "created job j\n"
    assert cloudops("add_task -jn j -c 'echo one'") == "j--1\n"
    assert cloudops(create) == "job j exists\n"
    assert (
        cloudops("add_task -jn j -n fit -d j--1 -c \"sh -c 'echo two >/data/two'\"") == "j-fit-2\n"
    )
    cloudops("monitor_job -n j -t 1")
    assert cloudops("check_job_status -n j") == "complete\n"
    assert cloudops("download_after_job -j j -b two -t out -c logs-test")
    assert (workdir / "out" / "two").read_text() == "two\n"
    saved = cloudops("list_blob_files -c logs-test").splitlines()
    assert any(name.startswith("shell/") and name.endswith("j--1/stdout.txt") for name in saved)

    assert cloudops("add_task -jn j -c 'sh -c \"exit 3\"'") == "j--3\n"
    cloudops("monitor_job -n j", status=1)
    cloudops("check_job_status -n j", status=1)
    cloudops("download_after_job -j j -b two -t out -c logs-test", status=1)
    assert json.loads(cloudops("get_task_status -j j -t j--3"))["exit_code"] == 3
    assert cloudops("delete_job -n j") == "deleted job j\n"
    assert cloudops("check_job_status -n j", status=3) == "does not exist\n"
