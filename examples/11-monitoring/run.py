"""Watch a job, and keep its output, its statistics and its states."""

import json
import time

from cfa.cloudops.local import CloudClient

client = CloudClient(existing_job="replace")
client.create_pool("watch-pool", container_image_name="python:3.10-slim")

# Without waiting: ask for the state from time to time.
client.create_job("polled", pool_name="watch-pool")
client.add_task("polled", "python3 -c 'print(1)'")
while client.check_job_status("polled") != "complete":
    time.sleep(0.2)

# With waiting, at most 60 minutes. The output of each task is in the folder watched_output.
client.create_job("watched", pool_name="watch-pool")
for code in (0, 0, 5):
    client.add_task("watched", f"python3 -c 'raise SystemExit({code})'")
client.monitor_job("watched", timeout=60, download_task_output=True)

for task in json.loads(client.get_task_status("watched")):
    print(task["id"], task["state"], task["exit_code"])
client.download_job_stats(job_name="watched", file_name="job-stats")  # job-stats.csv
