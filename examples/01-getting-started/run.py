"""The first steps: upload a script, build an image, create a pool and a job, run two tasks, clean up."""

from pathlib import Path

from cfa.cloudops.local import CloudClient

client = CloudClient()

# The script that the tasks run.
client.create_blob_container("input-test")
client.upload_files("main.py", container_name="input-test")

# The image of the tasks, from the Dockerfile in this folder. It is pushed only to a registry that
# you are logged in to. Without a container engine, nothing is built, and the script continues.
image = client.package_and_upload_dockerfile(
    registry_name="myregistry", repo_name="getting-started", tag="latest"
)

client.create_pool(
    "getting-started-pool",
    mounts=["input-test"],
    container_image_name=image,
    vm_size=client.get_vm_name(cores=8, temp_disk=True),
    max_autoscale_nodes=5,
)
client.create_job("getting-started-job", pool_name="getting-started-pool", exist_ok=True)
for user in ("Ada", "Grace"):
    client.add_task(
        job_name="getting-started-job", command_line=f"python3 /input-test/main.py --user {user}"
    )

# Waits for both tasks, and writes their output to getting-started-job_output.
client.monitor_job("getting-started-job", download_task_output=True)
for file in sorted(Path("getting-started-job_output").glob("*_stdout.txt")):
    print(f"{file.name}: {file.read_text()}", end="")

client.delete_job("getting-started-job")
client.delete_pool("getting-started-pool")
