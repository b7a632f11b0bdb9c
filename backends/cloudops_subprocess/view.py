"""What of the host a sandbox shows before the binds of the node, and what a task may write of it.

A view gives some directories of the host an access; what lies below one that is named has the same.
There are two. The *usual* one hides the workspace and shows the system read-only, all else as it is.
The *strict* one shows the system, read-only, and the programs of the caller, and nothing else.

The network is the host's, and with it the sockets that have no path.
"""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Iterable, Iterator, Mapping

from attrs import Factory, frozen

from cloudops_subprocess.mounts import Mounts


class Access(enum.Enum):
    """What a task may do with a directory of the host."""

    #: It is not there, or empty and read-only.
    HIDDEN = "hidden"
    #: An empty directory of the node's own stands in its place.
    PRIVATE = "private"
    READ_ONLY = "read-only"
    #: As far as the permissions allow.
    WRITABLE = "writable"


@frozen(kw_only=True)
class View:
    """See the module.

    Attributes:
        places: the access of directories, and of sockets, by paths without symbolic links.
        others: the access of directories at the top level that are no place.
        workspace: every path that leads to the workspace; hidden also where a bind shows a directory
            above it.
    """

    places: Mapping[str, Access] = Factory(dict)
    others: Access = Access.WRITABLE
    workspace: tuple[str, ...] = ()

    def access(self, path: str) -> Access:
        while path not in self.places:
            above = os.path.dirname(path)
            if above == path:
                return self.others
            path = above
        return self.places[path]


#: Directories at the top level that belong to the system, on one distribution or another.
SYSTEM = (
    *("bin", "boot", "efi", "etc", "gnu", "lib", "lib32", "lib64", "libo32", "libx32", "nix"),
    *("opt", "ostree", "sbin", "snap", "sys", "sysroot", "usr", "var"),
)
#: Of people. Some distributions keep them below /var, with links at the top.
_PEOPLE = (
    *("/home", "/media", "/mnt", "/root", "/srv", "/tmp"),  # noqa: S108  not made here
    *("/run/media", "/var/tmp"),  # noqa: S108
)
#: `dev` and `proc` are the sandbox's own. `run` is full of sockets of services that would run
#: anything for their user outside: engines, systemd, D-Bus.
_OWN = ("dev", "proc", "run")
#: What programs need of `run`: names of hosts and users, and all of NixOS.
_RUN = (
    *("NetworkManager/resolv.conf", "connman/resolv.conf", "resolvconf", "systemd/resolve"),
    *("nscd", "nslcd"),
    *("booted-system", "current-system", "opengl-driver", "opengl-driver-32"),
)
#: Files of the system that may be links to any place.
_LINKS = ("/etc/hosts", "/etc/localtime", "/etc/resolv.conf")
#: File systems of the kernel. Mounted once more, for a chroot say, they are the host's: its
#: processes, settings and terminals.
_KERNEL = (
    *("binder", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs"),
    *("efivarfs", "fusectl", "mqueue", "proc", "pstore", "securityfs", "selinuxfs", "sysfs"),
    "tracefs",
)
#: Where engines have sockets that are not in `run`: who may connect has the rights of root.
_ENGINES = ("/var/lib/incus", "/var/lib/lxd", "/var/snap/lxd/common/lxd")
#: Variables that say where an engine's socket is, as an address `unix://<path>`.
_ADDRESSES = ("CONTAINER_HOST", "DOCKER_HOST")
#: With one of these beside it, a directory of programs does not work alone: a virtual environment,
#: conda, pyenv and its like.
_PREFIXES = ("pyvenv.cfg", "conda-meta", "versions")

#: Variables of tasks under the strict view.
STRICT_ENVIRONMENT = {"HOME": "/home/task", "TMPDIR": "/tmp"}  # noqa: S108  the sandbox's own
#: Empty directories under the strict view.
_PRIVATE = ("/home/task", "/tmp", "/var/tmp")  # noqa: S108
#: Nothing of the host is seen there.
ABSENT = (Access.HIDDEN, Access.PRIVATE)


def of_this_host(workspace: str, environment: Mapping[str, str], *, strict: bool) -> View:
    """The view for a node that is opened now. Looks at names and links, starts nothing.

    Args:
        workspace: the directory of the workspace, or '' when there is none to hide.
        environment: of the node; names home, temporary directory, programs and engines.
        strict: see the module.
    """
    prefixes = (sys.prefix, sys.base_prefix)
    return compute(workspace, environment, prefixes, Mounts.of_this_host(), strict=strict)


def compute(
    workspace: str,
    environment: Mapping[str, str],
    prefixes: Iterable[str],
    mounts: Mounts,
    *,
    strict: bool,
) -> View:
    """See `of_this_host`; `prefixes` are installations of Python."""
    others = Access.HIDDEN if strict else Access.WRITABLE
    places: dict[str, Access] = {}
    view = View(places=places, others=others)  # asked while it is made
    _add_system(places)
    data = _data(workspace, environment)
    programs = _programs(environment, prefixes) if strict else set()
    for path in data:
        # What is at the top is the system's, whoever calls it home.
        if not at_top(path) and view.access(path) is not others:
            places[path] = others
    for path in map(_real, _LINKS):
        if view.access(path) is Access.HIDDEN:
            places[path] = Access.READ_ONLY
    private = {_real(path) for path in _PRIVATE} if strict else set()
    places.update(dict.fromkeys(private, Access.PRIVATE))
    if strict:
        for path in sorted(programs):  # what holds others comes first
            holds_data = any(is_below(home, path) for home in data)
            if view.access(path) in ABSENT and not holds_data:
                places[path] = Access.READ_ONLY
    homes: tuple[str, ...] = ()
    if workspace:
        home = _real(workspace)
        for path in [path for path in places if is_below(path, home)]:
            del places[path]
        places[home] = Access.HIDDEN
        homes = (home, *mounts.elsewhere(home, pieces=False))
    for path in map(_real, (*_ENGINES, *_sockets(environment))):
        places[path] = Access.HIDDEN
    for path in mounts.of_kind(_KERNEL):
        if not is_below(path, "/sys") and view.access(path) not in ABSENT:
            places[path] = Access.HIDDEN
    _add_elsewhere(view, places, mounts)
    # Nothing is put in the place of what is not there: that would make it.
    there = {
        path: access
        for path, access in places.items()
        if at_top(path) or path in private or os.path.lexists(path)
    }
    return View(places=there, others=others, workspace=homes)


def _add_system(places: dict[str, Access]) -> None:
    for name in _OWN:
        places[f"/{name}"] = Access.HIDDEN
    for name in SYSTEM:
        places[f"/{name}"] = Access.READ_ONLY
        places[_real(f"/{name}")] = Access.READ_ONLY
    for name in _RUN:
        places[f"/run/{name}"] = Access.READ_ONLY


def _data(workspace: str, environment: Mapping[str, str]) -> set[str]:
    """Directories with people's files, the project's among them."""
    project = os.path.dirname(os.path.abspath(workspace)) if workspace else ""
    found = [project, *(environment.get(name, "") for name in ("HOME", "TMPDIR"))]
    return {_real(path) for path in (*_PEOPLE, *found) if os.path.isabs(path)}


def _programs(environment: Mapping[str, str], prefixes: Iterable[str]) -> set[str]:
    """Directories with the caller's programs and what these need, by every name that works."""
    found = [*prefixes]
    for entry in environment.get("PATH", "").split(os.pathsep):
        if os.path.isabs(entry):
            path = os.path.normpath(entry)
            found.append(path)
            above = os.path.dirname(path)
            if any(os.path.lexists(f"{above}/{sign}") for sign in _PREFIXES):
                found.append(above)
    # Links in what is hidden are hidden, so both names have to lead there.
    return {path for text in dict.fromkeys(found) for path in (_real(text), _top_real(text))}


def _sockets(environment: Mapping[str, str]) -> Iterator[str]:
    for name in _ADDRESSES:
        kind, _, path = environment.get(name, "").partition("://")
        if kind == "unix" and os.path.isabs(path):
            yield path


def _add_elsewhere(view: View, places: dict[str, Access], mounts: Mounts) -> None:
    """Give other paths of what is hidden or read-only the same access."""
    for path, access in list(places.items()):
        if access is Access.HIDDEN:
            for other in mounts.elsewhere(path, pieces=True):
                places.setdefault(other, access)
        elif access is Access.READ_ONLY:
            for other in mounts.elsewhere(path, pieces=False):
                if view.access(other) is Access.WRITABLE:
                    places[other] = access


def at_top(path: str) -> bool:
    """Whether a path is that of an entry of the root directory, or of the root itself."""
    return path.rfind("/") == 0


def is_below(path: str, directory: str) -> bool:
    """Whether a path is that of a directory or of something below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _real(path: str) -> str:
    if at_top(path) and not os.path.islink(path):
        return path  # most are such, and this is ten times as fast
    return os.path.realpath(path)


def _top_real(path: str) -> str:
    """A path without a link at the top level: these are shown under either view."""
    first, slash, rest = os.path.normpath(path)[1:].partition("/")
    return f"{_real('/' + first).rstrip('/')}{slash}{rest}"
