"""`cfa.cloudops.automation` with the local client."""

from __future__ import annotations

import os
from typing import Any

from cfa.cloudops import automation, plans
from cfa.cloudops.local._client import CloudClient

__all__ = ["run_experiment", "run_tasks"]


def run_experiment(
    exp_config: str | os.PathLike[str], dotenv_path: str | None = None, **kwargs: Any
) -> None:
    plan = plans.experiment(exp_config)
    automation.run(plan, CloudClient(dotenv_path=dotenv_path, **kwargs))


def run_tasks(
    task_config: str | os.PathLike[str], dotenv_path: str | None = None, **kwargs: Any
) -> None:
    plan = plans.tasks(task_config)
    automation.run(plan, CloudClient(dotenv_path=dotenv_path, **kwargs))


run_experiment.__doc__ = automation.run_experiment.__doc__
run_tasks.__doc__ = automation.run_tasks.__doc__
