"""N times `true`, with their log files, with HyperQueue's Python: `peer_hyperqueue.py N WIDTH`."""

import sys

from hyperqueue import Job
from hyperqueue.cluster import LocalCluster, WorkerConfig

if __name__ == "__main__":
    count, width = map(int, sys.argv[1:3])
    with LocalCluster() as cluster:
        cluster.start_worker(WorkerConfig(cores=width))
        client = cluster.client()
        job = Job()
        for _ in range(count):
            job.program(["true"])
        assert client.wait_for_jobs([client.submit(job)])
