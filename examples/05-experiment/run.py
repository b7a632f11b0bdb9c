"""An experiment: a grid of parameters from a TOML file, 27 tasks with one call."""

from cfa.cloudops.local import CloudClient, run_experiment

client = CloudClient(existing_job="replace")
for container in ("input-test", "output-test"):
    client.create_blob_container(container)
client.create_pool(
    "grid-pool",
    mounts=["input-test"],
    container_image_name="python:3.10-slim",
    max_autoscale_nodes=2,
)

# Uploads files, creates the job, adds its tasks, and returns when all have completed.
run_experiment("exp_config.toml", existing_job="replace")

logs = [name for name in client.list_blob_files("output-test") if name.endswith("stdout.txt")]
print(len(logs), "logs, the first is", logs[0])
