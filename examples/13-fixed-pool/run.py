"""A pool of a fixed size, to debug on: 3 nodes with 2 slots run six tasks at once."""

import os

# By default, this machine runs as many tasks at once as it has cores. The cloud ignores this
# variable.
os.environ.setdefault("CLOUDOPS_MAX_PARALLEL", "6")

from cfa.cloudops.local import CloudClient

client = CloudClient(existing_job="replace")
client.create_blob_container("meeting")
client.upload_files("meet.py", container_name="meeting")
client.create_pool(
    "debug-pool",
    mounts=["meeting"],
    container_image_name="python:3.10-slim",
    vm_size="medium",
    autoscale=False,
    low_priority_nodes=3,
    task_slots_per_node=2,
)
client.create_job("meeting-job", pool_name="debug-pool", task_id_ints=True)
for number in range(6):
    client.add_task("meeting-job", f"python3 /meeting/meet.py task-{number} 6 /meeting")
client.monitor_job("meeting-job", download_task_output=True)
