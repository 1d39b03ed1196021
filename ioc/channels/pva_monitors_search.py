"""Finds out which servers have channels: asks by UDP, hears the answers; used by one thread at a time, never waits."""

import logging
import socket
from collections.abc import Iterator, Sequence
from ipaddress import IPv6Address

from ioc.channels.pva_images_addresses import Searching, Target
from ioc.channels.pva_wire_asking import portions, search
from ioc.channels.pva_wire_search import ANY, LARGEST_DATAGRAM, Address, Answer, address_of, read_answers
from ioc.core.errors import ProtocolError

log = logging.getLogger(__name__)

MOST_AT_ONCE = 64
"""Datagrams that are heard before others get their turn."""
Found = tuple[Answer, Target]


class Searcher:
    """The UDP sockets of a client."""

    def __init__(self, where: Searching) -> None:
        self.bad = 0
        self._where = where
        self._number = 0
        hosts = {address.version for address, _ in (*where.hosts, *where.networks)}
        self._sockets = {version: _open(version) for version in hosts}

    def ask(self, names: Sequence[tuple[int, str]]) -> list[bytes]:
        """Ask for channels by UDP; return what is to be said to name servers by TCP."""
        told = []
        for portion in portions(names):
            self._number = (self._number + 1) & 0x7FFFFFFF
            for targets, unicast in ((self._where.hosts, True), (self._where.networks, False)):
                for address, port in targets:
                    one = self._sockets[address.version]
                    own_port = one.getsockname()[1]
                    self._send(one, search(self._number, portion, own_port, unicast), (address, port))
            told.append(search(self._number, portion))
        return told

    def answers(self) -> Iterator[Found]:
        """Yield the answers that have come, each with the address and port of the server."""
        for one in self._sockets.values():
            for _ in range(MOST_AT_ONCE):
                try:
                    data, sender = one.recvfrom(LARGEST_DATAGRAM)
                except BlockingIOError:
                    break
                except OSError as error:  # a question that could not be delivered comes back here
                    log.debug("search: %s", error)
                    continue
                yield from self._read(data, address_of(sender[0]))

    def close(self) -> None:
        """Close the sockets."""
        for one in self._sockets.values():
            one.close()

    def _read(self, data: bytes, sender: Address) -> Iterator[Found]:
        try:
            found = read_answers(data)
        except ProtocolError as error:
            self.bad += 1
            if self.bad & (self.bad - 1) == 0:  # the 1st, 2nd, 4th, 8th ...
                log.info("an answer from %s is not used (%d so far): %s", sender, self.bad, error)
            return
        for answer in found:
            yield answer, server_of(answer, sender)

    def _send(self, one: socket.socket, data: bytes, to: Target) -> None:
        try:
            one.sendto(data, (str(to[0]), to[1]))
        except OSError as error:
            log.debug("search: nothing is sent to %s:%d: %s", *to, error)


def server_of(answer: Answer, sender: Address) -> Target:
    """Return where the server is that an answer speaks of."""
    unsaid = answer.address == ANY or int(answer.address) == 0
    return (sender if unsaid else answer.address), answer.port


def _open(version: int) -> socket.socket:
    is_ipv6 = version == IPv6Address(0).version
    made = socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        if not is_ipv6:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        made.bind(("::" if is_ipv6 else "0.0.0.0", 0))
    except OSError:
        made.close()
        raise
    return made
