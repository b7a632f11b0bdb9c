"""A graph of seven tasks: three pulls, one that processes, two models, one report."""

from pathlib import Path

from cfa.cloudops.local import CloudClient, Task

STEP = "python3 /input-test/step.py"

client = CloudClient(existing_job="replace")
client.create_blob_container("input-test")
client.upload_files("step.py", container_name="input-test")
client.create_pool("dag-pool", mounts=["input-test"], container_image_name="python:3.10-slim")
client.create_job("example-dag", pool_name="dag-pool")

pull_cases = Task(f"{STEP} cases")
pull_deaths = Task(f"{STEP} deaths")
pull_census = Task(f"{STEP} census")
process = Task(f"{STEP} process cases deaths census")
model_a = Task(f"{STEP} model-a process")
model_b = Task(f"{STEP} model-b process")
report = Task(f"{STEP} report model-a model-b")

process.after([pull_cases, pull_deaths, pull_census])
model_a.after(process)
model_b.after(process)
report.after([model_a, model_b])

tasks = [pull_cases, pull_deaths, pull_census, process, model_a, model_b, report]

# Draw it first. Each label is the name of a variable. Formats are .txt, .mmd, .svg and .png.
client.generate_dag(*tasks, file_name="example_dag.txt")
print(Path("example_dag.txt").read_text())

# If the graph had a circle, this call would raise an error and add nothing.
client.run_dag(*tasks, job_name="example-dag")
client.monitor_job("example-dag")
