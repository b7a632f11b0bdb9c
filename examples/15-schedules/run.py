"""Jobs at fixed times: create a schedule, suspend it, resume it, delete it.

They start while an agent runs: this script's, or one that `cloudops agent --stay` keeps.
"""

import time
from datetime import UTC, datetime, timedelta

from cfa.cloudops.local import CloudClient


def wait_for(job):
    """Wait until a job of the schedule has completed, at most one minute."""
    end = time.monotonic() + 60
    while client.check_job_status(job) != "complete":
        if time.monotonic() > end:
            raise SystemExit(f"{job} did not come")
        time.sleep(0.1)
    print(job, "is complete")


client = CloudClient()
client.create_pool("test-pool", container_image_name="python:3.10-slim")

# Every second, so that you need not wait. Real schedules use minutes or hours.
client.create_job_schedule(
    "Test schedule",
    "test-pool",
    "sh -c 'echo this is $AZ_BATCH_JOB_ID'",
    recurrence_interval=timedelta(seconds=1),
    verbose=True,
)
# The id is the name in lower case with hyphens; jobs are numbered.
wait_for("test-schedule:job-1")
wait_for("test-schedule:job-2")

client.suspend_job_schedule("test-schedule")  # no more jobs ...
client.resume_job_schedule("test-schedule")  # ... until now
wait_for("test-schedule:job-3")
client.delete_job_schedule("test-schedule")  # its jobs stay

# Between two times (UTC), at most half a minute late.
tomorrow = datetime.now(UTC) + timedelta(days=1)
client.create_job_schedule(
    "tomorrow",
    "test-pool",
    "echo tomorrow",
    start_window=timedelta(seconds=30),
    recurrence_interval=timedelta(minutes=15),
    do_not_run_until=f"{tomorrow:%Y-%m-%d %H:%M:%S}",
    do_not_run_after=f"{tomorrow + timedelta(hours=1):%Y-%m-%d %H:%M:%S}",
)
print("tomorrow:job-1", client.check_job_status("tomorrow:job-1"))
client.delete_job_schedule("tomorrow")
