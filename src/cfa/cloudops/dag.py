"""Tasks that know what they depend on, and the order in which they can run."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any, TypeVar

from attrs import frozen

from cfa.cloudops.errors import AmbiguousCallError, DependencyCycleError
from cfa.cloudops.model.plain import some

__all__ = ["Graph", "Task", "graph", "labels"]

_log = logging.getLogger(__name__)

T = TypeVar("T", bound="Task | Sequence[Task]")


class Task:
    """A command in a graph. `CloudClient.run_dag` runs it after the tasks that it depends on.

    `a >> b` and `b << a` mean that b runs after a. Either side may be a list, and chains work:
    `prepare >> [fit_a, fit_b] >> merge`. A task is equal only to itself.

    Args:
        cmd: program and arguments, as in `add_task`.
        id: a name for readers; random by default. The service gives the task another id.
        dep: one or several tasks that must succeed first.

    Raises:
        TypeError, ValueError: `dep` contains an object that is not a task.
    """

    def __init__(
        self, cmd: str, id: str | None = None, dep: Task | Iterable[Task] | None = None
    ) -> None:
        self.cmd = cmd
        self.id = str(uuid.uuid4()) if id is None else id
        self._random = self.id if id is None else None
        self._deps: list[Task] = [] if dep is None else as_tasks(dep)

    @property
    def deps(self) -> list[Task]:
        """The tasks that must succeed first, without duplicates. You may change the list."""
        self._deps[:] = dict.fromkeys(self._deps)
        return self._deps

    @deps.setter
    def deps(self, tasks: Task | Iterable[Task]) -> None:
        self._deps = as_tasks(tasks)

    def before(self, other: Task | Iterable[Task]) -> None:
        """Run this task before one or several others."""
        for task in as_tasks(other):
            task._deps.append(self)

    def after(self, other: Task | Iterable[Task]) -> None:
        """Run this task after one or several others."""
        self._deps.extend(as_tasks(other))

    def set_downstream(self, other: Task | Iterable[Task]) -> None:
        """Run this task before one or several others; the same as `before`."""
        self.before(other)

    def set_upstream(self, other: Task | Iterable[Task]) -> None:
        """Run this task after one or several others; the same as `after`."""
        self.after(other)

    def __rshift__(self, other: T) -> T:
        self.before(other)
        return other

    def __lshift__(self, other: T) -> T:
        self.after(other)
        return other

    def __rrshift__(self, other: Sequence[Task]) -> Task:
        self.after(other)
        return self

    def __rlshift__(self, other: Sequence[Task]) -> Task:
        self.before(other)
        return self

    def __repr__(self) -> str:
        return given_id(self) or f"Task({self.cmd!r})"

    def __str__(self) -> str:
        return str(self.id)

    def _repr_html_(self) -> str:
        from cfa.cloudops.model import show  # for notebooks alone

        fields = {"task": given_id(self), "command": self.cmd}
        after = some([repr(task) for task in self.deps])
        return show.record({k: v for k, v in (fields | {"runs after": after}).items() if v})


def given_id(task: Task) -> str | None:
    """The id that somebody gave a task; None for a random one."""
    return None if task.id == task._random else str(task.id)  # some scripts give numbers


def as_tasks(value: Any) -> list[Task]:
    """One task or several, in a new list.

    Raises:
        AmbiguousCallError: there is something else among them.
    """
    if isinstance(value, Task):
        return [value]
    single = isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable)
    found: list[Any] = [value] if single else list(value)
    for item in found:
        if not isinstance(item, Task):
            raise AmbiguousCallError(
                f"{item!r} is not a Task.",
                "Pass the Task object itself, not its id or its command: Task(cmd, dep=first).",
            )
    return found


@frozen
class Graph:
    """Tasks in an order in which they can run, each with the positions of those it depends on."""

    tasks: tuple[Task, ...]
    parents: tuple[tuple[int, ...], ...]


def graph(arguments: Iterable[Task | Iterable[Task]]) -> Graph:
    """The graph of some tasks and of those that they depend on.

    Of a task that only comes in as a dependency, dependencies outside of the graph are left out, with
    a warning: whoever leaves a task out may have run it already.

    Raises:
        DependencyCycleError: a task depends on itself, directly or through others.
        AmbiguousCallError: something is not a task.
    """
    given = dict.fromkeys(task for argument in arguments for task in as_tasks(argument))
    members = dict.fromkeys(given)
    for task in given:
        members.update(dict.fromkeys(as_tasks(task.deps)))
    parents = {task: [dep for dep in task.deps if dep in members] for task in members}
    try:
        ordered = tuple(TopologicalSorter(parents).static_order())
    except CycleError as error:
        cycle: list[Task] = error.args[1]
        raise DependencyCycleError(
            f"The tasks depend on one another in a circle: "
            f"{some([_say(task) for task in cycle], between=' -> ')}.",
            "Remove one dependency.",
            cycle,
        ) from None
    for task in members:
        if len(parents[task]) < len(task.deps):
            _log.warning(
                "The task %s is added only because others depend on it, and without its own "
                "dependencies. Pass all tasks.",
                _say(task),
            )
    position = {task: index for index, task in enumerate(ordered)}
    return Graph(
        ordered, tuple(tuple(position[parent] for parent in parents[task]) for task in ordered)
    )


def _say(task: Task) -> str:
    """A task as its author knows it."""
    name = given_id(task)
    return repr(task.cmd) if name is None else f"{name} ({task.cmd})"


def labels(tasks: Iterable[Task], *namespaces: Mapping[str, Any]) -> list[str]:
    """A name for each task: of a variable that holds it, else its id.

    Args:
        tasks: the tasks.
        namespaces: variables, the nearest first. Names that begin with `_` come last: a notebook
            keeps what cells gave in such.
    """
    found: dict[Task, str] = {}
    for space in namespaces:
        for name in sorted(space, key=lambda name: name.startswith("_")):
            if isinstance(space[name], Task):
                found.setdefault(space[name], name)
    return [found.get(task) or str(task.id) for task in tasks]
