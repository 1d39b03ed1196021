"""The TCP sockets on which a pvAccess server accepts clients."""

import errno
import logging
import socket
from collections.abc import Sequence

from ioc.channels.pva_images_addresses import Addresses
from ioc.channels.pva_images_visitor import Visitor
from ioc.channels.pva_wire_search import ANY, ANY_IPV6, Address, address_of
from ioc.core.errors import UserError

log = logging.getLogger(__name__)

MOST_CLIENTS = 256
BACKLOG = 64
FREE_PORTS_TRIED = 4
"""A port that is free on one interface may be taken on another."""


def accept(listener: socket.socket, clients: int) -> tuple[socket.socket, Visitor] | None:
    """Return the connection of who knocks; None if it is gone, or there are so many `clients` that it is cut off."""
    try:
        connection, address = listener.accept()
    except OSError as error:
        log.warning("a client was not accepted: %s", error)
        return None
    visitor = Visitor(str(address_of(address[0])), address[1])
    if clients >= MOST_CLIENTS:
        log.warning("%s is not served: there are %d clients already", visitor.peer, clients)
        connection.close()
        return None
    return connection, visitor


def listeners(addresses: Addresses) -> list[socket.socket]:
    """Return listening sockets, all with one port: the configured one, or a free one if that is taken."""
    error = None
    for port in (addresses.tcp_port, *[0] * FREE_PORTS_TRIED):
        try:
            return _listen_everywhere(addresses.interfaces, port)
        except OSError as failure:
            error = failure
            log.info("TCP port %d is taken (%s): a free one is used", port, error)
    where = ", ".join(map(str, addresses.interfaces)) or "any interface"
    raise UserError(f"image server: cannot listen at {where}: {error}")


def _listen_everywhere(interfaces: Sequence[Address], port: int) -> list[socket.socket]:
    """Return a listening socket for each interface; for none, one of IPv4 and, on a host that has it, one of IPv6."""
    made: list[socket.socket] = []
    try:
        for host in interfaces or (ANY,):
            made.append(_listen(host, made[0].getsockname()[1] if made else port))
        if not interfaces and socket.has_ipv6:
            made.append(_listen(ANY_IPV6, made[0].getsockname()[1]))
    except OSError as error:
        if not interfaces and made and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            return made  # this host has no IPv6
        for one in made:
            one.close()
        raise
    return made


def _listen(host: Address, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET if host.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if host.version == 6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((str(host), port))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made
