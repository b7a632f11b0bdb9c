"""Many tasks with one call, and more tasks later."""

from cfa.cloudops.local import CloudClient

client = CloudClient(existing_job="replace")
client.create_pool("many-pool", container_image_name="python:3.10-slim", task_slots_per_node=4)
client.create_job("many", pool_name="many-pool")

# If one task cannot work, none is added. A task without an image has the pool's.
added = client.add_task_collection(
    job_name="many",
    tasks=[{"command_line": f"echo {number}"} for number in range(1, 201)],
)
print("added", len(added), "tasks, from", added[0], "to", added[-1])

# More tasks for the same job, which depend on earlier ones.
more = client.add_task_collection(
    job_name="many",
    tasks=[
        {
            "command_line": ["echo", "after", first],
            "full_container_name": "python:3.10-slim",
            "depends_on": first,
        }
        for first in added[:3]
    ],
    name_suffix="later",
)
print("then", *more)
client.monitor_job("many")
