"""Clients and what stands for the SDK's clients go to other processes."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Iterator

import pytest

from cfa.cloudops.local import CloudClient, Task, blob_helpers

HANDLES = (
    "batch_service_client", "batch_mgmt_client", "compute_mgmt_client", "blob_service_client",
)  # fmt: skip


@pytest.fixture
def client(workdir, monkeypatch) -> Iterator[CloudClient]:
    """A client whose tasks run as plain processes, with a pool, a job and a blob container."""
    monkeypatch.setenv("CLOUDOPS_SUBPROCESS_SANDBOX", "off")
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    made = CloudClient(azure_batch_account="acct", max_parallel=3)
    made.create_blob_container("input-test")
    made.create_pool("p", mounts=["input-test"])
    made.create_job("j", "p")
    yield made
    made.close()


@pytest.mark.promise(
    "CloudClient",
    "Clients, `batch_service_client` and its kin, and handles of containers can be pickled.",
    local="the copy connects anew to the same workspace and storage, with the same settings",
    cloud="the SDK's clients can",
    difference="the client itself as well",
)
def test_client(client, workdir, monkeypatch):
    """A copy of a client has its settings and attributes, wherever it is made."""
    client.full_container_name = "r.io/i:1"
    data = pickle.dumps(client)
    (workdir / "else").mkdir()
    monkeypatch.chdir(workdir / "else")
    monkeypatch.setenv("CLOUDOPS_BACKEND", "docker")
    copied = pickle.loads(data)
    assert type(copied) is CloudClient
    assert repr(copied) == repr(client)
    assert copied._settings == client._settings
    assert copied.cred.azure_batch_account == "acct"
    assert (copied.pool_name, copied.jobs, copied.full_container_name) == ("p", {"j"}, "r.io/i:1")
    assert copied.add_task("true") == "j--1"
    assert [task.id for task in client.list_tasks("j")] == ["j--1"]
    copied.close()
    client.monitor_job("j", timeout=1)


def test_copies(client):
    """`copy` and `deepcopy` give clients that work after the first was closed."""
    copies = [copy.copy(client), copy.deepcopy(client)]
    client.close()
    for one in copies:
        assert [job.id for job in one.list_jobs()] == ["j"]
        one.close()


def test_closed_client(client):
    """A closed client can be pickled; its copy is open."""
    client.close()
    copied = pickle.loads(pickle.dumps(client))
    assert [pool.id for pool in copied.list_pools()] == ["p"]
    copied.close()


@pytest.mark.parametrize("attribute", HANDLES)
def test_handles(client, attribute):
    """A copy of a handle belongs to a copy of its client."""
    copied = pickle.loads(pickle.dumps(getattr(client, attribute)))
    assert copied is getattr(copied.cloud_client, attribute)
    assert copied.cloud_client.pool_name == "p"
    copied.cloud_client.close()


def test_container_handles(client):
    """Handles of containers and streams of blobs work in a copy."""
    container = client.blob_service_client.get_container_client("input-test")
    blob_helpers.write_blob_stream("text", "a", container_client=container)
    stream = blob_helpers.read_blob_stream("a", container_client=container)
    container, stream = pickle.loads(pickle.dumps((container, stream)))
    assert container.container_name == "input-test"
    assert blob_helpers.check_blob_existence(container, "a")
    assert stream.readall() == b"text"


def test_strict_client(client):
    """A strict client stays strict; the copy begins a report of its own."""
    strict = CloudClient(strict=True, at_exit="detach")
    copied = pickle.loads(pickle.dumps(strict))
    assert copied.rehearsal is not None
    assert copied.rehearsal.findings == []
    for one in (strict, copied):
        one.close()


def test_values(client):
    """Jobs, pools, tasks, lists of them and results of graphs are plain values."""
    by_task = client.run_dag(Task("true"), job_name="j")
    found = (client.list_jobs(), client.list_pools(), client.list_tasks("j"), by_task)
    copied = pickle.loads(pickle.dumps(found))
    assert copied[1:3] == found[1:3]
    assert copied[1]._repr_html_() == found[1]._repr_html_()
    assert list(copied[3].values()) == ["j--1"]
    client.monitor_job("j", timeout=1)


WORKERS = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from cfa.cloudops.local import CloudClient

def add(client, number):
    return client.add_task("j", f"echo {number}", name_suffix="w")

if __name__ == "__main__":
    client = CloudClient()
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as workers:
        ids = list(workers.map(add, [client] * 4, range(4)))
    client.monitor_job("j", timeout=1)
    print(sorted(client.read_task_output("j", one) for one in ids))
"""


def test_worker_processes(client, workdir):
    """Processes of a pool add tasks with the client that they are given."""
    (workdir / "workers.py").write_text(WORKERS)
    done = subprocess.run(
        [sys.executable, "workers.py"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == r"['0\n', '1\n', '2\n', '3\n']"
