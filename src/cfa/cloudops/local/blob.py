"""`cfa.cloudops.blob`; functions that are given no client use the storage of this machine."""

from __future__ import annotations

from cfa.cloudops.blob import *  # noqa: F403
from cfa.cloudops.blob import Transfers
from cfa.cloudops.blob import __all__ as __all__
from cfa.cloudops.faces import LOCAL

_transfers = Transfers(LOCAL)
async_download_blob_folder = _transfers.async_download_blob_folder
async_upload_folder = _transfers.async_upload_folder
