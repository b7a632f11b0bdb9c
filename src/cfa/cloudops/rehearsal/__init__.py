"""Rehearsal: what would the cloud say to this script? `CLOUDOPS_STRICT=1` asks.

What the cloud refuses is refused at once, with a `StrictError`. What it takes but does differently is
logged, once each. At the end of the script a report lists everything.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import asdict, evolve

from cfa.cloudops.errors import CloudOpsError, StrictError
from cfa.cloudops.model.plain import plain
from cfa.cloudops.model.values import Job, JobScheduleSpec, JobSpec, PoolSpec, TaskSpec
from cfa.cloudops.rehearsal import commands, rules
from cfa.cloudops.rehearsal.findings import Finding, Severity
from cfa.cloudops.report import append

if TYPE_CHECKING:
    from cfa.cloudops.provider.batch import BatchProvider

__all__ = ["Finding", "Rehearsal", "Severity", "read_report", "report"]

_log = logging.getLogger(__name__)

#: Key of a line of JSON, in the report that `cloudops run` made, that holds a finding.
FINDING = "finding"


class Rehearsal:
    """Checks the calls of one client. Each method takes what the client is about to hand on.

    Args:
        batch: the service, asked at the end for what the tasks needed; None where none are added.
        report_path: a file that `cloudops run` made: the findings are written there, not shown. The
            path may outlive the file.

    Raises:
        StrictError (a ValueError): from each method: the cloud would refuse the call.
    """

    def __init__(self, batch: BatchProvider | None, report_path: str | None = None) -> None:
        self._batch = batch
        self._report_path = report_path
        #: Jobs that got tasks, with their pools.
        self._jobs: dict[str, PoolSpec] = {}
        #: Jobs whose end the script has waited for.
        self._awaited: set[str] = set()
        self._findings: dict[tuple[str, str], Finding] = {}
        self._open = True

    @property
    def findings(self) -> list[Finding]:
        """What was found, refusals first, otherwise in the order of the calls."""
        return sorted(self._findings.values(), key=lambda one: one.severity is Severity.WARN)

    def report(self) -> str:
        """The findings as text for people."""
        return report(self.findings)

    def pool(
        self, spec: PoolSpec, mounts: Sequence[Any] | None, *, limits_memory: bool = True
    ) -> None:
        """A pool, its mounts in the form in which they were given, and whether its backend enforces
        limits of memory."""
        self._take(rules.pool_rules(spec, mounts))
        if not limits_memory:
            self._take(rules.memory_limit(spec))

    def job(self, spec: JobSpec) -> None:
        """A job."""
        self._take(rules.retries(spec))
        self._take(rules.log_container(spec))

    def awaited(self, job: Job) -> None:
        """A job whose end the script has waited for."""
        self._awaited.add(job.spec.id)

    def addition(self, job: Job) -> None:
        """A job that is about to get tasks."""
        if job.spec.id in self._awaited:
            self._take(rules.addition(job))

    def command(self, given: str | Sequence[str]) -> None:
        """A command in the form in which it was given."""
        if not isinstance(given, str):
            self._take(commands.words(given))

    def collection(self, specs: Sequence[TaskSpec]) -> None:
        """Tasks of one `add_task_collection`."""
        self._take(rules.collection(specs))

    def tasks(self, job_id: str, pool: PoolSpec | None, specs: Sequence[TaskSpec]) -> None:
        """Tasks of a job and its pool, which may not exist yet."""
        if pool is not None:
            self._jobs[job_id] = pool
        for spec in specs:
            mounts = spec.mounts if spec.mounts is not None else pool.mounts if pool else ()
            self._take(rules.task_image(pool, spec))
            self._take(rules.task_mounts(spec))
            self._take(rules.task_time(spec))
            if spec.upload is not None:
                self.container(spec.upload.container)
            self._take(commands.shell_syntax(spec.command_line))
            self._take(commands.host_paths(spec.command_line, mounts))

    def schedule(self, spec: JobScheduleSpec) -> None:
        """A job schedule."""
        self._take(rules.intervals(spec.id, spec.start_window, spec.recurrence_interval))
        self._take(commands.shell_syntax(spec.command_line))
        self._take(commands.host_paths(spec.command_line, ()))

    def container(self, name: str) -> None:
        """A blob container."""
        self._take(rules.container_name(name))

    def blobs(self, container: str, names: Iterable[str]) -> None:
        """Blobs that are to be written."""
        self._take(rules.container_name(container))
        for name in names:
            self._take(rules.blob_name(name))

    def _take(self, found: Iterable[Finding]) -> None:
        for one in found:
            place = (one.rule, one.key)
            known = self._findings.get(place)
            if known is not None:
                self._findings[place] = evolve(known, count=known.count + 1)
            else:
                self._findings[place] = one
            if one.severity is Severity.REFUSE:
                raise StrictError(f"{one.what} {one.on_azure}", one.do)
            if known is None:
                _log.warning("On Azure: %s %s %s", one.what, one.on_azure, one.do)

    def close(self) -> None:
        """Look at what the tasks needed, and hand the report to `cloudops run`, or show it. Only the
        first call does."""
        if not self._open:
            return
        self._open = False
        if self._batch is not None:
            self._look_at_needs(self._batch)
        if self._report_path:
            self._hand_over(self._report_path)
        elif sys.stderr is not None:
            whole = getattr(sys, "last_type", None) is None
            text = report(self.findings, whole=whole)
            print(plain(text, keep="\n\t"), file=sys.stderr)  # noqa: T201  promised

    def _look_at_needs(self, batch: BatchProvider) -> None:
        for job_id, pool in self._jobs.items():
            try:
                self._take(rules.memory(pool, job_id, batch.task_usage(job_id)))
            except CloudOpsError as error:  # deleted since, or the workspace is
                _log.debug("cannot tell what the tasks of %s needed: %s", job_id, error)

    def _hand_over(self, path: str) -> None:
        text = "".join(json.dumps({FINDING: asdict(one)}) + "\n" for one in self.findings)
        append(path, text)


def report(findings: Sequence[Finding], *, whole: bool = True) -> str:
    """Findings as text for people.

    Args:
        findings: what was found.
        whole: whether the script came to its end.
    """
    if not whole:
        return (
            f"{report(findings)}\n"
            "  The script ended early: what it did not reach was not looked at."
        )
    if not findings:
        return "cloudops rehearsal: nothing found that Azure would refuse or do differently"
    refused = sum(one.severity is Severity.REFUSE for one in findings)
    lines = [f"cloudops rehearsal: {refused} refused, {len(findings) - refused} to look at"]
    for one in findings:
        often = f" ({one.count} times)" if one.count > 1 else ""
        lines += [
            f"  {one.severity} {one.rule}: {one.what}{often}",
            f"    on Azure: {one.on_azure}",
            f"    do: {one.do}",
        ]
    return "\n".join(lines)


def read_report(lines: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """Findings of the clients of a script, as they were handed over; equal ones are one. What is no
    finding is left out."""
    found: dict[tuple[str, str], Finding] = {}
    for one in filter(None, (_read_finding(line.get(FINDING)) for line in lines)):
        known = found.get((one.rule, one.key))
        found[one.rule, one.key] = (
            one if known is None else evolve(one, count=one.count + known.count)
        )
    return sorted(found.values(), key=lambda one: one.severity is Severity.WARN)


def _read_finding(values: object) -> Finding | None:
    """A finding as it was handed over; None: it is none of ours."""
    if not isinstance(values, dict) or type(values.get("count")) is not int:
        return None
    texts = {name: value for name, value in values.items() if name != "count"}
    if not all(isinstance(value, str) for value in texts.values()):
        return None
    try:
        return Finding(**{**values, "severity": Severity(values["severity"])})
    except (KeyError, TypeError, ValueError):
        return None
