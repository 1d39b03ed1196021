"""Many messages with one system call: sendmmsg and recvmmsg of the C library, with their tables laid out by numpy.

The kernel then takes headers and payload from where they lie, and puts them where they belong: nothing is copied in
between. The tables hold plain addresses; whoever fills them keeps what they point to alive, and of the size that they
say, until the call returns. Layout: struct mmsghdr, msghdr and iovec of 64-bit Linux (recvmmsg(2), sys/socket.h).
"""

import ctypes
import errno
import os
import socket
import struct
import sys

import numpy as np
from numpy.typing import NDArray

UDP_SEGMENT = 103
UDP_GRO = 104
"""Option numbers of Linux (linux/udp.h), which `socket` does not name."""

IOVEC = np.dtype([("base", np.uint64), ("length", np.uint64)])
MESSAGE = np.dtype(
    {
        "names": ["iov", "iovlen", "control", "controllen", "flags", "length"],
        "formats": [np.uint64, np.uint64, np.uint64, np.uint64, np.int32, np.uint32],
        "offsets": [16, 24, 32, 40, 48, 56],
        "itemsize": 64,
    }
)
MESSAGE_BYTES = MESSAGE.itemsize
MOST_IOVECS = 1024
"""Pieces of one message (UIO_MAXIOV)."""

CONTROL_BYTES = 32
"""Room for one control message with a segment size: header, value, padding."""

GRO_SPACE = 24
"""Bytes of control that come with a coalesced message (CMSG_SPACE of an int); 0 come with any other."""

_MSG_WAITFORONE = 0x10000
_CONTROL_HEAD = struct.Struct("@Qii")
_SEGMENT = struct.Struct("@QiiH")
_GRO = struct.Struct("@QiiI")


def _load() -> ctypes.CDLL | None:
    """Return the C library; None where the layout is not known to be the one above."""
    if not sys.platform.startswith("linux") or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    library = ctypes.CDLL(None, use_errno=True)
    if not (hasattr(library, "sendmmsg") and hasattr(library, "recvmmsg")):
        return None
    four = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
    library.sendmmsg.argtypes = four
    library.recvmmsg.argtypes = [*four, ctypes.c_void_p]
    return library


_library = _load()
AVAILABLE = _library is not None
"""Whether the calls can be made here."""


def address(array: NDArray) -> int:
    """Return where an array begins."""
    if array.dtype.names is not None:
        return array.ctypes.data  # __array_interface__ describes a structured type anew each time, 25 us
    return array.__array_interface__["data"][0]


def messages(count: int) -> NDArray[np.void]:
    """Return a table of `count` messages, all zero."""
    return np.zeros(count, MESSAGE)


def segment_control(packet: int) -> NDArray[np.uint8]:
    """Return the control message that lets the kernel cut packets of `packet` bytes."""
    data = _SEGMENT.pack(_CONTROL_HEAD.size + 2, socket.IPPROTO_UDP, UDP_SEGMENT, packet)
    return np.frombuffer(data.ljust(_CONTROL_HEAD.size + 8, b"\0"), np.uint8).copy()


def gro_size(control: bytes) -> int | None:
    """Return the segment size that came with a message; None if it came without."""
    length, level, kind, size = _GRO.unpack_from(control)
    known = length >= _GRO.size and (level, kind) == (socket.IPPROTO_UDP, UDP_GRO)
    return size if known else None


def gro_control(packet: int) -> bytes:
    """Return the control bytes that come with a message cut into `packet` bytes."""
    return _GRO.pack(_GRO.size, socket.IPPROTO_UDP, UDP_GRO, packet).ljust(CONTROL_BYTES, b"\0")


def send(descriptor: int, table: int, count: int) -> int:
    """Send `count` messages of the table that begins at address `table`; return how many the kernel took, one at least.

    Raises:
        OSError: the first one was refused.
    """
    assert _library is not None
    return _checked(_library.sendmmsg(descriptor, table, count, 0))


def receive(descriptor: int, table: int, count: int, wait: bool = True) -> int:
    """Fill up to `count` messages of the table that begins at address `table`; return how many came, one at least.

    Takes what is there; with `wait` waits for the first one, but no longer than the socket's time-out.

    Raises:
        OSError: there was none (BlockingIOError), or the socket failed.
    """
    assert _library is not None
    flags = _MSG_WAITFORONE if wait else socket.MSG_DONTWAIT
    return _checked(_library.recvmmsg(descriptor, table, count, flags, None))


def _checked(done: int) -> int:
    if done > 0:
        return done
    number = ctypes.get_errno() if done < 0 else errno.EAGAIN
    raise OSError(number, os.strerror(number))
