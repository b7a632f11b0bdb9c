"""Turns the binds of a node into arguments of bubblewrap.

The sandbox has a new root directory. What the view shows of the host appears in it, then the binds.
A bind whose mount point is missing on the host must not create it there: at the top level the new
root takes it; deeper, the closest directory that exists is replaced by an empty one that shows the
same entries (an *overlay* below) and takes the mount point. What a task creates directly in such a
directory stays in the sandbox and ends with it; what it creates in its entries does not.

A mount point that is missing in a writable bind is created there, as container engines do.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from attrs import frozen

from cfa.cloudops.errors import NodeError
from cfa.cloudops.provider.executor import Bind
from cloudops_subprocess.view import ABSENT, Access, View, at_top, is_below

#: Printed by `START` when the program is about to run; what comes before is bubblewrap's complaint.
STARTED = b"cloudops: started\n"

#: The first program in the sandbox: says through standard error that all is set up, turns standard
#: error to the file `$0`, and becomes the node's program. Bubblewrap itself cannot tell a start
#: from a failure to start.
START = """\
case $1 in
*/*) found=$1 ;;
*) found=$(command -v -- "$1") || found=$1 ;;
esac
if ! [ -e "$found" ]; then echo "$1: no such file or directory" >&2; exit 127; fi
if ! { [ -f "$found" ] && [ -x "$found" ]; }; then echo "$1: cannot be executed" >&2; exit 126; fi
: 2>>"$0"
echo "cloudops: started" >&2
exec "$@" 2>>"$0"
"""

#: More entries than this are not mounted one by one: bubblewrap's time grows with the square.
_MAX_ENTRIES = 500

#: Beside the devices that every sandbox has: graphics processors and what feeds them. No disk is
#: among them, which root could write to.
_DEVICES = ("accel", "dri", "dxg", "infiniband", "kfd")
_DEVICE_PREFIX = "nvidia"
#: The same for a shell.
DEVICE_PATTERNS = " ".join(f"/dev/{name}" for name in (*_DEVICES, f"{_DEVICE_PREFIX}*"))

#: What root keeps. Its tasks write into directories of others, and set times and permissions there
#: as `cp -p` and `tar` do. Not to change owners: what tasks write belongs to the caller. The rest,
#: mounting above all, leads out of the sandbox.
_CAPABILITIES = ("CAP_DAC_OVERRIDE", "CAP_FOWNER")
#: Settings of the host for which the kernel asks root for no capability, but to be root.
#: Of `bus` and `irq` bubblewrap takes care.
_SETTINGS = ("acpi", "asound", "fs", "scsi", "sys", "sysrq-trigger")

_OPTIONS = {Access.READ_ONLY: "--ro-bind", Access.WRITABLE: "--bind"}


@frozen(kw_only=True)
class Runner:
    """Who starts bubblewrap: this user."""

    uid: int
    groups: frozenset[int]

    @classmethod
    def this_process(cls) -> Runner:
        return cls(uid=os.geteuid(), groups=frozenset((os.getegid(), *os.getgroups())))


def arguments(
    binds: Sequence[Bind],
    working_directory: str,
    view: View,
    root: Path = Path("/"),
    *,
    runner: Runner | None = None,
) -> list[str]:
    """Arguments for `bwrap` up to, not including, the program.

    Reads the directories of the host, starts nothing. Binds take effect in order of depth.

    Args:
        binds: what to show.
        working_directory: in the sandbox.
        view: what of the host is there.
        root: the host's root directory; another one in tests.
        runner: who starts bubblewrap; None: this process's user.

    Raises:
        NodeError: a bind cannot be shown.
    """
    runner = runner or Runner.this_process()
    plan = _Plan(view, root, runner)
    plan.add_binds(binds)
    plan.add_places()
    result = [
        "--unshare-pid",
        "--unshare-ipc",
        # The program itself is the first process of its namespace: with it, all of the node ends.
        "--as-pid-1",
        # A session and process group without bubblewrap in it: `kill 0` in the node stays inside.
        "--new-session",
    ]
    if runner.uid == 0:
        result += ["--cap-drop", "ALL"]
        for name in _CAPABILITIES:
            result += ["--cap-add", name]
    return [*result, *plan.arguments(), "--chdir", working_directory]


@frozen
class _Step:
    """A mount. In order of depth; at the same one places, then binds, then overlays."""

    target: str
    rank: int
    arguments: tuple[str, ...]

    @property
    def key(self) -> tuple[int, int]:
        return self.target.count("/"), self.rank


_PLACE, _BIND, _OVERLAY = range(3)


class _Plan:
    """Collects the mounts of a sandbox. Paths are absolute, and plain text: they are many."""

    def __init__(self, view: View, root: Path, runner: Runner) -> None:
        self._view = view
        self._root = root
        self._runner = runner
        self._binds: list[Bind] = []  # with targets resolved; parents first
        self._emptied: set[str] = set()  # in binds
        self._overlaid: set[str] = set()
        self._steps: list[_Step] = []
        self._sealed: list[str] = []  # read-only once all mount points are there

    def arguments(self) -> list[str]:
        result = self._show(str(self._root), "/", {step.target for step in self._steps})
        result += ["--proc", "/proc"]
        if self._runner.uid == 0:
            for name in _SETTINGS:
                result += ["--ro-bind-try", f"/proc/{name}", f"/proc/{name}"]
        result += ["--dev", "/dev", "--tmpfs", "/dev/shm", *_devices(self._root / "dev")]  # noqa: S108
        for step in sorted(self._steps, key=lambda step: step.key):
            result += step.arguments
        covered = {bind.target for bind in self._binds}
        # Else a task could exchange the devices for the tasks after it.
        for directory in (*self._sealed, "/dev"):
            if directory not in covered:
                result += ["--remount-ro", directory]
        return result

    # --- binds

    def add_binds(self, binds: Sequence[Bind]) -> None:
        for bind in sorted(binds, key=lambda bind: len(PurePosixPath(bind.target).parts)):
            target = self._resolve(bind)
            missing_in = self._overlay_needed(target)
            if missing_in is not None and missing_in not in self._overlaid:
                self._overlay(missing_in)
            option = "--ro-bind" if bind.read_only else "--bind"
            self._add(target, _BIND, option, bind.source, target)
            self._binds.append(Bind(source=bind.source, target=target, read_only=bind.read_only))
            self._hide_workspace(bind.source, target)

    def _resolve(self, bind: Bind) -> str:
        """The target without symbolic links of the host: bubblewrap would create what they point
        to."""
        target = PurePosixPath(bind.target)
        if not target.is_absolute() or len(target.parts) < 2 or ".." in target.parts:
            raise NodeError(
                f"{bind.source} cannot be shown at {bind.target!r}.",
                "Give an absolute path below / without '..' as the target of a mount.",
            )
        if self._cover(str(target)) is not None or self._root != Path("/"):
            return str(target)
        return os.path.realpath(target)

    def _hide_workspace(self, source: str, target: str) -> None:
        """A bind of a directory above the workspace does not show that."""
        real = os.path.realpath(source)
        for home in self._view.workspace:
            if home != real and is_below(home, real):
                hidden = os.path.join(target, os.path.relpath(home, real))
                self._emptied.add(hidden)
                self._empty(hidden)

    # --- what of the host is seen where

    def _cover(self, path: str) -> Bind | None:
        """The deepest bind that shows `path` or a directory above it."""
        for bind in reversed(self._binds):
            if is_below(path, bind.target):
                return bind
        return None

    def _behind(self, path: str) -> str | None:
        """The host path that is seen at `path` in the sandbox; None for one of the sandbox's own."""
        cover = self._cover(path)
        if cover is None:
            hidden = self._view.access(path) in ABSENT
            return None if hidden else os.path.join(self._root, path[1:])
        if any(
            is_below(path, hidden) and is_below(hidden, cover.target) for hidden in self._emptied
        ):
            return None
        return os.path.join(cover.source, path[len(cover.target) + 1 :])

    def _read_only(self, path: str) -> bool:
        cover = self._cover(path)
        if cover is None:
            return self._view.access(path) is Access.READ_ONLY
        return cover.read_only

    # --- overlays

    def _overlay_needed(self, target: str) -> str | None:
        """The existing directory that must be replaced so that it can take a missing mount point."""
        directory = target
        while directory != "/":
            behind = self._behind(directory)
            if behind is None:
                return None  # an empty one of the sandbox's own takes it
            if os.path.exists(behind):
                break
            directory = os.path.dirname(directory)
        if directory in (target, "/"):
            return None
        writable_bind = self._cover(directory) is not None and not self._read_only(directory)
        return None if writable_bind else directory

    def _overlay(self, directory: str) -> None:
        behind = self._behind(directory)
        assert behind is not None  # noqa: S101  for the type checker: it exists
        mode = stat.S_IMODE(os.stat(behind).st_mode)
        # `--perms` is missing before bubblewrap 0.5, and rarely needed.
        permissions = () if mode == 0o755 else ("--perms", f"{mode:04o}")
        entries = self._show(behind, directory, set())
        self._add(directory, _OVERLAY, *permissions, "--tmpfs", directory, *entries)
        self._overlaid.add(directory)
        if self._read_only(directory):
            self._sealed.append(directory)

    def _show(self, directory: str, target: str, without: set[str]) -> list[str]:
        """Arguments that show the entries of a host directory at `target`."""
        result: list[str] = []
        try:
            with os.scandir(directory) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            raise NodeError(
                f"A mount point below {target} cannot be created: {error}.",
                "Mount at the top level (/<name>) or at a directory that exists.",
            ) from None
        if len(entries) > _MAX_ENTRIES:
            raise NodeError(
                f"A mount point below {target} cannot be created: it has {len(entries)} entries, more "
                f"than {_MAX_ENTRIES}.",
                "Mount at the top level (/<name>) or at a directory that exists.",
            )
        for entry in entries:
            at = os.path.join(target, entry.name)
            if at in without:
                continue
            # A mount cannot be exchanged, as a link such as `/bin` could be for the tasks after.
            if entry.is_symlink() and target == "/" and self._read_only(at) and entry.is_dir():
                result += ["--ro-bind", os.path.realpath(entry.path), at]
            elif entry.is_symlink():
                result += ["--symlink", os.readlink(entry.path), at]
            elif self._behind(at) is not None and _can_be_bound(entry.path, self._runner):
                # A file at the top, an image of memory for instance, is the system's.
                fixed = self._read_only(at) or (target == "/" and not entry.is_dir())
                result += ["--ro-bind" if fixed else "--bind", entry.path, at]
        return result

    # --- places of the view

    def add_places(self) -> None:
        """What the view shows or hides deeper than at the top level, but for where binds are."""
        for path, access in self._view.places.items():
            if self._cover(path) is not None:
                continue
            above = self._view.access(os.path.dirname(path))
            host = os.path.join(self._root, path[1:])
            if access in _OPTIONS:
                # At the top the entries of the root are shown.
                if not at_top(path) and access is not above and _can_be_bound(host, self._runner):
                    self._add(path, _PLACE, _OPTIONS[access], host, path)
            elif access is Access.PRIVATE:
                # What is shown cannot take a new one.
                if at_top(path) or above in ABSENT or os.path.isdir(host):
                    self._add(path, _PLACE, "--tmpfs", path)
            elif at_top(path) or above in ABSENT:
                continue
            elif os.path.isdir(host):
                self._empty(path)
            else:
                self._add(path, _PLACE, "--ro-bind", "/dev/null", path)

    def _empty(self, path: str) -> None:
        """Put an empty directory over one."""
        self._add(path, _PLACE, "--tmpfs", path)
        self._sealed.append(path)

    def _add(self, target: str, rank: int, *step: str) -> None:
        self._steps.append(_Step(target, rank, step))


def _devices(directory: Path) -> list[str]:
    result: list[str] = []
    for name in sorted(os.listdir(directory)) if directory.is_dir() else ():
        if name in _DEVICES or name.startswith(_DEVICE_PREFIX):
            result += ["--dev-bind", str(directory / name), f"/dev/{name}"]
    return result


def _can_be_bound(path: str, runner: Runner) -> bool:
    """False for what vanished or cannot even be looked at (another user's FUSE mount)."""
    try:
        os.stat(path)
        if runner.uid == os.geteuid():
            return True
        # Root looks for somebody else.
        return all(_lets_in(directory.stat(), runner) for directory in Path(path).parents)
    except OSError:
        return False


def _lets_in(directory: os.stat_result, runner: Runner) -> bool:
    if directory.st_uid == runner.uid:
        return bool(directory.st_mode & stat.S_IXUSR)
    if directory.st_gid in runner.groups:
        return bool(directory.st_mode & stat.S_IXGRP)
    return bool(directory.st_mode & stat.S_IXOTH)
