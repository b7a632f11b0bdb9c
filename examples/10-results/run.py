"""Download the results of a job from a blob container when it has completed."""

from cfa.cloudops.local import CloudClient

client = CloudClient(existing_job="replace")
for container in ("input-test", "output-test"):
    client.create_blob_container(container)
client.upload_files("model.py", container_name="input-test")
client.create_pool(
    "result-pool",
    mounts=["input-test", "output-test"],
    container_image_name="python:3.10-slim",
)
client.create_job("result-job", pool_name="result-pool")
client.add_task("result-job", "python3 /input-test/model.py /output-test")

# Waits for the job. A file and a folder: outputs/results/output.csv and outputs/logs/...
client.download_after_job(
    "result-job", ["results/output.csv", "logs/"], "./outputs", "output-test", check_size=False
)
with open("outputs/results/output.csv") as file:
    print(file.read(), end="")
