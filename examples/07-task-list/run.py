"""A list of tasks with names and dependencies from a TOML file."""

from cfa.cloudops.local import CloudClient, run_tasks

client = CloudClient(existing_job="replace")
client.create_blob_container("input-test")
client.create_pool("steps-pool", mounts=["input-test"], container_image_name="python:3.10-slim")

run_tasks("task_config.toml", existing_job="replace")

client.download_file("order.txt", "order.txt", container_name="input-test")
with open("order.txt") as file:
    print("they ran in this order:", *file.read().split())
