"""Search and beacon messages: how servers are found by UDP, and by TCP when a server is asked as a name server.

Several servers of one host share the UDP port, and a unicast datagram reaches only one of them. So whoever gets it
sends it again, to a multicast group on loopback, with an *origin tag* in front and its unicast flag cleared, and with
the asker's address filled in. Source: pvAccess protocol specification, "Search"; pvxs, udp_collector.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from ioc.channels.pva_wire_buffer import Reader, size, string
from ioc.channels.pva_wire_framing import Command, Splitter, datagram, message
from ioc.core.errors import ProtocolError, mismatch

Address = IPv4Address | IPv6Address

UNICAST, MUST_REPLY = 0x80, 0x01
GUID_BYTES = 12
ADDRESS_BYTES = 16
LARGEST_DATAGRAM = 1 << 16
PROTOCOL = "tcp"
MOST_NAMES = 4096
ANY = IPv4Address(0)
"""The address that says: the one that this comes from."""
ANY_IPV6 = IPv6Address(0)
_MAPPED = b"\x00" * 10 + b"\xff\xff"
_RESERVED = 3


@dataclass(frozen=True, slots=True)
class Search:
    """Which names are where: (client's number, name) pairs; `reply_to` ANY is who sent it, `protocols` () any."""

    number: int
    flags: int
    reply_to: Address
    reply_port: int
    protocols: tuple[str, ...]
    names: tuple[tuple[int, str], ...]

    @property
    def unicast(self) -> bool:
        """Whether other servers of this host did not get it."""
        return bool(self.flags & UNICAST)

    @property
    def must_reply(self) -> bool:
        """Whether an answer is wanted even if no name is here."""
        return bool(self.flags & MUST_REPLY)

    @property
    def for_tcp(self) -> bool:
        """Whether the asker can do with this server's protocol."""
        return not self.protocols or PROTOCOL in self.protocols


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is: its GUID, and address and port of its TCP socket."""

    guid: bytes
    address: Address
    port: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answers to a search: where it is, and which of the client's numbers are there.

    An address ANY is the one that the answer comes from.
    """

    number: int
    address: Address
    port: int
    numbers: tuple[int, ...]


def packed(address: Address) -> bytes:
    """Return the 16 bytes of an address; IPv4 is mapped into IPv6."""
    return address.packed if isinstance(address, IPv6Address) else _MAPPED + address.packed


def unpacked(data: bytes) -> Address:
    """Return the address of 16 bytes; all of them 0 is ANY."""
    whole = IPv6Address(data)
    return whole.ipv4_mapped or (ANY if int(whole) == 0 else whole)


def read_search(reader: Reader) -> Search:
    """Return the search in a message.

    Raises:
        ProtocolError: it is cut off or has too many names.
    """
    number, flags = reader.number("I"), reader.number("B")
    reader.take(_RESERVED)
    address, port = unpacked(reader.take(ADDRESS_BYTES)), reader.number("H")
    protocols = tuple(reader.string() for _ in range(reader.count(least_bytes=1)))
    count = reader.number("H")
    if count > MOST_NAMES:
        raise ProtocolError(mismatch("pvAccess search", f"at most {MOST_NAMES} names", count))
    return Search(number, flags, address, port, protocols, tuple(_name(reader) for _ in range(count)))


def read_answer(reader: Reader) -> Answer:
    """Return the answer in a message; one that nothing was found, or not by TCP, has no numbers.

    Raises:
        ProtocolError: it is cut off or has too many numbers.
    """
    reader.take(GUID_BYTES)
    number, address, port = reader.number("I"), unpacked(reader.take(ADDRESS_BYTES)), reader.number("H")
    protocol, here = reader.string(), reader.number("B")
    count = reader.number("H") if reader.left else 0
    if count > MOST_NAMES:
        raise ProtocolError(mismatch("pvAccess answer to a search", f"at most {MOST_NAMES} names", count))
    numbers = tuple(reader.number("I") for _ in range(count))
    return Answer(number, address, port, numbers if here and port and protocol == PROTOCOL else ())


def read_answers(data: bytes) -> list[Answer]:
    """Return the answers to searches in a datagram; other messages are passed over.

    Raises:
        ProtocolError: it is no datagram of a pvAccess server.
    """
    splitter = Splitter(from_server=True, longest=LARGEST_DATAGRAM)
    found = [one for one in splitter.feed(data) if not one.control and one.command == Command.SEARCH_RESPONSE]
    return [read_answer(Reader(one.body, one.big)) for one in found]


def read_datagram(data: bytes) -> tuple[bool, list[Search]]:
    """Return whether a datagram was sent again by another server of this host, and the searches in it.

    Other messages are passed over.

    Raises:
        ProtocolError: it is no datagram of a pvAccess client or server.
    """
    forwarded, searches = False, []
    for one in Splitter(from_server=len(data) > 2 and bool(data[2] & 0x40), longest=LARGEST_DATAGRAM).feed(data):
        if one.control:
            continue
        if one.command == Command.ORIGIN_TAG:
            forwarded = True
        elif one.command == Command.SEARCH:
            searches.append(read_search(Reader(one.body, one.big)))
    return forwarded, searches


def forward(search: Search, origin: Address, sender: tuple[Address, int]) -> bytes:
    """Return the datagram that tells a unicast search from `sender` to the other servers of this host.

    `origin` is the address of the interface that it came to.
    """
    address = sender[0] if search.reply_to == ANY else search.reply_to
    payload = (
        struct.pack("<IB", search.number, search.flags & ~UNICAST & 0xFF)
        + bytes(_RESERVED)
        + packed(address)
        + struct.pack("<H", search.reply_port or sender[1])
        + size(len(search.protocols))
        + b"".join(map(string, search.protocols))
        + struct.pack("<H", len(search.names))
        + b"".join(struct.pack("<I", number) + string(name) for number, name in search.names)
    )
    return datagram(Command.ORIGIN_TAG, packed(origin)) + datagram(Command.SEARCH, payload)


def found(place: Place, search: Search, numbers: Sequence[int]) -> bytes:
    """Return the answer to a search: the names of these numbers are here, or none of them if there are none."""
    payload = (
        place.guid
        + struct.pack("<I", search.number)
        + packed(place.address)
        + struct.pack("<H", place.port)
        + string(PROTOCOL)
        + struct.pack("<BH", bool(numbers), len(numbers))
        + b"".join(struct.pack("<I", number) for number in numbers)
    )
    return message(Command.SEARCH_RESPONSE, payload)


def beacon(place: Place, number: int, change: int) -> bytes:
    """Return a beacon: `number` counts them, `change` the changes of what is served; no status structure."""
    payload = (
        place.guid
        + struct.pack("<BBH", 0, number & 0xFF, change & 0xFFFF)
        + packed(place.address)
        + struct.pack("<H", place.port)
        + string(PROTOCOL)
        + b"\xff"
    )
    return message(Command.BEACON, payload)


def address_of(text: str) -> Address:
    """Return the address in a socket's name; one of IPv4 in IPv6's clothes is IPv4."""
    address = ip_address(text.partition("%")[0])
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _name(reader: Reader) -> tuple[int, str]:
    return reader.number("I"), reader.string()
