"""`create_pool`: what it refuses and what it warns of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from attrs import evolve

from cfa.cloudops import backends
from cfa.cloudops.client import pools
from cfa.cloudops.errors import InvalidInputError
from cfa.cloudops.local import CloudClient
from cfa.cloudops.provider.executor import ImageProgress


@pytest.fixture
def client(workdir, monkeypatch) -> Iterator[CloudClient]:
    """A client whose tasks run without a sandbox."""
    monkeypatch.setenv("CLOUDOPS_SUBPROCESS_SANDBOX", "off")
    made = CloudClient(backend="subprocess")
    yield made
    made.close()


def warnings(capsys) -> list[str]:
    """Warnings of the client's log since the last time."""
    return [line for line in capsys.readouterr().out.splitlines() if "[WARNING]" in line]


def test_mounts_without_a_sandbox(client, capsys):
    """One warning says which paths are not rewritten and how to get a sandbox."""
    client.create_blob_container("data")
    capsys.readouterr()
    client.create_pool("p", mounts=["data"])
    (warning,) = warnings(capsys)
    assert "Paths of mounts are rewritten in commands" in warning
    assert "not inside the scripts that they run" in warning
    assert "No sandbox" in warning


def test_no_mounts_no_executor(client, capsys, monkeypatch):
    """Without mounts there is nothing to warn of, and no backend is loaded for it."""
    monkeypatch.setattr(
        "cfa.cloudops.client.pools._warn_of_host_paths", lambda *_: pytest.fail("asked")
    )
    client.create_pool("p")
    assert warnings(capsys) == []


def test_mounts_in_a_sandbox(client, capsys, monkeypatch):
    """Where mounts are at their places there is no warning, nor where the backend is silent."""
    executor = backends.load_executor("subprocess")
    found = executor.probe()
    executor.close()
    monkeypatch.setattr(backends, "load_executor", lambda name: executor)
    monkeypatch.setattr(executor, "probe", lambda: evolve(found, private_paths=True))
    pools._warn_of_host_paths("p", "subprocess")
    monkeypatch.setattr(backends, "load_executor", lambda name: backends._load("none", name))
    pools._warn_of_host_paths("p", "nobody")
    assert warnings(capsys) == []


@pytest.mark.parametrize("size", [None, 4, "", True, ["small"]])
def test_size_that_is_no_name(client, size):
    """A size that is no text is refused with the names there are; no pool is made."""
    with pytest.raises(InvalidInputError, match=r"vm_size=.*xsmall"):
        client.create_pool("p", vm_size=size)
    assert client._batch.list_pools() == []


@pytest.mark.promise(
    "create_pool",
    "A size that nobody knows is passed on.",
    local="a pool without limits, with a warning",
    cloud="the service refuses a size that does not exist",
    difference="rehearse to have it refused",
)
def test_size_that_is_not_known(client, capsys):
    """A size that nobody knows is accepted with a warning, a known one without."""
    client.create_pool("p", vm_size="nonsense")
    (warning,) = warnings(capsys)
    assert "No limits are known for vm_size='nonsense'" in warning
    client.create_pool("q", vm_size="small")
    assert warnings(capsys) == []


@pytest.mark.parametrize("autoscale", ["False", "yes", 0, None])
def test_bad_autoscale(client, autoscale):
    """`autoscale` is True or False, and no text that only looks like it."""
    with pytest.raises(InvalidInputError, match="neither True nor False"):
        client.create_pool("p", autoscale=autoscale)


@pytest.mark.promise(
    "create_pool",
    "Numbers of nodes that cannot be are refused.",
    local="`ValueError`, no pool is made",
    cloud="the SDK's error",
    difference="the type of the error",
)
@pytest.mark.parametrize("autoscale", [True, False])
@pytest.mark.parametrize("name", ["dedicated_nodes", "low_priority_nodes", "max_autoscale_nodes"])
@pytest.mark.parametrize("value", [-1, 1.5, "2", None, True])
def test_bad_numbers_of_nodes(client, name, value, autoscale):
    """A number of nodes is checked also where it means nothing."""
    with pytest.raises(InvalidInputError, match=name):
        client.create_pool("p", autoscale=autoscale, **{name: value})


def test_a_pull_without_a_terminal(monkeypatch, capsys):
    """Where nothing is drawn, a pull is told by its first line, one in five seconds, and its last."""
    now_s = 0.0
    monkeypatch.setattr(pools.time, "monotonic", lambda: now_s)
    progress = pools._PullProgress()
    for done in range(100):
        now_s += 0.125
        progress(ImageProgress(image="an-image", status=f"part {done}", done=done, total=100))
    progress.end()
    told = [f"an-image: part {done}" for done in (0, 40, 80, 99)]
    assert capsys.readouterr().err.splitlines() == told
    progress = pools._PullProgress()
    progress(ImageProgress(image="an-image", status="is there", done=0, total=0))
    progress.end()
    assert capsys.readouterr().err == "an-image: is there\n"
