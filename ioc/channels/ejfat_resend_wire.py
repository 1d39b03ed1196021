"""The back channel over which lost packets are asked for and sent again: bytes on a TCP connection, no sockets.

    offer     ip:port/token      text in the header of a rayfan payload; [ip]:port/token for IPv6; token: 16 hex digits
    hello     "RFRS" version 000000 token(8)                both ways; the sender's answer says that it agreed
    record    type(1) length(4) body
    ask       1   event number(8), then up to 1024 x first byte(4), end(4)
    segment   2   RE header(20), bytes of the event
    gone      3   event number(8): it is not kept any more
    ended     4   event number(8): the last one; who misses nothing up to it closes the connection
    had       5   up to 1024 x first(8), last(8): numbers of events that are whole, from a worker behind a load balancer

All integers are big-endian. The receiver of the events connects and asks, their sender answers in order; an event that
none of the workers has told of is sent to one of them unasked. The token is drawn anew by each sender: an offer of one
that is gone opens nothing at another that has its port.
"""

import ipaddress
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ioc.channels.ejfat_wire import RE_BYTES, parse_re
from ioc.core.errors import ProtocolError, mismatch

MAGIC = b"RFRS"
VERSION = 1
TOKEN_BYTES = 8
HELLO_BYTES = 16
MOST_RANGES = 1024
SEGMENT_BYTES = 1 << 15
"""Bytes of an event in one record at most; whoever reads takes twice that."""
MOST_BODY = RE_BYTES + 2 * SEGMENT_BYTES
WHOLE = (0, 0xFFFF_FFFF)
"""The range of an event of unknown length."""

_HELLO = struct.Struct(">4sB3x8s")
_RECORD = struct.Struct(">BI")
_NUMBER = struct.Struct(">Q")
_RANGE = struct.Struct(">II")
_NUMBERS = struct.Struct(">QQ")
_ASK, _SEGMENT, _GONE, _ENDED, _HAD = 1, 2, 3, 4, 5
_OFFER = re.compile(r"(?:\[([0-9a-fA-F:.]{2,45})\]|([0-9.]{7,15})):([0-9]{1,5})/([0-9a-f]{16})")
_WHERE = "EJFAT back channel"


@dataclass(frozen=True, slots=True)
class Offer:
    """Where lost packets can be asked for, and the token that has to be shown."""

    host: str
    port: int
    token: bytes

    def to_text(self) -> str:
        """Return the offer as it travels."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}/{self.token.hex()}"


class Ask(NamedTuple):
    """Bytes of an event that are asked for, as ranges from first to end, not included."""

    event: int
    ranges: tuple[tuple[int, int], ...]


class Gone(NamedTuple):
    """An event that cannot be sent again."""

    event: int


class Ended(NamedTuple):
    """The last event of a sender that stops, and waits until nobody is connected any more."""

    event: int


class Had(NamedTuple):
    """Numbers of events that are whole, as closed ranges; none: a worker that will tell of its events."""

    ranges: tuple[tuple[int, int], ...]


class Resent(NamedTuple):
    """RE header and bytes of an event, as a datagram without LB header would have them."""

    datagram: bytes


Asked = Ask | Had
Answer = Resent | Gone | Ended
Record = Asked | Answer


def parse_offer(text: str) -> Offer:
    """Return what an offer says.

    Raises:
        ProtocolError: it is none, or names no address and port that can be connected to.
    """
    found = _OFFER.fullmatch(text)
    try:
        if found is None:
            raise ValueError("not of this form")
        address = ipaddress.ip_address(found[1] or found[2])
        port = int(found[3])
        if address.is_multicast or address.is_unspecified or not 1024 <= port <= 65535:
            raise ValueError("no such address and port")
    except ValueError as error:
        raise ProtocolError(mismatch("offer to send again", "ip:port/token", f"{text[:80]} ({error})")) from None
    return Offer(str(address), port, bytes.fromhex(found[4]))


def hello(token: bytes) -> bytes:
    """Return what both ends begin with."""
    return _HELLO.pack(MAGIC, VERSION, token)


def check_hello(data: bytes, token: bytes) -> None:
    """Check what the other end began with.

    Raises:
        ProtocolError: another protocol, version or token.
    """
    if data != hello(token):
        raise ProtocolError(mismatch(_WHERE, "the hello of our token, version 1", data[:6].hex()))


def ask(wanted: Ask) -> bytes:
    """Return a record that asks for ranges of an event, of which the first `MOST_RANGES` are asked for."""
    ranges = b"".join(_RANGE.pack(*one) for one in wanted.ranges[:MOST_RANGES])
    return _RECORD.pack(_ASK, _NUMBER.size + len(ranges)) + _NUMBER.pack(wanted.event) + ranges


def had(ranges: Sequence[tuple[int, int]]) -> bytes:
    """Return records that tell of whole events, by closed ranges of their numbers; one at least."""
    parts = [ranges[at : at + MOST_RANGES] for at in range(0, len(ranges), MOST_RANGES)] or [()]
    return b"".join(
        _RECORD.pack(_HAD, _NUMBERS.size * len(part)) + b"".join(_NUMBERS.pack(*one) for one in part) for part in parts
    )


def segment(datagram: bytes) -> bytes:
    """Return a record with a RE header and the bytes that belong to it."""
    return _RECORD.pack(_SEGMENT, len(datagram)) + datagram


def gone(event: int) -> bytes:
    """Return a record that says that an event is not kept any more."""
    return _RECORD.pack(_GONE, _NUMBER.size) + _NUMBER.pack(event)


def ended(event: int) -> bytes:
    """Return a record that says that no event comes behind this one."""
    return _RECORD.pack(_ENDED, _NUMBER.size) + _NUMBER.pack(event)


class Records:
    """Takes a stream of bytes apart; of one direction, so that nobody answers its own kind."""

    def __init__(self, asks: bool) -> None:
        """Accept what is asked (`asks`), or what is answered."""
        self._kinds = (_ASK, _HAD) if asks else (_SEGMENT, _GONE, _ENDED)
        self._held = bytearray()

    @property
    def held(self) -> int:
        """Bytes that wait for the rest of their record."""
        return len(self._held)

    def feed(self, data: bytes) -> Iterator[Record]:
        """Yield the records that are whole now.

        Raises:
            ProtocolError: a record of another kind, too long, or broken; nothing behind it is read.
        """
        self._held += data
        at = 0
        while len(self._held) - at >= _RECORD.size:
            kind, length = _RECORD.unpack_from(self._held, at)
            if kind not in self._kinds or length > MOST_BODY:
                raise ProtocolError(mismatch(_WHERE, f"a record of kind {self._kinds}", (kind, length)))
            end = at + _RECORD.size + length
            if end > len(self._held):
                break
            yield _record(kind, bytes(self._held[at + _RECORD.size : end]))
            at = end
        del self._held[:at]


def _record(kind: int, body: bytes) -> Record:
    if kind == _SEGMENT:
        parse_re(body)
        return Resent(body)
    if kind == _HAD:
        return Had(_numbers(body))
    if len(body) < _NUMBER.size:
        raise ProtocolError(mismatch(_WHERE, "an event number", f"{len(body)} bytes"))
    (event,) = _NUMBER.unpack_from(body)
    if kind != _ASK:
        return Gone(event) if kind == _GONE else Ended(event)
    rest = body[_NUMBER.size :]
    if not rest or len(rest) % _RANGE.size or len(rest) > MOST_RANGES * _RANGE.size:
        raise ProtocolError(mismatch(_WHERE, f"1 to {MOST_RANGES} ranges", f"{len(rest)} bytes"))
    ranges = tuple(_RANGE.iter_unpack(rest))
    if any(first >= end for first, end in ranges):
        raise ProtocolError(mismatch(_WHERE, "ranges that are not empty", "one that is"))
    return Ask(event, ranges)


def _numbers(body: bytes) -> tuple[tuple[int, int], ...]:
    if len(body) % _NUMBERS.size or len(body) > MOST_RANGES * _NUMBERS.size:
        raise ProtocolError(mismatch(_WHERE, f"up to {MOST_RANGES} ranges of numbers", f"{len(body)} bytes"))
    ranges = tuple(_NUMBERS.iter_unpack(body))
    if any(first > last for first, last in ranges):
        raise ProtocolError(mismatch(_WHERE, "ranges of numbers that are not empty", "one that is"))
    return ranges
