"""The workspace: the directory that holds everything of ours, and its layout.

.cloudops/
    store.db                         the store
    agent.lock agent.sock agent.log  the agent
    root/                            AZ_BATCH_NODE_ROOT_DIR of every node, laid out as the cloud's
        workitems/<job>/job-1/<task>/  cmd  exit  stdout.txt  stderr.txt  wd/
        shared/  startup/wd/  fsmounts/<mount>/
        volatile/<node>/             a node's launcher and FIFOs
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cfa.cloudops.errors import StoreError, StoreUnreadableError
from cfa.cloudops.service import owner
from cfa.cloudops.service.store import disk_errors

#: Where containers and sandboxes see `root`.
NODE_ROOT = "/mnt/batch/tasks"
#: The file in a node's directory that its launcher keeps until it sees the end of its input.
SERVING = "serving"


class Workspace:
    """Paths of one workspace. `create` makes the directories."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.store = home / "store.db"
        self.lock = home / "agent.lock"
        self.socket = home / "agent.sock"
        self.log = home / "agent.log"
        self.root = home / "root"
        self.workitems = self.root / "workitems"
        self.volatile = self.root / "volatile"
        self.fsmounts = self.root / "fsmounts"

    def create(self) -> None:
        """Make the directories that are not there.

        Raises:
            UntrustedWorkspaceError: it is not ours alone. StoreUnreadableError: not allowed, or a file
                is in the way. DiskFullError.
        """
        try:
            with disk_errors(f"making the workspace {self.home}"):
                owner.claim(self.home)
                for path in (
                    self.workitems,
                    self.volatile,
                    self.fsmounts,
                    self.root / "shared",
                    self.root / "startup" / "wd",
                ):
                    path.mkdir(parents=True, exist_ok=True)
        except StoreError:
            raise
        except OSError as error:
            raise StoreUnreadableError(
                f"Could not make the workspace {self.home}: {error.strerror}.",
                "Run in a directory that you may write to, or set CLOUDOPS_HOME to one.",
            ) from None

    def exists(self) -> bool:
        """Whether there is a store. Raises StoreUnreadableError where that may not be looked at."""
        try:
            return self.store.exists()
        except OSError as error:
            raise StoreUnreadableError(
                f"Could not look into the workspace {self.home}: {error.strerror}.",
                f"Check who owns {self.home} and its permissions, or set CLOUDOPS_HOME to another "
                "directory.",
            ) from None

    def job_directory(self, job_id: str) -> Path:
        """`workitems/<job>/job-1`; a job of a schedule, `<schedule>:job-<n>`, has its own level."""
        schedule, _, run = job_id.partition(":")
        return self.workitems / schedule / (run or "job-1")

    def task_directory(self, job_id: str, task_id: str) -> Path:
        return self.job_directory(job_id) / task_id

    def node_directory(self, node_id: str) -> Path:
        return self.volatile / node_id

    def remove_job(self, job_id: str) -> None:
        """Remove a job's files. What is gone already is no error."""
        directory = self.job_directory(job_id)
        shutil.rmtree(directory, ignore_errors=True)
        try:
            directory.parent.rmdir()
        except OSError:
            pass  # another run of the schedule is there, or it is gone

    def remove_task(self, job_id: str, task_id: str) -> None:
        shutil.rmtree(self.task_directory(job_id, task_id), ignore_errors=True)

    def remove_node(self, node_id: str) -> None:
        shutil.rmtree(self.node_directory(node_id), ignore_errors=True)


def quote(word: str) -> str:
    """A word for a POSIX shell, taken literally."""
    return "'" + word.replace("'", "'\"'\"'") + "'"


def write_task(directory: str, words: list[str]) -> None:
    """Make a task's directory with `wd` and `cmd`; one that exists (a retry) is kept as it is.

    `cmd` sets the positional parameters of the shell that reads it, so that any byte but NUL passes.

    Raises:
        DiskFullError: no space for it. OSError: it could not be made.
    """
    data = ("set -- " + " ".join(map(quote, words)) + "\n").encode(errors="surrogateescape")
    with disk_errors(f"making the task directory {directory}"):
        for path in (directory, directory + "/wd"):
            try:
                os.mkdir(path)
            except FileExistsError:
                pass
            except FileNotFoundError:  # the first task of its job
                os.makedirs(path, exist_ok=True)
        descriptor = os.open(directory + "/cmd", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            while data:  # the last block of a disk takes a part
                data = data[os.write(descriptor, data) :]
        finally:
            os.close(descriptor)


def read_exit(directory: Path, attempt: str) -> str | None:
    """What the launcher wrote about an attempt: a code, `missing` or `denied`; None: nothing."""
    try:
        found, _, outcome = (directory / "exit").read_text(errors="replace").partition(" ")
    except OSError:
        return None
    code, newline, _ = outcome.partition("\n")
    return code.strip() if found == attempt and newline else None
