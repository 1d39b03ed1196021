"""Sends events from where they lie: the headers of all packets in one sheet, and a table that has the kernel gather
header, payload, header, payload ...; the frame is not copied before it is in the kernel.

How it works: the codec's header and the first pixels share packets, which are put together in a small buffer; all
other packets take their payload from the frame itself. A message is a batch of packets that the kernel cuts
(UDP_SEGMENT); a call takes as many messages as the pace allows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ioc.channels import ejfat_mmsg
from ioc.channels.ejfat_segmenter import HeaderSheet, Stamp
from ioc.channels.ejfat_socket import batch_bytes

LEAST_PACKETS = 8
"""Shorter events are cheaper to copy."""


@dataclass(frozen=True, slots=True)
class Laid:
    """An event ready to be sent: its table of messages, the packets of a full one, of all, and bytes of a packet."""

    table: NDArray[np.void]
    per_message: int
    packets: int
    packet: int


class Gatherer:
    """Lays out events for `ejfat_mmsg.send`; what it returns points into it and into the pixels, until the next."""

    def __init__(self, sheet: HeaderSheet) -> None:
        self._sheet = sheet
        self._per = batch_bytes(sheet.packet_bytes) // sheet.packet_bytes
        self._control = ejfat_mmsg.segment_control(sheet.packet_bytes)
        self._first = np.zeros(0, np.uint8)
        self._iovecs = np.zeros((0, 2), ejfat_mmsg.IOVEC)
        self._table = ejfat_mmsg.messages(0)
        self._offsets = np.zeros(0, np.uint64)

    def lay(self, head: bytes, pixels: NDArray[np.uint8], stamp: Stamp) -> Laid:
        """Return the event of `head` and `pixels` (C order) one after the other."""
        sheet, segment = self._sheet, self._sheet.segment_bytes
        length = len(head) + len(pixels)
        headers = sheet.stamp(length, stamp)
        count = len(headers)
        if count > len(self._iovecs):
            self._grow(count)
        iovecs = self._iovecs[:count]
        iovecs["base"][:, 0] = ejfat_mmsg.address(headers) + self._offsets[:count] * np.uint64(sheet.head_bytes)
        mixed = min(-(-len(head) // segment), count)  # packets with a part of `head`
        self._fill_first(head, pixels, mixed * segment)
        payload = iovecs["base"][:, 1]
        payload[:mixed] = ejfat_mmsg.address(self._first) + self._offsets[:mixed] * np.uint64(segment)
        start = ejfat_mmsg.address(pixels) - len(head)
        payload[mixed:] = np.uint64(start) + self._offsets[mixed:count] * np.uint64(segment)
        iovecs["length"][:, 1] = segment
        iovecs["length"][-1, 1] = length - (count - 1) * segment
        return Laid(self._messages(iovecs), self._per, count, sheet.packet_bytes)

    def _fill_first(self, head: bytes, pixels: NDArray[np.uint8], size: int) -> None:
        if len(self._first) < size:
            self._first = np.zeros(size, np.uint8)
        self._first[: len(head)] = np.frombuffer(head, np.uint8)
        rest = min(size - len(head), len(pixels))
        self._first[len(head) : len(head) + rest] = pixels[:rest]

    def _grow(self, count: int) -> None:
        self._iovecs = np.zeros((count, 2), ejfat_mmsg.IOVEC)
        self._iovecs["length"][:, 0] = self._sheet.head_bytes
        self._offsets = np.arange(count, dtype=np.uint64)
        batches = -(-count // self._per)
        table = self._table = ejfat_mmsg.messages(batches)
        table["iov"] = ejfat_mmsg.address(self._iovecs) + np.arange(batches) * self._per * self._iovecs.strides[0]
        table["control"] = ejfat_mmsg.address(self._control)

    def _messages(self, iovecs: NDArray[np.void]) -> NDArray[np.void]:
        batches = -(-len(iovecs) // self._per)
        table = self._table[:batches]
        last = len(iovecs) - (batches - 1) * self._per
        table["iovlen"] = 2 * self._per
        table["iovlen"][-1] = 2 * last
        table["controllen"] = len(self._control)
        if last == 1:
            table["controllen"][-1] = 0  # a single packet is not cut
        return table
