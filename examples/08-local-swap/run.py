"""One import decides between this machine and the cloud. The folder `input-test` is a blob container.

On the cloud, the next line is `from cfa.cloudops import CloudClient`. That line also runs on this
machine, with CLOUDOPS_BACKEND=docker, podman or subprocess.
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
# At its end, the script waits for its task and shows the output.
