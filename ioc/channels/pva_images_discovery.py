"""The UDP sockets of an image server: searches come in, answers and beacons go out.

Rules. All servers of a host share the port. A broadcast reaches every one of them, a unicast datagram only one, which
sends it again to a multicast group on loopback (pva_wire_search); where that cannot be, it answers for itself only.
What comes from the group is answered and never sent again. Bytes that are no search are counted and passed over.
"""

import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from ioc.channels.pva_images_addresses import Addresses, Endpoint, broadcasts
from ioc.channels.pva_images_multicast import aim, join
from ioc.channels.pva_wire_search import (
    ANY,
    ANY_IPV6,
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


@dataclass(frozen=True, slots=True)
class _Sender:
    """Who sent a datagram; `scope` is the number of the interface that an address of one link belongs to, else 0."""

    address: Address
    port: int
    scope: int = 0


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
        bindings = [Endpoint(address, addresses.udp_port) for address in self._bindings()]
        self._sockets = [made for made in map(_open, bindings) if made is not None]
        self._ears = [made for made in map(_open, addresses.groups) if made is not None]

    def sockets(self) -> list[socket.socket]:
        """Return the sockets to wait on."""
        return [*self._sockets, *self._ears, *([self._group] if self._group is not None else [])]

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
            scope = sender[3] if len(sender) > 3 else 0
            self._take(one, data, _Sender(address_of(sender[0]), sender[1], scope))

    def send_beacons(self) -> None:
        """Tell that this server is there."""
        self._beacons += 1
        data = beacon(self._place, self._beacons, self.changes)
        for to in self._addresses.beacons:
            self._send(to, data)

    def beacon_period(self) -> float:
        """Return the seconds until the next beacon."""
        period = self._addresses.beacon_period
        return period if self._beacons < FAST_BEACONS else period * SLOW_FACTOR

    def close(self) -> None:
        """Close the sockets."""
        for one in self.sockets():
            one.close()

    def _take(self, one: socket.socket, data: bytes, sender: _Sender) -> None:
        if sender.address in self._addresses.ignored:
            return
        try:
            _, searches = read_datagram(data)
        except ProtocolError as error:
            self.bad += 1
            if self.bad & (self.bad - 1) == 0:  # the 1st, 2nd, 4th, 8th ...
                log.info("search from %s is not used (%d so far): %s", sender.address, self.bad, error)
            return
        for search in searches:
            passed_on = search.unicast and one is not self._group and self._forward(one, search, sender)
            if not passed_on:
                self._reply(one, search, sender)

    def _forward(self, one: socket.socket, search: Search, sender: _Sender) -> bool:
        """Send a search to all servers of this host, this one too; return whether that was possible."""
        if self._group is None or sender.scope:
            return False  # others would not know on which link the asker is
        origin = address_of(one.getsockname()[0])
        try:
            again = forward(search, origin, (sender.address, sender.port))
            self._group.sendto(again, (str(GROUP), self._addresses.udp_port))
        except OSError as error:
            log.debug("search is not sent again: %s", error)
            return False
        return True

    def _reply(self, one: socket.socket, search: Search, sender: _Sender) -> None:
        data = self._answer(search)
        if data is None:
            return
        to_sender = search.reply_to in (ANY, ANY_IPV6)
        address = sender.address if to_sender else search.reply_to
        if address not in self._addresses.ignored:
            scope = str(sender.scope) if sender.scope and to_sender else None
            self._send(Endpoint(address, search.reply_port or sender.port, interface=scope), data, one)

    def _send(self, to: Endpoint, data: bytes, one: socket.socket | None = None) -> None:
        family = socket.AF_INET6 if isinstance(to.address, IPv6Address) else socket.AF_INET
        if one not in self._sockets or one.family != family:  # a group has no address to send from
            one = next((other for other in self._sockets if other.family == family), None)
        if one is None:
            return
        try:
            one.sendto(data, aim(one, to))
        except OSError as error:
            log.debug("nothing is sent to %s: %s", to, error)

    def _bindings(self) -> list[Address]:
        """Return the addresses to listen on: all, or the interfaces and their broadcast addresses."""
        interfaces = list(self._addresses.interfaces)
        if not interfaces:
            return [ANY, ANY_IPV6]
        return [
            *interfaces,
            *(broadcasts(interfaces) if any(isinstance(one, IPv4Address) for one in interfaces) else []),
        ]

    def _open_group(self) -> socket.socket | None:
        """Return a socket that hears what other servers of this host send again, None where there is no multicast."""
        to = Endpoint(GROUP, self._addresses.udp_port, interface=str(LOOPBACK))
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((str(GROUP), to.port))
            join(made, to)
            aim(made, to)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        except OSError as error:
            log.warning("no multicast on loopback: beside other servers of this host only one is found: %s", error)
            made.close()
            return None
        return made


def _open(at: Endpoint) -> socket.socket | None:
    """Return a socket that hears what comes to an address, or to a multicast group; None where that cannot be."""
    is_ipv6 = isinstance(at.address, IPv6Address)
    made = None
    try:
        made = socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_ipv6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        made.bind((str(at.address), at.port))
        join(made, at)
    except OSError as error:
        log.log(
            logging.DEBUG if is_ipv6 else logging.WARNING,
            "searches at %s:%d are not heard: %s",
            *(at.address, at.port, error),
        )
        if made is not None:
            made.close()
        return None
    return made
