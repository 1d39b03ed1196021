"""Sends events from where they lie: the headers of all packets in one sheet, and a table that has the kernel gather
header, payload, header, payload ...; the frame is not copied before it is in the kernel.

How it works: the codec's header and the first pixels share packets, which are put together in a small buffer; all
other packets take their payload from the frame itself. A message is a batch of packets that the kernel cuts
(UDP_SEGMENT), or where it does not, a packet; a call takes as many messages as the pace allows.
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
    """An event ready to be sent: its table of messages and where that lies, the packets of a full one, of all, and
    bytes of a packet.
    """

    table: NDArray[np.void]
    address: int
    per_message: int
    packets: int
    packet: int


class Gatherer:
    """Lays out events for `ejfat_mmsg.send`; what it returns points into it and into the pixels, until the next."""

    def __init__(self, sheet: HeaderSheet, offload: bool = True) -> None:
        """Lay out batches for the kernel to cut, or without `offload` single packets."""
        self._sheet = sheet
        self._per = batch_bytes(sheet.packet_bytes) // sheet.packet_bytes if offload else 1
        self._control = ejfat_mmsg.segment_control(sheet.packet_bytes)
        self._first = np.zeros(0, np.uint8)
        self._first_at = 0
        self._iovecs = np.zeros((0, 2), ejfat_mmsg.IOVEC)
        self._table = ejfat_mmsg.messages(0)
        self._messages = self._table
        self._table_at = 0
        self._payload = np.zeros(0, np.uint64)
        self._like: tuple[int, int, int, int] | None = None
        """Length, mixed packets, and where headers and mixed packets lie, of the event before."""
        self._head_at = self._payload_at = np.zeros(0, np.uint64)

    def lay(self, head: bytes, pixels: NDArray[np.uint8], stamp: Stamp) -> Laid:
        """Return the event of `head` and `pixels` (C order) one after the other."""
        sheet = self._sheet
        length = len(head) + len(pixels)
        count = len(sheet.stamp(length, stamp))
        if count > len(self._iovecs):
            self._grow(count)
        mixed = min(-(-len(head) // sheet.segment_bytes), count)  # packets with a part of `head`
        self._fill_first(head, pixels, mixed * sheet.segment_bytes)
        like = (length, mixed, sheet.address, self._first_at)
        if like != self._like:
            self._like = like
            self._shape(length, mixed, count)
        payload = self._payload[mixed:count]
        np.add(self._payload_at[mixed:count], np.uint64(ejfat_mmsg.address(pixels) - len(head)), out=payload)
        return Laid(self._messages, self._table_at, self._per, count, sheet.packet_bytes)

    def _shape(self, length: int, mixed: int, count: int) -> None:
        """Write what is the same for all events of one length: all but where the pixels lie."""
        sheet, iovecs = self._sheet, self._iovecs[:count]
        iovecs["base"][:, 0] = np.uint64(sheet.address) + self._head_at[:count]
        self._payload[:mixed] = np.uint64(self._first_at) + self._payload_at[:mixed]
        iovecs["length"][:, 1] = sheet.segment_bytes
        iovecs["length"][-1, 1] = length - (count - 1) * sheet.segment_bytes
        batches = -(-count // self._per)
        table = self._messages = self._table[:batches]
        last = count - (batches - 1) * self._per
        table["iovlen"] = 2 * self._per
        table["iovlen"][-1] = 2 * last
        table["controllen"] = len(self._control) if self._per > 1 else 0
        if last == 1:
            table["controllen"][-1] = 0  # a single packet is not cut

    def _fill_first(self, head: bytes, pixels: NDArray[np.uint8], size: int) -> None:
        if len(self._first) < size:
            self._first = np.zeros(size, np.uint8)
            self._first_at = ejfat_mmsg.address(self._first)
        self._first[: len(head)] = np.frombuffer(head, np.uint8)
        rest = min(size - len(head), len(pixels))
        self._first[len(head) : len(head) + rest] = pixels[:rest]

    def _grow(self, count: int) -> None:
        self._iovecs = np.zeros((count, 2), ejfat_mmsg.IOVEC)
        self._iovecs["length"][:, 0] = self._sheet.head_bytes
        self._payload = self._iovecs["base"][:, 1]
        self._like = None
        numbers = np.arange(count, dtype=np.uint64)
        self._head_at = numbers * np.uint64(self._sheet.head_bytes)
        self._payload_at = numbers * np.uint64(self._sheet.segment_bytes)
        batches = -(-count // self._per)
        table = self._table = ejfat_mmsg.messages(batches)
        self._table_at = ejfat_mmsg.address(table)
        table["iov"] = ejfat_mmsg.address(self._iovecs) + np.arange(batches) * self._per * self._iovecs.strides[0]
        table["control"] = ejfat_mmsg.address(self._control)
