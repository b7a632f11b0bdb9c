"""Rehearsals and the low-level modules on every backend."""

from __future__ import annotations

import contextlib

import pytest

from cfa.cloudops.backends import load_executor
from cfa.cloudops.errors import StrictError
from cfa.cloudops.local import batch_helpers, blob_helpers, task

SCRIPT = """
from cfa.cloudops.local import CloudClient
client = CloudClient()
client.create_blob_container("kept")
client.create_pool("p", mounts=["kept"], container_image_name={image!r})
client.create_job("j", "p")
first = client.add_task("j", "sh -c 'echo here > /kept/file; echo here > /left.{name}'")
client.add_task("j", "sh -c 'cat /kept/file; ls /left.{name}'", depends_on=first,
                run_dependent_tasks_on_fail=True)
client.add_task("j", "echo a | sort")
"""


def test_script_in_rehearsal(bench):
    """A script runs to its end as always; in containers a task finds nothing of the one before it but
    what is in a mount; the report comes last."""
    if bench.containers:
        status, out, err = bench.run(
            SCRIPT.format(image=bench.image, name="rehearsal"), CLOUDOPS_STRICT="1"
        )
        assert "j--2 | here" in out
        assert "j--2 | ls: " in err
    else:  # a plain process would leave the file on the machine
        text = SCRIPT.replace("; echo here > /left.{name}", "").replace("; ls /left.{name}", "")
        status, out, err = bench.run(text.format(image=bench.image), CLOUDOPS_STRICT="1")
    assert status == 0
    report = err[err.index("cloudops rehearsal: 0 refused, ") :]
    assert "warn image-registry" in report
    assert "has |, but no shell." in report
    with contextlib.closing(load_executor(bench.backend.executor)) as executor:
        assert ("warn memory-limit" in report) is not executor.probe().enforces_memory
    assert err.index("succeeded") < err.index("cloudops rehearsal")


@pytest.mark.parametrize("backend", ["subprocess-nosandbox"], indirect=True)
def test_tasks_for_a_completed_job(bench):
    """What was waited for is completed on the cloud and takes no tasks; a job that stays active does."""
    client = bench.client(strict=True)
    client.create_pool("p", container_image_name="docker.io/library/alpine")
    client.create_job("j", "p")
    for number in range(1, 4):  # in a loop, jobs may complete in between; there as here by chance
        assert client.add_task("j", "true") == f"j--{number}"
        bench.completed(client)
    client.monitor_job("j", timeout=1)
    with pytest.raises(StrictError, match="409 JobCompleted"):
        client.add_task("j", "true")
    client.create_job("open", "p", mark_complete_after_tasks_run=False)
    client.add_task("open", "true")
    client.monitor_job("open", timeout=1)
    assert client.add_task("open", "true") == "open--2"


def test_low_level_modules(bench):
    """A task made of the low-level modules' values runs, and they see it and what it wrote."""
    client = bench.ready()
    service = client.batch_service_client
    client.create_blob_container("data")
    settings = task.get_container_settings(
        bench.image, mount_pairs=[{"source": "data", "target": "/data"}]
    )
    config = task.get_task_config("mine", "sh -c 'echo hello > /data/out.txt'", settings)
    service.create_task("j", config)
    assert batch_helpers.monitor_tasks("j", 1, service)["success"] == 1
    assert batch_helpers.check_job_complete("j", service)
    stream = blob_helpers.read_blob_stream("out.txt", container_name="data")
    assert stream.readall() == b"hello\n"
