"""Run reports: what a job's tasks took, from the service and from what monitors wrote."""

from __future__ import annotations

import csv
import io
import json
import pickle
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from cfa.cloudops.errors import (
    BlobContainerNotFoundError,
    InvalidInputError,
    JobNotFoundError,
)
from cfa.cloudops.local import CloudClient, blob_helpers, metrics

COMPONENT = {
    "task_id", "code_version", "model_version", "workload", "batch", "performance", "metrics_blob",
}  # fmt: skip


@pytest.fixture
def client(workdir, monkeypatch) -> Iterator[CloudClient]:
    """A client whose tasks run as plain processes; a job whose two tasks have ended, one badly."""
    monkeypatch.setenv("CLOUDOPS_SUBPROCESS_SANDBOX", "off")
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    made = CloudClient()
    for name in ("reports", "measured"):
        made.create_blob_container(name)
    made.create_pool("p")
    made.create_job(
        "j",
        "p",
        metadata={
            "code_version": "abc",
            "model_version": "7",
            "workload_metadata": '{"kind": "fit", "cores": 2}',
        },
    )
    made.add_task("j", "python3 -c 'sum(range(3_000_000))'")
    made.add_task("j", "sh -c 'exit 3'")
    made.monitor_job("j", timeout=1)
    yield made
    made.close()


def report(client: CloudClient, **more: str) -> dict:
    found = metrics.CloudMetrics(client.batch_service_client, client.blob_service_client, None)
    return found.generate_run_report("j", "reports", "measured", **more)


def measured(client: CloudClient, task: str, text: str, day: str = "2026-01-02") -> str:
    """Write what a monitor would have written of a task."""
    name = f"task-metrics/p/default/{day}/j/{task}/summary.json"
    blob_helpers.write_blob_stream(text, name, container_name="measured")
    return name


def test_report(client):
    """A report has all tasks with their times, exit codes and what the service measured."""
    found = report(client)
    assert (found["job_id"], found["pool_id"], found["vm_size"]) == ("j", "p", "standard_d4ads_v5")
    assert datetime.fromisoformat(found["generated_at"]).utcoffset() == timedelta(0)
    assert (found["code_version"], found["model_version"]) == ("abc", "7")
    assert found["workload"] == {"kind": "fit", "cores": 2}
    assert found["component_count"] == 2
    good, bad = found["components"]
    assert set(good) == set(bad) == COMPONENT
    assert good["batch"]["exit_code"] == 0
    assert bad["batch"] == bad["batch"] | {"exit_code": 3, "retry_count": 0, "requeue_count": 0}
    assert good["batch"]["start_time"] <= good["batch"]["end_time"]
    assert 0 <= good["batch"]["runtime_sec"] <= found["overall_runtime_sec"] + 0.001
    assert good["performance"]["cpu_usage_usec"] > 0
    assert found["summary"]["total_cpu_sec"] > 0
    assert good["metrics_blob"] is None


def test_measured(client):
    """What a monitor wrote of a task wins over what the service knows; the newest counts."""
    old = {"runtime_sec": 1, "cpu_usage_usec": 1, "memory_peak_bytes": 1}
    measured(client, "j--1", json.dumps(old), "2025-12-31")
    new = {
        "runtime_sec": 10.0, "cpu_usage_usec": 15_000_000, "memory_peak_bytes": 1 << 30,
        "pids_peak": 4, "threads_observed_end": 2, "io_read_bytes": 5, "io_write_bytes": 6,
        "else": "ignored",
    }  # fmt: skip
    name = measured(client, "j--1", json.dumps(new))
    found = report(client)
    [one, _] = found["components"]
    assert one["metrics_blob"] == name
    assert one["performance"] == {
        **{key: value for key, value in new.items() if key != "else"},
        "average_cores_used": 1.5,
        "cpu_efficiency_pct": 75.0,
    }
    assert found["summary"]["max_component_peak_memory_bytes"] == 1 << 30


@pytest.mark.parametrize(
    "text",
    ["no json", "[1]", '{"runtime_sec": "1; rm"}', '{"runtime_sec": NaN, "cpu_usage_usec": 1e999}',
     '{"cpu_usage_usec": true}', '{"pids_peak": ' + "9" * 400 + "}", '{"memory_peak_bytes": -1}',
     '{"runtime_sec": 1e-320, "cpu_usage_usec": 1e17}', "[" * 100_000, " " * (2 << 20)],
)  # fmt: skip
def test_what_tasks_write(client, text):
    """A task writes what it likes: what is no measurement does not get into the report."""
    measured(client, "j--1", text)
    [one, _] = report(client)["components"]
    values = one["performance"].values()
    assert all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    assert json.loads(json.dumps(one, allow_nan=False)) == one


def test_files(client):
    """The report is written as JSON and as a table beside it."""
    found = report(client, report_prefix="/runs/")
    blobs = client.list_blob_files("reports")
    assert blobs == ["runs/j/report.csv", "runs/j/report.json"]

    def read(name: str) -> str:
        return blob_helpers.read_blob_stream(name, None, "reports").content_as_text()

    assert json.loads(read("runs/j/report.json")) == found
    rows = list(csv.DictReader(io.StringIO(read("runs/j/report.csv"), newline="")))
    assert [row["task_id"] for row in rows] == ["j--1", "j--2"]
    assert list(rows[0]) == [
        "job_id", "pool_id", "vm_size", "component", "task_id", "code_version", "model_version",
        "batch_runtime_sec", "runtime_sec", "exit_code", "memory_peak_bytes", "cpu_usage_usec",
        "average_cores_used", "cpu_efficiency_pct", "pids_peak", "threads_observed_end",
        "io_read_bytes", "io_write_bytes", "workload_metadata",
    ]  # fmt: skip
    assert (rows[1]["exit_code"], rows[1]["model_version"]) == ("3", "7")
    assert json.loads(rows[0]["workload_metadata"]) == {"kind": "fit", "cores": 2}


def test_before_the_end(client):
    """A job that has run nothing yet, whose pool is gone and whose metadata is no JSON, has a report."""
    client.create_pool("q", autoscale=False, low_priority_nodes=0)
    client.create_job("k", "q", metadata={"workload_metadata": "{"})
    client.add_task("k", "true")
    client.delete_pool("q")
    maker = metrics.CloudMetrics(client.batch_service_client, client.blob_service_client)
    found = maker.generate_run_report("k", "reports", "measured")
    assert (found["vm_size"], found["overall_runtime_sec"], found["workload"]) == (None, None, {})
    assert found["components"][0]["batch"] == {
        "start_time": None, "end_time": None, "runtime_sec": None, "exit_code": None,
        "retry_count": 0, "requeue_count": 0,
    }  # fmt: skip
    client.delete_job("k")


def test_nothing_there(client):
    """A job or container that does not exist is an error, before anything is written."""
    maker = metrics.CloudMetrics(client.batch_service_client, client.blob_service_client)
    with pytest.raises(JobNotFoundError):
        maker.generate_run_report("nosuch", "reports", "measured")
    for names in (("nosuch", "measured"), ("reports", "nosuch")):
        with pytest.raises(BlobContainerNotFoundError, match="create_blob_container"):
            maker.generate_run_report("j", *names)
    assert client.list_blob_files("reports") == []


def test_modes():
    """Modes have the cloud's words, and a configuration refuses others."""
    assert [str(mode) for mode in metrics.NodeMonitoringMode] == ["monitor", "benchmark", "both"]
    assert [str(mode) for mode in metrics.TaskMonitoringMode] == [
        "none", "time", "summary", "timeseries", "full",
    ]  # fmt: skip
    found = metrics.TaskMonitoringConfig()
    assert (found.mode, found.interval_seconds, found.output_mount, found.output_folder) == (
        "summary", 5, "output", "default",
    )  # fmt: skip
    assert metrics.TaskMonitoringConfig("full", 1).mode is metrics.TaskMonitoringMode.FULL
    for wrong in ({"mode": "all"}, {"interval_seconds": 0}, {"interval_seconds": "5"}):
        with pytest.raises(InvalidInputError):
            metrics.TaskMonitoringConfig(**wrong)
    assert pickle.loads(pickle.dumps(found)) == found


def test_nodes(client):
    """A pool takes a mode of the enumeration as it takes its word."""
    client.create_pool(
        "m",
        enable_node_monitoring=metrics.NodeMonitoringMode.BOTH,
        monitoring_script_url="https://example.com/monitor.py",
    )
    assert [pool.id for pool in client.list_pools()] == ["p", "m"]
