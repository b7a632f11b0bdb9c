"""The raw durable loop: what a task costs at least when nothing may be lost.

`raw_durable.py N WIDTH DIRECTORY`: N times `true`, each with two log files, in a process group of its
own, watched by a pidfd; every state is committed in SQLite before the spawn and after the exit.
Prints the seconds.
"""

from __future__ import annotations

import os
import select
import sqlite3
import sys
import time
from pathlib import Path

PROGRAM = "/bin/true"


def run(count: int, width: int, directory: Path) -> float:
    start = time.monotonic()
    db = sqlite3.connect(directory / "raw.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("CREATE TABLE task (number INTEGER PRIMARY KEY, state INTEGER, code INTEGER)")
    db.execute("BEGIN IMMEDIATE")
    db.executemany("INSERT INTO task VALUES (?, 0, NULL)", ((n,) for n in range(count)))
    db.execute("COMMIT")
    selector = select.epoll()
    running: dict[int, tuple[int, int]] = {}  # pidfd -> pid, number
    ended: list[tuple[int, int]] = []
    following = 0
    while running or following < count:
        starts = range(following, min(count, following + width - len(running)))
        following = starts.stop
        db.execute("BEGIN IMMEDIATE")
        db.executemany("UPDATE task SET state = 2, code = ? WHERE number = ?", ended)
        db.executemany("UPDATE task SET state = 1 WHERE number = ?", ((n,) for n in starts))
        db.execute("COMMIT")
        for number in starts:
            pid = spawn(directory, number)
            descriptor = os.pidfd_open(pid)
            selector.register(descriptor, select.EPOLLIN)
            running[descriptor] = (pid, number)
        ended = []
        for descriptor, _ in selector.poll():
            pid, number = running.pop(descriptor)
            _, status = os.waitpid(pid, 0)
            # Closing is not enough: a child on its way to exec still holds a copy.
            selector.unregister(descriptor)
            os.close(descriptor)
            ended.append((os.waitstatus_to_exitcode(status), number))
    db.executemany("UPDATE task SET state = 2, code = ? WHERE number = ?", ended)
    db.close()
    return time.monotonic() - start


def spawn(directory: Path, number: int) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    logs = [
        (os.POSIX_SPAWN_OPEN, stream, f"{directory}/{number}.{stream}", flags, 0o666)
        for stream in (1, 2)
    ]
    return os.posix_spawn(PROGRAM, [PROGRAM], os.environ, file_actions=logs, setpgroup=0)


if __name__ == "__main__":
    print(run(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
