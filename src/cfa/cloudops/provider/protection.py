"""What keeps a blob from being deleted or replaced, and the error that says how to lift it."""

from __future__ import annotations

from datetime import UTC, datetime

from attrs import evolve, frozen

from cfa.cloudops.errors import InvalidInputError, ProtectedBlobError

#: Where a storage that has no better place keeps protection: beside the containers, under a name that
#: none of them can have. Uploads of folders leave it out.
PROTECTION_FOLDER = ".cloudops-protection"


@frozen(kw_only=True)
class Protection:
    """The protection of one blob.

    A legal hold stays until it is cleared. A lock stays until its time, zone-aware UTC, and can only
    be made longer. A sealed blob can be deleted, but never be replaced.
    """

    legal_hold: bool = False
    locked_until: datetime | None = None
    sealed: bool = False

    def __bool__(self) -> bool:
        """Whether there is anything to keep, be it in force or not."""
        return self != Protection()

    def locked(self) -> bool:
        """Whether the lock is in force now."""
        return self.locked_until is not None and datetime.now(UTC) < self.locked_until

    def changed(
        self,
        container: str,
        blob: str,
        *,
        legal_hold: bool | None,
        lock_until: datetime | None,
        seal: bool,
    ) -> Protection:
        """With what `BlobProvider.protect` was asked for.

        Raises:
            ProtectedBlobError: a lock in force would end earlier.
            InvalidInputError: the time has no zone.
        """
        new = self
        if legal_hold is not None:
            new = evolve(new, legal_hold=legal_hold)
        if lock_until is not None:
            if lock_until.tzinfo is None:
                raise InvalidInputError(
                    f"The end of the lock of {blob!r}, {lock_until}, has no time zone.",
                    "Pass a datetime with a time zone, such as datetime.now(UTC).",
                )
            if self.locked_until and self.locked() and lock_until < self.locked_until:
                raise ProtectedBlobError(
                    f"The blob {blob!r} of {container!r} is locked until "
                    f"{_moment(self.locked_until)}; its lock was not changed.",
                    "A lock can become longer, never shorter.",
                )
            new = evolve(new, locked_until=lock_until)
        return evolve(new, sealed=True) if seal else new

    def check_deletion(self, container: str, blob: str) -> None:
        """Raises: ProtectedBlobError."""
        self._check(container, blob, "nothing was deleted")

    def check_replacement(self, container: str, blob: str) -> None:
        """Raises: ProtectedBlobError."""
        self._check(container, blob, "nothing was uploaded")
        if self.sealed:
            raise ProtectedBlobError(
                f"The blob {blob!r} of {container!r} is sealed (read-only); nothing was uploaded.",
                "Choose another name, or delete the blob first.",
            )

    def _check(self, container: str, blob: str, outcome: str) -> None:
        what = f"The blob {blob!r} of {container!r}"
        if self.legal_hold:
            raise ProtectedBlobError(
                f"{what} is under a legal hold; {outcome}.",
                f"update_blob_protection({blob!r}, {container!r}, legal_hold=False) clears it.",
            )
        if self.locked_until is not None and self.locked():
            raise ProtectedBlobError(
                f"{what} is locked until {_moment(self.locked_until)}; {outcome}.",
                "No call ends a lock early: wait until then, or choose another name.",
            )


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
