"""What a container may do: few capabilities, no new privileges, a limit of processes.

A task in a container of ours can neither become another user nor make a file of a foreign owner in
a mount, whatever its image holds. What an image needs all the same is given back by name, by options
of the executor or by environment variables.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from attrs import evolve, frozen

from cfa.cloudops.errors import SettingError
from cfa.cloudops.provider.executor import Capabilities

#: What root in a container keeps. Any other user there has no capabilities to begin with, and must
#: not be named any: Podman would give them, and with them the mounts of everybody.
#:
#: - `DAC_OVERRIDE`: root reads and writes what the image's other users own, and what root, or the
#:   user of a rootless engine, may on the host anyway. What it makes is its own.
#: - `KILL`: the launcher ends what a task left, also where `SETUID` was given back. It reaches the
#:   processes of the node alone.
#: - `NET_BIND_SERVICE`: ports below 1024 of the node's own network; Docker opens them to everybody.
#:
#: Left out, of what engines give: `CHOWN`, `MKNOD`, `SETFCAP` make files of other owners, devices
#: and privileged programs, in mounts too; `SETUID`, `SETGID`, `SETPCAP` make other users of a task;
#: `FOWNER` and `FSETID` would let a task of root's make somebody's file in a mount set-user-id;
#: `NET_RAW` forges packets of other containers; `SYS_CHROOT` and `AUDIT_WRITE` serve no batch task.
KEPT = ("DAC_OVERRIDE", "KILL", "NET_BIND_SERVICE")

#: Processes and threads of one node. A quarter of 32,768, the smallest number of ids that a kernel
#: has: a fork bomb leaves the machine alone. Enough for 64 tasks with 127 threads each.
PIDS_LIMIT = 8192

#: All that Linux knows, in the kernel's order.
NAMES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"),
    *("SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW"),
    *("IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT"),
    *("SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD"),
    *("LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG"),
    *("WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE"),
)
ALL = "ALL"

_NEAR = 3


@frozen(kw_only=True)
class Hardening:
    """What containers are given back, and how many processes they may have.

    `cap_add`: capabilities without `CAP_`, or `ALL`. `pids_limit` 0: no limit.
    """

    cap_add: tuple[str, ...] = ()
    pids_limit: int = PIDS_LIMIT
    no_new_privileges: bool = True

    def capabilities(self, *, root: bool) -> tuple[str, ...]:
        """What a container whose user is root, or another one, is given beside nothing."""
        if ALL in self.cap_add:
            return (ALL,)
        return tuple(sorted({*self.cap_add, *(KEPT if root else ())}))

    def describe(self, found: Capabilities, executor: str) -> Capabilities:
        """An engine's capabilities, with what these settings make of them."""
        notes = list(found.notes)
        given = [f"{variable(executor, 'cap_add')} gives tasks {', '.join(self.cap_add)}."]
        notes += given if self.cap_add else []
        if not self.no_new_privileges:
            name = variable(executor, "no_new_privileges")
            notes.append(f"{name}=off: set-user-id programs of images work.")
        if not found.enforces_pids:
            notes.append("The limit of processes is not enforced by this engine.")
        elif not self.pids_limit:
            notes.append(f"{variable(executor, 'pids_limit')}=0: processes are not limited.")
        return evolve(
            found,
            hardened=self.no_new_privileges and not self.cap_add,
            enforces_pids=found.enforces_pids and self.pids_limit > 0,
            notes=tuple(notes),
        )


def variable(executor: str, option: str) -> str:
    """The environment variable of an executor's option."""
    return f"CLOUDOPS_{executor.upper()}_{option.upper()}"


def read(executor: str, options: Mapping[str, str], environment: Mapping[str, str]) -> Hardening:
    """The settings of an executor: its options, then the environment, then the defaults.

    Raises:
        SettingError: a value cannot be used; says which are near.
    """

    def get(option: str) -> str:
        return (options.get(option) or environment.get(variable(executor, option)) or "").strip()

    return Hardening(
        cap_add=_names(executor, get("cap_add")),
        pids_limit=_count(executor, get("pids_limit")),
        no_new_privileges=_switch(executor, get("no_new_privileges")),
    )


def _names(executor: str, text: str) -> tuple[str, ...]:
    found = []
    for word in filter(None, (word.strip() for word in text.split(","))):
        name = word.upper().removeprefix("CAP_")
        if name not in (*NAMES, ALL):
            near = difflib.get_close_matches(name, (*NAMES, ALL), _NEAR)
            raise _bad(
                executor,
                "cap_add",
                f"names {word!r}, which is no capability",
                f"Did you mean {' or '.join(near)}?"
                if near
                else "Name them as Linux does, for instance CHOWN,SETUID,SETGID; see capabilities(7).",
            )
        found.append(name)
    return tuple(dict.fromkeys(found))


def _count(executor: str, text: str) -> int:
    if not text:
        return PIDS_LIMIT
    if text.isascii() and text.isdecimal() and int(text) < 1 << 31:
        return int(text)
    hint = f"Set it to a whole number, for instance {2 * PIDS_LIMIT}, or to 0 for no limit."
    raise _bad(executor, "pids_limit", f"is {text!r}", hint)


def _switch(executor: str, text: str) -> bool:
    if text.lower() not in ("", "on", "off"):
        raise _bad(executor, "no_new_privileges", f"is {text!r}", "Set it to on or off.")
    return text.lower() != "off"


def _bad(executor: str, option: str, what: str, hint: str) -> SettingError:
    name = variable(executor, option)
    return SettingError(f"The setting {name} (option {option!r}) {what}.", hint)
