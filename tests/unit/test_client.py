"""What scripts for the cloud pass to the client that means little on one machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from cfa.cloudops.errors import InvalidInputError
from cfa.cloudops.local import CloudClient


@pytest.fixture
def client(workdir, monkeypatch) -> Iterator[CloudClient]:
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    made = CloudClient()
    yield made
    made.close()


@pytest.mark.promise(
    "CloudClient",
    "`force_keyvault` without a key vault is a `ValueError`.",
    local="`ValueError`",
)
def test_force_keyvault(workdir):
    """`force_keyvault` needs a key vault."""
    with pytest.raises(InvalidInputError) as caught:
        CloudClient(force_keyvault=True)
    assert isinstance(caught.value, ValueError)
    assert "keyvault=" in caught.value.hint


@pytest.mark.promise(
    "CloudClient",
    "`use_sp`, `use_federated` and a key vault may stay in the script.",
    local="accepted, nobody logs in; `method` is as on the cloud",
    cloud="choose how to log in",
    difference="no credentials are needed here",
)
@pytest.mark.parametrize(
    ("flags", "method"),
    [
        ({}, "env"),
        ({"use_sp": True}, "sp"),
        ({"use_federated": True}, "default"),
        ({"use_sp": True, "use_federated": True}, "default"),
        ({"keyvault": "vault", "force_keyvault": True}, "env"),
    ],
)
def test_flags_of_the_cloud(workdir, monkeypatch, flags, method):
    """Flags about logging in are accepted, and `method` says what the cloud's client would."""
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    client = CloudClient(**flags)
    assert client.method == method
    client.close()


@pytest.mark.promise(
    "close",
    "Closing lets go of everything; work that was added goes on.",
    local="nothing is shown at the script's end; the tasks run",
    cloud="there is no such method",
    difference="ours only",
)
def test_close(client):
    """After `close` a script does not stay for its tasks, nor shows them, and they run."""
    script = (
        "from cfa.cloudops.local import CloudClient\n"
        "client = CloudClient()\n"
        "client.create_pool('p')\n"
        "client.create_job('j', 'p')\n"
        "client.add_task('j', 'echo not shown')\n"
        "client.close()\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
    assert "succeeded" not in ran.stderr
    client.monitor_job("j", timeout=1)
    assert client._batch.get_job("j").counts.succeeded == 1


@pytest.mark.promise(
    "create_pool",
    "`availability_zones` is `regional` or `zonal` in any case, else a `ValueError`.",
    local="checked, and means nothing",
    cloud="where the VMs are",
    difference="no zones here",
)
@pytest.mark.parametrize("zones", ["Regional", "ZONAL"])
def test_availability_zones(client, zones):
    """`regional` and `zonal` are taken in any case, anything else is refused."""
    client.create_pool("p", availability_zones=zones)
    with pytest.raises(ValueError, match="here"):
        client.create_pool("q", availability_zones="here")
    assert [pool.spec.id for pool in client._batch.list_pools()] == ["p"]


@pytest.mark.promise(
    "create_pool",
    "`enable_node_monitoring` needs a known value and a script.",
    local="checked, and means nothing",
    cloud="a start task fetches and runs the script",
    difference="no script runs here",
)
def test_node_monitoring(client):
    """Monitoring of nodes needs one of its names, and a script."""
    url = "https://example.org/monitor.sh"
    for name in ("monitor", "benchmark", "both"):
        client.create_pool(name, enable_node_monitoring=name, monitoring_script_url=url)
    with pytest.raises(ValueError, match="everything"):
        client.create_pool("q", enable_node_monitoring="everything", monitoring_script_url=url)
    with pytest.raises(ValueError, match="monitoring_script_url"):
        client.create_pool("q", enable_node_monitoring="both")
    assert len(client._batch.list_pools()) == 3
