"""The executor contract on real Podman: by a service that runs, and by one started on demand.

Run as root the nodes are root's; run as an ordinary user they are rootless.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from cfa.cloudops.errors import BackendUnavailableError
from cfa.cloudops.provider.executor import Executor
from cfa.cloudops.testing import images
from cfa.cloudops.testing.executor import ExecutorContract

pytestmark = pytest.mark.skipif(
    not shutil.which("podman") and not os.environ.get("CI"), reason="no podman command here"
)

IMAGES = (images.BUSYBOX, images.NOSHELL, images.NONROOT, images.ENTRYPOINT)


def _ready(executor: Executor) -> Iterator[Executor]:
    """Probe, load images; skip where Podman cannot be used, but not in CI."""
    try:
        executor.probe()
        images.load(images.engine("podman"), *IMAGES)
        yield executor
    except BackendUnavailableError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    finally:
        executor.close()


class _Podman(ExecutorContract):
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


class TestSocket(_Podman):
    """E1 and following, on the service that `CONTAINER_HOST` names or that runs at a usual place."""

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Iterator[Executor]:
        """See the kit."""
        if not os.environ.get("CONTAINER_HOST") and os.getuid() != 0:
            pytest.skip("an ordinary user's service is started on demand: see TestOwnService")
        from cloudops_podman import PodmanExecutor

        yield from _ready(PodmanExecutor())


class TestOwnService(_Podman):
    """E1 and following, on a service that the executor starts; rootless as an ordinary user."""

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Iterator[Executor]:
        """See the kit."""
        from cloudops_podman import PodmanExecutor

        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("CONTAINER_HOST", raising=False)
            patch.delenv("CLOUDOPS_PODMAN_SOCKET", raising=False)
            yield from _ready(PodmanExecutor())


class TestOwners(TestOwnService):
    """The whole contract again for an ordinary caller, in an image with a USER of its own."""

    @pytest.fixture
    def image(self) -> str:
        """See the kit."""
        return images.NONROOT

    @pytest.fixture
    def caller(self) -> tuple[int, int]:
        """An ordinary user, whoever runs the tests as root; else that user."""
        return (4321, 8765) if os.getuid() == 0 else (os.getuid(), os.getgid())
