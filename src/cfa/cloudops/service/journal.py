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
from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter

from attrs import evolve, frozen

from cfa.cloudops.beneath import Place, WrongTypeError

#: Bytes at the end of a journal in which the record of its last task is.
_TAIL = 4 << 10
#: Bytes of all of a node's journals, and of a job's account, that are read at all: a million tasks.
_MOST = 128 << 20
_CHUNK = 1 << 20
#: Bytes of a line; longer ones are cut.
_LONGEST = 1 << 10
#: Names of journals: numbers of slots. A process of the node can make other files beside them.
_NAME = re.compile(r"[1-9][0-9]{0,3}")
#: What a launcher says became of a task. A shell's codes have three digits.
CODE = re.compile(r"-?[0-9]{1,10}|missing|denied|gone")
#: A process id, a count of tasks, a number of bytes.
_NUMBER = re.compile(rb"[0-9]{1,18}")
#: Begins what is kept of a node.
_NODE = b"node"
_TIME = re.compile(rb"(\d{1,9})m(\d{1,9})[.,](\d{1,9})s")


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


def outcomes(
    journals: Place, node_id: str, secrets: Secrets, wanted: Mapping[str, int]
) -> dict[str, str]:
    """The codes of those attempts that were the last to end in their slots.

    Args:
        wanted: attempts, with the slot of each, 0 where that is not known.
    """
    known = all(wanted.values())
    names = {str(slot) for slot in wanted.values()} if known else dict(_journals(journals))
    found: dict[str, str] = {}
    for name in names:
        with contextlib.suppress(OSError):
            start = max(0, journals.status(name).st_size - _TAIL)
            lines = journals.read(name, _TAIL, start).split(b"\n")
            for record in records(lines, node_id, secrets, wanted):
                found[record.attempt] = record.code
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
            yield from records(_lines(journals, name, size), node_id, secrets)


def _lines(place: Place, name: str, limit: int) -> Iterator[bytes]:
    """Complete lines of a file, without their ends, of at most so many bytes of it."""
    descriptor = place.file(name)
    try:
        rest = b""
        while limit > 0 and (data := os.read(descriptor, min(limit, _CHUNK))):
            limit -= len(data)
            *lines, rest = (rest + data).split(b"\n")
            yield from (line[:_LONGEST] for line in lines)
            rest = rest[:_LONGEST]
    finally:
        os.close(descriptor)


def records(
    lines: Iterable[bytes], node_id: str, secrets: Secrets, wanted: Container[str] | None = None
) -> Iterator[Record]:
    """Records among lines; torn ones, and those without the right secret, are left out.

    Args:
        wanted: attempts that count, None for all.
    """
    record: Record | None = None
    # The first line of `times` is the shell's own, the second that of its children.
    times: list[bytes] = []
    for line in lines:
        if record is not None and not line.startswith(b"=") and len(times) < 2:
            times.append(line)
            if len(times) == 2:
                yield evolve(record, cpu_s=_cpu_s(line))
                record = None
            continue
        if record is not None:
            yield record
        record, times = _record(line, node_id, secrets, wanted), []
    if record is not None:
        yield record


def _record(
    line: bytes, node_id: str, secrets: Secrets, wanted: Container[str] | None
) -> Record | None:
    if not line.startswith(b"= "):
        return None
    words = line.split()
    if len(words) < 6 or not all(map(_NUMBER.fullmatch, words[4:])):
        return None
    attempt, secret, code, shell = (word.decode("ascii", "replace") for word in words[1:5])
    if wanted is not None and attempt not in wanted:
        return None
    if not (CODE.fullmatch(code) and secrets.are(secret, node_id, attempt)):
        return None
    memory = int(words[6]) if len(words) > 6 else None
    return Record(attempt, code, shell, int(words[5]), memory, None)


def _cpu_s(line: bytes) -> float | None:
    times = _TIME.findall(line[:100])
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
    with contextlib.suppress(OSError):
        for node, lines in groupby(_of_nodes(_lines(accounts, str(job), _MOST)), itemgetter(0)):
            node_id = node.decode("ascii", "replace")
            for record in records((line for _, line in lines), node_id, secrets):
                yield node_id, record


def _of_nodes(lines: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Lines of an account, each with the node that it is of."""
    node = b""
    for line in lines:
        if line.startswith(_NODE + b" "):
            node = line.removeprefix(_NODE + b" ")
        else:
            yield node, line
