"""Definitions as text, command lines as words."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfa.cloudops.autoscale import remaining_task_autoscale_formula
from cfa.cloudops.errors import InvalidInputError, StoreUnreadableError
from cfa.cloudops.model.values import (
    Isolation,
    JobScheduleSpec,
    JobSpec,
    Mount,
    PoolSpec,
    Resources,
)
from cfa.cloudops.service import definitions


def test_pool_comes_back() -> None:
    """A pool's definition is readable text that means the same pool."""
    spec = PoolSpec(
        id="p",
        backend="docker",
        image="python:3.10-slim",
        mounts=(Mount("a", "x/y"), Mount("b", "z")),
        vm_size="large",
        nodes=3,
        slots_per_node=2,
        isolation=Isolation.TASK,
        resources=Resources(1.5, 1 << 30),
        autoscale_formula="$TargetDedicatedNodes = 1;",
        metadata=(("owner", "me"),),
    )
    text = definitions.definition(spec)
    assert definitions.pool_spec(text) == spec
    assert json.loads(text)["image"] == "python:3.10-slim"
    assert "\n" in text


def test_job_comes_back() -> None:
    """A job's definition is readable text that means the same job."""
    spec = JobSpec(id="j", pool_id="p", timeout_s=60.0, log_container="c", metadata=(("a", "b"),))
    assert definitions.job_spec(definitions.definition(spec)) == spec


def test_definitions_of_other_versions() -> None:
    """What a definition lacks has its default; what it has beyond is left out."""
    pool = definitions.pool_spec('{"id": "p", "backend": "docker", "colour": {"red": 1}}')
    assert pool == PoolSpec(id="p", backend="docker")
    job = definitions.job_spec('{"id": "j", "pool_id": "p", "colour": 1}')
    assert job == JobSpec(id="j", pool_id="p")
    schedule = definitions.schedule_spec('{"id": "s", "pool_id": "p", "command_line": "true"}')
    assert schedule == JobScheduleSpec(id="s", pool_id="p", command_line="true")


@pytest.mark.parametrize("formula", ["default", "$TargetDedicatedNodes = 0;", "no formula"])
def test_formula_that_was_only_kept(formula: str) -> None:
    """A pool of a version that only kept formulas has nodes for its tasks, as it had then."""
    text = json.dumps({"id": "p", "backend": "docker", "nodes": 3, "autoscale_formula": formula})
    ready_made = remaining_task_autoscale_formula(max_number_vms=3)
    assert definitions.pool_spec(text).autoscale_formula == ready_made


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "1",
        "{",
        "[" * 100_000,
        '{"id": "p", "backend": "b", "mounts": 1}',
        '{"id": "p", "backend": "b", "isolation": "none"}',
        '{"id": 1, "pool_id": 1, "metadata": 7}',
    ],
)
@pytest.mark.parametrize(
    "read", [definitions.pool_spec, definitions.job_spec, definitions.schedule_spec]
)
def test_definitions_that_nobody_wrote(read: Callable[[str], object], text: str) -> None:
    """What is no definition is an error of the store."""
    with pytest.raises(StoreUnreadableError, match="cannot be read"):
        read(text)


def test_mounts_come_back() -> None:
    """Mounts of a task are kept as text; none at all differs from the pool's."""
    mounts = (Mount("a", "x"), Mount("b", "y"))
    assert definitions.mounts_from(definitions.mounts_text(mounts)) == mounts
    assert definitions.mounts_from(definitions.mounts_text(())) == ()
    assert definitions.mounts_text(None) is None
    assert definitions.mounts_from(None) is None


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_words_are_those_of_posix(text: str) -> None:
    """A command line is split as `shlex` splits it, by the short way as by the long one."""
    try:
        expected = shlex.split(text)
    except ValueError:
        expected = []
    if expected:
        definitions.check_command(text)
        assert definitions.split_command(text) == expected
    else:
        for call in (definitions.split_command, definitions.check_command):
            with pytest.raises(InvalidInputError):
                call(text)


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1)
)
def test_quoted_words_come_back(words: list[str]) -> None:
    """Words that are quoted as a shell wants them are those words."""
    assert definitions.split_command(shlex.join(words)) == words


@pytest.mark.parametrize("text", ["", "  ", "\n", "echo 'x", 'echo "x', "x\\", "a\0b", "a\udcffb"])
def test_bad_commands(text: str) -> None:
    """What cannot be a command is refused in words."""
    with pytest.raises(InvalidInputError) as caught:
        definitions.split_command(text)
    assert caught.value.hint
