"""Where an image server listens and whom it tells that it is there: EPICS_PVAS_* and EPICS_PVA_* of the environment.

As the other servers have it: each EPICS_PVAS_ variable has the EPICS_PVA_ one of the same meaning behind it, the TCP
port falls back to a free one if it is taken, and 0 asks for a free one. Source: pvxs, "Server configuration".
"""

import fcntl
import logging
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

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
Endpoint = tuple[Address, int]


@dataclass(frozen=True, slots=True)
class Addresses:
    """What the environment says: interfaces (none: all), ports, beacons and their period in s, whom to ignore."""

    interfaces: tuple[Address, ...] = ()
    tcp_port: int = TCP_PORT
    udp_port: int = UDP_PORT
    beacons: tuple[Endpoint, ...] = ()
    beacon_period: float = BEACON_PERIOD
    ignored: frozenset[Address] = frozenset()


def from_environment(environment: Mapping[str, str]) -> Addresses:
    """Return the addresses that an environment says; what cannot be read is logged and left out."""

    def find(name: str) -> str | None:
        for full in (f"EPICS_PVAS_{name}", f"EPICS_PVA_{name}"):
            if environment.get(full, "").strip():
                return environment[full].strip()
        return None

    udp_port = _port(find("BROADCAST_PORT"), UDP_PORT)
    interfaces = tuple(address for address, _ in _endpoints(environment.get("EPICS_PVAS_INTF_ADDR_LIST", ""), 0))
    beacon_list = environment.get("EPICS_PVAS_BEACON_ADDR_LIST") or environment.get("EPICS_PVA_ADDR_LIST") or ""
    automatic = (find("AUTO_BEACON_ADDR_LIST") or environment.get("EPICS_PVA_AUTO_ADDR_LIST") or "yes").lower()
    beacons = list(_endpoints(beacon_list, udp_port))
    if automatic not in _NO:
        beacons += [(address, udp_port) for address in broadcasts(interfaces)]
    ignored = _endpoints(environment.get("EPICS_PVAS_IGNORE_ADDR_LIST", ""), 0)
    return Addresses(
        interfaces=() if IPv4Address(0) in interfaces else interfaces,
        tcp_port=_port(find("SERVER_PORT"), TCP_PORT),
        udp_port=udp_port,
        beacons=tuple(dict.fromkeys(beacons)),
        beacon_period=_seconds(
            "EPICS_PVAS_BEACON_PERIOD",
            environment.get("EPICS_PVAS_BEACON_PERIOD") or environment.get("EPICS_PVA_BEACON_PERIOD"),
            BEACON_PERIOD,
        ),
        ignored=frozenset(address for address, _ in ignored),
    )


@dataclass(frozen=True, slots=True)
class Searching:
    """Where a client looks for channels: by UDP, to one host each or to many, and at name servers by TCP.

    `timeout` s without a word end a connection.
    """

    hosts: tuple[Endpoint, ...] = ()
    networks: tuple[Endpoint, ...] = ()
    name_servers: tuple[Endpoint, ...] = ()
    timeout: float = CONNECTION_SECONDS


def searching(environment: Mapping[str, str]) -> Searching:
    """Return where a client of an environment looks for channels; what cannot be read is logged and left out."""
    udp_port = _port(environment.get("EPICS_PVA_BROADCAST_PORT", "").strip() or None, UDP_PORT)
    tcp_port = _port(environment.get("EPICS_PVA_SERVER_PORT", "").strip() or None, TCP_PORT)
    interfaces = [address for address, _ in _endpoints(environment.get("EPICS_PVA_INTF_ADDR_LIST", ""), 0)]
    listed = list(_endpoints(environment.get("EPICS_PVA_ADDR_LIST", ""), udp_port))
    known = {IPv4Address("255.255.255.255"), IPv4Address("127.255.255.255"), *broadcasts()}
    networks = [one for one in listed if one[0] in known or one[0].is_multicast]
    if (environment.get("EPICS_PVA_AUTO_ADDR_LIST") or "yes").strip().lower() not in _NO:
        networks += [(address, udp_port) for address in broadcasts(interfaces)]
    timeout = _seconds("EPICS_PVA_CONN_TMO", environment.get("EPICS_PVA_CONN_TMO"), CONNECTION_SECONDS)
    return Searching(
        hosts=tuple(dict.fromkeys(one for one in listed if one not in networks)),
        networks=tuple(dict.fromkeys(networks)),
        name_servers=tuple(dict.fromkeys(_endpoints(environment.get("EPICS_PVA_NAME_SERVERS", ""), tcp_port))),
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
    for word in text.replace(",", " ").split():
        host, colon, tail = word.rpartition(":")
        if word.startswith("["):
            host, _, tail = word[1:].partition("]")
            colon, tail = tail[:1], tail[1:]
        elif not colon or ":" in host:
            host, colon, tail = word, "", ""
        try:
            yield _address(host), int(tail) if colon else port
        except (OSError, ValueError) as error:
            log.warning("EPICS address list: %r is not used: %s", word, error)


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


def _seconds(name: str, text: str | None, default: float) -> float:
    try:
        return max(1.0, float(text)) if text else default
    except ValueError:
        log.warning("%s: expected seconds, found %r; %g is used", name, text, default)
        return default


def is_ipv6(address: Address) -> bool:
    """Return whether an address is one of IPv6."""
    return isinstance(address, IPv6Address)
