"""Numbers that users give for jobs and tasks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from cfa.cloudops import task
from cfa.cloudops.client.jobs import minutes, retries
from cfa.cloudops.errors import InvalidInputError


@pytest.mark.parametrize("value", [-2, 2**31, 10**25, True, 1.5, "2", float("inf"), None])
def test_retries_refused(value: Any) -> None:
    """Numbers of retries that the service does not take are refused when they are given."""
    with pytest.raises(InvalidInputError, match="at least -1 and below 2147483648"):
        retries("task_retries", value)


@pytest.mark.parametrize("value", [-1, 0, 2**31 - 1])
def test_retries(value: int) -> None:
    """Other numbers of retries stay."""
    assert retries("task_retries", value) == value


@pytest.mark.parametrize("value", [-1, True, "5", float("nan"), timedelta(-1), timedelta.max])
def test_minutes_refused(value: Any) -> None:
    """A time that is negative, endless or no number is refused, a timedelta as well."""
    with pytest.raises(InvalidInputError, match="not a number of minutes"):
        minutes("timeout", value)


def test_minutes() -> None:
    """Minutes become seconds; nothing and zero mean no limit."""
    assert minutes("timeout", 1.5) == minutes("timeout", timedelta(seconds=90)) == 90
    assert [minutes("timeout", value) for value in (None, 0, timedelta(0))] == [None] * 3


def test_task_config() -> None:
    """The low-level description of a task has the same bounds."""
    config = task.get_task_config(
        "t", "true", timeout=timedelta(seconds=90), max_task_retry_count=2
    )
    assert (config.spec().timeout_s, config.spec().max_retries) == (90, 2)
    with pytest.raises(InvalidInputError, match="max_task_retry_count"):
        task.get_task_config("t", "true", max_task_retry_count=2**63)
    with pytest.raises(InvalidInputError, match="timeout"):
        task.get_task_config("t", "true", timeout=timedelta(-1)).spec()
    with pytest.raises(InvalidInputError, match=r"depends_on=5\.5 is neither"):
        task.get_task_config("t", "true", depends_on=5.5)
