"""The byte formats of EJFAT: load balancer header, reassembly header, sync message; no sockets.

A datagram to a load balancer is LB header + RE header + segment; behind the load balancer the LB header is gone. Which
of the two arrived is told by the first byte: 0x4C ('L') or 0x10. All integers are big-endian.

Source: the headers of E2SAR 0.3 (JLab), which its tests take as golden vectors.
"""

import struct
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ioc.core.errors import ProtocolError, mismatch

LB_BYTES = 16
RE_BYTES = 20
HEAD_BYTES = LB_BYTES + RE_BYTES
SYNC_BYTES = 28
SLOT_AT = 4
"""Where the fields of the LB header begin that differ from event to event."""
TICK_BYTES = EVENT_BYTES = 8
UDP_BYTES = 8
IP_BYTES = {4: 20, 6: 40}
MOST_MTU = 9000
MOST_EVENT_BYTES = 0xFFFF_FFFF

LbVersion = Literal[2, 3]
IpVersion = Literal[4, 6]

LB_MAGIC = b"LB"
SYNC_MAGIC = b"LC"
FEC_MAGIC = b"EC"
NEXT_IS_RE = 1
RE_VERSION = 0x10
SYNC_VERSION = 2
TICK_RATE_HZ = 1_000_000
"""Ticks are microseconds since 1970."""

_LB = struct.Struct(">2sBBHHQ")
_RE = struct.Struct(">BBHIIQ")
_SYNC = struct.Struct(">2sBBIQIQ")


@dataclass(frozen=True, slots=True)
class LbHeader:
    """What the load balancer reads: worker by `tick` (version 2) or `selector` (version 3), port by `entropy`.

    `tick` is in microseconds since 1970; `selector` is 0 in version 2, the slot select in version 3, where `entropy`
    is called port select.
    """

    version: LbVersion
    selector: int
    entropy: int
    tick: int

    @classmethod
    def of(cls, version: LbVersion, tick: int, entropy: int) -> "LbHeader":
        """Return the header of an event; the slot select of version 3 is the low 16 bits of the tick, as in E2SAR."""
        return cls(version, tick & 0xFFFF if version == 3 else 0, entropy, tick)

    def to_bytes(self) -> bytes:
        return _LB.pack(LB_MAGIC, self.version, NEXT_IS_RE, self.selector, self.entropy, self.tick)


@dataclass(frozen=True, slots=True)
class ReHeader:
    """Where a segment belongs: source, byte offset within the event, bytes of the whole event, event number."""

    data_id: int
    offset: int
    length: int
    event: int

    def to_bytes(self) -> bytes:
        return _RE.pack(RE_VERSION, 0, self.data_id, self.offset, self.length, self.event)


@dataclass(frozen=True, slots=True)
class SyncMessage:
    """What a sender tells the control plane about once a second: its tick, the rate of ticks in Hz, and the time."""

    source_id: int
    tick: int
    unix_ns: int
    rate_hz: int = TICK_RATE_HZ

    def to_bytes(self) -> bytes:
        return _SYNC.pack(SYNC_MAGIC, SYNC_VERSION, 0, self.source_id, self.tick, self.rate_hz, self.unix_ns)


class Segment(NamedTuple):
    """What the headers of one datagram say; its payload begins at byte `start`. `tick` is None without LB header."""

    tick: int | None
    data_id: int
    offset: int
    length: int
    event: int
    start: int


def parse_lb(data: bytes) -> LbHeader:
    """Return the LB header that `data` begins with.

    Raises:
        ProtocolError: it is none, of another version, or announces something else than a reassembly header.
    """
    if len(data) < LB_BYTES:
        raise ProtocolError(mismatch("LB header", f"{LB_BYTES} bytes", len(data)))
    magic, version, following, selector, entropy, tick = _LB.unpack_from(data)
    if magic != LB_MAGIC or version not in (2, 3):
        raise ProtocolError(mismatch("LB header", "'LB', version 2 or 3", data[:3].hex()))
    if following != NEXT_IS_RE:
        raise ProtocolError(mismatch("LB header, next protocol", str(NEXT_IS_RE), following))
    return LbHeader(version, selector, entropy, tick)


def parse_re(data: bytes) -> ReHeader:
    """Return the reassembly header that `data` begins with.

    Raises:
        ProtocolError: it is none, or of another version.
    """
    if len(data) < RE_BYTES:
        raise ProtocolError(mismatch("RE header", f"{RE_BYTES} bytes", len(data)))
    version, reserved, data_id, offset, length, event = _RE.unpack_from(data)
    if version != RE_VERSION or reserved:
        raise ProtocolError(mismatch("RE header", "1000 (version 1)", data[:2].hex()))
    return ReHeader(data_id, offset, length, event)


def parse_sync(data: bytes) -> SyncMessage:
    """Return the sync message that `data` is.

    Raises:
        ProtocolError: the length, magic or version is another.
    """
    if len(data) != SYNC_BYTES:
        raise ProtocolError(mismatch("sync message", f"{SYNC_BYTES} bytes", len(data)))
    magic, version, _, source_id, tick, rate_hz, unix_ns = _SYNC.unpack(data)
    if magic != SYNC_MAGIC or version != SYNC_VERSION:
        raise ProtocolError(mismatch("sync message", "'LC', version 2", data[:3].hex()))
    return SyncMessage(source_id, tick, unix_ns, rate_hz)


def parse_segment(head: bytes, size: int) -> Segment:
    """Return where the segment of a datagram of `size` bytes belongs; `head` is its first `HEAD_BYTES` or all of it.

    The LB header may be there or not.

    Raises:
        ProtocolError: a header is broken, or the segment is empty or reaches beyond its event.
    """
    tick, start = None, 0
    if head[:1] == b"L":
        _refuse_fec(head[LB_BYTES : LB_BYTES + 2])  # first: FEC changes the next protocol too
        tick, start = parse_lb(head).tick, LB_BYTES
    else:
        _refuse_fec(head[:2])
    header = parse_re(head[start:])
    start += RE_BYTES
    size -= start
    if header.offset + size > header.length or (size == 0 and header.length):
        raise ProtocolError(
            mismatch("segment", f"1 to {header.length - header.offset} bytes at offset {header.offset}", size)
        )
    return Segment(tick, header.data_id, header.offset, header.length, header.event, start)


def segment_like(known: Segment, before: bytes, head: bytes) -> Segment | None:
    """Return what headers say that differ from those `before`, which said `known`, in entropy, tick and event only.

    None if they differ in something else. Both are LB and RE header, or RE header alone.
    """
    at = known.start - RE_BYTES
    if head[at:-EVENT_BYTES] != before[at:-EVENT_BYTES] or (at and head[:SLOT_AT] != before[:SLOT_AT]):
        return None
    tick = int.from_bytes(head[LB_BYTES - TICK_BYTES : LB_BYTES], "big") if at else None
    event = int.from_bytes(head[-EVENT_BYTES:], "big")
    return Segment(tick, known.data_id, known.offset, known.length, event, known.start)


def _refuse_fec(magic: bytes) -> None:
    if magic == FEC_MAGIC:
        raise ProtocolError("EJFAT datagram: forward error correction is not supported; switch it off at the sender")
