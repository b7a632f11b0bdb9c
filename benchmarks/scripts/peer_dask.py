"""N times `true` with a local Dask cluster: `peer_dask.py N WIDTH`."""

import subprocess
import sys

from distributed import Client, LocalCluster


def task(_: int) -> int:
    return subprocess.run(["true"], check=False).returncode


if __name__ == "__main__":
    count, width = map(int, sys.argv[1:3])
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=max(1, width // 2), dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        assert sum(client.gather(client.map(task, range(count), pure=False))) == 0
