"""Choose where tasks see blob containers: for a whole pool, and for one task."""

from cfa.cloudops.local import CloudClient

client = CloudClient(existing_job="replace")
for container in ("model-input", "model-output", "other-output"):
    client.create_blob_container(container)
client.upload_files(["double.py", "numbers.txt"], container_name="model-input")

# Other names for the pool: tasks read from /input and write to /results.
client.create_pool(
    "renamed",
    mounts=[
        {"source": "model-input", "target": "input"},
        {"source": "model-output", "target": "results"},
    ],
    container_image_name="python:3.10-slim",
)
client.create_job("renamed-job", pool_name="renamed")
client.add_task("renamed-job", "python3 /input/double.py /input /results")
client.monitor_job("renamed-job")

# The same names for the pool. One task has mounts of its own, at nested paths.
client.create_pool(
    "plain", mounts=["model-input", "model-output"], container_image_name="python:3.10-slim"
)
client.create_job("plain-job", pool_name="plain")
client.add_task("plain-job", "python3 /model-input/double.py /model-input /model-output")
client.add_task(
    "plain-job",
    "python3 /data/input/double.py /data/input /data/output",
    mount_pairs=[
        {"source": "model-input", "target": "/data/input"},
        {"source": "other-output", "target": "/data/output"},
    ],
)
client.monitor_job("plain-job")
for container in ("model-output", "other-output"):
    print(container, client.list_blob_files(container))
