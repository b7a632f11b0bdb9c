"""How often the agent wakes up while a client is there and nothing is to be done."""

import time
from pathlib import Path

from common import agent_pid, agent_status, report, start, warm_up

SECONDS = 5.0

client, _ = start()
warm_up(client)
pid = agent_pid()
# Nodes stay a while for a client that may add more; idle is who has none.
children = Path(f"/proc/{pid}/task/{pid}/children")
deadline = time.monotonic() + 30
while children.read_text().strip() and time.monotonic() < deadline:
    time.sleep(0.1)
time.sleep(1)
before = agent_status("voluntary_ctxt_switches")
time.sleep(SECONDS)
# Asking it for its process id the second time is one wake-up, and hanging up is another.
report(wake_ups=agent_status("voluntary_ctxt_switches") - before, pid=pid)
