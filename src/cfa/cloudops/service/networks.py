"""Networks that are kept for containers which run one task each.

To make a network costs an engine more than all else that a container needs, and it makes them one
after another. So where many tasks wait, *keepers* are opened: nodes that run nothing, whose network
is used by one node after another, never by two at a time. What a task could find of the one before
it is taken care of: host name, `/etc/hosts` and `/etc/resolv.conf` are the node's own; a keeper's
network forgets a closed connection at once, so that its port can be bound again; and when a node has
ended, the keeper looks whether any socket is left, and its network is given up if so.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from cfa.cloudops.provider.executor import Bind

if TYPE_CHECKING:
    from cfa.cloudops.service.nodes import Keeper

#: The FIFO beside a keeper's launcher, and beside those that use its network and hold it open.
USERS, NETWORK = "users", "network"
#: A keeper pays from its second use on; with so many tasks waiting for each it surely comes to that.
_TASKS_EACH = 4
#: So often a job may lose keepers before it does without.
_LOSSES = 5


@define(eq=False)
class Networks:
    """The keepers of a job."""

    keepers: list[Keeper] = field(factory=list)
    #: Why there are none any more; the nodes then have networks of their own.
    refused: str = ""
    _losses: int = 0
    _lost_at: float = 0.0

    @property
    def expected(self) -> int:
        """How many networks can be waited for."""
        return 0 if self.refused else sum(not keeper.closing for keeper in self.keepers)

    def free(self) -> Keeper | None:
        """A keeper whose network nobody uses."""
        if self.refused:
            return None
        return next((keeper for keeper in self.keepers if keeper.free), None)

    def soon(self) -> int:
        """How many come free at any moment: what used them was told to end, or is ending."""
        return sum(
            bool(keeper.looks) or (keeper.user is not None and keeper.user.closing)
            for keeper in self.keepers
            if not keeper.closing
        )

    def short(self, waiting: int, capacity: int) -> int:
        """How many keepers to open.

        Args:
            waiting: tasks that have no node yet.
            capacity: tasks at once.
        """
        if self.refused:
            return 0
        coming = sum(not keeper.ready for keeper in self.keepers)
        worth = min(2 * capacity, waiting // _TASKS_EACH) - len(self.keepers)
        return max(0, min(worth, capacity - coming))  # a few at a time: nodes come up beside them

    def lost(self, why: str, enlisted: float) -> None:
        """A keeper was of no use. That may happen; again and again it has a reason.

        `enlisted` is when it was decided on: those that were there together met the same fault.
        """
        if enlisted >= self._lost_at:
            self._lost_at = time.monotonic()
            self._losses += 1
        if self._losses >= _LOSSES:
            self.refused = why


@frozen
class Lent:
    """A network as the node sees that is going to be opened in it.

    Attributes:
        node_id: the keeper's.
        engine_id: the keeper's container.
        host_name: what it calls itself.
        hosts: lines of its `/etc/hosts`.
        resolver: lines of its `/etc/resolv.conf`.
    """

    node_id: str
    engine_id: str
    host_name: str
    hosts: tuple[str, ...]
    resolver: tuple[str, ...]

    def own_names(self, place: Path, names: str) -> tuple[Bind, ...]:
        """The files by which a node knows itself and others.

        Args:
            place: the directory that takes the files.
            names: what the node is called, in place of the keeper.

        Raises:
            OSError: they cannot be written.
        """
        hosts = []
        for line in self.hosts:
            address, *known = line.split() or [""]
            hosts.append(f"{address}\t{names}" if self.host_name in known else line)
        made = []
        for name, lines in (("hosts", hosts), ("resolv.conf", self.resolver)):
            (place / name).write_text("".join(f"{line}\n" for line in lines))
            made.append(Bind(source=str(place / name), target=f"/etc/{name}"))
        return tuple(made)


def make_fifo(keeper: Path) -> None:
    """Prepare the directory of a keeper's launcher. Raises OSError."""
    os.mkfifo(keeper / USERS)


def share_fifo(keeper: Path, user: Path) -> None:
    """Show it to the launcher of a node that uses the network. Raises OSError."""
    os.link(keeper / USERS, user / NETWORK)


def keeps(directory: Path) -> bool:
    """Whether this is the directory of a keeper's launcher, which ends with the last of its users."""
    return (directory / USERS).exists()
