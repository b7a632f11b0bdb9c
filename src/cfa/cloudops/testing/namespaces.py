"""Network namespaces: what tests start has one of its own, and changes nothing of this machine's."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_SET_FLAGS, _UP, _RUNNING = 0x8914, 0x1, 0x40  # SIOCSIFFLAGS, IFF_UP, IFF_RUNNING


def leave_network() -> None:
    """Give this thread, and what it starts, a network namespace with nothing but a loopback interface.

    Raises:
        OSError: the system refuses it.
    """
    _call("unshare", _NEW_NETWORK)
    with socket.socket() as control:
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sh", b"lo", _UP | _RUNNING))


def enter_network(namespace: int) -> None:
    """Move this thread into the network namespace that a descriptor of `/proc/<pid>/ns/net` shows.

    Raises:
        OSError: the system refuses it.
    """
    if not os.path.samestat(os.fstat(namespace), os.stat("/proc/thread-self/ns/net")):
        _call("setns", namespace, _NEW_NETWORK)


def _call(name: str, *arguments: int) -> None:
    # `os.unshare` and `os.setns` came with Python 3.12.
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
