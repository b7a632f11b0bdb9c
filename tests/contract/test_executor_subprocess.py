"""The subprocess executor keeps the executors' contract, in a sandbox and without one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from cfa.cloudops.provider.executor import Executor
from cfa.cloudops.testing.executor import ExecutorContract
from cloudops_subprocess import SubprocessExecutor


class TestPlain(ExecutorContract):
    """Plain processes."""

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Iterator[Executor]:
        executor = SubprocessExecutor({"sandbox": "off"})
        yield executor
        executor.close()

    @pytest.fixture(scope="class")
    @classmethod
    def image(cls) -> str | None:
        return None


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
class TestSandbox(ExecutorContract):
    """Processes in a bubblewrap sandbox."""

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Iterator[Executor]:
        executor = SubprocessExecutor({"sandbox": "required"})
        yield executor
        executor.close()

    @pytest.fixture(scope="class")
    @classmethod
    def image(cls) -> str | None:
        return None


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
class TestStrictSandbox(ExecutorContract):
    """Processes in a sandbox that shows the system only."""

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Iterator[Executor]:
        executor = SubprocessExecutor({"sandbox": "strict"})
        yield executor
        executor.close()

    @pytest.fixture(scope="class")
    @classmethod
    def image(cls) -> str | None:
        return None
