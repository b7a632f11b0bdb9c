"""What a notebook shows of a job that runs, in a real kernel."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
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
def kernel(backend, workdir: Path) -> Iterator[Any]:
    """A client of a kernel that runs in the test's directory."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(workdir))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


def run(kernel: Any, code: str) -> list[dict[str, Any]]:
    """What a cell sends: each message's type and content."""
    said: list[dict[str, Any]] = []
    reply = kernel.execute_interactive(
        code,
        timeout=60,
        output_hook=lambda message: said.append(
            {"type": message["msg_type"], **message["content"]}
        ),
    )
    assert reply["content"]["status"] == "ok", reply["content"]
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


def test_values_are_tables(kernel: Any):
    """A cell that ends with a result or a list shows it as a table."""
    run(kernel, SET_UP)
    run(kernel, "result = client.monitor_job('j')")
    for expression in ("result", "client.list_jobs()", "client.list_tasks('j')"):
        [shown] = [one for one in run(kernel, expression) if one["type"] == "execute_result"]
        assert "<table" in shown["data"]["text/html"]
