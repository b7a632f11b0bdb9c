"""Tells from a failed task's last words which capability, or which limit, it probably ran into."""

from __future__ import annotations

import re

from attrs import frozen

from cfa.cloudops.provider.hardening import ALL, Hardening, variable

#: Characters of a task's output that are looked at: its last words.
_LAST = 4096
#: Between the name of a call and the kernel's refusal: the rest of the line, or a few lines of a
#: traceback. Bounded, because a task chooses what stands there.
_THEN = r"[^\n]{0,300}(?:\n[^\n]{0,300}){0,2}?"
_REFUSED = rf"{_THEN}\bOperation not permitted"


@frozen
class _Sign:
    """Words of programs that lack something.

    `needs`: the capabilities. `by_file`: a set-user-id program, or one with capabilities of its own,
    which gains nothing while there are no new privileges. `instead`: how to do without.
    """

    words: re.Pattern[str]
    needs: tuple[str, ...]
    by_file: bool = False
    instead: str = ""


_USERS = ("SETUID", "SETGID")
#: The first that fits counts.
_SIGNS = (
    _Sign(
        re.compile(
            r'sudo: .*"no new privileges" flag|sudo: effective uid is not 0'
            r"|must be (?:setuid|suid|set-user-id)|^(?:Password: )?su: Authentication failure",
            re.MULTILINE,
        ),
        _USERS,
        by_file=True,
    ),
    _Sign(
        re.compile(r"setgroups \d+ failed|Failed to setgroups|SetupAPTPartialDirectory"),
        _USERS,
        instead="tell apt-get to stay root: apt-get -o APT::Sandbox::User=root",
    ),
    _Sign(
        re.compile(r"tar: .*(?:ownership|chown).*Operation not permitted"),
        ("CHOWN",),
        instead="unpack with: tar --no-same-owner",
    ),
    _Sign(
        re.compile(
            rf"\b[lf]?ch(?:own|grp)(?:at)?\b{_REFUSED}"
            r"|(?:chang\w+|preserve) (?:ownership|group)\b.*Operation not permitted"
        ),
        ("CHOWN",),
    ),
    _Sign(
        re.compile(
            rf"\b(?:set(?:re|res|e|fs)?[ug]id|(?:set|init)groups)\b{_REFUSED}"
            r"|\bset (?:groups|uid|gid)\b.*Operation not permitted"
        ),
        _USERS,
    ),
    _Sign(
        re.compile(
            rf"\b[lf]?chmod(?:at)?\b{_REFUSED}"
            r"|(?:changing permissions|(?:setting|preserving) times)\b.*Operation not permitted"
        ),
        ("FOWNER",),
    ),
    _Sign(
        re.compile(
            rf"\bping6?: (?:permission denied|.*Operation not permitted)|SOCK_RAW{_REFUSED}"
            r"|\b[Rr]aw socket.*(?:not permitted|denied)"
        ),
        ("NET_RAW",),
    ),
    _Sign(re.compile(rf"\bmknod(?:at)?\b{_REFUSED}"), ("MKNOD",)),
    _Sign(re.compile(rf"\bchroot\b{_REFUSED}"), ("SYS_CHROOT",)),
    _Sign(re.compile(rf"\bbind\b{_THEN}\bPermission denied"), ("NET_BIND_SERVICE",)),
)

_NO_PROCESS = re.compile(
    r"[Cc]an(?:not|'t) fork|[Cc]an't start new thread|unable to (?:fork|create (?:new )?native thread)"
    r"|(?:fork|thread|clone|spawn)\w*\b[^\n]{0,300}(?:\n[^\n]{0,300}){0,2}?"
    r"Resource temporarily unavailable"
)


def advise(
    output: str, executor: str, hardening: Hardening, *, root: bool, ambient: bool, limited: bool
) -> str:
    """One sentence on what a failed task probably lacked, or ''.

    Args:
        output: the end of its standard error.
        executor: whose settings give it back.
        hardening: what is given already.
        root: the task's user was root in its container.
        ambient: the engine gives what is named to other users, too.
        limited: the limit of processes holds.
    """
    last = output[-_LAST:]
    if limited and _NO_PROCESS.search(last):
        return (
            f"The task could start no more processes or threads; if its node is at the limit of "
            f"{hardening.pids_limit}, raise {variable(executor, 'pids_limit')}."
        )
    given = hardening.capabilities(root=root)
    for sign in _SIGNS:
        if not sign.words.search(last):
            continue
        by_file = sign.by_file and hardening.no_new_privileges
        lacking = [name for name in sign.needs if not {name, ALL} & set(given)]
        if by_file or (lacking and (root or ambient or sign.by_file)):
            return _give_back(executor, hardening, sign, lacking, by_file)
        if lacking:
            return (
                f"The task probably lacked the capability {' and '.join(sign.needs)}, which "
                f"{executor} cannot give to it: it runs as you, not as root. Do this step when you "
                "build the image."
            )
        return ""
    return ""


def _give_back(
    executor: str, hardening: Hardening, sign: _Sign, lacking: list[str], by_file: bool
) -> str:
    what = "the capability " + " and ".join(sign.needs)
    wanted = ",".join([*hardening.cap_add, *lacking])
    settings = [f"{variable(executor, 'cap_add')}={wanted}"] if lacking else []
    if by_file:
        what = "new privileges, which a set-user-id program needs"
        settings.append(f"{variable(executor, 'no_new_privileges')}=off")
    instead = f"{sign.instead}; or give" if sign.instead else "give"
    return f"The task probably lacked {what}: {instead} it back with {' '.join(settings)}."
