"""Fan out and compile: one task per state, then one that depends on all of them."""

from pathlib import Path

from cfa.cloudops.local import CloudClient

JOB = "population"

client = CloudClient(existing_job="replace")
client.create_blob_container("input-test")
client.upload_files(["states.py", "compile.py", "us_pop_by_state.csv"], container_name="input-test")
client.create_pool(
    "population-pool", mounts=["input-test"], container_image_name="python:3.10-slim"
)
client.create_job(JOB, pool_name="population-pool")

# The states run side by side; `compile.py` starts when all of them have succeeded.
states = [
    client.add_task(JOB, f"python3 /input-test/states.py -s {state}")
    for state in ("CA", "TX", "FL", "NY", "PA")
]
total = client.add_task(JOB, "python3 /input-test/compile.py", depends_on=states)

client.monitor_job(JOB, download_task_output=True)
print("total:", Path(f"{JOB}_output", f"{total}_stdout.txt").read_text().strip())
