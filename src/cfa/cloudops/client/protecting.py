"""The protection that a call of the client gives to the blobs it stores."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from attrs import frozen

from cfa.cloudops.errors import InvalidInputError, UnsupportedError

if TYPE_CHECKING:
    from cfa.cloudops.provider.blob import BlobProvider

#: Azure Storage's limit of time-based retention.
MAX_LOCK_DAYS = 146_000


@frozen(kw_only=True)
class Protecting:
    """What each blob of a call gets. `lock_days` count from when all are stored."""

    legal_hold: bool
    lock_days: int
    seal: bool

    @classmethod
    def of(
        cls, blobs: BlobProvider, legal_hold: bool, lock_days: Any, read_only: bool = False
    ) -> Protecting:
        """Raises: InvalidInputError, UnsupportedError."""
        is_number = isinstance(lock_days, int) and not isinstance(lock_days, bool)
        if not is_number or not 0 <= lock_days <= MAX_LOCK_DAYS:
            raise InvalidInputError(
                f"immutability_lock_days is {lock_days!r}, so nothing was uploaded.",
                f"Give a whole number of days, 0 to {MAX_LOCK_DAYS:,}; 0 locks nothing.",
            )
        wanted = cls(legal_hold=bool(legal_hold), lock_days=int(lock_days), seal=bool(read_only))
        if wanted and not blobs.protects:
            raise UnsupportedError(
                f"The {blobs.name} storage does not support legal holds, locks and seals; nothing "
                "was uploaded.",
                "Leave out legal_hold, immutability_lock_days and read_only.",
            )
        return wanted

    def __bool__(self) -> bool:
        return self.legal_hold or self.lock_days > 0 or self.seal

    def apply(self, blobs: BlobProvider, container: str, stored: Iterable[str]) -> None:
        """Protect what was stored, each alike."""
        if not self:
            return
        until = datetime.now(UTC) + timedelta(days=self.lock_days) if self.lock_days else None
        blobs.protect_many(
            container,
            stored,
            legal_hold=True if self.legal_hold else None,
            lock_until=until,
            seal=self.seal,
        )
