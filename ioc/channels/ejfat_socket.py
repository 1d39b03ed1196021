"""The UDP sockets of EJFAT, with the kernel's segmentation (UDP_SEGMENT) and coalescing (UDP_GRO) where it has them.

One system call then carries up to 64 KiB of packets. Where the kernel or the network device refuses, packets go and
come one a call. Option numbers are those of Linux (linux/udp.h, asm-generic/socket.h), which `socket` does not name.
"""

import errno
import logging
import socket
import struct
from collections.abc import Sequence
from typing import Protocol

from ioc.channels import ejfat_mmsg
from ioc.channels.ejfat_mmsg import UDP_GRO, UDP_SEGMENT
from ioc.channels.ejfat_wire import IpVersion
from ioc.core.errors import ConfigError, PeerError, mismatch

SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33
SO_MEMINFO = 55
IP_MTU = 14
IPV6_MTU = 24

MOST_SEGMENTS = 64
"""Packets of one call (UDP_MAX_SEGMENTS)."""

MOST_BATCH_BYTES = 65_000
"""Bytes of one call; an IP packet's 65535 less headers, with some air."""

FREE_RANGE_TRIES = 64
"""Times that free ports in a row are looked for."""

ANCILLARY_BYTES = 64
"""Room for the segment size that comes with coalesced datagrams."""

_OFFLOAD_REFUSED = {errno.EINVAL, errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EMSGSIZE}
_MEMINFO = struct.Struct("@9I")
_GRO_SIZE = struct.Struct("@H")
_log = logging.getLogger(__name__)


class Laid(Protocol):
    """An event ready to be sent: where its table of messages lies, packets of a full message and of all."""

    @property
    def address(self) -> int: ...

    @property
    def per_message(self) -> int: ...

    @property
    def packets(self) -> int: ...


Ancillary = tuple[int, int, bytes]
Address = tuple[str, int] | tuple[str, int, int, int]


class PacketSender:
    """Sends packets; what the network refuses is counted and never raised.

    `address` is left out where the socket is connected to its one destination.
    """

    def __init__(self, sock: socket.socket, offload: bool) -> None:
        self._socket = sock
        self.granted: int = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        """Bytes of the send buffer that the kernel gave."""
        self.offload = offload
        self.packets = 0
        self.errors = 0
        self.last_error = ""

    def batch_bytes(self, packet: int) -> int:
        """Return how many bytes one call takes of packets of `packet` bytes."""
        return batch_bytes(packet)

    def send(self, batch: memoryview, packet: int, address: Address | None = None) -> None:
        """Send at most `batch_bytes` of packets that lie back to back, `packet` bytes each but the last."""
        if self.offload and len(batch) > packet:
            try:
                self._deliver(batch, packet, address, [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("@H", packet))])
                return
            except RefusedOffload as refused:
                self.offload = False
                _log.info("UDP segmentation offload refused (%s), sending packets one by one", refused)
        for at in range(0, len(batch), packet):
            self._deliver(batch[at : at + packet], packet, address)

    def send_messages(self, laid: Laid, first: int, count: int) -> bool:
        """Send `count` messages of an event from `first` on; refused ones are skipped.

        Return False if the kernel does not cut packets: nothing was sent, and `offload` is off from now on.
        """
        at, end, tries = first, first + count, 0
        while at < end:
            try:
                done = ejfat_mmsg.send(self._socket.fileno(), laid.address + at * ejfat_mmsg.MESSAGE_BYTES, end - at)
            except ConnectionRefusedError as error:
                self._count(error)  # the ICMP answer to an earlier packet; this one was not sent: once more
                tries += 1
                at, tries = (at + 1, 0) if tries == 2 else (at, tries)
            except OSError as error:
                if error.errno in _OFFLOAD_REFUSED and at == 0 and self.offload:
                    self.offload = False
                    _log.info("UDP segmentation offload refused (%s), sending packets one by one", error)
                    return False
                self._count(error)
                at += 1
            else:
                self.packets += min(done * laid.per_message, laid.packets - at * laid.per_message)
                at, tries = at + done, 0
        return True

    def close(self) -> None:
        self._socket.close()

    def _deliver(
        self, batch: memoryview, packet: int, address: Address | None, ancillary: Sequence[Ancillary] = ()
    ) -> None:
        for _ in range(2):
            try:
                self._socket.sendmsg([batch], ancillary, 0, address)
            except ConnectionRefusedError as error:
                self._count(error)  # the ICMP answer to an earlier packet; this one was not sent: once more
            except OSError as error:
                if ancillary and error.errno in _OFFLOAD_REFUSED:
                    raise RefusedOffload(str(error)) from None
                self._count(error)
                return
            else:
                self.packets += -(-len(batch) // packet)
                return

    def _count(self, error: OSError) -> None:
        self.errors += 1
        self.last_error = str(error)
        if self.errors & (self.errors - 1) == 0:  # 1, 2, 4, 8, ...
            _log.warning("EJFAT packet not sent: %s (%d so far)", error, self.errors)


class RefusedOffload(Exception):  # noqa: N818 - caught by the one who asked
    """The kernel, or the network device, does not cut packets."""


class NoRouteError(PeerError):
    """There is no way to a destination now."""


def batch_bytes(packet: int) -> int:
    """Return how many bytes one call takes of packets of `packet` bytes."""
    return packet * min(MOST_SEGMENTS, MOST_BATCH_BYTES // packet)


def connect(host: str, port: int, mtu: int, buffer_bytes: int) -> tuple[socket.socket, IpVersion]:
    """Return a UDP socket connected to the destination, and its IP version.

    Raises:
        ConfigError: the host is unknown, or packets of `mtu` bytes do not fit the way there.
        NoRouteError: there is no way there now.
    """
    where = f"EJFAT destination {host}:{port}"
    family, address = _resolve(where, host, port)
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.connect(address)
        v6 = family is socket.AF_INET6
        level, option = (socket.IPPROTO_IPV6, IPV6_MTU) if v6 else (socket.IPPROTO_IP, IP_MTU)
        path_mtu = sock.getsockopt(level, option)
    except OSError as error:
        sock.close()
        raise NoRouteError(mismatch(where, "a destination with a route", error.strerror or str(error))) from None
    if mtu > path_mtu:
        sock.close()
        raise ConfigError(mismatch(f"{where}, mtu", f"at most {path_mtu} bytes, the MTU on the way there", mtu))
    _grow(sock, SO_SNDBUFFORCE, socket.SO_SNDBUF, buffer_bytes)
    return sock, 6 if v6 else 4


def listen(address: str, port: int, buffer_bytes: int) -> socket.socket:
    """Return a UDP socket bound to the address; port 0: a free one.

    Raises:
        ConfigError: the port is taken, or the address is not one of this host.
    """
    where = f"EJFAT listening address {address}:{port}"
    family, resolved = _resolve(where, address, port)
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.bind(resolved)
    except OSError as error:
        sock.close()
        raise ConfigError(_refusal(where, error)) from None
    _grow(sock, SO_RCVBUFFORCE, socket.SO_RCVBUF, buffer_bytes)
    return sock


def listen_range(address: str, port: int, count: int, buffer_bytes: int) -> list[socket.socket]:
    """Return UDP sockets bound to `count` consecutive ports; port 0: free ones.

    Raises:
        ConfigError: one of them is taken, or the address is not one of this host.
    """
    for attempt in range(FREE_RANGE_TRIES if port == 0 else 1):
        sockets = [listen(address, port, buffer_bytes)]
        first = sockets[0].getsockname()[1]
        try:
            for number in range(first + 1, first + count):
                sockets.append(listen(address, number, buffer_bytes))
        except (ConfigError, OverflowError):
            for sock in sockets:
                sock.close()
            if port or attempt + 1 == FREE_RANGE_TRIES:
                raise
        else:
            return sockets
    raise ConfigError(mismatch(f"EJFAT listening address {address}", f"{count} free ports in a row", "none"))


def unconnected(family: socket.AddressFamily, buffer_bytes: int) -> socket.socket:
    """Return a UDP socket that sends to any address of a family."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    _grow(sock, SO_SNDBUFFORCE, socket.SO_SNDBUF, buffer_bytes)
    return sock


def coalesce(sock: socket.socket) -> bool:
    """Ask for coalesced datagrams; return whether the kernel does it."""
    try:
        sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    except OSError:
        return False
    return True


def set_receive_timeout(sock: socket.socket, seconds: float) -> None:
    """Let a receiving call return after `seconds` (BlockingIOError); saves the poll that settimeout does each call."""
    whole = int(seconds)
    micros = max(1, int((seconds - whole) * 1e6))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", whole, micros))


def segment_size(ancillary: list[tuple[int, int, bytes]], size: int) -> int:
    """Return the bytes of each datagram of a receiving call that returned `size` bytes."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_UDP and kind == UDP_GRO:
            return _GRO_SIZE.unpack_from(data)[0]
    return size


def waiting_bytes(sock: socket.socket) -> int:
    """Return how much of a socket's receive buffer is taken by what has not been received yet; 0: nothing waits."""
    try:
        return _MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMINFO.size))[0]
    except OSError:
        return 0


def kernel_drops(sock: socket.socket) -> int:
    """Return how many datagrams the kernel dropped because this socket's buffer was full.

    The count of SO_RXQ_OVFL, read from SO_MEMINFO: it needs no later datagram to come with.
    """
    try:
        return _MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMINFO.size))[8]
    except OSError:
        return 0


def _resolve(where: str, host: str, port: int) -> tuple[socket.AddressFamily, tuple]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError(mismatch(where, "an IP address or a known host name", str(error))) from None
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)  # IPv4 first, as E2SAR does
    return found[0][0], found[0][4]


def _refusal(where: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return mismatch(
            where, "a free UDP port", "a port that another process listens on", "choose another port, or 0 for any"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return mismatch(where, "an address of this host", "none of them", "see `ip address`, or use 0.0.0.0 for all")
    return mismatch(where, "an address and port to listen on", error.strerror or str(error), "choose another port")


def _grow(sock: socket.socket, force: int, polite: int, size: int) -> None:
    """Set a buffer size: beyond the system's limit if allowed (CAP_NET_ADMIN), else up to it."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, force, size)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, polite, size)
