"""What a script that ends with an error of ours shows of it."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.parametrize("backend", ["subprocess-nosandbox"], indirect=True)

HEAD = """\
from cfa.cloudops.local import CloudClient

def mine(client):
    client.create_job("j", "nosuch")

"""


def frames(err):
    """The functions of the lines of a traceback."""
    return [line.rpartition(" in ")[2] for line in err.splitlines() if line.startswith("  File ")]


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ("mine(CloudClient())", ["<module>", "mine", "create_job"]),
        ("CloudClient(backend='nosuch')", ["<module>", "__init__"]),
        ("CloudClient().create_pool('p', mounts=3)", ["<module>", "create_pool"]),
    ],
)
def test_an_error_of_ours(bench, more, shown):
    """It shows the script's own lines and the call that failed, and nothing below that."""
    status, _, err = bench.run(HEAD + more)
    assert status == 1
    assert frames(err) == shown, err
    assert "\ncfa.cloudops.errors." in err


def test_all_of_it(bench):
    """With LOG_LEVEL=debug it shows all."""
    err = bench.run(HEAD + "mine(CloudClient())", LOG_LEVEL="debug")[2]
    found = frames(err)
    assert found[:3] == ["<module>", "mine", "create_job"]
    assert len(found) > 3


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ("client._batch.get_pool = lambda name: 1 / 0; mine(client)", "<lambda>"),
        ("def own(name): raise ValueError\nclient._batch.get_pool = own; mine(client)", "own"),
    ],
)
def test_other_errors(bench, more, shown):
    """Other errors are shown as they are."""
    status, _, err = bench.run(f"{HEAD}client = CloudClient()\n{more}")
    assert status == 1
    assert frames(err)[-1] == shown


def test_a_cause(bench):
    """What was the cause stays."""
    script = "try: CloudClient().create_job('j', 'nosuch')\nexcept ValueError as error:\n"
    status, _, err = bench.run(HEAD + script + "    raise RuntimeError('mine') from error")
    assert status == 1
    assert "PoolNotFoundError" in err
    assert "RuntimeError: mine" in err


def test_a_hook_of_the_script(bench):
    """A script's own `sys.excepthook` is called with the error."""
    script = (
        "import sys\nsys.excepthook = lambda kind, error, traceback: print('mine', kind.__name__)\n"
    )
    _, out, err = bench.run(script + HEAD + "mine(CloudClient())")
    assert (out, frames(err)) == ("mine PoolNotFoundError\n", [])
