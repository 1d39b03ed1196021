"""Multicast groups of UDP sockets: joining one, and sending to one by the interface and hops that are meant."""

import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from ioc.channels.pva_images_addresses import Endpoint

_IP_MULTICAST_ALL = 49  # linux/in.h
_ANY = bytes(4)
INTERFACES = Path("/proc/net/if_inet6")
"""A line for each address of IPv6: address, index, prefix length, scope, flags, name; proc(5)."""


def join(one: socket.socket, group: Endpoint) -> None:
    """Have a socket hear its own group, if it is bound to one, and none that other sockets have joined.

    Raises:
        OSError: there is no such interface, or no multicast on it.
    """
    if isinstance(group.address, IPv4Address):
        one.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    if not group.address.is_multicast:
        return
    if isinstance(group.address, IPv4Address):
        membership = struct.pack("=4s4si", group.address.packed, *_ipv4_interface(group.interface))
        one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    else:
        membership = struct.pack("=16si", group.address.packed, _index(group.interface))
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)


def aim(one: socket.socket, to: Endpoint) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return the socket address of `to`; if it is a group, have the socket send as that says.

    Raises:
        OSError: there is no such interface.
    """
    if isinstance(to.address, IPv6Address):
        if to.address.is_multicast:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, to.ttl or 1)
        return (str(to.address), to.port, 0, _index(to.interface))
    if to.address.is_multicast:
        one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, to.ttl or 1)
        way = struct.pack("=4s4si", _ANY, *_ipv4_interface(to.interface))
        one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, way)
    return (str(to.address), to.port)


def _ipv4_interface(text: str | None) -> tuple[bytes, int]:
    """Return address and number of an interface, of which the kernel takes whichever is given (ip_mreqn, ip(7))."""
    if text is None:
        return _ANY, 0
    try:
        return IPv4Address(text).packed, 0
    except ValueError:
        return _ANY, socket.if_nametoindex(text)


def _index(text: str | None) -> int:
    """Return the number of an interface by its number, name or IPv6 address; 0 for none: the kernel chooses."""
    if text is None:
        return 0
    if text.isdigit():
        return int(text)
    try:
        wanted = ip_address(text)
    except ValueError:
        return socket.if_nametoindex(text)
    for line in INTERFACES.read_text("ascii").splitlines():
        address, index = line.split()[:2]
        if IPv6Address(bytes.fromhex(address)) == wanted:
            return int(index, 16)
    raise OSError(f"no interface has the address {text}")
