"""Receives events straight into the memory that they are handed out in: the kernel scatters headers and payload.

How it works: the next event is expected to look like the last one: as long, cut and batched alike, from its first
byte on, in order. A table says where each header and each payload of it is to go, and one call fills as many as are
there. Then the headers are compared with those that the first one calls for. If they are as expected, the payload lies
where it belongs. If not, everything that came is put together again as it was on the wire, and goes through the
reassembler like any other datagram; after `MOST_MISSES` of these in a row the next `REST_EVENTS` events are not
received in place.

Safe because: bytes are written only behind what the event already has, or into memory that no event has yet; and an
event that was given up meanwhile is noticed before the next call.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ioc.channels import ejfat_mmsg
from ioc.channels.ejfat_mmsg import CONTROL_BYTES, GRO_SPACE, MESSAGE_BYTES
from ioc.channels.ejfat_reassembly import OFFSET_AT, Event, Reassembler
from ioc.channels.ejfat_wire import HEAD_BYTES, RE_BYTES, Segment, parse_segment
from ioc.core.errors import ProtocolError

BYTES_AT_ONCE = 1 << 19
"""What a call takes at most: little enough that nobody waits long for what is behind a lost message ..."""

MOST_AT_ONCE = 128
"""... and in messages, where each is a packet."""

LEAST_MESSAGES = 2
MOST_PACKETS = 64
SPILL_BYTES = 1 << 16
"""Room behind each message for a longer one than expected."""

MOST_PREPARED = 16
"""Memories of events for which the tables are kept."""

TOLD = slice(40, 60)
"""Bytes of a message's row in which the kernel tells of it (ejfat_mmsg.MESSAGE): bytes of control, flags, length."""

MOST_MISSES = 3
REST_EVENTS = 1000


@dataclass(frozen=True)
class Shape:
    """How an event was cut: its bytes, those of a packet and of its headers, and the packets of a message."""

    length: int
    packet: int
    start: int
    per_message: int

    @cached_property
    def segment(self) -> int:
        """Payload bytes of a packet."""
        return self.packet - self.start

    @cached_property
    def packets(self) -> int:
        """Packets of the event."""
        return -(-self.length // self.segment)

    @cached_property
    def messages(self) -> int:
        """Messages of the event."""
        return -(-self.packets // self.per_message)

    @property
    def at_once(self) -> int:
        """Messages that a call takes at most."""
        return min(max(1, BYTES_AT_ONCE // (self.per_message * self.packet)), MOST_AT_ONCE)

    @property
    def fits(self) -> bool:
        """Whether it is worth while, and within what the tables take."""
        return self.segment > 0 and 1 <= self.per_message <= MOST_PACKETS and self.messages >= LEAST_MESSAGES


@dataclass(frozen=True, slots=True)
class _Pieces:
    """The pieces of memory that an event is scattered to, and where those of each message are listed."""

    iovecs: NDArray[np.void]
    messages: NDArray[np.int64]


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
        self.emptied = False
        """Whether the last call took all that there was."""
        self._misses = 0
        self._rest = 0
        self._at_once = 1
        self._spill = np.zeros((1, SPILL_BYTES), np.uint8)
        self._pieces: dict[int, _Pieces] = {}
        """By where the memory lies: the pool hands out the same few again and again."""
        self._armed_for: _Pieces | None = None
        self._first: Segment | None = None

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

    def receive(self, now_ns: int, wait: bool = True) -> list[Event]:
        """Take what one call brings; return the events that became whole. With `wait`, wait for the first message.

        Raises:
            BlockingIOError: nothing was there, or came within the socket's time-out.
        """
        if self._key is not None and not self._reassembler.holds(self._key, self._payload):
            self._key, self.armed = None, False  # given up meanwhile: its memory is not ours any more
            return []
        first, last = self._at, min(self._at + self._at_once, self._count)
        self._controllen[first:last] = CONTROL_BYTES
        table = self._table_at + first * self._table.itemsize
        count = ejfat_mmsg.receive(self._descriptor, table, last - first, wait)
        self.emptied = count < last - first
        events: list[Event] = []
        if not self._is_as_expected(first, first + count) or not self._book(first, first + count, now_ns, events):
            return self._undo(first, first + count, now_ns)
        self._misses = 0
        self._at = first + count if self._key is not None else 0  # None: of an event that is over, and counted
        if self._at == self._count:
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
        payload = self._payload = self._reassembler.pool.take(shape.length)
        base = ejfat_mmsg.address(payload)
        pieces = self._pieces.get(base)
        if pieces is None:
            if len(self._pieces) >= MOST_PREPARED:
                self._pieces.clear()
            pieces = self._pieces[base] = self._lay_pieces(shape, base)
        if pieces is not self._armed_for:
            self._armed_for = pieces
            self._table["iov"] = pieces.messages
        self._key, self._at, self.armed = None, 0, True

    def _lay_pieces(self, shape: Shape, base: int) -> "_Pieces":
        """Return where headers and payload of an event go that is received into the memory at `base`."""
        iovecs = self._iovecs.copy()
        payload = iovecs["base"][:, 1 : 2 * shape.per_message : 2]
        numbers = np.arange(payload.size, dtype=np.uint64).reshape(payload.shape)
        payload[:] = numbers * np.uint64(shape.segment) + np.uint64(base)
        spill = ejfat_mmsg.address(self._spill[(shape.messages - 1) % self._at_once])
        iovecs[-1, 2 * self._last_packets] = (spill, SPILL_BYTES)
        at = ejfat_mmsg.address(iovecs) + np.arange(shape.messages) * iovecs.strides[0]
        return _Pieces(iovecs, at)

    def _lay_out(self, shape: Shape) -> None:
        """Make the tables of a shape: everything but where the payload goes."""
        per, messages = shape.per_message, shape.messages
        self._last_packets = shape.packets - (messages - 1) * per
        self._at_once, self._count = shape.at_once, messages
        self._spill = np.zeros((self._at_once, SPILL_BYTES), np.uint8)  # of which only what is needed becomes memory
        self._heads = np.zeros((messages * per, shape.start), np.uint8)
        self._pieces.clear()
        self._armed_for = None
        iovecs = self._iovecs = np.zeros((messages, 2 * per + 1), ejfat_mmsg.IOVEC)
        heads = np.arange(messages * per, dtype=np.uint64) * np.uint64(shape.start)
        iovecs["base"][:, : 2 * per : 2] = heads.reshape(messages, per) + np.uint64(ejfat_mmsg.address(self._heads))
        iovecs["length"][:, : 2 * per : 2] = shape.start
        iovecs["length"][:, 1 : 2 * per : 2] = shape.segment
        tail = shape.length - (shape.packets - 1) * shape.segment
        iovecs["length"][-1, 2 * self._last_packets - 1] = tail
        spill = ejfat_mmsg.address(self._spill) + np.arange(messages) % self._at_once * SPILL_BYTES
        iovecs["base"][:, 2 * per], iovecs["length"][:, 2 * per] = spill, SPILL_BYTES
        self._control = np.zeros((messages, CONTROL_BYTES), np.uint8)
        table = self._table = ejfat_mmsg.messages(messages)
        table["iovlen"] = 2 * per + 1
        table["iovlen"][-1] = 2 * self._last_packets + 1
        table["control"] = ejfat_mmsg.address(self._control) + np.arange(messages) * CONTROL_BYTES
        self._table_at = ejfat_mmsg.address(table)
        self._controllen = table["controllen"]
        self._offset_word = (shape.start - RE_BYTES + OFFSET_AT) // 4
        self._wanted = np.zeros((messages * per, shape.start // 4), np.uint32)
        words = np.arange(shape.packets, dtype=np.uint64) * shape.segment
        self._wanted[: shape.packets, self._offset_word] = words.astype(">u4").view(np.uint32)
        self._told = table.view(np.uint8).reshape(messages, MESSAGE_BYTES)[:, TOLD]
        self._lay_expected(shape, (self._last_packets - 1) * shape.packet + shape.start + tail)

    def _lay_expected(self, shape: Shape, last: int) -> None:
        """Lay out what the kernel tells of messages that are as expected; the last one has `last` bytes."""
        messages, per = shape.messages, shape.per_message
        table = ejfat_mmsg.messages(messages)
        table["length"] = per * shape.packet
        table["length"][-1] = last
        table["controllen"] = GRO_SPACE if per > 1 else 0
        cut = messages if per > 1 else 0
        if cut and self._last_packets == 1:  # a single packet is not cut
            table["controllen"][-1] = 0
            cut -= 1
        self._expected = table.view(np.uint8).reshape(messages, MESSAGE_BYTES)[:, TOLD].tobytes()
        self._expected_control = ejfat_mmsg.gro_control(shape.packet) * cut

    def _is_as_expected(self, first: int, end: int) -> bool:
        """Return whether messages have the expected sizes, each cut as expected, none cut short."""
        width = self._told.shape[1]
        if self._told[first:end].tobytes() != self._expected[width * first : width * end]:
            return False
        wanted = self._expected_control[CONTROL_BYTES * first : CONTROL_BYTES * end]
        return self._control[first:end].tobytes().startswith(wanted)

    def _book(self, first: int, end: int, now_ns: int, events: list[Event]) -> bool:
        """Book messages if their headers say that they lie where they belong; return whether that is so."""
        shape = self._shape
        assert shape is not None
        start = first * shape.per_message
        stop = min(end * shape.per_message, shape.packets)
        size = min(stop * shape.segment, shape.length) - start * shape.segment
        if start == 0 and not self._begins(min(size, shape.segment)):
            return False
        if self._heads[start:stop].tobytes() != self._wanted[start:stop].tobytes():
            return False
        assert self._first is not None
        segment = self._first._replace(offset=start * shape.segment)
        booked = self._reassembler.place(segment, stop - start, (self._payload, size), now_ns, events)
        if booked is None:
            return False
        self._key = (segment.data_id, segment.event) if booked else None
        return True

    def _begins(self, size: int) -> bool:
        """Look at the first header, and lay out those that are to follow it; return whether an event begins with it."""
        shape = self._shape
        assert shape is not None
        try:
            segment = parse_segment(self._heads[0, :HEAD_BYTES].tobytes(), shape.start + size)
        except ProtocolError:
            return False
        if segment.start != shape.start or segment.offset or segment.length != shape.length:
            return False
        words, offset = self._heads[0].view(np.uint32), self._offset_word
        self._wanted[:, :offset] = words[:offset]
        self._wanted[:, offset + 1 :] = words[offset + 1 :]
        self._first = segment
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
        data = np.concatenate([*pieces, self._spill[number % self._at_once]])[:length]
        cut = ejfat_mmsg.gro_size(self._control[number].tobytes()) if self._controllen[number] else None
        return data, cut or length
