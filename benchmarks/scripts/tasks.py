"""N trivial tasks in one job: `tasks.py N [warm]`; with `warm` the agent is up before the clock runs."""

import sys
import time

from common import agent_pid, new_job, report, start, status, warm_up

count = int(sys.argv[1])
client, job = start()
if "warm" in sys.argv[2:]:
    warm_up(client)
    job = new_job(client, "-measured")
begin = time.monotonic()
client.add_task_collection(job, [{"command_line": "true"} for _ in range(count)])
added = time.monotonic()
client.monitor_job(job)
end = time.monotonic()
report(
    add_s=added - begin,
    whole_s=end - begin,
    peak_mb=status(agent_pid(), "VmHWM") / 1024,
    count=count,
)
