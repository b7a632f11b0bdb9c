"""Clients in forked children."""

from __future__ import annotations

import json
import os
import threading

import pytest

from cfa.cloudops.client import forks
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


NOTE = ["1-0", "/w", False, "show", "j", ["t"], False]


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"\xff",
        b"3",
        json.dumps(NOTE[:-1]).encode(),
        json.dumps([*NOTE, 1]).encode(),
        json.dumps([*NOTE[:-1], 0]).encode(),
        json.dumps([*NOTE[:5], 3, False]).encode(),
        json.dumps([*NOTE[:5], [3], False]).encode(),
    ],
    ids=range(10),
)
def test_junk_among_notes(junk):
    """What is no note is left out, and those after it are read."""
    notes = forks._Notes.make()
    os.write(notes._descriptor, junk + b"\n")
    notes.append(forks.Note(*NOTE))
    assert notes.take(lambda _: True) == [forks.Note(*NOTE)]
    notes.close()


def test_notes_of_another_process():
    """They are found by the process that has them open, and can only be added to."""
    assert forks._Notes.of(2**22 + 1) is None
    found = forks._Notes.of(os.getpid())
    assert found.is_same(forks._notes)
    assert not found.own
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.read(found._descriptor, 1)
    found.close()
    assert not found.is_there()
