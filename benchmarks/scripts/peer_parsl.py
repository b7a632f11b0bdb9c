"""N times `true` with Parsl's threads: `peer_parsl.py N WIDTH`."""

import subprocess
import sys

import parsl
from parsl.config import Config
from parsl.executors.threads import ThreadPoolExecutor


@parsl.python_app
def task(_: int) -> int:
    return subprocess.run(["true"], check=False).returncode


if __name__ == "__main__":
    count, width = map(int, sys.argv[1:3])
    with parsl.load(Config(executors=[ThreadPoolExecutor(max_threads=width)])):
        assert sum(future.result() for future in [task(number) for number in range(count)]) == 0
