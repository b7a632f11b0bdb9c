"""The executor contract on a real Docker engine, the one that Docker's own tools would use here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cfa.cloudops.provider.executor import Executor, NodeSpec
from cfa.cloudops.testing import images
from cfa.cloudops.testing.executor import ECHO, ExecutorContract, interrupted, read_all
from cloudops_docker import DockerExecutor


@pytest.fixture(scope="module")
def docker() -> Iterator[DockerExecutor]:
    """The executor, with the images of these tests loaded."""
    executor = DockerExecutor()
    try:
        executor.probe()
        images.load(
            images.engine("docker"),
            images.BUSYBOX,
            images.NOSHELL,
            images.NONROOT,
            images.ENTRYPOINT,
        )
        yield executor
    finally:
        executor.close()


class TestDocker(ExecutorContract):
    """E1 and following, on Docker."""

    @pytest.fixture
    def executor(self, docker: DockerExecutor) -> Executor:
        """See the kit."""
        return docker

    @pytest.fixture
    def image(self) -> str:
        """See the kit."""
        return images.BUSYBOX

    @pytest.fixture
    def entrypoint_image(self) -> str:
        """See the kit."""
        return images.ENTRYPOINT

    @pytest.fixture
    def shellless_image(self) -> str:
        """See the kit."""
        return images.NOSHELL


class TestOwners(TestDocker):
    """The whole contract again for an ordinary caller, in an image with a USER of its own."""

    @pytest.fixture
    def image(self) -> str:
        """See the kit."""
        return images.NONROOT

    @pytest.fixture
    def caller(self) -> tuple[int, int]:
        """An ordinary user, whoever runs the tests as root; else that user."""
        return (4321, 8765) if os.getuid() == 0 else (os.getuid(), os.getgid())


def test_user_of_image_is_replaced(docker: DockerExecutor, tmp_path: Path) -> None:
    """In an image with a USER a node runs as its caller all the same."""
    spec = NodeSpec(
        workspace=f"user-{os.getpid()}",
        node_id="n1",
        name=f"user-{os.getpid()}",
        image=images.NONROOT,
        argv=("/bin/sh", "-c", "id -u; id -g"),
        caller_uid=1000,
        caller_gid=1001,
    )
    expected = b"0\n0\n" if docker.probe().rootless else b"1000\n1001\n"
    node = docker.open_node(spec)
    try:
        assert read_all(node) == expected
    finally:
        node.close(0)


@pytest.mark.parametrize("verb", ["create", "attach", "start"])
def test_interrupted(verb: str, docker: DockerExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at any step of opening a node leaves no container."""
    spec = NodeSpec(
        workspace=f"interrupted-{os.getpid()}",
        node_id="n1",
        name=f"interrupted-{os.getpid()}",
        image=images.BUSYBOX,
        argv=("/bin/sh", "-c", ECHO),
    )
    monkeypatch.setattr(docker, verb, interrupted(getattr(docker, verb)))
    with pytest.raises(KeyboardInterrupt):
        docker.open_node(spec)
    assert docker.list_nodes(spec.workspace) == []
