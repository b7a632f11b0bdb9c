"""Parts of tasks that programs put together themselves, with the SDK's objects around them.

They are imported from `cfa.cloudops.batch_helpers`, as `_generate_exit_conditions` and so on.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from cfa.cloudops.defaults import AZ_MOUNT_DIR
from cfa.cloudops.model import names
from cfa.cloudops.model.records import Record

#: Folder, beginning of the files' names, and the words of a command, whose status stays that of all.
_SAVING = (
    'folder=$1 name=$2; shift 2; mkdir -p "$folder" || exit; '
    '"$@" >"$folder/stdout_$name.txt" 2>"$folder/stderr_$name.txt"; status=$?; '
    'cat "$folder/stdout_$name.txt"; cat "$folder/stderr_$name.txt" >&2; exit $status'
)


def exit_conditions(run_dependent_tasks_on_fail: bool) -> Record:
    """What the SDK's `ExitConditions` say: whether tasks that depend on a task run when it fails."""
    action = "satisfy" if run_dependent_tasks_on_fail else "block"
    return Record(default=Record(dependency_action=action))


def mount_string(mounts: Sequence[Mapping[str, str]] | None) -> str:
    """Options of a container that mount blob containers: `{"source", "target"}` each; none for None."""
    from cfa.cloudops.client.pools import parse_mounts
    from cfa.cloudops.task import create_bind_mount_string

    return " ".join(
        create_bind_mount_string(AZ_MOUNT_DIR, one.source, f"/{one.target}")
        for one in parse_mounts(mounts)
    )


def command_for_saving_logs(
    command_line: str,
    job_name: str,
    task_id: str,
    save_logs_rel_path: str,
    logs_folder: str = "logs",
) -> str:
    """A command that runs another one and keeps its output in a mount.

    The files are `stdout_<job>_<task>.txt` and `stderr_<job>_<task>.txt`. The output is also that of
    the task, once the command has ended; the exit code is the command's. The image needs `sh`.

    Args:
        command_line: program and arguments.
        job_name: the job.
        task_id: the task.
        save_logs_rel_path: where the blob container is mounted, below `/`.
        logs_folder: folder in it.

    Raises:
        InvalidNameError (a ValueError): a name that cannot be one.
    """
    folder = f"/{names.mount_target(save_logs_rel_path)}/{names.folder(logs_folder.strip('/'))}"
    name = f"{names.job_id(job_name)}_{task_id}"
    return (
        f"sh -c {shlex.quote(_SAVING)} sh {shlex.quote(folder)} {shlex.quote(name)} {command_line}"
    )
