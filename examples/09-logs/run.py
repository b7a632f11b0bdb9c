"""Logs of tasks in a blob container, whether they succeed or fail."""

from cfa.cloudops.local import CloudClient

client = CloudClient(existing_job="replace")
client.create_blob_container("output-test")
client.create_pool("log-pool", container_image_name="python:3.10-slim")
client.create_job(
    "log-job",
    pool_name="log-pool",
    save_logs_to_blob="output-test",
    logs_folder="logs",
    task_retries=1,
)
client.add_task("log-job", "python3 -c 'print(6 * 7)'")
client.add_task("log-job", "python3 -c 'raise SystemExit(\"this one fails, twice\")'")
client.monitor_job("log-job")

# logs/<date>/<task id>/stdout.txt and stderr.txt
for name in client.list_blob_files("output-test"):
    print(name)
client.download_folder("logs", "./logs-copy", "output-test")
