"""One import between here and the cloud; the folder `input-test` is the blob container.

On the cloud the next line is `from cfa.cloudops import CloudClient`. Even that line can stay: with
CLOUDOPS_BACKEND=docker, podman or subprocess it also runs here.
"""

from cfa.cloudops.local import CloudClient

client = CloudClient(existing_job="replace")
client.create_pool(
    "example-pool",
    container_image_name="python:3.10-slim",
    mounts=[("input-test", "data")],  # the container's name, and where tasks see it: /data
)
client.create_job("example-job", pool_name="example-pool")
client.add_task("example-job", "python3 /data/run-local.py")
# The script ends here. It stays until its task is done, and shows what the task prints.
