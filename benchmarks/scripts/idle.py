"""How often the agent wakes up while a client is there and nothing is to be done."""

import time
from pathlib import Path

from common import agent_pid, report, start, status, warm_up

SECONDS = 5.0

client, _ = start()
warm_up(client)
pid = agent_pid()
# Nodes stay a while for a client that may add more; idle is who has none.
threads = Path(f"/proc/{pid}/task")
deadline = time.monotonic() + 30
while any(one.read_text().strip() for one in threads.glob("*/children")):
    assert time.monotonic() < deadline, "its nodes stay open"
    time.sleep(0.1)
time.sleep(6)  # deadlines of what is over run out within five seconds
before = status(pid, "voluntary_ctxt_switches")
time.sleep(SECONDS)
report(wake_ups=status(pid, "voluntary_ctxt_switches") - before)
