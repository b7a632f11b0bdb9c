"""Six tasks of one second."""

import time

from common import new_job, report, start, warm_up

client, _ = start()
warm_up(client)
job = new_job(client, "-measured")
begin = time.monotonic()
for _ in range(6):
    client.add_task(job, "sleep 1")
client.monitor_job(job)
report(whole_s=time.monotonic() - begin)
