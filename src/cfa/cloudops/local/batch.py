"""Records of pools and jobs, as scripts for the local client know them; nothing uses them here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define

from cfa.cloudops.dag import Task

__all__ = ["Job", "Pool", "Task"]


@define(init=False)
class Pool:
    """A pool's name and image."""

    pool_id: str
    image_name: str
    pool_parameters: Mapping[str, Any] | None
    status: str

    def __init__(
        self, name: str, image_name: str, pool_parameters: Mapping[str, Any] | None = None
    ) -> None:
        self.__attrs_init__(name, image_name, pool_parameters, "on")


@define(init=False)
class Job:
    """A job's name, pool and settings."""

    job_id: str
    pool_id: str
    task_retries: int
    mark_complete: bool
    status: str

    def __init__(
        self, name: str, pool_id: str, task_retries: int = 0, mark_complete: bool = False
    ) -> None:
        self.__attrs_init__(name, pool_id, task_retries, mark_complete, "running")
