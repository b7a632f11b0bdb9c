"""`cfa.cloudops.blob_helpers`; functions that are given no client use the storage of this machine."""

from __future__ import annotations

from cfa.cloudops.blob_helpers import *  # noqa: F403
from cfa.cloudops.blob_helpers import Streams
from cfa.cloudops.blob_helpers import __all__ as __all__
from cfa.cloudops.faces import LOCAL

_streams = Streams(LOCAL)
get_blob_service_client = _streams.get_blob_service_client
get_container_client = _streams.get_container_client
instantiate_container_client = _streams.instantiate_container_client
read_blob_stream = _streams.read_blob_stream
write_blob_stream = _streams.write_blob_stream
list_blobs_in_container = _streams.list_blobs_in_container
walk_blobs_in_container = _streams.walk_blobs_in_container
