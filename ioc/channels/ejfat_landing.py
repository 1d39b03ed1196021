"""Where headers and payload are to land: the table that recvmmsg fills, for events cut alike, one behind the other.

Its rows are messages: those of the event in place 0, those of the event in place 1 ... Small events have several
places, so that one call takes many of them.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ioc.channels import ejfat_mmsg
from ioc.channels.ejfat_mmsg import CONTROL_BYTES, GRO_SPACE, MESSAGE_BYTES
from ioc.channels.ejfat_reassembly import OFFSET_AT
from ioc.channels.ejfat_wire import RE_BYTES

BYTES_AT_ONCE = 1 << 21
"""What a call takes at most ..."""

MOST_AT_ONCE = 128
"""... and in messages, where each is a packet."""

LEAST_MESSAGES = 2
MOST_PACKETS = 64
SPILL_BYTES = 1 << 16
"""Room behind each message for a longer one than expected."""

MOST_PREPARED = 16
"""Memories for each place whose pieces are kept."""

TOLD = slice(40, 60)
"""Bytes of a message's row in which the kernel tells of it (ejfat_mmsg.MESSAGE): bytes of control, flags, length."""

WORD = 4
"""Bytes in which headers are compared and written; all fields but two are as long, or twice."""


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

    @cached_property
    def at_once(self) -> int:
        """Messages that a call takes at most."""
        return min(max(1, BYTES_AT_ONCE // (self.per_message * self.packet)), MOST_AT_ONCE)

    @cached_property
    def places(self) -> int:
        """Events that a table has room for."""
        return max(1, self.at_once // self.messages)

    @property
    def fits(self) -> bool:
        """Whether it is worth while, and within what the tables take."""
        return self.segment > 0 and 1 <= self.per_message <= MOST_PACKETS and self.messages >= LEAST_MESSAGES


@dataclass(frozen=True, slots=True)
class _Pieces:
    """The pieces of memory that an event in a place is scattered to, and where those of each message are listed."""

    iovecs: NDArray[np.void]
    messages: NDArray[np.int64]


class Landing:
    """The table of one shape: `aim` its places at memories, have rows `ready` to be filled, ask what they hold."""

    def __init__(self, shape: Shape) -> None:
        """Make everything but where the payload goes."""
        self.shape = shape
        self.rows = shape.messages * shape.places
        per, messages, rows = shape.per_message, shape.messages, self.rows
        self._last_packets = shape.packets - (messages - 1) * per
        self._spill = np.zeros((shape.at_once, SPILL_BYTES), np.uint8)  # of which only what is needed becomes memory
        self._heads = np.zeros((rows * per, shape.start), np.uint8)
        self._payloads = [np.zeros(0, np.uint8)] * shape.places
        self._pieces: list[dict[int, _Pieces]] = [{} for _ in range(shape.places)]
        """For each place, by where the memory lies: the pool hands out the same few again and again."""
        self._iovecs = self._lay_iovecs(shape)
        self._control = np.zeros((rows, CONTROL_BYTES), np.uint8)
        table = self._table = ejfat_mmsg.messages(rows)
        table["iovlen"] = 2 * per + 1
        table["iovlen"][messages - 1 :: messages] = 2 * self._last_packets + 1
        table["control"] = ejfat_mmsg.address(self._control) + np.arange(rows) * CONTROL_BYTES
        self._table_at = ejfat_mmsg.address(table)
        self._iov = table["iov"].reshape(shape.places, messages)
        self._controllen = table["controllen"]
        self._told = table.view(np.uint8).reshape(rows, MESSAGE_BYTES)[:, TOLD]
        self._expected, self._expected_control = self._lay_expected(shape)
        self._offset_word = (shape.start - RE_BYTES + OFFSET_AT) // WORD
        wanted = self._wanted = np.zeros((shape.places, messages * per, shape.start // WORD), np.uint32)
        offsets = np.arange(shape.packets, dtype=np.uint64) * shape.segment
        wanted[:, : shape.packets, self._offset_word] = offsets.astype(">u4").view(np.uint32)
        self._columns = [[one[:, word] for word in range(one.shape[1])] for one in wanted]
        self._followed = [[0] * wanted.shape[2] for _ in range(shape.places)]

    def aim(self, place: int, payload: NDArray[np.uint8]) -> None:
        """Let the payload of the event in a place go to `payload`, the memory of a whole event."""
        base, known = ejfat_mmsg.address(payload), self._pieces[place]
        pieces = known.get(base)
        if pieces is None:
            if len(known) >= MOST_PREPARED:
                known.clear()
            pieces = known[base] = self._lay_pieces(place, base)
        self._iov[place] = pieces.messages
        self._payloads[place] = payload

    def payload(self, place: int) -> NDArray[np.uint8]:
        """Return the memory that a place is aimed at."""
        return self._payloads[place]

    def ready(self, first: int, last: int) -> int:
        """Make rows `first` to `last`, not included, ready to be filled; return where the first one lies."""
        self._controllen[first:last] = CONTROL_BYTES
        return self._table_at + first * MESSAGE_BYTES

    def head(self, row: int) -> bytes:
        """Return the first headers of a message."""
        return self._heads[row * self.shape.per_message].tobytes()

    def follow(self, place: int, head: bytes) -> None:
        """Want all headers of a place to be like `head`, but for the offset."""
        words = np.frombuffer(head, np.uint32).tolist()
        for word, (before, now) in enumerate(zip(self._followed[place], words, strict=True)):
            if before != now and word != self._offset_word:
                self._columns[place][word].fill(now)
        self._followed[place] = words

    def sized(self, first: int, end: int) -> int:
        """Return up to which row, not included, all are as long as expected, and cut as expected."""
        if self._are_sized(first, end):
            return end
        return next(row for row in range(first, end) if not self._are_sized(row, row + 1))

    def headed(self, first: int, end: int, by: int = 0) -> int:
        """Return up to which row of a place, not included, all headers are those that are wanted `by` rows on."""
        per, messages, packets = self.shape.per_message, self.shape.messages, self.shape.packets
        place, message = divmod(first, messages)
        at = (place * messages + message) * per
        start, stop = (message + by) * per, min((message + by + end - first) * per, packets)
        heads, wanted = self._heads[at : at + stop - start], self._wanted[place, start:stop]
        if heads.tobytes() == wanted.tobytes():
            return end
        return first + int((heads.view(np.uint32) != wanted).any(axis=1).argmax()) // per

    def shift(self, first: int, end: int, by: int) -> None:
        """Move the payload of full messages to where it belongs, `by` rows on in the same place."""
        size = self.shape.per_message * self.shape.segment
        place, message = divmod(first, self.shape.messages)
        start, count, payload = message * size, (end - first) * size, self._payloads[place]
        payload[start + by * size : start + by * size + count] = payload[start : start + count]

    def wire(self, row: int) -> tuple[NDArray[np.uint8], int]:
        """Return the bytes of a message as they came, and the size of its datagrams."""
        shape = self.shape
        place, message = divmod(row, shape.messages)
        length, head = int(self._table["length"][row]), row * shape.per_message
        count = self._last_packets if message == shape.messages - 1 else shape.per_message
        at = message * shape.per_message * shape.segment
        payload = self._payloads[place][at : at + count * shape.segment]
        data, whole = np.empty(count * shape.packet, np.uint8), len(payload) // shape.segment
        rows = data.reshape(count, shape.packet)
        rows[:, : shape.start] = self._heads[head : head + count]
        rows[:whole, shape.start :] = payload[: whole * shape.segment].reshape(whole, shape.segment)
        if whole < count:
            rest = payload[whole * shape.segment :]
            rows[whole, shape.start : shape.start + len(rest)] = rest
        size = count * shape.start + len(payload)  # what the pieces before the spill hold
        if length > size:
            data = np.concatenate([data[:size], self._spill[row % shape.at_once]])
        cut = ejfat_mmsg.gro_size(self._control[row].tobytes()) if self._controllen[row] else None
        self._control[row] = 0  # the kernel writes there for messages that it cuts only
        return data[:length], cut or length

    def _are_sized(self, first: int, end: int) -> bool:
        width = self._told.shape[1]
        if self._told[first:end].tobytes() != self._expected[width * first : width * end]:
            return False
        wanted = self._expected_control[CONTROL_BYTES * first : CONTROL_BYTES * end]
        return self._control[first:end].tobytes() == wanted

    def _lay_iovecs(self, shape: Shape) -> NDArray[np.void]:
        """Lay out header, payload, header, payload ..., spill for each message of each place."""
        per, rows = shape.per_message, self.rows
        iovecs = np.zeros((rows, 2 * per + 1), ejfat_mmsg.IOVEC)
        heads = np.arange(rows * per, dtype=np.uint64) * np.uint64(shape.start)
        iovecs["base"][:, : 2 * per : 2] = heads.reshape(rows, per) + np.uint64(ejfat_mmsg.address(self._heads))
        iovecs["length"][:, : 2 * per : 2] = shape.start
        iovecs["length"][:, 1 : 2 * per : 2] = shape.segment
        tail = shape.length - (shape.packets - 1) * shape.segment
        iovecs["length"][shape.messages - 1 :: shape.messages, 2 * self._last_packets - 1] = tail
        spill = ejfat_mmsg.address(self._spill) + np.arange(rows) % shape.at_once * SPILL_BYTES
        iovecs["base"][:, 2 * per], iovecs["length"][:, 2 * per] = spill, SPILL_BYTES
        return iovecs.reshape(shape.places, shape.messages, 2 * per + 1)

    def _lay_pieces(self, place: int, base: int) -> _Pieces:
        """Return where headers and payload of an event in a place go that is received into the memory at `base`."""
        shape = self.shape
        iovecs = self._iovecs[place].copy()
        payload = iovecs["base"][:, 1 : 2 * shape.per_message : 2]
        numbers = np.arange(payload.size, dtype=np.uint64).reshape(payload.shape)
        payload[:] = numbers * np.uint64(shape.segment) + np.uint64(base)
        last = (place + 1) * shape.messages - 1
        spill = ejfat_mmsg.address(self._spill[last % shape.at_once])
        iovecs[-1, 2 * self._last_packets] = (spill, SPILL_BYTES)
        at = ejfat_mmsg.address(iovecs) + np.arange(shape.messages) * iovecs.strides[0]
        return _Pieces(iovecs, at)

    def _lay_expected(self, shape: Shape) -> tuple[bytes, bytes]:
        """Return what the kernel tells of messages that are as expected, and their control messages."""
        messages, per = shape.messages, shape.per_message
        table = ejfat_mmsg.messages(messages)
        table["length"] = per * shape.packet
        before = (messages - 1) * per * shape.segment
        table["length"][-1] = self._last_packets * shape.start + shape.length - before
        table["controllen"] = GRO_SPACE if per > 1 else 0
        control = [ejfat_mmsg.gro_control(shape.packet) if per > 1 else bytes(CONTROL_BYTES)] * messages
        if per > 1 and self._last_packets == 1:  # a single packet is not cut
            table["controllen"][-1] = 0
            control[-1] = bytes(CONTROL_BYTES)
        told = table.view(np.uint8).reshape(messages, MESSAGE_BYTES)[:, TOLD].tobytes()
        return told * shape.places, b"".join(control) * shape.places
