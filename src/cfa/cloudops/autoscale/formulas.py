"""Ready-made formulas, as the service takes them."""

from __future__ import annotations

_REMAINING_TASKS = """\
// As many {kind} nodes as tasks are pending, {most} at most. While fewer than 70 % of the samples of the
// last {minutes} minutes are there, only the newest counts.
window = TimeInterval_Minute * {minutes};
seen = $PendingTasks.GetSamplePercent(window);
newest = max(0, $PendingTasks.GetSample(1));
pending = seen < 70 ? newest : max(newest, avg($PendingTasks.GetSample(window)));
{target} = min({most}, ceil(pending));
{other} = 0;
$NodeDeallocationOption = taskcompletion;
"""

_NODES = ("$TargetDedicatedNodes", "$TargetLowPriorityNodes")


def remaining_task_autoscale_formula(
    task_sample_interval_minutes: int = 15, max_number_vms: int = 10
) -> str:
    """A formula that follows the number of tasks that are not completed, with low-priority nodes.

    Args:
        task_sample_interval_minutes: how far it looks back.
        max_number_vms: the most nodes it asks for.
    """
    dedicated, low_priority = _NODES
    return _REMAINING_TASKS.format(
        kind="low-priority",
        minutes=task_sample_interval_minutes,
        most=max_number_vms,
        target=low_priority,
        other=dedicated,
    )


#: For trying things out: few nodes that may be taken away, soon gone.
dev_autoscale_formula = remaining_task_autoscale_formula(5, 5)

#: For work that counts: dedicated nodes, which stay.
prod_autoscale_formula = _REMAINING_TASKS.format(
    kind="dedicated", minutes=15, most=25, target=_NODES[0], other=_NODES[1]
)
