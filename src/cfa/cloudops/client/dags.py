"""Graphs of tasks: run them, draw them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Unpack

from cfa.cloudops.client.arguments import CommonOptions
from cfa.cloudops.errors import AmbiguousCallError

if TYPE_CHECKING:
    from cfa.cloudops.client.tasks import TaskIds
    from cfa.cloudops.dag import Task
    from cfa.cloudops.drawing import Drawing

#: Keywords of `add_task` that may hold for all tasks of one call.
COMMON_KEYWORDS = tuple(CommonOptions.__annotations__)


class DagTaskIds(dict["Task", str]):
    """The service's id of each task of a graph, in the order they were added."""

    def _repr_html_(self) -> str:
        from cfa.cloudops.dag import given_id
        from cfa.cloudops.model import show  # for notebooks alone

        named = any(map(given_id, self))
        rows = [
            {**({"task": given_id(task)} if named else {}), "id": task_id, "command": task.cmd}
            for task, task_id in self.items()
        ]
        return show.table(rows, "There are no tasks.")


class DagMixin:
    """Methods of `CloudClient` about graphs of tasks."""

    if TYPE_CHECKING:

        def add_task_collection(
            self, job_name: str, tasks: Any, name_suffix: str = ""
        ) -> TaskIds: ...

    def run_dag(
        self, *args: Task | Iterable[Task], job_name: str, **kwargs: Unpack[CommonOptions]
    ) -> dict[Task, str]:
        """Add tasks that depend on one another in one call, all or none.

        If a task depends on a task that is not among the arguments, that one is added too, without
        its own dependencies.

        Args:
            *args: the tasks, alone or in lists.
            job_name: an existing job.
            **kwargs: for every task, as in `add_task`: `mount_pairs`, `name_suffix`,
                `run_dependent_tasks_on_fail`, `container_image_name`, `timeout`.

        Returns:
            The service's id of each task, in the order in which they were added. No `Task` changes.

        Raises:
            DependencyCycleError: tasks depend on one another in a circle; also a
                graphlib.CycleError.
            TypeError: an argument is not a task, or a keyword is not one of those above.
            ValueError, RuntimeError: as for `add_task`. No task was added.
        """
        from cfa.cloudops.dag import graph

        check_keywords("run_dag", kwargs, COMMON_KEYWORDS)
        ordered = graph(args)
        specs = [
            {**kwargs, "command_line": task.cmd, "depends_on_positions": parents}
            for task, parents in zip(ordered.tasks, ordered.parents, strict=True)
        ]
        ids = self.add_task_collection(job_name, specs)
        return DagTaskIds(zip(ordered.tasks, ids, strict=True))

    def generate_dag(
        self, *args: Task | Iterable[Task], file_name: str | os.PathLike[str] | None = None
    ) -> Drawing | None:
        """Draw tasks and their dependencies. No task is added, and no `Task` changes.

        The label of a task is the name of the caller's variable that holds it, otherwise its id.

        Args:
            *args: the tasks, alone or in lists.
            file_name: a file to write. Its suffix chooses the format: `.txt` or none for text,
                `.mmd` for Mermaid, `.svg` and `.png` for pictures. Pictures, and texts with lines
                between the tasks, need `pip install 'cfa-cloudops[draw]'`; without it, a text lists
                each task with its dependencies. A file that exists is replaced. Default: no file is
                written.

        Returns:
            Without a file, a drawing, which a notebook shows as a picture if possible, otherwise as
            text. `print` writes the text. With a file, None.

        Raises:
            ValueError: the suffix is unknown, or tasks depend on one another in a circle
                (graphlib.CycleError).
            TypeError: an argument is not a task.
            ImportError: the library for pictures is not installed.
            FileNotFoundError: the file's folder does not exist.
            OSError: the file cannot be written.
        """
        from cfa.cloudops import dag, drawing

        path = None if file_name is None else drawing.check(file_name)
        caller = sys._getframe(1)
        ordered = dag.graph(args)
        labels = dag.labels(ordered.tasks, caller.f_locals, caller.f_globals)
        if path is None:
            return drawing.Drawing(ordered, labels)
        drawing.draw(ordered, labels, path)
        return None


def check_keywords(method: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises: AmbiguousCallError: a keyword is not known."""
    for name in given:
        if name not in known:
            raise AmbiguousCallError(
                f"{method} has no keyword {name!r}.", f"Its keywords are: {', '.join(known)}."
            )
