"""What containers may do: the settings, what follows from them, and what a failure is told."""

from __future__ import annotations

import re
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from cfa.cloudops.errors import SettingError
from cfa.cloudops.provider import advice, hardening
from cfa.cloudops.provider.container import Engine, Plan, plan
from cfa.cloudops.provider.executor import Capabilities, Executor, NodeSpec
from cfa.cloudops.provider.hardening import KEPT, PIDS_LIMIT, Hardening
from cloudops_podman import words

HELD = Capabilities(version="1", endpoint="unix:///x", enforces_pids=True)
#: What no task may have of its own accord.
FORBIDDEN = {
    *("CHOWN", "FOWNER", "FSETID", "SETUID", "SETGID", "SETPCAP", "SETFCAP", "MKNOD", "NET_RAW"),
    *("NET_ADMIN", "SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE", "AUDIT_WRITE", "DAC_READ_SEARCH"),
}


# --- settings


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ({}, {}, Hardening()),
        ({}, {"CLOUDOPS_DOCKER_CAP_ADD": "chown"}, Hardening(cap_add=("CHOWN",))),
        (
            {"cap_add": "CAP_SETUID, cap_setgid,SETUID,"},
            {"CLOUDOPS_DOCKER_CAP_ADD": "CHOWN"},
            Hardening(cap_add=("SETUID", "SETGID")),
        ),
        ({"cap_add": "all"}, {}, Hardening(cap_add=("ALL",))),
        ({}, {"CLOUDOPS_PODMAN_CAP_ADD": "CHOWN"}, Hardening()),
        ({}, {"CLOUDOPS_DOCKER_PIDS_LIMIT": " 20000 "}, Hardening(pids_limit=20000)),
        ({"pids_limit": "0"}, {}, Hardening(pids_limit=0)),
        (
            {},
            {"CLOUDOPS_DOCKER_NO_NEW_PRIVILEGES": "off"},
            Hardening(no_new_privileges=False),
        ),
        ({}, {"CLOUDOPS_DOCKER_NO_NEW_PRIVILEGES": "On"}, Hardening()),
    ],
)
def test_read(options: dict[str, str], environment: dict[str, str], expected: Hardening) -> None:
    """An option goes before the environment; names come with or without CAP_, in any case."""
    assert hardening.read("docker", options, environment) == expected


@pytest.mark.parametrize(
    ("option", "value", "words_of_it"),
    [
        ("cap_add", "CHOWN,SETUIDS", "SETUIDS.*Did you mean SETUID or .*"),
        ("cap_add", "sys-chroot", "sys-chroot.*SYS_CHROOT"),
        ("cap_add", "42", r"'42'.*capabilities\(7\)"),
        ("pids_limit", "-1", "'-1'.*whole number"),
        ("pids_limit", "many", "'many'"),
        ("pids_limit", "9" * 30, "whole number"),
        ("no_new_privileges", "maybe", "'maybe'.*on or off"),
    ],
)
def test_read_refuses(option: str, value: str, words_of_it: str) -> None:
    """A value that cannot be used is an error that names the variable and what is near."""
    with pytest.raises(SettingError) as caught:
        hardening.read("podman", {option: value}, {})
    text = f"{caught.value} {caught.value.hint}"
    assert re.search(words_of_it, text)
    assert f"CLOUDOPS_PODMAN_{option.upper()}" in text


@given(st.text(max_size=40))
def test_read_anything(text: str) -> None:
    """Whatever a variable holds, it is understood or refused."""
    try:
        found = hardening.read("docker", {"cap_add": text, "pids_limit": text}, {})
    except SettingError:
        return
    assert set(found.cap_add) <= {*hardening.NAMES, "ALL"}
    assert found.pids_limit >= 0


def test_described() -> None:
    """An engine's capabilities say what was given back."""
    assert Hardening().describe(HELD, "docker") == evolve(HELD, hardened=True)
    given_back = Hardening(cap_add=("CHOWN",), pids_limit=0, no_new_privileges=False)
    found = given_back.describe(HELD, "docker")
    assert not found.hardened
    assert not found.enforces_pids
    assert [note.partition("=")[0].split()[0] for note in found.notes] == [
        "CLOUDOPS_DOCKER_CAP_ADD",
        "CLOUDOPS_DOCKER_NO_NEW_PRIVILEGES",
        "CLOUDOPS_DOCKER_PIDS_LIMIT",
    ]
    loose = Hardening().describe(evolve(HELD, enforces_pids=False), "docker")
    assert "processes is not enforced" in loose.notes[0]


# --- containers


def planned(found: Capabilities = HELD, uid: int = 0, **settings: Any) -> Plan:
    spec = NodeSpec(
        workspace="w", node_id="n", name="n", image="i", argv=("x",), caller_uid=uid, caller_gid=uid
    )
    return plan(spec, "n", "i", Engine(capabilities=found), "docker", Hardening(**settings))


def test_root_keeps_little() -> None:
    """Root in a container keeps what makes neither another user nor somebody else's file."""
    found = planned()
    assert (found.cap_drop, found.cap_add) == (("ALL",), KEPT)
    assert not FORBIDDEN & set(KEPT)
    assert found.no_new_privileges
    assert found.pids_limit == PIDS_LIMIT


def test_others_are_named_nothing() -> None:
    """An ordinary user's container is given nothing: Podman would hand it to the user."""
    assert (planned(uid=1000).cap_drop, planned(uid=1000).cap_add) == (("ALL",), ())
    assert planned(evolve(HELD, rootless=True), uid=1000).cap_add == KEPT


def test_given_back() -> None:
    """What is named is given beside what is kept; all of them are not taken away first."""
    assert planned(cap_add=("CHOWN",)).cap_add == ("CHOWN", *KEPT)
    assert planned(uid=7, cap_add=("CHOWN",)).cap_add == ("CHOWN",)
    everything = planned(cap_add=("ALL", "CHOWN"))
    assert (everything.cap_drop, everything.cap_add) == ((), ("ALL",))
    assert not planned(no_new_privileges=False).no_new_privileges


def test_processes() -> None:
    """A limit of processes that the engine does not hold is not asked for."""
    assert planned(pids_limit=7).pids_limit == 7
    assert planned(evolve(HELD, enforces_pids=False)).pids_limit is None


def test_any_container_is_hardened() -> None:
    """A plan that says nothing of privileges has none."""
    bare = Plan(name="", image="i", argv=("x",), labels={})
    assert (bare.cap_drop, bare.cap_add, bare.no_new_privileges) == (("ALL",), (), True)
    assert words.specification(bare)["cap_drop"] == ["ALL"]
    assert words.specification(bare)["no_new_privileges"] is True
    assert "cap_add" not in words.specification(bare)


@pytest.mark.parametrize(("limit", "said"), [(None, None), (0, -1), (7, 7)])
def test_podman_processes(limit: int | None, said: int | None) -> None:
    """Podman is told 'none' as it means it: its 0 is a limit of its own."""
    one = Plan(name="", image="i", argv=("x",), labels={}, pids_limit=limit)
    limits = words.specification(one).get("resource_limits", {})
    assert limits.get("pids", {}).get("limit") == said


# --- what a failure is told

CHOWN = "CAP_ADD=CHOWN"
USERS = "CAP_ADD=SETUID,SETGID"
FILES = "CAP_ADD=SETUID,SETGID CLOUDOPS_DOCKER_NO_NEW_PRIVILEGES=off"
TRACE = "Traceback (most recent call last):\n"
#: The last words of programs in a node, and what they are told.
SAID = [
    # coreutils, busybox, perl and Python
    ("chown: changing ownership of 'f': Operation not permitted", CHOWN),
    ("chown: f: Operation not permitted", CHOWN),
    ("chgrp: changing group of 'f': Operation not permitted", CHOWN),
    ("install: cannot change ownership of 'g': Operation not permitted", CHOWN),
    ("cp: failed to preserve ownership for '/tmp/n2': Operation not permitted", CHOWN),
    (
        (
            f'{TRACE}  File "/usr/lib/python3.11/shutil.py", line 1385, in chown\n'
            "    os.chown(path, _user, _group)\n"
            "PermissionError: [Errno 1] Operation not permitted: 'f'"
        ),
        CHOWN,
    ),
    (
        (
            "tar: a: Cannot change ownership to uid 7, gid 7: Operation not permitted\n"
            "tar: Exiting with failure status due to previous errors"
        ),
        "tar --no-same-owner; or .*" + CHOWN,
    ),
    # util-linux, shadow, dpkg and busybox
    ("su: cannot set groups: Operation not permitted", USERS),
    ("su: can't set groups: Operation not permitted", USERS),
    ("runuser: cannot set groups: Operation not permitted", USERS),
    ("setpriv: setresuid failed: Operation not permitted", USERS),
    ("setgroups: Operation not permitted\nsetgid: Operation not permitted", USERS),
    ("start-stop-daemon: unable to set gid to 65534 (Operation not permitted)", USERS),
    (
        (
            f'{TRACE}  File "/x.py", line 3, in <module>\n    os.setuid(5)\n    ^^^^^^^^^^^^\n'
            "PermissionError: [Errno 1] Operation not permitted"
        ),
        USERS,
    ),
    (
        (
            "E: Method gave invalid 400 URI Failure message: Failed to setgroups - setgroups (1: "
            "Operation not permitted)\nE: Method http has died unexpectedly!"
        ),
        "APT::Sandbox::User=root; or .*" + USERS,
    ),
    ("E: setgroups 65534 failed - setgroups (1: Operation not permitted)", "APT::Sandbox"),
    # programs that are set-user-id for nothing
    ("su: must be suid to work properly", FILES),
    ("Password: su: Authentication failure", FILES),
    (
        (
            "sudo: effective uid is not 0, is /usr/bin/sudo on a file system with the 'nosuid' option "
            "set or an NFS file system without root privileges?"
        ),
        FILES,
    ),
    (
        'sudo: The "no new privileges" flag is set, which prevents sudo from running as root.',
        FILES,
    ),
    ("sudo: /usr/bin/sudo must be owned by uid 0 and have the setuid bit set", ""),
    # the rest
    ("chmod: changing permissions of '/n': Operation not permitted", "CAP_ADD=FOWNER"),
    ("touch: setting times of '/n': Operation not permitted", "CAP_ADD=FOWNER"),
    ("ping: permission denied (are you root?)", "CAP_ADD=NET_RAW"),
    ("ping: socket: Operation not permitted", "CAP_ADD=NET_RAW"),
    (
        (
            f"{TRACE}    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)\n"
            '  File "/usr/lib/python3.11/socket.py", line 232, in __init__\n'
            "PermissionError: [Errno 1] Operation not permitted"
        ),
        "CAP_ADD=NET_RAW",
    ),
    ("mknod: d: Operation not permitted", "CAP_ADD=MKNOD"),
    ("chroot: cannot change root directory to '/': Operation not permitted", "CAP_ADD=SYS_CHROOT"),
    ("chroot: can't change root directory to '/': Operation not permitted", "CAP_ADD=SYS_CHROOT"),
    # processes
    ("sh: 0: Cannot fork", "PIDS_LIMIT"),
    ("sh: can't fork: Resource temporarily unavailable", "PIDS_LIMIT"),
    ("bash: fork: retry: Resource temporarily unavailable", "PIDS_LIMIT"),
    (
        (
            f"{TRACE}    self.pid = _fork_exec(\n               ^^^^^^^^^^^\n"
            "BlockingIOError: [Errno 11] Resource temporarily unavailable"
        ),
        "PIDS_LIMIT",
    ),
    ("RuntimeError: can't start new thread", "PIDS_LIMIT"),
    (
        (
            "OpenBLAS blas_thread_init: pthread_create failed for thread 5 of 8: Resource temporarily "
            "unavailable"
        ),
        "PIDS_LIMIT",
    ),
    ("java.lang.OutOfMemoryError: unable to create native thread: possibly out of", "PIDS_LIMIT"),
    # what has other reasons
    ("", ""),
    ("cat: /root/x: Permission denied", ""),
    ("curl: (7) Failed to connect: Resource temporarily unavailable", ""),
    ("nc: bind: Permission denied", ""),  # root keeps it
    ("mount: /mnt: permission denied.", ""),
    ("rm: cannot remove 'x': Operation not permitted", ""),
    (f"{TRACE}ModuleNotFoundError: No module named 'chown'", ""),
]


def advised(text: str, settings: Hardening | None = None, **fields: bool) -> str:
    about = {"root": True, "ambient": False, "limited": True, **fields}
    return advice.advise(text, "docker", settings or Hardening(), **about)


@pytest.mark.parametrize(("text", "expected"), SAID, ids=[text[:40] for text, _ in SAID])
def test_advice(text: str, expected: str) -> None:
    """A failure that looks like a missing capability says which setting gives it back."""
    found = advised(f"some output before\n{text}\n")
    assert bool(found) == bool(expected), found
    assert re.search(expected, found), found
    assert found.count("\n") == 0


def test_advice_of_what_is_there() -> None:
    """What was given back already is not advised; what is added keeps what is there."""
    text = "chown: f: Operation not permitted"
    assert advised(text, Hardening(cap_add=("CHOWN",))) == ""
    assert advised(text, Hardening(cap_add=("ALL",))) == ""
    assert "CAP_ADD=MKNOD,CHOWN" in advised(text, Hardening(cap_add=("MKNOD",)))
    assert "CAP_ADD" not in advised(
        "sudo: effective uid is not 0", Hardening(cap_add=("SETUID", "SETGID"))
    )
    assert advised("sh: 0: Cannot fork", limited=False) == ""


def test_advice_of_an_ordinary_user() -> None:
    """Where the engine can give nothing to an ordinary user, the sentence says so."""
    text = "chown: f: Operation not permitted"
    assert "when you build the image" in advised(text, root=False)
    assert CHOWN in advised(text, root=False, ambient=True)
    assert FILES in advised("su: must be suid to work properly", root=False)
    bind = "nc: bind: Permission denied"
    assert "CAP_ADD=NET_BIND_SERVICE" in advised(bind, root=False, ambient=True)


@given(st.text(max_size=200))
def test_advice_of_anything(text: str) -> None:
    """Any text is looked at."""
    advised(text)


def test_advice_takes_no_time() -> None:
    """What a hostile task prints is looked at as quickly as anything else."""
    for text in ("chown " * 2000, "fork\n" * 2000, "setuid\n\nbind " * 1000):
        advised(text)  # the test's own time limit is the measure


def test_no_advice_by_default() -> None:
    """An executor that has nothing to give says nothing."""
    assert Executor.advise(None, "chown: f: Operation not permitted") == ""  # type: ignore[arg-type]
