"""A script for CI that fails if a task fails. The flag for the cloud has no effect on this machine."""

import json
import sys

from cfa.cloudops.local import CloudClient

# On the cloud, this logs in as the CI's own identity. This machine needs no login.
client = CloudClient(use_federated=True, existing_job="replace")
client.create_blob_container("ci-input")
client.upload_files("task.py", container_name="ci-input")
client.create_pool("ci-pool", mounts=["ci-input"], container_image_name="python:3.10-slim")
client.create_job("ci-job", pool_name="ci-pool")
client.add_task("ci-job", "python3 /ci-input/task.py")
client.monitor_job("ci-job", timeout=10)
failed = [task for task in json.loads(client.get_task_status("ci-job")) if task["exit_code"] != 0]
sys.exit(f"failed: {failed}" if failed else 0)
