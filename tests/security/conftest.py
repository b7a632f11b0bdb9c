"""The bench of the system tests, for tests that attack."""

from tests.system.conftest import bench

__all__ = ["bench"]
