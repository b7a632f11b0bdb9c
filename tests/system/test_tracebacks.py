"""What a script that ends with an error of ours shows of it."""

from __future__ import annotations

import subprocess
import sys

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


GOES_ON = "What it has begun may go on.\n  Show what runs: cloudops status\n"
INTERRUPT = """\
import os, signal, time
from cfa.cloudops.service.local import LocalBatch

def stall(*_, **more):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)

"""


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (
            "LocalBatch.__init__ = stall\nCloudClient()",
            "cloudops: interrupted while the client was made.\n",
        ),
        (
            "LocalBatch.create_pool = stall\nCloudClient().create_pool('p', container_image_name='x')",
            f"cloudops: interrupted in create_pool. {GOES_ON}",
        ),
    ],
)
def test_ctrl_c(bench, more, says):
    """Ctrl-C during a call of ours ends the script by SIGINT, with a line on what that means."""
    assert bench.run(HEAD + INTERRUPT + more) == (-2, "", says)


def test_ctrl_c_with_tasks(bench):
    """Tasks that were added before go on, and a message says how to follow and stop them."""
    script = (
        "client = CloudClient()\nclient.create_pool('p', container_image_name='x')\n"
        "client.create_job('j', 'p')\nclient.add_task('j', 'sleep 2')\n"
        "LocalBatch.add_tasks = stall\nclient.add_task('j', 'true')\n"
    )
    status, _, err = bench.run(HEAD + INTERRUPT + script)
    assert status == -2
    assert "Traceback" not in err
    assert "interrupted in add_task. " in err
    assert "1 task of j goes on" in err
    assert "Stop: cloudops job terminate j" in err


def test_ctrl_c_that_is_caught(bench):
    """A script that catches KeyboardInterrupt goes on, and gets a traceback for its own code."""
    script = (
        "LocalBatch.create_pool = stall\n"
        "try: CloudClient().create_pool('p', container_image_name='x')\n"
        "except KeyboardInterrupt: print('mine')\n"
        "stall()\n"
    )
    status, out, err = bench.run(HEAD + INTERRUPT + script)
    assert (status, out) == (-2, "mine\n")
    assert frames(err) == ["<module>", "stall"]


def test_typed_lines(bench, workdir):
    """Interactive Python shows the line that was typed; a debugger sees the rest."""
    lines = (
        HEAD
        + INTERRUPT
        + "client = CloudClient()\nmine(client)\n"
        + "import sys\nprint('entries:', sys.last_traceback.tb_next.tb_next is not None)\n"
        + "LocalBatch.create_pool = stall\nclient.create_pool('p', container_image_name='x')\n"
    )
    done = subprocess.run(
        [sys.executable, "-i"],
        input=lines,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert frames(done.stderr) == ["<module>", "mine", "<module>"]
    assert "entries: True" in done.stdout
    assert "\nKeyboardInterrupt\n" in done.stderr
