"""1,000 tasks: `graph.py layers` is 100 layers of 10, each task on all of the layer before."""

import sys
import time

from common import new_job, report, start, warm_up

LAYERS, WIDTH = 100, 10

client, _ = start()
warm_up(client)
job = new_job(client, "-measured")
tasks = []
for layer in range(LAYERS):
    for index in range(WIDTH):
        task = {"command_line": "true", "id": f"task-{layer}-{index}"}
        if layer and sys.argv[1] == "layers":
            task["depends_on"] = [f"task-{layer - 1}-{parent}" for parent in range(WIDTH)]
        tasks.append(task)
begin = time.monotonic()
client.add_task_collection(job, tasks)
client.monitor_job(job)
report(whole_s=time.monotonic() - begin)
