"""Where the output of a single task is saved when it completes."""

from __future__ import annotations

import json
from typing import Any

from attrs import asdict, field, frozen

from cfa.cloudops.model import names

#: Files of a task that can be saved.
STREAMS = ("stdout.txt", "stderr.txt")


def _blobs(given: Any) -> tuple[tuple[str, str], ...]:
    return tuple((str(stream), names.blob(blob)) for stream, blob in given)


@frozen(kw_only=True)
class Upload:
    """Files of a task that become blobs of one container when the task completes.

    `blobs`: pairs of a file, one of `STREAMS`, and the name of its blob. `condition`: `taskcompletion`,
    `tasksuccess` or `taskfailure`, as in an `OutputFile` of the service. `account` is the storage
    account that the script named; the client makes of it the URL `storage`, below which the container
    lies.
    """

    container: str = field(converter=names.blob_container)
    blobs: tuple[tuple[str, str], ...] = field(converter=_blobs)
    condition: str = "taskcompletion"
    account: str = ""
    storage: str = ""

    def wants(self, failed: bool) -> bool:
        """Whether files of a task that failed, or that did not, are saved."""
        return self.condition != ("tasksuccess" if failed else "taskfailure")

    def text(self) -> str:
        """All of it as JSON, which `of` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Upload:
        """The upload that a JSON text stands for."""
        return cls(**json.loads(text))
