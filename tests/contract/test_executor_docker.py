"""The executor contract on a real Docker engine, the one that Docker's own tools would use here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cfa.cloudops.errors import ImageError
from cfa.cloudops.provider.executor import Executor, ImageProgress, NodeSpec
from cfa.cloudops.testing import images
from cfa.cloudops.testing.executor import ECHO, ExecutorContract, interrupted, read_all
from cfa.cloudops.testing.registry import registry
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


@pytest.mark.thorough
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


def test_pull(docker: DockerExecutor) -> None:
    """A missing image is pulled, with progress in bytes; its shell is found behind links."""
    steps: list[ImageProgress] = []
    with registry(engine=docker.probe().endpoint) as address:
        image = f"{address}/kit/small:1"
        try:
            found = docker.ensure_image(image, steps.append)
        finally:
            images.engine("docker").run("rmi", "--force", image, timeout_s=60)
    assert found.user == "1234"
    assert steps[-1].done == steps[-1].total > 4 << 20
    assert any(0 < step.done < step.total for step in steps)


@pytest.mark.parametrize(("name", "words"), [("small:9", "unknown"), ("secret:1", "log in")])
def test_pull_refused(docker: DockerExecutor, name: str, words: str) -> None:
    """A pull that the registry refuses is an ImageError with the registry's words."""
    with (
        registry(engine=docker.probe().endpoint) as address,
        pytest.raises(ImageError, match=words) as caught,
    ):
        docker.ensure_image(f"{address}/kit/{name}")
    assert f"docker pull {address}/kit/{name}" in caught.value.hint


def test_pulled_without_shell(docker: DockerExecutor) -> None:
    """A link to a shell that is not there is no shell."""
    with registry(shell=False, engine=docker.probe().endpoint) as address:
        image = f"{address}/kit/small:1"
        try:
            with pytest.raises(ImageError, match="/bin/sh"):
                docker.ensure_image(image)
        finally:
            images.engine("docker").run("rmi", "--force", image, timeout_s=60)
