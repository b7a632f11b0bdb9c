"""The example executor keeps the executors' contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cloudops_example import ExampleExecutor

from cfa.cloudops.provider.executor import Executor
from cfa.cloudops.testing.executor import ExecutorContract


class TestExample(ExecutorContract):
    """Nodes that are plain processes."""

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Iterator[Executor]:
        executor = ExampleExecutor()
        yield executor
        executor.close()

    @pytest.fixture(scope="class")
    @classmethod
    def image(cls) -> str | None:
        return None
