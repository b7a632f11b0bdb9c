"""Legal holds, locks and seals: one small record a blob, in a hidden folder beside the containers.

Beside, not inside: a container shows nothing but blobs, in listings and in mounts, and a task that
empties its mount does not lift a hold. A record is the protection of the blob of its name, for as
long as there is one: what is left of a blob that somebody removed by other means protects nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from cfa.cloudops.errors import BackendError, BlobNotFoundError
from cfa.cloudops.model import names
from cfa.cloudops.provider.blob import BlobProvider
from cfa.cloudops.provider.protection import Protection

#: Up to so many blobs are looked up one by one, more by reading all records.
_FEW = 32


class Records(Protocol):
    """Where records are kept: for each container, contents by key."""

    def exist(self, container: str) -> bool:
        """Whether the container has any."""

    def read(self, container: str, key: str) -> bytes | None:
        """One, if it is there."""

    def read_all(self, container: str) -> Iterator[bytes]:
        """All, in any order."""

    def write(self, container: str, key: str, data: bytes) -> None:
        """Store one, at once."""

    def remove(self, container: str, keys: Iterable[str]) -> None:
        """Remove those of these that are there."""

    def remove_all(self, container: str) -> None:
        """Remove those of a deleted container."""

    def changing(self, container: str) -> AbstractContextManager[None]:
        """Keep others from changing records, where that is possible."""


class Guard:
    """The protection of the blobs of one root.

    Args:
        blobs: the provider, which is asked whether a protected blob is still there.
        records: where protection is kept.
        canonical: (container, folder) -> the one name among those that lead to a folder by links.
    """

    def __init__(
        self, blobs: BlobProvider, records: Records, canonical: Callable[[str, str], str]
    ) -> None:
        self._blobs = blobs
        self._records = records
        self._canonical = canonical

    def active(self, container: str) -> bool:
        """Whether anything may be protected here."""
        return self._records.exist(container)

    def get(self, container: str, blob: str) -> Protection:
        if not self.active(container) or not self._there(container, blob):
            return Protection()
        return self._read(container, self._named(container, [blob])[blob])

    def change(
        self,
        container: str,
        blobs: Iterable[str],
        *,
        legal_hold: bool | None,
        lock_until: datetime | None,
        seal: bool,
    ) -> None:
        """See `BlobProvider.protect_many`."""
        wanted = list(blobs)
        for blob in wanted:
            self._blobs.properties(container, blob)
        if not self.active(container) and not (legal_hold or lock_until or seal):
            return
        named = self._named(container, wanted)
        with self._records.changing(container):
            known = self._known(container, named.values())
            changed = {
                name: known.get(name, Protection()).changed(
                    container, blob, legal_hold=legal_hold, lock_until=lock_until, seal=seal
                )
                for blob, name in named.items()
            }
            for name, kept in changed.items():
                if kept and kept != known.get(name):
                    self._records.write(container, _key(name), _record(name, kept))
            over = [_key(name) for name, kept in changed.items() if not kept and name in known]
            self._records.remove(container, over)

    def replaceable(self, container: str, blobs: Iterable[str]) -> list[str]:
        """Names with records that protect nothing any more, after a check of all.

        Raises:
            ProtectedBlobError: one of them cannot be replaced.
        """
        return self._checked(container, blobs, Protection.check_replacement)

    def deletable(self, container: str, blobs: Iterable[str]) -> list[str]:
        """As `replaceable`, for a deletion."""
        return self._checked(container, blobs, Protection.check_deletion)

    def deletable_folder(self, container: str, folder: str) -> list[str]:
        """As `deletable`, for all below a folder; `''` is the whole container."""
        above = f"{self._named(container, [folder])[folder]}/" if folder else ""
        every = [name for name in self._all(container) if name.startswith(above)]
        return self._checked(container, every, Protection.check_deletion)

    def forget(self, container: str, blobs: list[str]) -> None:
        """Remove the records of blobs that are gone."""
        if blobs:
            with self._records.changing(container):
                self._records.remove(container, map(_key, blobs))

    def forget_all(self, container: str) -> None:
        self._records.remove_all(container)

    def _checked(
        self, container: str, blobs: Iterable[str], check: Callable[[Protection, str, str], None]
    ) -> list[str]:
        found: list[str] = []
        named = self._named(container, blobs)
        known = self._known(container, named.values())
        if known:
            for blob, name in named.items():
                if name in known:
                    if self._there(container, blob):
                        check(known[name], container, blob)
                    found.append(name)
        return found

    def _named(self, container: str, blobs: Iterable[str]) -> dict[str, str]:
        """The names by which these blobs have records."""
        folders = {"": ""}
        named: dict[str, str] = {}
        for blob in blobs:
            folder, _, base = names.blob(blob).rpartition("/")
            if folder not in folders:
                folders[folder] = self._canonical(container, folder)
            above = folders[folder]
            named[blob] = f"{above}/{base}" if above else base
        return named

    def _known(self, container: str, wanted: Collection[str]) -> dict[str, Protection]:
        """The protection of those of these names that have any."""
        if len(wanted) > _FEW:
            return self._all(container)
        found = {name: self._read(container, name) for name in wanted}
        return {name: kept for name, kept in found.items() if kept}

    def _there(self, container: str, blob: str) -> bool:
        try:
            self._blobs.properties(container, blob)
        except BlobNotFoundError:
            return False
        return True

    def _read(self, container: str, name: str) -> Protection:
        data = self._records.read(container, _key(name))
        return Protection() if data is None else _parsed(container, data)[1]

    def _all(self, container: str) -> dict[str, Protection]:
        return dict(_parsed(container, data) for data in self._records.read_all(container))


def _key(name: str) -> str:
    # A name may be longer than one of a file, and `a` and `a/b` may both have had a blob.
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()


def _record(name: str, kept: Protection) -> bytes:
    until = kept.locked_until
    return json.dumps(
        {
            "blob": name,
            "legal_hold": kept.legal_hold,
            "locked_until": until and until.isoformat(),
            "sealed": kept.sealed,
        }
    ).encode()


def _parsed(container: str, data: bytes) -> tuple[str, Protection]:
    try:
        fields = json.loads(data)
        until = fields["locked_until"]
        return fields["blob"], Protection(
            legal_hold=bool(fields["legal_hold"]),
            locked_until=until and datetime.fromisoformat(until),
            sealed=bool(fields["sealed"]),
        )
    except (ValueError, KeyError, TypeError):
        raise BackendError(  # not to be taken for no protection
            f"The record of a protected blob of {container!r} cannot be read: {data[:80]!r}.",
            "Restore or delete it: it is beside the containers.",
        ) from None
