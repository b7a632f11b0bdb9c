"""Clients in forked children."""

from __future__ import annotations

import os
import threading

from cfa.cloudops.local import CloudClient


def test_children_add_tasks_while_a_thread_does(workdir):
    """Forked children use a client of their parent beside its threads: no id is given twice."""
    client = CloudClient(backend="subprocess")
    client.create_pool("pool", max_autoscale_nodes=0)  # nothing runs
    client.create_job("job", pool_name="pool")
    thread = threading.Thread(
        target=lambda: [client.add_task("job", "true") for _ in range(60)], daemon=True
    )
    thread.start()
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            try:
                for _ in range(5):
                    client.add_task("job", "true")
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    thread.join(60)
    ids = [task.id for task in client._batch.list_tasks("job")]
    assert len(set(ids)) == len(ids) == 80
    client.delete_job("job")
    client.close()
