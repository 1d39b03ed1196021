"""Cuts events into EJFAT packets: headers and payload of a whole event laid out in one wire buffer.

The buffer is reused for the next event. Columns that stay the same are written when it grows; an event writes its
stamp, and its payload once, by one strided copy a source buffer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ioc.channels.ejfat_wire import (
    IP_BYTES,
    LB_BYTES,
    MOST_EVENT_BYTES,
    MOST_MTU,
    RE_BYTES,
    UDP_BYTES,
    IpVersion,
    LbHeader,
    LbVersion,
    ReHeader,
)
from ioc.core.errors import mismatch

LEAST_MTU = 128
"""Bytes; room for the headers and some payload."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What all packets of one event share: RE event number, tick in microseconds since 1970, 16 bits of entropy."""

    event: int
    tick: int
    entropy: int


@dataclass(frozen=True, slots=True)
class Packets:
    """All packets of one event back to back in `wire`: `count` of them, `size` bytes each, the last one shorter.

    Valid until the segmenter lays out the next event.
    """

    wire: memoryview
    size: int
    count: int


class Segmenter:
    """Lays out events; `lb_version` None leaves the LB header away."""

    def __init__(self, mtu: int, ip_version: IpVersion, lb_version: LbVersion | None, data_id: int) -> None:
        if not LEAST_MTU <= mtu <= MOST_MTU:
            raise ValueError(mismatch("EJFAT segmenter, MTU", f"{LEAST_MTU} to {MOST_MTU} bytes", mtu))
        self.packet_bytes = mtu - IP_BYTES[ip_version] - UDP_BYTES
        self._lb_version: LbVersion | None = lb_version
        self._data_id = data_id
        self._re_start = LB_BYTES if lb_version else 0
        self._head = self._re_start + RE_BYTES
        self.segment_bytes = self.packet_bytes - self._head
        self._length = 0
        self._grow(1)

    def lay(self, buffers: Sequence[bytes | memoryview], stamp: Stamp) -> Packets:
        """Return the packets of the event whose payload is `buffers` one after the other, offsets ascending.

        Raises:
            ValueError: the event is empty or longer than its 32-bit length can say.
        """
        length = sum(len(buffer) for buffer in buffers)
        if not 1 <= length <= MOST_EVENT_BYTES:
            raise ValueError(mismatch("EJFAT event", f"1 to {MOST_EVENT_BYTES} bytes", length))
        count = -(-length // self.segment_bytes)
        if count > len(self._rows):
            self._grow(count)
        self._stamp(self._fields[:count], length, stamp)
        at = 0
        for buffer in buffers:
            self._scatter(at, np.frombuffer(buffer, np.uint8))
            at += len(buffer)
        return Packets(self._wire[: length + count * self._head], self.packet_bytes, count)

    def _grow(self, count: int) -> None:
        """Make room for `count` packets and write what never changes: magics, versions, data id, offsets."""
        self._rows = np.zeros((count, self.packet_bytes), np.uint8)
        self._wire = self._rows.data.cast("B")
        head = LbHeader.of(self._lb_version, 0, 0).to_bytes() if self._lb_version else b""
        head += ReHeader(self._data_id, 0, 0, 0).to_bytes()
        self._rows[:, : self._head] = np.frombuffer(head, np.uint8)
        self._fields = self._rows.reshape(-1).view(self._dtype())
        self._fields["offset"] = np.arange(count, dtype=np.uint64) * self.segment_bytes
        self._length = 0

    def _dtype(self) -> np.dtype:
        return _header_dtype(self._lb_version, self.packet_bytes)

    def _stamp(self, fields: NDArray[np.void], length: int, stamp: Stamp) -> None:
        fields["event"] = stamp.event
        if length != self._length:
            self._fields["length"] = length
            self._length = length
        if self._lb_version:
            fields["tick"] = stamp.tick
            fields["entropy"] = stamp.entropy
        if self._lb_version == 3:
            fields["selector"] = stamp.tick & 0xFFFF

    def _scatter(self, at: int, source: NDArray[np.uint8]) -> None:
        """Copy `source` to byte `at` of the event: the rest of a packet, whole packets by one copy, the last part."""
        segment, payload = self.segment_bytes, self._rows[:, self._head :]
        row, column = divmod(at, segment)
        if column:
            first = min(segment - column, len(source))
            payload[row, column : column + first] = source[:first]
            source, row = source[first:], row + 1
        whole = len(source) // segment
        payload[row : row + whole] = source[: whole * segment].reshape(whole, segment)
        rest = source[whole * segment :]
        if len(rest):
            payload[row + whole, : len(rest)] = rest


class HeaderSheet:
    """The headers of all packets of an event, one behind the other; the payload stays where it is.

    Columns that stay the same are written when the sheet grows; an event writes its stamp.
    """

    def __init__(self, mtu: int, ip_version: IpVersion, lb_version: LbVersion | None, data_id: int) -> None:
        self.packet_bytes = mtu - IP_BYTES[ip_version] - UDP_BYTES
        self._lb_version: LbVersion | None = lb_version
        head = LbHeader.of(lb_version, 0, 0).to_bytes() if lb_version else b""
        self._head = head + ReHeader(data_id, 0, 0, 0).to_bytes()
        self.head_bytes = len(self._head)
        self.segment_bytes = self.packet_bytes - self.head_bytes
        self._dtype = _header_dtype(lb_version, self.head_bytes)
        self._grow(1)

    def stamp(self, length: int, stamp: Stamp) -> NDArray[np.uint8]:
        """Return the headers of an event of `length` bytes, [packet, byte]; valid until the next event.

        Raises:
            ValueError: the event is empty or longer than its 32-bit length can say.
        """
        if not 1 <= length <= MOST_EVENT_BYTES:
            raise ValueError(mismatch("EJFAT event", f"1 to {MOST_EVENT_BYTES} bytes", length))
        count = -(-length // self.segment_bytes)
        if count > len(self._rows):
            self._grow(count)
        fields = self._fields[:count]
        if length != self._length:
            self._fields["length"] = self._length = length
        fields["event"] = stamp.event
        if self._lb_version:
            fields["tick"] = stamp.tick
            fields["entropy"] = stamp.entropy
        if self._lb_version == 3:
            fields["selector"] = stamp.tick & 0xFFFF
        return self._rows[:count]

    def _grow(self, count: int) -> None:
        self._rows = np.zeros((count, self.head_bytes), np.uint8)
        self._rows[:] = np.frombuffer(self._head, np.uint8)
        self.address: int = self._rows.ctypes.data
        """Where the headers lie; another place when they became more."""
        self._fields = self._rows.reshape(-1).view(self._dtype)
        self._fields["offset"] = np.arange(count, dtype=np.uint64) * self.segment_bytes
        self._length = 0


def _header_dtype(lb_version: LbVersion | None, itemsize: int) -> np.dtype:
    """Return the columns of packets that begin with their headers, `itemsize` bytes apart."""
    start = LB_BYTES if lb_version else 0
    fields = {"offset": (">u4", 4), "length": (">u4", 8), "event": (">u8", 12)}
    columns = {name: (kind, start + at) for name, (kind, at) in fields.items()}
    if lb_version:
        columns |= {"selector": (">u2", 4), "entropy": (">u2", 6), "tick": (">u8", 8)}
    return np.dtype(
        {
            "names": list(columns),
            "formats": [kind for kind, _ in columns.values()],
            "offsets": [at for _, at in columns.values()],
            "itemsize": itemsize,
        }
    )
