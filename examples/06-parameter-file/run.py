"""An experiment with parameters from a YAML file: each parameter set becomes a task."""

from cfa.cloudops.local import CloudClient, run_experiment

client = CloudClient(existing_job="replace")
client.create_blob_container("input-test")
client.upload_files("main.py", container_name="input-test")
client.create_pool("solver-pool", mounts=["input-test"], container_image_name="python:3.10-slim")

# With a TOML file that names the YAML file...
run_experiment("experiment.toml", existing_job="replace")

# ... or directly, which returns the ids.
client.create_job("direct", pool_name="solver-pool")
ids = client.add_tasks_from_yaml("direct", "python3 /input-test/main.py", "parameters.yaml")
client.monitor_job("direct", download_task_output=True)
for task in ids:
    with open(f"direct_output/{task}_stdout.txt") as file:
        print(task, file.read().strip())
