"""Tasks from files of parameter sets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Unpack

from cfa.cloudops.client.arguments import TaskOptions
from cfa.cloudops.client.dags import check_keywords

if TYPE_CHECKING:
    from cfa.cloudops.client.tasks import TaskIds


class ParameterMixin:
    """Methods of `CloudClient` about parameter sets."""

    if TYPE_CHECKING:

        def add_task_collection(
            self, job_name: str, tasks: Any, name_suffix: str = ""
        ) -> TaskIds: ...

    def add_tasks_from_yaml(
        self,
        job_name: str,
        base_cmd: str,
        file_path: str | os.PathLike[str],
        **kwargs: Unpack[TaskOptions],
    ) -> list[str]:
        """Add a task for each parameter set of a YAML file, all or none, and return their ids.

        A set becomes `base_cmd --name value ...`. The parameter `name(flag)` becomes `--name`,
        unless its value is empty. A value with blanks is quoted, so that it stays one argument:
        `--bounds '[0.0, 1.0]'`.

        Args:
            job_name: an existing job.
            base_cmd: program and first arguments.
            file_path: a file of the schema v0.1, v0.3 or v0.4.
            **kwargs: for every task, as in `add_task`: `mount_pairs`, `name_suffix`, `depends_on`,
                `depends_on_range`, `run_dependent_tasks_on_fail`, `container_image_name`, `timeout`.

        Raises:
            TypeError: a keyword is not one of those above.
            FileNotFoundError: the file does not exist.
            ValueError: the file does not follow its schema, or as for `add_task`.
            RuntimeError: the job accepts no more tasks.
        """
        from cfa.cloudops.parameters import command_lines

        known = tuple(TaskOptions.__annotations__)
        check_keywords("add_tasks_from_yaml", kwargs, known)
        tasks = [{**kwargs, "command_line": line} for line in command_lines(base_cmd, file_path)]
        return self.add_task_collection(job_name, tasks)
