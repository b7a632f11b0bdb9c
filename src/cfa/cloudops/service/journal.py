"""Journals: what launchers wrote about their tasks before they reported it.

A slot has a file of its own, to which its shell appends a record a task: attempt, secret, outcome, an
account, and two lines of the builtin `times`. A task cannot name the file; and since a process of the
same user in the same container can reach what another has open, a record counts only with the secret
of the attempt. Secrets are not kept: whoever has the key of the workspace's store can make them again.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
from collections.abc import Iterator, Sequence

from attrs import frozen

from cfa.cloudops.beneath import Place, WrongTypeError

#: Bytes at the end of a journal in which the record of its last task is.
_TAIL = 4 << 10
#: Bytes of all of a node's journals, and of a job's account, that are read at all: a million tasks.
_MOST = 128 << 20
_CHUNK = 1 << 20
#: Names of journals: numbers of slots. A process of the node can make other files beside them.
_NAME = re.compile(r"[1-9][0-9]{0,4}")
#: Begins what is kept of a node.
_NODE = b"node"
_TIME = re.compile(rb"(\d+)m(\d+)[.,](\d+)s")


class Secrets:
    """What the launchers of a workspace's nodes must know to be believed.

    Args:
        key: of the workspace.
    """

    def __init__(self, key: str) -> None:
        self._key = bytes.fromhex(key)

    def of(self, node_id: str, attempt: str = "") -> str:
        """The secret of an attempt on a node, or of the node itself."""
        text = f"{node_id} {attempt}".encode()
        return hashlib.blake2s(text, key=self._key, digest_size=8).hexdigest()

    def are(self, secret: str, node_id: str, attempt: str = "") -> bool:
        """Whether this is it."""
        return hmac.compare_digest(secret.encode(), self.of(node_id, attempt).encode())


@frozen
class Record:
    """What became of an attempt: its code, as the launcher says it, and its slot's account.

    `count`: tasks that the shell has run; `cpu_s`: seconds of processor time that they took together.
    """

    attempt: str
    code: str
    shell: str
    count: int
    peak_memory_bytes: int | None
    cpu_s: float | None


def outcomes(journals: Place, node_id: str, secrets: Secrets) -> dict[str, str]:
    """The codes of the latest attempts that ended in each slot of a node, by attempt."""
    found: dict[str, str] = {}
    for name, size in _journals(journals):
        with contextlib.suppress(OSError):
            data = journals.read(name, _TAIL, max(0, size - _TAIL))
            found.update((one.attempt, one.code) for one in records(data, node_id, secrets))
    return found


def _journals(place: Place) -> Iterator[tuple[str, int]]:
    """Names and sizes of a node's journals."""
    left = _MOST
    for name in filter(_NAME.fullmatch, place.names()):
        with contextlib.suppress(OSError):
            size = min(left, place.status(name).st_size)
            left -= size
            yield name, size


def accounts(journals: Place, node_id: str, secrets: Secrets) -> Iterator[Record]:
    """All that a node's journals say."""
    for name, size in _journals(journals):
        with contextlib.suppress(OSError):
            yield from records(journals.read(name, size), node_id, secrets)


def records(data: bytes, node_id: str, secrets: Secrets) -> Iterator[Record]:
    """Records in a piece of a journal; torn ones, and those without the right secret, are left out."""
    lines = data.split(b"\n")
    for number, line in enumerate(lines[:-1]):
        words = line.split()
        if len(words) < 6 or words[0] != b"=" or not (words[4].isdigit() and words[5].isdigit()):
            continue
        attempt, secret, code, shell = (word.decode("ascii", "replace") for word in words[1:5])
        if not secrets.are(secret, node_id, attempt):
            continue
        memory = int(words[6]) if len(words) > 6 and words[6].isdigit() else None
        # The first line of `times` is the shell's own, the second that of its children.
        times = lines[number + 1 : number + 3]
        yield Record(attempt, code, shell, int(words[5]), memory, _cpu_s(times))


def _cpu_s(lines: Sequence[bytes]) -> float | None:
    if len(lines) != 2 or lines[0].startswith(b"="):
        return None
    times = _TIME.findall(lines[1])
    if len(times) != 2:
        return None
    return sum(int(m) * 60 + float(f"{int(s)}.{part.decode()}") for m, s, part in times)


def keep(journals: Place, accounts: Place, job: int, node_id: str) -> None:
    """Add a node's journals to the account of its job, before the node's directory goes.

    Raises:
        OSError: there is no space, or the workspace is gone; only statistics are lost.
    """
    account = accounts.file(str(job), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for name, size in _journals(journals):
            with contextlib.suppress(WrongTypeError):
                journal = journals.file(name)
                try:
                    os.write(account, b"\n%s %s\n" % (_NODE, node_id.encode()))
                    while size > 0 and (data := os.read(journal, min(size, _CHUNK))):
                        size -= os.write(account, data)
                    os.write(account, b"\n")
                finally:
                    os.close(journal)
    finally:
        os.close(account)


def kept(accounts: Place, job: int, secrets: Secrets) -> Iterator[tuple[str, Record]]:
    """What `keep` has added for a job: ids of nodes, with the records of each."""
    try:
        data = accounts.read(str(job), _MOST)
    except OSError:
        return
    for part in data.split(b"\n%s " % _NODE)[1:]:
        node_id, _, journal = part.partition(b"\n")
        name = node_id.decode("ascii", "replace")
        for record in records(journal, name, secrets):
            yield name, record
