"""N times `true`, as a command with two log files, with Parsl's threads: `peer_parsl.py N WIDTH`."""

import sys

import parsl
from parsl.config import Config
from parsl.executors.threads import ThreadPoolExecutor


@parsl.bash_app
def task(stdout: str, stderr: str) -> str:
    return "true"


if __name__ == "__main__":
    count, width = map(int, sys.argv[1:3])
    with parsl.load(Config(executors=[ThreadPoolExecutor(max_threads=width)])):
        futures = [task(stdout=f"{n}.out", stderr=f"{n}.err") for n in range(count)]
        assert sum(future.result() for future in futures) == 0
