"""Turns the binds of a node into arguments of bubblewrap.

The sandbox has a new root directory. Every entry of the host's root appears in it, then the binds.
A bind whose mount point is missing on the host must not create it there: at the top level the new
root takes it; deeper, the closest directory that exists is replaced by an empty one that shows the
same entries (an *overlay* below) and takes the mount point. What a task creates directly in such a
directory stays in the sandbox and ends with it; what it creates in its entries does not.

A mount point that is missing in a writable bind is created there, as container engines do.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from attrs import frozen

from cfa.cloudops.errors import NodeError
from cfa.cloudops.provider.executor import Bind

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

_OWN = ("dev", "proc")


@frozen
class _Mount:
    """One step, in the order of `key`: the depth of its target, binds before overlays."""

    target: PurePosixPath
    arguments: tuple[str, ...]
    overlay: bool = False

    @property
    def key(self) -> tuple[int, bool]:
        return len(self.target.parts), self.overlay


def arguments(binds: Sequence[Bind], working_directory: str, root: Path = Path("/")) -> list[str]:
    """Arguments for `bwrap` up to, not including, the program.

    Reads the directories of the host, starts nothing. Binds take effect in order of depth.

    Args:
        binds: what to show.
        working_directory: in the sandbox.
        root: the host's root directory; another one in tests.

    Raises:
        NodeError: a bind cannot be shown.
    """
    mounts = _plan(binds, root)
    replaced = {mount.target.parts[1] for mount in mounts if len(mount.target.parts) == 2}
    result = [
        "--unshare-pid",
        # The program itself is the first process of its namespace: with it, all of the node ends.
        "--as-pid-1",
        # A session and process group without bubblewrap in it: `kill 0` in the node stays inside.
        "--new-session",
    ]
    # An entry that a bind covers needs no mount of its own; one that is overlaid comes below.
    result += _show(root, PurePosixPath("/"), {*_OWN, *replaced})
    result += ["--proc", "/proc", "--dev-bind", "/dev", "/dev"]
    for mount in mounts:
        result += mount.arguments
    return [*result, "--chdir", working_directory]


def _plan(binds: Sequence[Bind], root: Path) -> list[_Mount]:
    """The mounts that show the binds, in order."""
    mounts: list[_Mount] = []
    shown: list[Bind] = []  # with targets resolved; parents first
    overlaid: set[PurePosixPath] = set()
    for bind in sorted(binds, key=lambda bind: len(PurePosixPath(bind.target).parts)):
        target = _resolve(bind, shown, root)
        missing_in = _overlay_needed(target, shown, root)
        if missing_in is not None and missing_in not in overlaid:
            overlaid.add(missing_in)
            mounts.append(_overlay(missing_in, shown, root))
        option = "--ro-bind" if bind.read_only else "--bind"
        mounts.append(_Mount(target, (option, bind.source, str(target))))
        shown.append(Bind(source=bind.source, target=str(target), read_only=bind.read_only))
    return sorted(mounts, key=lambda mount: mount.key)


def _resolve(bind: Bind, shown: Iterable[Bind], root: Path) -> PurePosixPath:
    """The target without symbolic links of the host: bubblewrap would create what they point to."""
    target = PurePosixPath(bind.target)
    if not target.is_absolute() or len(target.parts) < 2 or ".." in target.parts:
        raise NodeError(
            f"{bind.source} cannot be shown at {bind.target!r}.",
            "Give an absolute path below / without '..' as the target of a mount.",
        )
    if _cover(target, shown) is not None or root != Path("/"):
        return target
    return PurePosixPath(os.path.realpath(target))


def _cover(target: PurePosixPath, shown: Iterable[Bind]) -> Bind | None:
    """The deepest bind that shows `target` or a directory above it."""
    covering = [bind for bind in shown if target.is_relative_to(bind.target)]
    return max(covering, key=lambda bind: len(PurePosixPath(bind.target).parts), default=None)


def _behind(path: PurePosixPath, shown: Iterable[Bind], root: Path) -> Path:
    """The host path that is seen at `path` in the sandbox."""
    cover = _cover(path, shown)
    if cover is None:
        return root / path.relative_to("/")
    return Path(cover.source) / path.relative_to(cover.target)


def _overlay_needed(
    target: PurePosixPath, shown: Sequence[Bind], root: Path
) -> PurePosixPath | None:
    """The existing directory that must be replaced so that it can take a missing mount point."""
    for directory in [target, *target.parents]:
        if _behind(directory, shown, root).exists():
            break
    else:
        return None
    if directory == target or len(directory.parts) == 1:
        return None
    cover = _cover(directory, shown)
    return directory if cover is None or cover.read_only else None


def _overlay(directory: PurePosixPath, shown: Sequence[Bind], root: Path) -> _Mount:
    behind = _behind(directory, shown, root)
    mode = stat.S_IMODE(behind.stat().st_mode)
    # `--perms` is missing before bubblewrap 0.5, and rarely needed.
    permissions = () if mode == 0o755 else ("--perms", f"{mode:04o}")
    entries = _show(behind, directory, set())
    return _Mount(directory, (*permissions, "--tmpfs", str(directory), *entries), overlay=True)


def _show(directory: Path, target: PurePosixPath, without: set[str]) -> list[str]:
    """Arguments that show the entries of a host directory at `target`."""
    result: list[str] = []
    try:
        with os.scandir(directory) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        raise NodeError(
            f"A mount point below {target} cannot be made: {error}.",
            "Mount at the top level (/<name>) or at a directory that exists.",
        ) from None
    if len(entries) > _MAX_ENTRIES:
        raise NodeError(
            f"A mount point below {target} cannot be made: it has {len(entries)} entries, more "
            f"than {_MAX_ENTRIES}.",
            "Mount at the top level (/<name>) or at a directory that exists.",
        )
    for entry in entries:
        if entry.name in without:
            continue
        at = str(target / entry.name)
        if entry.is_symlink():
            result += ["--symlink", os.readlink(entry.path), at]
        elif _can_be_bound(entry.path):
            result += ["--dev-bind", entry.path, at]
    return result


def _can_be_bound(path: str) -> bool:
    """False for what vanished or cannot even be looked at (another user's FUSE mount)."""
    try:
        os.stat(path)
    except OSError:
        return False
    return True
