"""The blob calls of `CloudClient` alone, for those who need no pools and jobs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from cfa.cloudops import backends
from cfa.cloudops.client import logs
from cfa.cloudops.client.blobs import BlobMixin
from cfa.cloudops.settings import REPORT_VARIABLE, Settings


class Storage(BlobMixin):
    """Blob containers, wherever they are. No workspace is made.

    Attributes:
        fetched: files that the latest download was about; 0 when the user did not want it.

    Raises:
        BackendError: the storage cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        logs.configure()
        self._settings = settings
        self._blobs = backends.load_storage(settings.storage)
        self.rehearsal = None
        self.fetched = 0
        if settings.strict:
            from cfa.cloudops.rehearsal import Rehearsal

            self.rehearsal = Rehearsal(None, os.environ.get(REPORT_VARIABLE))

    def list_containers(self) -> list[str]:
        """Names of all containers, sorted."""
        return self._blobs.list_containers()

    def _targets(self, *args: Any) -> tuple[dict[str, str], int]:
        targets, size = super()._targets(*args)
        self.fetched = len(targets)
        return targets, size

    def _download(self, container: str, targets: Mapping[str, str], size: int) -> None:
        super()._download(container, targets, size)
        self.fetched = len(targets)

    def close(self) -> None:
        """Let go of everything."""
        if self.rehearsal is not None:
            self.rehearsal.close()
        self._blobs.close()
