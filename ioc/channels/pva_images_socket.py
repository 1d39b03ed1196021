"""What the kernel is asked for on the connection to a client of the image server.

Rules. It buffers little: what lies there is neither received nor can it be replaced by something newer. More makes
nothing faster, either: of large frames, what was copied in has left the caches before it is copied out; of small ones
the buffer holds what one call sends, so that the next is laid out meanwhile. A send waits there for `SEND_SECONDS` at
most. Small answers go at once. To a client on this host nothing is paced: congestion control that measures a path (BBR)
finds none on loopback, and holds back there what both ends would take.
"""

import logging
import socket
import struct
from ipaddress import ip_address

log = logging.getLogger(__name__)

SEND_SECONDS = 0.005
SEND_BUFFER = 1 << 20
"""Bytes; left alone the kernel takes 4 MB, 16 images of 512x512."""
SEND_BUFFER_LARGE = 1 << 19
"""The same while frames of `LARGE_FRAME` bytes or more are sent."""
LARGE_FRAME = 4 << 20
UNPACED = b"reno"
"""Congestion control that every kernel has and everybody may choose (tcp(7), tcp_allowed_congestion_control)."""


def prepare(connection: socket.socket) -> None:
    """Set the options of a connected TCP socket."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer(connection, SEND_BUFFER)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, int(SEND_SECONDS * 1e6)))
    try:
        if stays_here(connection.getsockname()[0], connection.getpeername()[0]):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, UNPACED)
    except OSError as error:  # gone already, or a kernel that forbids it: the connection may do without
        log.debug("congestion control stays as it is: %s", error)


def buffer_for(frame_bytes: int) -> int:
    """Return how many bytes are to be buffered while frames of a size are sent."""
    return SEND_BUFFER_LARGE if frame_bytes >= LARGE_FRAME else SEND_BUFFER


def buffer(connection: socket.socket, size: int) -> None:
    """Have the kernel buffer `size` bytes at most; it counts its own overhead in twice of that (tcp(7))."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)


def stays_here(own: str, peer: str) -> bool:
    """Return whether what goes from one address to another does not leave this host."""
    return own == peer or ip_address(peer.partition("%")[0]).is_loopback
