"""The workspace: the directory that holds everything of ours, and its layout.

.cloudops/
    store.db                         the store
    agent.lock agent.sock agent.log  the agent
    root/                            what tasks may write
        workitems/<job>/job-1/<task>/  stdout.txt  stderr.txt  wd/
        shared/<pool>/               what the tasks of a pool share
        fsmounts/<mount>             where nodes cannot show paths of their own: links to the mounts
    nodes/<node>/                    the agent's: no task reaches any of it
        root/                        what the node sees as its root, read-only: mount points, and
            volatile/                the launcher, the commands of its slots, and `box`, in which the
                                     launcher finds the directory of its journals
        journal/                     that directory later on: results of tasks, a file a slot
    accounts/<job number>            the journals of a job's nodes that have ended
    key                              of the secrets that launchers must know

A node sees as AZ_BATCH_NODE_ROOT_DIR, laid out as the cloud's: its own `root`, and in it its job's
directory and what its pool shares. Everything that tasks may write is opened by `beneath.Place`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from cfa.cloudops.beneath import Place
from cfa.cloudops.errors import FileAccessError, StoreError, StoreUnreadableError
from cfa.cloudops.model import names
from cfa.cloudops.service import owner
from cfa.cloudops.service.disks import disk_errors

#: Where containers and sandboxes see the root of their node.
NODE_ROOT = "/mnt/batch/tasks"
#: The directory of a node that its launcher lives in, below the root of the node.
CONTROL = "volatile"
#: What of it the launcher may write, until it is ready.
BOX = "box"
#: The file among a node's journals that its launcher keeps until it sees the end of its input.
SERVING = "serving"
#: What of a task lies beside its working directory.
STREAMS = ("stdout.txt", "stderr.txt")


_FILE = "file://"
_NODE_ID = re.compile(r"[0-9a-f]{8}")
_FORMER_CODE = re.compile(r"-?[0-9]{1,10}|missing|denied")


class Workspace:
    """Paths of one workspace. `create` makes the directories."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.store = home / "store.db"
        self.lock = home / "agent.lock"
        self.socket = home / "agent.sock"
        self.log = home / "agent.log"
        self.root = home / "root"
        self.nodes = home / "nodes"
        self.accounts = home / "accounts"

    def create(self) -> None:
        """Make the directories that are not there.

        Raises:
            UntrustedWorkspaceError: it is not ours alone. StoreUnreadableError: not allowed, or a file
                is in the way. DiskFullError.
        """
        try:
            with disk_errors(f"creating the workspace {self.home}"):
                owner.claim(self.home)
                self.root.mkdir(exist_ok=True)
                for path in (self.nodes, self.accounts):
                    path.mkdir(mode=0o700, exist_ok=True)
        except StoreError:
            raise
        except OSError as error:
            raise StoreUnreadableError(
                f"Could not create the workspace {self.home}: {error.strerror}.",
                "Run in a directory that you may write to, or set CLOUDOPS_HOME to one.",
            ) from None

    def exists(self) -> bool:
        """Whether there is a store. Raises StoreUnreadableError where that may not be looked at."""
        try:
            return self.store.exists()
        except OSError as error:
            raise StoreUnreadableError(
                f"Could not read the workspace {self.home}: {error.strerror}.",
                f"Check who owns {self.home} and its permissions, or set CLOUDOPS_HOME to another "
                "directory.",
            ) from None

    def key(self) -> str:
        """The key of this workspace's secrets, in hexadecimal, made when it is not there.

        Raises:
            StoreUnreadableError: it cannot be read or made. DiskFullError.
        """
        path = self.home / "key"
        try:
            with contextlib.suppress(FileNotFoundError):
                return _checked_key(path.read_text())
            temporary = self.home / f"key.{os.urandom(8).hex()}"
            with disk_errors(f"creating the workspace {self.home}"):
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with open(descriptor, "w") as file:
                    file.write(os.urandom(32).hex())
                with contextlib.suppress(FileExistsError):  # another was faster
                    os.link(temporary, path)
                temporary.unlink()
            return _checked_key(path.read_text())
        except StoreError:
            raise
        except (OSError, ValueError) as error:
            raise StoreUnreadableError(
                f"Could not read {path}: {error}.",
                "Remove the file while no task is running; a new one is created.",
            ) from None

    # --- the storage beside it

    def kept_url(self, url: str) -> str:
        """What the store keeps of the URL of a storage: a relative one for a directory of the project.

        So a project, which is the directory that the workspace lies in, can be copied or moved with
        its storage, and a copy does not write into the storage of the original.
        """
        path = url.removeprefix(_FILE)
        project = os.path.dirname(os.path.realpath(self.home))
        if path == url or not os.path.isabs(path):
            return url
        above, name = os.path.split(os.path.normpath(path))
        for place in (os.path.join(os.path.realpath(above), name), os.path.realpath(path)):
            if os.path.commonpath([place, project]) == project:
                return f"file:{os.path.relpath(place, project)}"
        return url

    def storage_url(self, kept: str) -> str:
        """The URL for which `kept_url` stands."""
        path = kept.removeprefix("file:")
        if path == kept or path.startswith("/"):
            return kept
        project = os.path.dirname(os.path.realpath(self.home))
        return _FILE + os.path.normpath(os.path.join(project, path))

    # --- what tasks may write

    def job_directory(self, job_id: str) -> Path:
        """Where the files of a job are, for people; ours open them with `open_job`."""
        return self.home / _way(job_id)

    def open_job(self, job_id: str, *, make: bool = False) -> Place:
        """The directory of a job. Raises OSError: it is not there, or no directory."""
        with Place.open(self.home) as home:
            return enter_job(home, job_id, make=make)

    def open_task(self, job_id: str, task_id: str) -> Place:
        """The directory of a task. Raises as `open_job`."""
        with Place.open(self.home) as home:
            return home.enter(f"{_way(job_id)}/{task_id}")

    def open_shared(self, pool_id: str) -> Place:
        """The directory that the tasks of a pool share, made when it is not there. Raises OSError."""
        above, _, name = shared_way(pool_id).rpartition("/")
        with Place.open(self.home) as home, home.enter(above, make=True) as shared:
            shared.make(name)
            return shared.regain(name)  # a task of another job can change its permissions

    def remove_job(self, job_id: str, number: int) -> None:
        """Remove a job's files and its account. What is gone already is no error.

        Raises:
            FileAccessError: some of them cannot be removed; the others are.
        """
        with self._removing(f"the job {job_id!r}", job_id), Place.open(self.home) as home:
            way = _way(job_id)
            home.remove_tree(way)
            # Another run of the schedule may be there, or it is gone.
            with contextlib.suppress(OSError):
                home.remove_directory(way.rpartition("/")[0])
            home.remove_tree(f"accounts/{number}")

    def remove_task(self, job_id: str, name: str) -> None:
        """The same for the directory of a task, or what `prepare_task` put aside."""
        with (
            self._removing(f"the task {name!r}", job_id),
            contextlib.suppress(FileNotFoundError),
            self.open_job(job_id) as job,
        ):
            job.remove_tree(name)

    @contextlib.contextmanager
    def _removing(self, what: str, job_id: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self.not_removed(what, job_id, error.strerror or str(error)) from None

    def not_removed(self, what: str, job_id: str, why: str) -> FileAccessError:
        """Files of a job, or of a task of it, that stay."""
        where = self.job_directory(job_id)
        return FileAccessError(
            f"Not all files of {what} could be removed: {why}.",
            f"They are in {where}. To remove what a container of a rootless engine gave to another "
            f"user, type: podman unshare rm -rf {where}",
        )

    # --- what only the agent writes

    def node_directory(self, node_id: str) -> Path:
        return self.nodes / node_id

    def control(self, node_id: str) -> Path:
        """Where a node's launcher finds its commands."""
        return self.nodes / node_id / "root" / CONTROL

    def prepare_node(self, node_id: str, places: Sequence[str]) -> None:
        """Make a node's directory: the launcher, and mount points at these ways below its root.

        Raises:
            OSError: it could not be made.
        """
        root = self.nodes / node_id / "root"
        for way in (f"{CONTROL}/{BOX}/open", "startup/wd", "fsmounts", *places):
            (root / way).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(__file__).with_name("launcher.sh"), root / CONTROL / "launcher.sh")

    def close_box(self, node_id: str) -> None:
        """Take the journals of a node out of its sight: its launcher has opened their directory.

        Called before the first task runs there. Raises OSError.
        """
        os.rename(self.control(node_id) / BOX / "open", self.nodes / node_id / "journal")

    def open_journals(self, node_id: str) -> Place:
        """The journals of a node. Raises OSError: it is gone."""
        with Place.open(self.home) as home:
            try:
                return home.enter(f"nodes/{node_id}/journal")
            except FileNotFoundError:  # its launcher was not heard yet
                return home.enter(f"nodes/{node_id}/root/{CONTROL}/{BOX}/open")

    def node_ids(self) -> list[str]:
        """Ids of the nodes that have a directory. Raises OSError."""
        with Place.open(self.home) as home, home.enter("nodes") as nodes:
            return [name for name in nodes.names() if _NODE_ID.fullmatch(name)]

    def remove_node(self, node_id: str) -> None:
        """Remove a node's directory; what cannot be removed is left to a later agent."""
        with contextlib.suppress(OSError), Place.open(self.home) as home:
            home.remove_tree(f"nodes/{node_id}")

    def open_accounts(self) -> Place:
        """Where the journals of ended nodes are kept. Raises OSError."""
        with Place.open(self.home) as home:
            return home.enter("accounts")

    # --- what an earlier version left

    def former_outcome(self, node_id: str, job_id: str, task_id: str, token: str) -> str | None:
        """The code that the launcher of an earlier version wrote into a task's directory."""
        try:
            with Place.open(self.home) as home:
                if not home.exists(f"root/{CONTROL}/{node_id}"):
                    return None
                text = home.read(f"{_way(job_id)}/{task_id}/exit", 100).decode("ascii", "replace")
        except OSError:
            return None
        found, _, rest = text.partition(" ")
        code, newline, _ = rest.partition("\n")
        known = found == token and newline and _FORMER_CODE.fullmatch(code)
        return code if known else None

    def remove_former_nodes(self) -> None:
        """Remove the directories of nodes that earlier versions made."""
        with contextlib.suppress(OSError), Place.open(self.home) as home:
            home.remove_tree(f"root/{CONTROL}")


def _checked_key(text: str) -> str:
    if len(bytes.fromhex(text)) != 32:
        raise ValueError("it is not a key")
    return text


def _way(job_id: str) -> str:
    """`workitems/<job>/job-1`; a job of a schedule, `<schedule>:job-<n>`, has its own level."""
    return f"root/{job_way(job_id)}"


def job_way(job_id: str) -> str:
    """The directory of a job, below the root that its nodes see."""
    schedule, _, run = job_id.partition(":")
    return f"workitems/{schedule}/{run or 'job-1'}"


def enter_job(home: Place, job_id: str, *, make: bool = False) -> Place:
    """The directory of a job, from the workspace's; one that a task has closed is opened again.

    Raises:
        OSError: it is not there, or no directory, or another's.
    """
    above, _, name = _way(job_id).rpartition("/")
    try:
        return home.enter(f"{above}/{name}", make=make)
    except PermissionError:
        with home.enter(above) as runs:
            return runs.regain(name)


def shared_way(pool_id: str) -> str:
    """The directory that the tasks of a pool share, below the workspace."""
    return f"root/shared/{names.key(pool_id)}"


def quote(word: str) -> str:
    """A word for a POSIX shell, taken literally."""
    return "'" + word.replace("'", "'\"'\"'") + "'"


def prepare_task(job: Place, task_id: str, *, new: bool) -> list[str]:
    """Make a task's directory with `wd`, or, for a further try, keep what is in it but its streams.

    What stands there before the first try, or is no directory, another task has put there: it goes.

    Args:
        job: its job's directory.
        new: the task has not run before.

    Returns:
        Names in the job's directory of what is to be removed yet: there may be much in it.

    Raises:
        OSError: it could not be made.
    """
    aside: list[str] = []
    if not job.make(task_id):
        if not new and _is_directory(job, task_id):
            with job.regain(task_id) as task:
                for name in STREAMS:
                    aside += _clear(task, name, job)
                if not task.make("wd") and not _is_directory(task, "wd"):
                    aside += _clear(task, "wd", job)
                    task.make("wd")
            return aside
        aside += _clear(job, task_id, job)
        job.make(task_id)
    with job.regain(task_id) as task:
        task.make("wd")
    return aside


def _is_directory(place: Place, name: str) -> bool:
    return stat.S_ISDIR(place.status(name).st_mode)


def _clear(place: Place, name: str, job: Place) -> list[str]:
    """Take away what has a name that is needed; a directory, into that of the job under another."""
    try:
        if not _is_directory(place, name):
            place.unlink(name)
            return []
    except FileNotFoundError:
        return []
    aside = f".cloudops-{os.urandom(8).hex()}"
    try:
        place.rename(name, job, aside)
    except PermissionError:  # its owner may write it no more, and cannot move it then
        place.regain(name).close()
        place.rename(name, job, aside)
    return [aside]


class Commands:
    """The files in which the agent leaves what the slots of a node are to run.

    A slot's file is written anew for each task, while nobody reads it: no file is made on the way of a
    task. `cmd.<slot>` sets the positional parameters of the shell that reads it, so that any byte but
    NUL passes.
    """

    def __init__(self, control: Path) -> None:
        self._control = control
        self._descriptors: dict[int, int] = {}

    def write(self, slot: int, words: Sequence[str]) -> None:
        """Leave a command for a slot. Raises OSError."""
        text = "set -- " + " ".join(map(quote, words)) + "\n"
        data = text.encode(errors="surrogateescape")
        descriptor = self._descriptors.get(slot)
        if descriptor is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
            descriptor = os.open(self._control / f"cmd.{slot}", flags, 0o600)
            self._descriptors[slot] = descriptor
        done = 0
        while done < len(data):  # the last block of a disk takes a part
            done += os.pwrite(descriptor, data[done:], done)
        os.ftruncate(descriptor, done)

    def forget(self, slot: int) -> None:
        """A slot is not used again."""
        if slot in self._descriptors:
            os.close(self._descriptors.pop(slot))

    def close(self) -> None:
        """May be called twice."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])
