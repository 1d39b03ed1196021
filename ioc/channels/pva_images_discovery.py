"""The UDP sockets of an image server: searches come in, answers and beacons go out.

Rules. All servers of a host share the port. A broadcast reaches every one of them, a unicast datagram only one, which
sends it again to a multicast group on loopback (pva_wire_search); where that cannot be, it answers for itself only.
What comes from the group is answered and never sent again. Bytes that are no search are counted and passed over.
"""

import logging
import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from ioc.channels.pva_images_addresses import Addresses, broadcasts
from ioc.channels.pva_wire_search import (
    ANY,
    LARGEST_DATAGRAM,
    Address,
    Place,
    Search,
    address_of,
    beacon,
    forward,
    read_datagram,
)
from ioc.core.errors import ProtocolError

log = logging.getLogger(__name__)

GROUP = IPv4Address("224.0.0.128")
LOOPBACK = IPv4Address("127.0.0.1")
MOST_AT_ONCE = 64
"""Datagrams answered before others get their turn."""
FAST_BEACONS = 10
SLOW_FACTOR = 12.0
"""The first beacons come at the period, later ones so many times slower, as with pvxs."""
_IP_MULTICAST_ALL = 49  # linux/in.h


class Discovery:
    """Answers searches and sends beacons; used by one thread."""

    def __init__(self, addresses: Addresses, place: Place, answer: Callable[[Search], bytes | None]) -> None:
        """Open the sockets; `answer` returns the answer to a search, None if there is none to give."""
        self.bad = 0
        self.changes = 0
        self._addresses = addresses
        self._place = place
        self._answer = answer
        self._beacons = 0
        self._group = self._open_group()
        self._sockets = [made for made in map(self._open, self._bindings()) if made is not None]

    def sockets(self) -> list[socket.socket]:
        """Return the sockets to wait on."""
        return [*self._sockets, *([self._group] if self._group is not None else [])]

    def readable(self, one: socket.socket) -> None:
        """Answer what came to a socket."""
        for _ in range(MOST_AT_ONCE):
            try:
                data, sender = one.recvfrom(LARGEST_DATAGRAM, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:  # an answer that could not be delivered comes back here
                log.debug("searches: %s", error)
                continue
            self._take(one, data, (address_of(sender[0]), sender[1]))

    def send_beacons(self) -> None:
        """Tell that this server is there."""
        self._beacons += 1
        data = beacon(self._place, self._beacons, self.changes)
        for address, port in self._addresses.beacons:
            self._send(address, port, data)

    def beacon_period(self) -> float:
        """Return the seconds until the next beacon."""
        period = self._addresses.beacon_period
        return period if self._beacons < FAST_BEACONS else period * SLOW_FACTOR

    def close(self) -> None:
        """Close the sockets."""
        for one in self.sockets():
            one.close()

    def _take(self, one: socket.socket, data: bytes, sender: tuple[Address, int]) -> None:
        if sender[0] in self._addresses.ignored:
            return
        try:
            _, searches = read_datagram(data)
        except ProtocolError as error:
            self.bad += 1
            if self.bad & (self.bad - 1) == 0:  # the 1st, 2nd, 4th, 8th ...
                log.info("search from %s is not used (%d so far): %s", sender[0], self.bad, error)
            return
        for search in searches:
            passed_on = search.unicast and one is not self._group and self._forward(one, search, sender)
            if not passed_on:
                self._reply(one, search, sender)

    def _forward(self, one: socket.socket, search: Search, sender: tuple[Address, int]) -> bool:
        """Send a search to all servers of this host, this one too; return whether that was possible."""
        if self._group is None:
            return False
        origin = address_of(one.getsockname()[0])
        try:
            self._group.sendto(forward(search, origin, sender), (str(GROUP), self._addresses.udp_port))
        except OSError as error:
            log.debug("search is not sent again: %s", error)
            return False
        return True

    def _reply(self, one: socket.socket, search: Search, sender: tuple[Address, int]) -> None:
        data = self._answer(search)
        if data is None:
            return
        address = sender[0] if search.reply_to == ANY else search.reply_to
        if address not in self._addresses.ignored:
            self._send(address, search.reply_port or sender[1], data, one)

    def _send(self, address: Address, port: int, data: bytes, one: socket.socket | None = None) -> None:
        family = socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET
        if one is None or one is self._group or one.family != family:
            one = next((other for other in self._sockets if other.family == family), None)
        if one is None:
            return
        try:
            one.sendto(data, (str(address), port))
        except OSError as error:
            log.debug("nothing is sent to %s:%d: %s", address, port, error)

    def _bindings(self) -> list[Address]:
        """Return the addresses to listen on: all, or the interfaces and their broadcast addresses."""
        interfaces = list(self._addresses.interfaces)
        if not interfaces:
            return [ANY, IPv6Address(0)]
        return [
            *interfaces,
            *(broadcasts(interfaces) if any(isinstance(one, IPv4Address) for one in interfaces) else []),
        ]

    def _open(self, address: Address) -> socket.socket | None:
        is_ipv6 = isinstance(address, IPv6Address)
        made = None
        try:
            made = socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if is_ipv6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            else:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                made.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)  # the group has a socket of its own
            made.bind((str(address), self._addresses.udp_port))
        except OSError as error:
            log.log(
                logging.DEBUG if is_ipv6 else logging.WARNING,
                "searches at %s:%d are not heard: %s",
                *(address, self._addresses.udp_port, error),
            )
            if made is not None:
                made.close()
            return None
        return made

    def _open_group(self) -> socket.socket | None:
        """Return a socket that hears what other servers of this host send again, None where there is no multicast."""
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            made.bind((str(GROUP), self._addresses.udp_port))
            joined = struct.pack("4s4s", GROUP.packed, LOOPBACK.packed)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, LOOPBACK.packed)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        except OSError as error:
            log.warning("no multicast on loopback: beside other servers of this host only one is found: %s", error)
            made.close()
            return None
        return made
