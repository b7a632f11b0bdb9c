"""How many nodes the pools with a formula have.

A pool is evaluated when tasks come to one that had none, when ready tasks find no free slot in it,
at its interval while it has unfinished tasks, and when the last of them is completed. After that
nobody looks at it: an idle agent sleeps. Samples are taken with the evaluations.

Nodes are virtual here (see `nodes`): a pool that grows gives out more slots, one that shrinks gives out
none until enough tasks have ended. Everything happens in the agent's loop, inside its transactions.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from attrs import define, field

from cfa.cloudops.autoscale import remaining_task_autoscale_formula
from cfa.cloudops.errors import FormulaError
from cfa.cloudops.model.values import PoolSpec
from cfa.cloudops.service.sums import sound
from cfa.cloudops.settings import cores

if TYPE_CHECKING:
    from cfa.cloudops.autoscale import Formula
    from cfa.cloudops.service.placement import Job
    from cfa.cloudops.service.scheduler import Scheduler

_log = logging.getLogger(__name__)

#: Seconds between two samples at most, and for which they are kept; those of the cloud.
_PERIOD_S = 30.0
_HISTORY_S = 24 * 3600.0
#: Tasks that find no slot ask for an evaluation; one in vain doubles the seconds until the next.
_ASK_AGAIN_S = 0.05
#: Window of the ready-made formula, and the part of its samples that must be there to be used.
_WINDOW_S = 900.0
_ENOUGH = 0.7
#: A formula may ask for more; it would not fit into arithmetic with doubles.
_MOST_NODES = 1_000_000


@define(eq=False)
class Recorder:
    """Samples of one pool. Gaps, while nobody looked, are gaps."""

    period_s: float
    times: list[float] = field(factory=list)
    values: dict[str, list[float]] = field(factory=dict)

    def fills(self, window_s: float, part: float) -> bool:
        """Whether there may be as much as a part of the samples of a window until now."""
        return len(self.times) >= part * window_s / self.period_s

    def take(self, now: float, sample: dict[str, float]) -> None:
        """Add a sample. One that comes within the period of the last takes its place."""
        if self.times and 0 <= now - self.times[-1] < self.period_s * 0.999:
            for name, value in sample.items():
                self.values[name][-1] = value
            return
        most = int(_HISTORY_S / self.period_s)
        if len(self.times) > most + 1000:
            del self.times[:1000]
            for column in self.values.values():
                del column[:1000]
        self.times.append(now)
        for name, value in sample.items():
            self.values.setdefault(name, []).append(value)


@define(eq=False)
class Scaled:
    """A pool with a formula, as the agent knows it."""

    spec: PoolSpec
    recorder: Recorder
    dedicated: int = 0
    low_priority: int = 0
    option: str = "requeue"
    formula: Formula | None = None
    error: str | None = None
    #: It has unfinished tasks.
    awake: bool = False
    #: A timer will say when its interval is over.
    armed: bool = False
    #: It is to be evaluated in this turn.
    due: bool = False
    #: No evaluation for want of slots before this monotonic time, and whether one is planned.
    not_before: float = 0.0
    planned: bool = False
    gap_s: float = _ASK_AGAIN_S
    #: Its formula is the ready-made one, whose answer is known without reading it at first.
    ready_made: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        ready_made = remaining_task_autoscale_formula(max_number_vms=self.spec.nodes)
        self.ready_made = self.spec.autoscale_formula == ready_made

    @property
    def nodes(self) -> int:
        return self.dedicated + self.low_priority

    @property
    def full(self) -> bool:
        """Whether it is known that it cannot grow."""
        return self.ready_made and self.nodes >= self.spec.nodes


class Scaling:
    """Sizes of pools for the placement; told by the scheduler what happens."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._agent = scheduler.agent
        self._store = scheduler.store
        self._pools: dict[str, Scaled] = {}
        self._cpu = CpuMeter()
        #: There is something to evaluate.
        self.due = False

    # --- asked by the placement

    def nodes(self, pool: PoolSpec) -> int:
        """How many nodes a pool has now."""
        if pool.autoscale_formula is None:
            return pool.nodes
        found = self._pools.get(pool.id)
        return 0 if found is None else found.nodes

    def slots(self, pool: PoolSpec) -> int:
        return self.nodes(pool) * pool.slots_per_node

    def too_few(self, pool: PoolSpec) -> None:
        """Ready tasks found no free slot in a pool: evaluate it soon, unless that can give nothing."""
        found = self._pools.get(pool.id)
        if found is None or found.full or found.planned:
            return
        if time.monotonic() >= found.not_before:
            found.due = self.due = True
        else:
            found.planned = True
            self._agent.at(found.not_before, partial(self._ask, found))

    def why_none(self, pool: PoolSpec) -> str | None:
        """Why a pool has no nodes, for people; None when it is about to have some."""
        found = self._pools.get(pool.id)
        if found is None:
            return f"The pool {pool.id!r} has no nodes. Create it again with at least one."
        if found.error is not None:
            return f"The pool {pool.id!r} has no nodes: its autoscale formula fails. {found.error}"
        if found.ready_made and pool.nodes:
            return None
        return f"The autoscale formula of the pool {pool.id!r} asks for no nodes at present."

    # --- told by the scheduler

    @property
    def waiting(self) -> bool:
        """Whether tasks wait for a formula that may give nodes later."""
        return any(pool.awake and not pool.nodes and not pool.full for pool in self._pools.values())

    def take_over(self) -> None:
        """Look at the jobs and pools that were read from the store."""
        seen = set()
        for job in self._scheduler.jobs.values():
            if job.pool is None or job.pool.autoscale_formula is None:
                continue
            seen.add(job.pool.id)
            found = self._pools.get(job.pool.id)
            if found is None or found.spec != job.pool:
                found = self._pools[job.pool.id] = self._recall(job.pool)
            if _unfinished(job) and not found.awake:
                found.awake = found.due = self.due = True
        for name in self._pools.keys() - seen:
            del self._pools[name]

    def evaluate(self) -> bool:
        """Evaluate the pools whose time has come. True: one of them has more nodes than before."""
        if not self.due:
            return False
        self.due = grown = False
        for pool in self._pools.values():
            if not pool.due:
                continue
            pool.due = False
            before, began = pool.nodes, time.monotonic()
            self._evaluate(pool)
            now = time.monotonic()
            if pool.nodes > before:
                grown = True
                pool.gap_s = _ASK_AGAIN_S
                pool.not_before = now + 20 * (now - began)  # counting a long queue takes a moment
                for job in self._jobs_of(pool):
                    job.hungry = job.hungry or job.state == "active"
            else:
                pool.not_before = now + pool.gap_s
                pool.gap_s = min(2 * pool.gap_s, pool.spec.autoscale_interval_s)
            if pool.awake and not pool.armed:
                pool.armed = True
                self._agent.at(now + pool.spec.autoscale_interval_s, partial(self._tick, pool))
        return grown

    def settle(self) -> None:
        """Evaluate pools whose last task is completed, and let go of them."""
        for pool in self._pools.values():
            if pool.awake and not any(_unfinished(job) for job in self._jobs_of(pool)):
                pool.awake = pool.due = False
                self._evaluate(pool)

    # --- parts

    def _tick(self, pool: Scaled) -> None:
        pool.armed = False
        self._look_at(pool)

    def _ask(self, pool: Scaled) -> None:
        pool.planned = False
        self._look_at(pool)

    def _look_at(self, pool: Scaled) -> None:
        if pool.awake and self._pools.get(pool.spec.id) is pool:
            pool.due = self.due = True

    def _jobs_of(self, pool: Scaled) -> Iterator[Job]:
        for job in self._scheduler.jobs.values():
            if job.pool is not None and job.pool.id == pool.spec.id:
                yield job

    def _recall(self, spec: PoolSpec) -> Scaled:
        """A pool as the agent before left it, or nobody yet."""
        pool = Scaled(spec, Recorder(min(_PERIOD_S, spec.autoscale_interval_s)))
        row = self._store.row(f"SELECT {sound('pool.scaling')} FROM pool WHERE id = ?", (spec.id,))  # noqa: S608
        if row is not None and row[0]:
            held = json.loads(row[0])
            pool.dedicated, pool.low_priority = held["dedicated"], held["low_priority"]
            pool.option, pool.error = held["option"], held["error"]
        return pool

    def _evaluate(self, pool: Scaled) -> None:
        now = time.time()
        sample = self._sample(pool)
        pool.recorder.take(now, sample)
        if pool.formula is None and pool.ready_made and not pool.recorder.fills(_WINDOW_S, _ENOUGH):
            # Then it takes the newest sample. Reading it would only keep the first task waiting.
            pool.dedicated, pool.option, pool.error = 0, "taskcompletion", None
            pool.low_priority = min(pool.spec.nodes, int(sample["$PendingTasks"]))
            targets = f"$TargetDedicatedNodes=0;$TargetLowPriorityNodes={pool.low_priority}"
            results = f"{targets};$NodeDeallocationOption={pool.option}"
        else:
            results = self._run(pool, now, int(sample["$RunningTasks"]))
        held = {
            "dedicated": pool.dedicated,
            "low_priority": pool.low_priority,
            "option": pool.option,
            "evaluated": now,
            "results": results,
            "error": pool.error,
        }
        self._store.execute(
            "UPDATE pool SET scaling = ? WHERE id = ?", (json.dumps(held), pool.spec.id)
        )

    def _run(self, pool: Scaled, now: float, running: int) -> str:
        """Set the pool's targets by its formula; the results for people, '' when it fails."""
        from cfa.cloudops.autoscale import Series, Situation, evaluate, parse  # lark takes a moment
        from cfa.cloudops.autoscale.values import Option

        recorder = pool.recorder
        nodes = max(pool.nodes, -(-running // pool.spec.slots_per_node))  # one may be emptying
        situation = Situation(
            now=datetime.fromtimestamp(now, UTC),
            series={
                name: Series(recorder.times, column, recorder.period_s)
                for name, column in recorder.values.items()
            },
            dedicated=pool.dedicated,
            low_priority=pool.low_priority,
            option=Option(pool.option),
            current_dedicated=pool.dedicated,
            current_low_priority=nodes - pool.dedicated,
            slots_per_node=pool.spec.slots_per_node,
        )
        try:
            if pool.formula is None:
                pool.formula = parse(pool.spec.autoscale_formula or "")
            run = evaluate(pool.formula, situation)
        except FormulaError as error:
            if pool.error is None:
                _log.warning("the autoscale formula of the pool %s fails: %s", pool.spec.id, error)
            pool.error = f"{error.message} ({error.code})"
            return ""
        pool.error, pool.option = None, run.option.value
        pool.dedicated = min(run.dedicated, _MOST_NODES)
        pool.low_priority = min(run.low_priority, _MOST_NODES)
        return run.results

    def _sample(self, pool: Scaled) -> dict[str, float]:
        """What the variables of the language are now."""
        self._scheduler.ledger.flush()  # the counters of jobs must be of now
        ready = running = 0
        for job in self._jobs_of(pool):
            running += len(job.running)
            if job.state == "active":
                row = self._store.row(
                    "SELECT COUNT(*) FROM task "
                    "WHERE job = ? AND state = 0 AND unmet = 0 AND request = 0",
                    (job.number,),
                )
                ready += 0 if row is None else int(row[0])
        succeeded, failed = self._store.row(
            "SELECT TOTAL(succeeded), TOTAL(failed) FROM job WHERE pool = ?", (pool.spec.id,)
        ) or (0.0, 0.0)
        nodes = float(pool.nodes)
        return {
            "$ActiveTasks": float(ready),
            "$RunningTasks": float(running),
            "$PendingTasks": float(ready + running),
            "$SucceededTasks": succeeded,
            "$FailedTasks": failed,
            "$PreemptedNodeCount": 0.0,
            "$UsableNodeCount": nodes,
            "$SampleNodeCount": nodes,
            "$CPUPercent": self._cpu.percent(),
        }


class CpuMeter:
    """How busy this machine's processors were since the last time it was asked."""

    def __init__(self) -> None:
        self._last = (0, 0)

    def percent(self) -> float:
        """0 to 100. Where there is no `/proc`, from the load of the last minute."""
        try:
            with open("/proc/stat") as file:
                fields = [int(word) for word in file.readline().split()[1:9]]
        except (OSError, ValueError):
            return min(100.0, 100 * os.getloadavg()[0] / cores())
        total, idle = sum(fields), fields[3] + fields[4]
        (total_before, idle_before), self._last = self._last, (total, idle)
        if total <= total_before:
            return 0.0
        return 100 * (1 - (idle - idle_before) / (total - total_before))


def _unfinished(job: Job) -> bool:
    return bool(job.running) or not job.out_of_work
