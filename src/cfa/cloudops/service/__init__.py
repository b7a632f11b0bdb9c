"""The local Batch service: store, agent, launcher, nodes."""

from cfa.cloudops.service.local import LocalBatch

__all__ = ["LocalBatch"]
