"""Receives events straight into the memory that they are handed out in: the kernel scatters headers and payload.

How it works: the next event is expected to look like the last one: as long, cut and batched alike, from its first
byte on, in order. A table says where each header and each payload of it is to go, and one call fills many. Then the
headers are read. If they are as expected, the payload lies where it belongs. If not, everything that came is put
together again as it was on the wire and goes through the reassembler like any other datagram; after `MOST_MISSES` of
these in a row the next `REST_EVENTS` events are not received in place.

Safe because: bytes are written only behind what the event already has, or into memory that no event has yet; and an
event that was given up meanwhile is noticed before the next call.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ioc.channels import ejfat_mmsg
from ioc.channels.ejfat_mmsg import CONTROL_BYTES
from ioc.channels.ejfat_reassembly import Event, Reassembler, consecutive
from ioc.channels.ejfat_wire import HEAD_BYTES, parse_segment
from ioc.core.errors import ProtocolError

AT_ONCE = 4
"""Messages a call takes at most: 256 KiB, which still lie in the cache when the headers are looked at."""

LEAST_MESSAGES = 2
MOST_PACKETS = 64
SPILL_BYTES = 1 << 16
"""Room behind each message for a longer one than expected."""

MOST_MISSES = 3
REST_EVENTS = 1000


@dataclass(frozen=True, slots=True)
class Shape:
    """How an event was cut: its bytes, those of a packet and of its headers, and the packets of a message."""

    length: int
    packet: int
    start: int
    per_message: int

    @property
    def segment(self) -> int:
        """Payload bytes of a packet."""
        return self.packet - self.start

    @property
    def packets(self) -> int:
        """Packets of the event."""
        return -(-self.length // self.segment)

    @property
    def messages(self) -> int:
        """Messages of the event."""
        return -(-self.packets // self.per_message)

    @property
    def fits(self) -> bool:
        """Whether it is worth while, and within what the tables take."""
        return self.segment > 0 and 1 <= self.per_message <= MOST_PACKETS and self.messages >= LEAST_MESSAGES


class Scatter:
    """Receives in place while it is `armed`; `expect` arms it."""

    def __init__(self, descriptor: int, reassembler: Reassembler) -> None:
        self._descriptor = descriptor
        self._reassembler = reassembler
        self._shape: Shape | None = None
        self._payload = np.zeros(0, np.uint8)
        self._key: tuple[int, int] | None = None
        self._at = 0
        self.armed = False
        self._misses = 0
        self._rest = 0
        self._spill = np.zeros((AT_ONCE, SPILL_BYTES), np.uint8)

    def expect(self, shape: Shape) -> None:
        """Expect an event like one that was just received whole."""
        if self._rest > 0:
            self._rest -= 1
            return
        if not shape.fits:
            return
        if shape != self._shape:
            self._shape = shape
            self._lay_out(shape)
        self._arm(shape)

    def receive(self, now_ns: int) -> list[Event]:
        """Take what one call brings; return the events that became whole.

        Raises:
            BlockingIOError: nothing came within the socket's time-out.
        """
        if self._key is not None and not self._reassembler.holds(self._key, self._payload):
            self._key, self.armed = None, False  # given up meanwhile: its memory is not ours any more
            return []
        first, last = self._at, min(self._at + AT_ONCE, len(self._table))
        self._table["controllen"][first:last] = CONTROL_BYTES
        count = ejfat_mmsg.receive(self._descriptor, self._table[first:last])
        events: list[Event] = []
        if not self._is_as_expected(first, first + count) or not self._book(first, first + count, now_ns, events):
            return self._undo(first, first + count, now_ns)
        self._misses = 0
        self._at = first + count if self._key is not None else 0  # None: of an event that is over, and counted
        if self._at == len(self._table):
            self._key, self.armed = None, False
            assert self._shape is not None
            self.expect(self._shape)
        return events

    def disarm(self) -> None:
        """Let go of the memory of an event that has not begun."""
        if self.armed and self._key is None:
            self._reassembler.pool.give(self._payload)
        self._key, self.armed = None, False

    def _arm(self, shape: Shape) -> None:
        self._payload = self._reassembler.pool.take(shape.length)
        base = ejfat_mmsg.address(self._payload)
        self._iovecs["base"][:, 1 : 2 * shape.per_message : 2] = self._offsets + np.uint64(base)
        last = 2 * self._last_packets
        self._iovecs[-1, last] = (ejfat_mmsg.address(self._spill[(shape.messages - 1) % AT_ONCE]), SPILL_BYTES)
        self._key, self._at, self.armed = None, 0, True

    def _lay_out(self, shape: Shape) -> None:
        """Make the tables of a shape: everything but where the payload goes."""
        per, messages = shape.per_message, shape.messages
        self._last_packets = shape.packets - (messages - 1) * per
        self._heads = np.zeros((messages * per, shape.start), np.uint8)
        self._offsets = (np.arange(messages * per, dtype=np.uint64) * np.uint64(shape.segment)).reshape(messages, per)
        iovecs = self._iovecs = np.zeros((messages, 2 * per + 1), ejfat_mmsg.IOVEC)
        heads = np.arange(messages * per, dtype=np.uint64) * np.uint64(shape.start)
        iovecs["base"][:, : 2 * per : 2] = heads.reshape(messages, per) + np.uint64(ejfat_mmsg.address(self._heads))
        iovecs["length"][:, : 2 * per : 2] = shape.start
        iovecs["length"][:, 1 : 2 * per : 2] = shape.segment
        tail = shape.length - (shape.packets - 1) * shape.segment
        iovecs["length"][-1, 2 * self._last_packets - 1] = tail
        spill = ejfat_mmsg.address(self._spill) + np.arange(messages) % AT_ONCE * SPILL_BYTES
        iovecs["base"][:, 2 * per], iovecs["length"][:, 2 * per] = spill, SPILL_BYTES
        self._control = np.zeros((messages, CONTROL_BYTES), np.uint8)
        table = self._table = ejfat_mmsg.messages(messages)
        table["iov"] = ejfat_mmsg.address(iovecs) + np.arange(messages) * iovecs.strides[0]
        table["iovlen"] = 2 * per + 1
        table["iovlen"][-1] = 2 * self._last_packets + 1
        table["control"] = ejfat_mmsg.address(self._control) + np.arange(messages) * CONTROL_BYTES
        self._sizes = np.full(messages, per * shape.packet, np.uint32)
        self._sizes[-1] = (self._last_packets - 1) * shape.packet + shape.start + tail

    def _is_as_expected(self, first: int, end: int) -> bool:
        """Return whether messages have the expected sizes, each cut as expected, none cut short."""
        table, shape = self._table[first:end], self._shape
        assert shape is not None
        if table["length"].tobytes() != self._sizes[first:end].tobytes() or table["flags"].any():
            return False
        whole = end - first - (end == len(self._table) and self._last_packets == 1)
        sizes = [ejfat_mmsg.gro_size(control.tobytes()) for control in self._control[first : first + whole]]
        return all(size == shape.packet for size in sizes)

    def _book(self, first: int, end: int, now_ns: int, events: list[Event]) -> bool:
        """Book messages if their headers say that they lie where they belong; return whether that is so."""
        shape = self._shape
        assert shape is not None
        start = first * shape.per_message
        stop = min(end * shape.per_message, shape.packets)
        heads = self._heads[start:stop]
        size = min(stop * shape.segment, shape.length) - start * shape.segment
        try:
            segment = parse_segment(heads[0, :HEAD_BYTES].tobytes(), shape.start + min(size, shape.segment))
        except ProtocolError:
            return False
        expected = segment.start == shape.start and segment.offset == start * shape.segment
        if not expected or segment.length != shape.length or not consecutive(heads, segment, shape.segment):
            return False
        key = (segment.data_id, segment.event)
        if self._key not in (None, key) or (self._key is None and start):
            return False
        booked = self._reassembler.place(segment, stop - start, (self._payload, size), now_ns, events)
        if booked is None:
            return False
        self._key = key if booked else None
        return True

    def _undo(self, first: int, end: int, now_ns: int) -> list[Event]:
        """Put messages together as they were on the wire and feed them; in-place receiving pauses."""
        wire = [self._linear(number) for number in range(first, end)]  # all before any: feeding writes where they lie
        if self._key is None:
            self._reassembler.pool.give(self._payload)
        self._key, self.armed = None, False
        self._misses += 1
        if self._misses >= MOST_MISSES:
            self._misses, self._rest = 0, REST_EVENTS
        return [event for data, step in wire for event in self._reassembler.feed(data, step, now_ns)]

    def _linear(self, number: int) -> tuple[NDArray[np.uint8], int]:
        """Return the bytes of a message as they came, and the size of its datagrams."""
        shape = self._shape
        assert shape is not None
        length = int(self._table["length"][number])
        start = number * shape.per_message
        stop = min(start + shape.per_message, shape.packets)
        pieces: list[NDArray[np.uint8]] = []
        for packet in range(start, stop):
            pieces += [self._heads[packet], self._payload[packet * shape.segment : (packet + 1) * shape.segment]]
        data = np.concatenate([*pieces, self._spill[number % AT_ONCE]])[:length]
        return data, ejfat_mmsg.gro_size(self._control[number].tobytes()) or length
