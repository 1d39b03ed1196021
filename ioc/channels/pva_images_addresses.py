"""Where an image server listens and whom it tells that it is there: EPICS_PVAS_* and EPICS_PVA_* of the environment.

As the other servers have it: each EPICS_PVAS_ variable has the EPICS_PVA_ one of the same meaning behind it, the TCP
port falls back to a free one if it is taken, and 0 asks for a free one. An address is ADDRESS[:PORT][,TTL][@INTERFACE];
the last two are for multicast groups, INTERFACE being an address or a name. Source: pvxs, "Server configuration".

    variable                                                    meaning
    EPICS_PVAS_INTF_ADDR_LIST                                   interfaces to listen at, groups to join; none: all
    EPICS_PVAS_SERVER_PORT, EPICS_PVA_SERVER_PORT               TCP port
    EPICS_PVAS_BROADCAST_PORT, EPICS_PVA_BROADCAST_PORT         UDP port of searches and beacons
    EPICS_PVAS_BEACON_ADDR_LIST, EPICS_PVA_ADDR_LIST            whom beacons are sent to
    EPICS_PVAS_AUTO_BEACON_ADDR_LIST, EPICS_PVA_AUTO_ADDR_LIST  YES: the interfaces' broadcast addresses, too
    EPICS_PVAS_BEACON_PERIOD, EPICS_PVA_BEACON_PERIOD           s between the first beacons
    EPICS_PVAS_IGNORE_ADDR_LIST                                 whose searches are not answered
    EPICS_PVA_CONN_TMO                                          s after which clients and servers miss each other
"""

import fcntl
import logging
import re
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

from ioc.channels.pva_wire_search import Address

log = logging.getLogger(__name__)

TCP_PORT, UDP_PORT = 5075, 5076
BEACON_PERIOD = 15.0
CONNECTION_SECONDS = 30.0
"""What EPICS_PVA_CONN_TMO is if it is not set."""
TIMEOUT_FACTOR = 4 / 3
"""A silent connection lives so much longer than EPICS_PVA_CONN_TMO, as with pvxs."""
PORTS = range(65536)
_SIOCGIFADDR, _SIOCGIFBRDADDR, _SIOCGIFFLAGS = 0x8915, 0x8919, 0x8913  # linux/sockios.h
_UP_BROADCAST = 0x1 | 0x2
_NO = ("no", "0", "false", "off")
_SEPARATOR = re.compile(r"\s+|,(?!\d+(?:[@\s,]|$))")
"""Between addresses: blanks, or a comma that no number of hops follows."""
_ENDPOINT = re.compile(
    r"(?:\[(?P<host>[^\]]+)\]|(?P<plain>[^:,@\[\]]+|[^,@\[\]]*:[^,@\[\]]*:[^,@\[\]]*))"
    r"(?::(?P<port>\d{1,5}))?(?:,(?P<ttl>\d{1,3}))?(?:@(?P<at>[^,@\s]+))?"
)
LONGEST_SILENCE = 90.0
"""Seconds without a byte from a client, or acknowledged by its host, until it is cut off; clients echo after 15 s."""
SILENCE_FACTOR = 3.0
"""EPICS_PVA_CONN_TMO is 30 s if nobody sets it, and clients may echo as rarely as that."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and a port; for a multicast group also the hops that are allowed, and the interface."""

    address: Address
    port: int
    ttl: int | None = None
    interface: str | None = None


@dataclass(frozen=True, slots=True)
class Addresses:
    """What the environment says: interfaces (none: all), groups, ports, beacons, whom to ignore; times in s."""

    interfaces: tuple[Address, ...] = ()
    groups: tuple[Endpoint, ...] = ()
    tcp_port: int = TCP_PORT
    udp_port: int = UDP_PORT
    beacons: tuple[Endpoint, ...] = ()
    beacon_period: float = BEACON_PERIOD
    ignored: frozenset[Address] = frozenset()
    longest_silence: float = LONGEST_SILENCE


def from_environment(environment: Mapping[str, str]) -> Addresses:
    """Return the addresses that an environment says; what cannot be read is logged and left out."""

    def find(name: str) -> str | None:
        for full in (f"EPICS_PVAS_{name}", f"EPICS_PVA_{name}"):
            if environment.get(full, "").strip():
                return environment[full].strip()
        return None

    udp_port = _port(find("BROADCAST_PORT"), UDP_PORT)
    listed = list(_endpoints(environment.get("EPICS_PVAS_INTF_ADDR_LIST", ""), udp_port))
    interfaces = tuple(one.address for one in listed if not one.address.is_multicast)
    beacon_list = environment.get("EPICS_PVAS_BEACON_ADDR_LIST") or environment.get("EPICS_PVA_ADDR_LIST") or ""
    automatic = (find("AUTO_BEACON_ADDR_LIST") or environment.get("EPICS_PVA_AUTO_ADDR_LIST") or "yes").lower()
    beacons = list(_endpoints(beacon_list, udp_port))
    if automatic not in _NO:
        beacons += [Endpoint(address, udp_port) for address in broadcasts(interfaces)]
    ignored = _endpoints(environment.get("EPICS_PVAS_IGNORE_ADDR_LIST", ""), 0)
    return Addresses(
        interfaces=() if any(int(one) == 0 for one in interfaces) else interfaces,
        groups=tuple(one for one in listed if one.address.is_multicast),
        tcp_port=_port(find("SERVER_PORT"), TCP_PORT),
        udp_port=udp_port,
        beacons=tuple(dict.fromkeys(beacons)),
        beacon_period=_seconds(
            "EPICS_PVAS_BEACON_PERIOD",
            environment.get("EPICS_PVAS_BEACON_PERIOD") or environment.get("EPICS_PVA_BEACON_PERIOD"),
            BEACON_PERIOD,
        ),
        ignored=frozenset(one.address for one in ignored),
        longest_silence=_silence(environment.get("EPICS_PVA_CONN_TMO")),
    )


Target = tuple[Address, int]
"""Address and port of a server, or of those that are asked."""


@dataclass(frozen=True, slots=True)
class Searching:
    """Where a client looks for channels: by UDP, to one host each or to many, and at name servers by TCP.

    `timeout` s without a word end a connection.
    """

    hosts: tuple[Target, ...] = ()
    networks: tuple[Target, ...] = ()
    name_servers: tuple[Target, ...] = ()
    timeout: float = CONNECTION_SECONDS


def searching(environment: Mapping[str, str]) -> Searching:
    """Return where a client of an environment looks for channels; what cannot be read is logged and left out."""
    udp_port = _port(environment.get("EPICS_PVA_BROADCAST_PORT", "").strip() or None, UDP_PORT)
    tcp_port = _port(environment.get("EPICS_PVA_SERVER_PORT", "").strip() or None, TCP_PORT)
    interfaces = [address for address, _ in _targets(environment.get("EPICS_PVA_INTF_ADDR_LIST", ""), 0)]
    listed = list(_targets(environment.get("EPICS_PVA_ADDR_LIST", ""), udp_port))
    known = {IPv4Address("255.255.255.255"), IPv4Address("127.255.255.255"), *broadcasts()}
    networks = [one for one in listed if one[0] in known or one[0].is_multicast]
    if (environment.get("EPICS_PVA_AUTO_ADDR_LIST") or "yes").strip().lower() not in _NO:
        networks += [(address, udp_port) for address in broadcasts(interfaces)]
    timeout = _seconds("EPICS_PVA_CONN_TMO", environment.get("EPICS_PVA_CONN_TMO"), CONNECTION_SECONDS)
    return Searching(
        hosts=tuple(dict.fromkeys(one for one in listed if one not in networks)),
        networks=tuple(dict.fromkeys(networks)),
        name_servers=tuple(dict.fromkeys(_targets(environment.get("EPICS_PVA_NAME_SERVERS", ""), tcp_port))),
        timeout=timeout * TIMEOUT_FACTOR,
    )


def broadcasts(interfaces: Iterable[Address] = ()) -> list[IPv4Address]:
    """Return the broadcast addresses of the network interfaces with these addresses, of all if there are none."""
    wanted = set(interfaces)
    return [broadcast for address, broadcast in _networks() if not wanted or address in wanted]


def _networks() -> Iterator[tuple[IPv4Address, IPv4Address]]:
    """Yield address and broadcast address of every network interface that is up and has both."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            asked = struct.pack("16s24x", name.encode()[:15])
            try:
                flags = struct.unpack_from("H", fcntl.ioctl(probe, _SIOCGIFFLAGS, asked), 16)[0]
                address, broadcast = (
                    IPv4Address(fcntl.ioctl(probe, request, asked)[20:24])
                    for request in (_SIOCGIFADDR, _SIOCGIFBRDADDR)
                )
            except OSError:
                continue  # it has no IPv4 address
            if flags & _UP_BROADCAST == _UP_BROADCAST:
                yield address, broadcast


def _endpoints(text: str, port: int) -> Iterator[Endpoint]:
    for word in filter(None, _SEPARATOR.split(text.strip())):
        try:
            yield _endpoint(word, port)
        except (OSError, ValueError) as error:
            log.warning("EPICS address list: %r is not used: %s", word, error)


def _targets(text: str, port: int) -> list[Target]:
    return [(one.address, one.port) for one in _endpoints(text, port)]


def _endpoint(word: str, port: int) -> Endpoint:
    match = _ENDPOINT.fullmatch(word)
    if match is None:
        raise ValueError("expected ADDRESS[:PORT][,TTL][@INTERFACE]")
    own_port = int(match["port"] or port)
    if own_port not in PORTS:
        raise ValueError(f"expected a port from 0 to 65535, found {own_port}")
    ttl = int(match["ttl"]) if match["ttl"] else None
    return Endpoint(_address(match["host"] or match["plain"]), own_port, ttl, match["at"])


def _address(host: str) -> Address:
    try:
        return ip_address(host)
    except ValueError:
        return IPv4Address(socket.gethostbyname(host))


def _port(text: str | None, default: int) -> int:
    if text is None:
        return default
    if text.isascii() and text.isdigit() and int(text) in PORTS:
        return int(text)
    log.warning("EPICS port: expected 0 to 65535, found %r; %d is used", text, default)
    return default


def _silence(text: str | None) -> float:
    try:
        return max(2.0, SILENCE_FACTOR * float(text)) if text else LONGEST_SILENCE
    except ValueError:
        log.warning("EPICS_PVA_CONN_TMO: expected seconds, found %r; %g s are allowed", text, LONGEST_SILENCE)
        return LONGEST_SILENCE


def _seconds(name: str, text: str | None, default: float) -> float:
    try:
        return max(1.0, float(text)) if text else default
    except ValueError:
        log.warning("%s: expected seconds, found %r; %g is used", name, text, default)
        return default
