"""What a notebook shows of a job that runs, in a real kernel."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Not imported: who has it loaded is in a notebook.
if importlib.util.find_spec("ipykernel") is None:
    pytest.skip("needs ipykernel: pip install -e '.[dev]'", allow_module_level=True)

from jupyter_client import KernelManager

pytestmark = pytest.mark.parametrize("backend", ["subprocess-nosandbox"], indirect=True)

SET_UP = """
from cfa.cloudops.local import CloudClient
client = CloudClient()
client.create_pool("p")
client.create_job("j", "p")
client.add_task("j", "sleep 1.5")
client.add_task("j", ["sh", "-c", "echo 'the <reason>' >&2; exit 3"])
"""


@pytest.fixture
def manager(backend, workdir: Path) -> Iterator[Any]:
    """A kernel that runs in the test's directory."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(workdir))
    try:
        yield manager
    finally:
        manager.shutdown_kernel()


@pytest.fixture
def kernel(manager: Any) -> Iterator[Any]:
    """A client of the kernel."""
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield client
    finally:
        client.stop_channels()


def run(
    kernel: Any, code: str, hook: Callable[[dict[str, Any]], None] | None = None, status: str = "ok"
) -> list[dict[str, Any]]:
    """What a cell sends: each message's type and content, which also go to a hook."""
    said: list[dict[str, Any]] = []

    def take(message: dict[str, Any]) -> None:
        said.append({"type": message["msg_type"], **message["content"]})
        if hook is not None:
            hook(said[-1])

    reply = kernel.execute_interactive(code, timeout=60, output_hook=take)
    assert reply["content"]["status"] == status, reply["content"]
    return said


def test_one_display_is_updated(kernel: Any):
    """`monitor_job` has one display: it shows what runs and each failure, and stays in the end."""
    run(kernel, SET_UP)
    said = run(kernel, "result = client.monitor_job('j')")
    displays = [one for one in said if one["type"] in ("display_data", "update_display_data")]
    assert [one["type"] for one in displays].count("display_data") == 1
    assert len({one["transient"]["display_id"] for one in displays}) == 1
    pictures = [re.sub(r"<[^>]+>", "", one["data"]["text/html"]) for one in displays]
    assert any("j: 1 of 2 done, 1 failed, 1 running" in text for text in pictures)
    assert "j--2 failed: The program ended with exit code 3" in pictures[-1]
    assert "the &lt;reason&gt;" in pictures[-1]
    assert "running" not in pictures[-1]
    assert not [one for one in said if one["type"] == "stream" and one["name"] == "stderr"]


def test_nothing_to_show(kernel: Any):
    """The display of a job without failures is empty in the end."""
    run(kernel, SET_UP.rpartition("client.add_task")[0])
    said = run(kernel, "result = client.monitor_job('j')")
    displays = [one for one in said if one["type"] in ("display_data", "update_display_data")]
    assert displays[-1]["data"]["text/html"] == ""


def test_values_are_tables(kernel: Any):
    """A cell that ends with a result or a list shows it as a table."""
    run(kernel, SET_UP)
    run(kernel, "result = client.monitor_job('j')")
    for expression in ("result", "client.list_jobs()", "client.list_tasks('j')"):
        [shown] = [one for one in run(kernel, expression) if one["type"] == "execute_result"]
        assert "<table" in shown["data"]["text/html"]


def test_an_interrupted_cell(manager: Any, kernel: Any):
    """A cell that is interrupted in `monitor_job` says what goes on, without a traceback."""
    run(kernel, SET_UP + "client.add_task('j', 'sleep 20')")
    sent = []

    def interrupt(message: dict[str, Any]) -> None:
        if "running" in str(message.get("data")) and not sent:
            sent.append(message)
            os.kill(manager.provisioner.pid, signal.SIGINT)

    said = run(kernel, "client.monitor_job('j')", interrupt, status="error")
    [error] = [one for one in said if one["type"] == "error"]
    assert error["ename"] == "KeyboardInterrupt"
    assert error["traceback"] == ["KeyboardInterrupt: detached from the job j"]
    text = "".join(one["text"] for one in said if one["type"] == "stream")
    # Kernels ask for colour.
    assert re.sub(r"\x1b\[\d+m", "", text).startswith("cloudops: detached; ")
    assert "Stop: cloudops job terminate j" in text
    run(kernel, "client.delete_job('j')")


def test_an_error_of_ours(kernel: Any):
    """A cell that fails shows its own lines, and none of this package's."""
    run(kernel, SET_UP)
    said = run(kernel, "def mine():\n    client.create_job('k', 'nosuch')\nmine()", status="error")
    [error] = [one for one in said if one["type"] == "error"]
    text = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error["traceback"]))
    assert error["ename"] == "PoolNotFoundError"
    assert "client.create_job('k', 'nosuch')" in text
    assert "There is no pool 'nosuch'" in text
    assert "cloudops/client" not in text


def test_an_interrupted_call(kernel: Any):
    """A cell that is interrupted in a call of ours ends with `KeyboardInterrupt` and its own line."""
    run(kernel, SET_UP)
    code = (
        "import os, signal, time\n"
        "client._batch.get_pool = lambda *_: (os.kill(os.getpid(), signal.SIGINT), time.sleep(10))\n"
        "client.create_job('k', 'p')"
    )
    [error] = [one for one in run(kernel, code, status="error") if one["type"] == "error"]
    text = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error["traceback"]))
    assert error["ename"] == "KeyboardInterrupt"
    assert "client.create_job('k', 'p')" in text
    assert "cloudops/client" not in text
