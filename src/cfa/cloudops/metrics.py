"""Reports of the times and the memory of a job, and the cloud's monitoring of nodes and tasks."""

from __future__ import annotations

import csv
import enum
import io
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

from attrs import field, frozen

from cfa.cloudops.blob_helpers import BlobStream, write_blob_stream
from cfa.cloudops.client.handles import ContainerHandle
from cfa.cloudops.errors import (
    BlobContainerNotFoundError,
    BlobNotFoundError,
    InvalidInputError,
    PoolNotFoundError,
)
from cfa.cloudops.faces import client_of
from cfa.cloudops.model import names, values

__all__ = ["CloudMetrics", "NodeMonitoringMode", "TaskMonitoringConfig", "TaskMonitoringMode"]

_log = logging.getLogger(__name__)

#: What a monitor may have written of a task; all of them numbers.
_MEASURED = (
    "runtime_sec", "cpu_usage_usec", "memory_peak_bytes", "pids_peak", "threads_observed_end",
    "io_read_bytes", "io_write_bytes",
)  # fmt: skip
#: Columns of the table.
_COLUMNS = (
    "job_id", "pool_id", "vm_size", "component", "task_id", "code_version", "model_version",
    "batch_runtime_sec", "runtime_sec", "exit_code", "memory_peak_bytes", "cpu_usage_usec",
    "average_cores_used", "cpu_efficiency_pct", "pids_peak", "threads_observed_end",
    "io_read_bytes", "io_write_bytes", "workload_metadata",
)  # fmt: skip
#: Where a workload says how many cores it was meant to use; the first that is there counts.
_CORES = ("allocated_cores", "available_cores", "cores", "configured_threads")
#: Bytes. A task writes its summary itself, and could write anything.
_LARGEST_SUMMARY = 1 << 20


class NodeMonitoringMode(enum.StrEnum):
    """Values of `create_pool(enable_node_monitoring=...)`, for nodes of the cloud."""

    MONITOR = "monitor"
    BENCHMARK = "benchmark"
    BOTH = "both"


class TaskMonitoringMode(enum.StrEnum):
    """The measurements of a task."""

    NONE = "none"
    TIME = "time"
    SUMMARY = "summary"
    TIMESERIES = "timeseries"
    FULL = "full"


def _mode(value: Any) -> TaskMonitoringMode:
    try:
        return TaskMonitoringMode(value)
    except ValueError:
        raise InvalidInputError(
            f"mode={value!r} is not known.", f"Use one of {', '.join(TaskMonitoringMode)}."
        ) from None


def _seconds(_: Any, attribute: Any, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise InvalidInputError(
            f"{attribute.name}={value!r} is not a number of seconds above 0.", "Correct it."
        )


@frozen
class TaskMonitoringConfig:
    """The monitoring of a task on the cloud. On this machine, the service measures every task.

    Attributes:
        mode: the measurements.
        interval_seconds: time between two measurements.
        output_mount: the mount for the results.
        output_folder: the folder in that mount, below that of the pool.
        script_url: address of the monitor.
    """

    mode: TaskMonitoringMode = field(default=TaskMonitoringMode.SUMMARY, converter=_mode)
    interval_seconds: float = field(default=5, validator=_seconds)
    output_mount: str = "output"
    output_folder: str = "default"
    script_url: str | None = None


class CloudMetrics:
    """Reports of the times and the memory of jobs.

    Args:
        batch_service_client: that of a `CloudClient`, or the client itself.
        blob_service_client: the same.
        credentials: have no effect on this machine.
    """

    def __init__(
        self, batch_service_client: Any, blob_service_client: Any, credentials: Any = None
    ) -> None:
        del credentials
        self._batch = client_of(batch_service_client)._batch
        self._blobs = client_of(blob_service_client)._blobs

    def generate_run_report(
        self,
        job_name: str,
        report_container: str,
        metrics_container: str,
        report_prefix: str = "run-reports",
        metrics_prefix: str = "task-metrics",
    ) -> dict[str, Any]:
        """Write `<report_prefix>/<job>/report.json`, and `report.csv` beside it.

        What a monitor wrote of a task, as `<metrics_prefix>/<pool>/<folder>/<day>/<job>/<task>/
        summary.json`, wins over what the service measured: processor time, and memory where a task
        has a container to itself.

        Args:
            job_name: the job; its metadata items `code_version`, `model_version` and
                `workload_metadata` (JSON) are in the report.
            report_container: blob container of the report.
            metrics_container: blob container of what monitors wrote.
            report_prefix: folder of reports.
            metrics_prefix: folder of what monitors wrote.

        Returns:
            The report: `job_id`, `pool_id`, `vm_size`, `generated_at` (ISO, UTC), `code_version`,
            `model_version`, `workload`, `overall_runtime_sec`, `component_count`, `summary`
            (`total_cpu_sec`, `max_component_peak_memory_bytes`) and `components`, a list with one
            mapping per task. What is not known is None, or not in `performance`.

        Raises:
            ValueError: there is no such job or blob container; nothing was written.
        """
        job = self._batch.get_job(names.job_id(job_name))
        reports, measured = self._container(report_container), self._container(metrics_container)
        folder = "/".join(filter(None, (names.folder(report_prefix.strip("/")), job.id)))
        report = self._report(job, self._summaries(measured, metrics_prefix, job))
        text = json.dumps(report, indent=2, allow_nan=False)
        write_blob_stream(text, f"{folder}/report.json", container_client=reports)
        write_blob_stream(_table(report), f"{folder}/report.csv", container_client=reports)
        return report

    def _container(self, name: str) -> ContainerHandle:
        found = ContainerHandle(self._blobs, names.blob_container(name))
        if not found.exists():
            raise BlobContainerNotFoundError(
                f"The blob container {name!r} does not exist.",
                f"To create it: create_blob_container({name!r}).",
            )
        return found

    def _summaries(
        self, container: ContainerHandle, prefix: str, job: values.Job
    ) -> dict[str, tuple[str, dict[str, float]]]:
        """What monitors wrote, by task: the name of the blob, and the numbers. The newest counts."""
        folder = "/".join(filter(None, (names.folder(prefix.strip("/")), job.pool_id)))
        found: dict[str, tuple[str, str]] = {}
        for blob in self._blobs.list_blobs(container.container_name, folder):
            match blob.name.removeprefix(f"{folder}/").split("/"):
                case [*_, day, job_id, task_id, "summary.json"] if job_id == job.id:
                    found[task_id] = max(found.get(task_id, ("", "")), (day, blob.name))
        return {
            task_id: (name, _numbers(BlobStream(self._blobs, container.container_name, name)))
            for task_id, (_, name) in found.items()
        }

    def _report(
        self, job: values.Job, summaries: Mapping[str, tuple[str, dict[str, float]]]
    ) -> dict[str, Any]:
        metadata = dict(job.spec.metadata)
        shared: dict[str, Any] = {
            "code_version": metadata.get("code_version"),
            "model_version": metadata.get("model_version"),
            "workload": _workload(metadata.get("workload_metadata"), job.id),
        }
        usage = self._batch.task_usage(job.id)
        tasks = list(self._batch.list_tasks(job.id))
        components: list[dict[str, Any]] = []
        for task in tasks:
            blob, measured = summaries.get(task.id, (None, {}))
            known = {**_measured(task, usage.get(task.id, values.Usage())), **measured}
            components.append(
                {
                    "task_id": task.id,
                    **shared,
                    "batch": _batch(task),
                    "performance": _performance(known, shared["workload"]),
                    "metrics_blob": blob,
                }
            )
        cpu = [one["performance"].get("cpu_usage_usec", 0) for one in components]
        memory = [one["performance"].get("memory_peak_bytes") for one in components]
        starts = [task.started for task in tasks if task.started]
        ends = [task.ended for task in tasks if task.ended]
        overall = (max(ends) - min(starts)).total_seconds() if starts and ends else None
        return {
            "job_id": job.id,
            "pool_id": job.pool_id,
            "vm_size": self._vm_size(job.pool_id),
            "generated_at": datetime.now(UTC).isoformat(),
            **shared,
            "overall_runtime_sec": overall,
            "component_count": len(components),
            "summary": {
                "total_cpu_sec": sum(cpu) / 1e6,
                "max_component_peak_memory_bytes": max(filter(None, memory), default=None),
            },
            "components": components,
        }

    def _vm_size(self, pool_id: str) -> str | None:
        try:
            return self._batch.get_pool(pool_id).spec.vm_size
        except PoolNotFoundError:
            return None


def _numbers(blob: BlobStream) -> dict[str, float]:
    """The measurements in a summary; what is none is left out, and the log says so."""
    try:
        if blob.size > _LARGEST_SUMMARY:
            raise ValueError(f"it has {blob.size:,} bytes")
        found = json.loads(blob.read(_LARGEST_SUMMARY))
    except (ValueError, RecursionError, BlobNotFoundError) as error:
        _log.warning("%s is not a summary of a task: %s", blob.name, error)
        return {}
    if not isinstance(found, dict):
        _log.warning("%s is not a summary of a task: it has no names.", blob.name)
        return {}
    return {name: found[name] for name in _MEASURED if _is_number(found.get(name))}


def _is_number(value: Any) -> bool:
    """Whether something can be a measurement: neither NaN nor infinite, nor below 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e18


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _workload(text: str | None, job_id: str) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_constant=_no_constant) if text else {}
    except (ValueError, RecursionError) as error:
        _log.warning("workload_metadata of the job %s is not JSON: %s", job_id, error)
        return {}
    return found if isinstance(found, dict) else {"value": found}


def _batch(task: values.Task) -> dict[str, Any]:
    return {
        "start_time": task.started.isoformat() if task.started else None,
        "end_time": task.ended.isoformat() if task.ended else None,
        "runtime_sec": task.runtime.total_seconds() if task.runtime else None,
        "exit_code": task.exit_code,
        "retry_count": task.retry_count,
        "requeue_count": task.requeue_count,
    }


def _measured(task: values.Task, usage: values.Usage) -> dict[str, float]:
    """What the service measured, under the names that monitors use."""
    found = {
        "runtime_sec": task.runtime.total_seconds() if task.runtime else None,
        "cpu_usage_usec": None if usage.cpu_s is None else round(usage.cpu_s * 1e6),
        "memory_peak_bytes": usage.peak_memory_bytes,
    }
    return {name: value for name, value in found.items() if value is not None}


def _performance(known: Mapping[str, float], workload: Mapping[str, Any]) -> dict[str, float]:
    """Measurements, and how many cores they come to."""
    found = dict(known)
    if known.get("runtime_sec") and "cpu_usage_usec" in known:
        used = known["cpu_usage_usec"] / 1e6 / known["runtime_sec"]
        found["average_cores_used"] = used
        cores = next((workload[name] for name in _CORES if workload.get(name)), None)
        if _is_number(cores) and cores:
            found["cpu_efficiency_pct"] = 100 * used / cores
    return {name: value for name, value in found.items() if _is_number(value)}


def _table(report: Mapping[str, Any]) -> str:
    """The report with a row for each task."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, _COLUMNS, restval="", extrasaction="ignore")
    writer.writeheader()
    for one in report["components"]:
        writer.writerow(
            {
                **report,
                **one,
                **one["performance"],
                "component": one["task_id"],
                "batch_runtime_sec": one["batch"]["runtime_sec"],
                "exit_code": one["batch"]["exit_code"],
                "workload_metadata": json.dumps(one["workload"]),
            }
        )
    return out.getvalue()
