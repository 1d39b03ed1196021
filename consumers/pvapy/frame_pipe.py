"""A way for frames and short messages between two processes of one user: both ends speak the local channel's wire.

A frame is copied into shared memory of the sender and described over a SEQPACKET socket; the receiver maps the memory
read-only. What was sent lies there until the sender's `free`. A message is a JSON object with the first byte `J`.
"""

import json
import mmap
import os
import select
import socket
from collections.abc import Mapping
from typing import Any

import numpy as np

from ioc.channels import local_wire as wire
from ioc.channels.local_pool import Segment, Slot
from ioc.core.errors import PeerError, ProtocolError, mismatch
from ioc.core.frame import EndOfSeries, Frame

MESSAGE = b"J"
FIRST_SLOTS = 2


class PeerGone(PeerError):  # noqa: N818 - named after what happened
    """The process at the other end is not there any more."""


class FramePipe:
    """One end of the way; `send` and `receive` from one thread."""

    def __init__(self, connection: socket.socket) -> None:
        """Take one of a pair of SEQPACKET sockets."""
        self._socket = connection
        self._segments: list[Segment] = []
        self._taken: list[Slot] = []
        self._maps: dict[int, mmap.mmap] = {}

    def send_frame(self, frame: Frame) -> None:
        """Send a frame; its pixels are copied once.

        Raises:
            PeerGone: nobody is at the other end.
            ProtocolError: its attributes do not fit into a message.
            ValueError: areaDetector has no such data type.
        """
        slot = self._slot(frame)
        np.copyto(slot.array, frame.data)
        self._send(wire.items_head(0) + wire.frame_item(slot.place, frame))

    def send(self, **message: object) -> None:
        """Send a message of JSON values.

        Raises:
            PeerGone: nobody is at the other end.
        """
        self._send(MESSAGE + json.dumps(message).encode()[: wire.LARGEST_MESSAGE])

    def receive(self, seconds: float | None = None) -> Frame | Mapping[str, Any]:
        """Return what comes next; a frame lies in the sender's memory.

        Raises:
            PeerGone: nobody is at the other end.
            TimeoutError: nothing came within `seconds`; None waits for ever.
            ProtocolError: what came cannot be understood.
        """
        while True:
            if not select.select([self._socket], [], [], seconds)[0]:
                raise TimeoutError(f"no answer within {seconds:g} s")
            try:
                content, descriptors, _, _ = socket.recv_fds(self._socket, wire.LARGEST_MESSAGE + 4096, 1)
            except OSError as error:
                raise PeerGone(f"the other process is gone: {error.strerror}") from None
            found = self._understand(content, descriptors)
            if found is not None:
                return found

    def free(self) -> None:
        """Use the memory of all frames sent so far again."""
        for slot in self._taken:
            slot.drop()
        self._taken.clear()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
        self._retire()
        self._maps.clear()

    def _understand(self, content: bytes, descriptors: list[int]) -> Frame | Mapping[str, Any] | None:
        kind = content[:1]
        if not kind:
            raise PeerGone("the other process is gone")
        if kind == MESSAGE:
            return _message(content)
        if kind == wire.ITEMS:
            return self._frame(content)
        if kind == wire.SEGMENT:
            self._map(content, descriptors)
        elif kind == wire.RETIRE:
            self._maps.pop(wire.parse_retire(content), None)
        else:
            raise ProtocolError(mismatch("message of the other process", "a frame or JSON", content[:16]))
        return None

    def _frame(self, content: bytes) -> Frame:
        (entry,) = wire.parse_items(content)
        if isinstance(entry, EndOfSeries) or entry.segment not in self._maps:
            raise ProtocolError(mismatch("message of the other process", "a frame in known memory", content[:16]))
        try:
            data = np.ndarray(entry.shape, entry.dtype, buffer=self._maps[entry.segment], offset=entry.offset)
        except (TypeError, ValueError) as error:
            raise ProtocolError(f"frame {entry.unique_id}: outside its segment: {error}") from None
        return Frame(entry.series, entry.unique_id, entry.timestamp_ns, data, entry.attributes)

    def _map(self, content: bytes, descriptors: list[int]) -> None:
        number, size = wire.parse_segment(content)
        if len(descriptors) != 1:
            raise ProtocolError(mismatch(f"SEGMENT {number}", "one descriptor", len(descriptors)))
        try:
            self._maps[number] = mmap.mmap(descriptors[0], size, prot=mmap.PROT_READ)
        except (OSError, ValueError) as error:
            raise ProtocolError(f"SEGMENT {number}: {size} bytes cannot be mapped: {error}") from None
        finally:
            os.close(descriptors[0])

    def _slot(self, frame: Frame) -> Slot:
        """Return room for a frame; memory of another shape is given up as soon as none of it is in use."""
        segments = [one for one in self._segments if self._fits(one, frame)]
        slot = next((slot for one in segments if (slot := one.take())), None)
        if slot is None:
            if not self._taken:
                self._retire()
            slots = max(FIRST_SLOTS, 2 * len(self._taken))
            segment = Segment(frame.data.shape, frame.data.dtype, slots)
            self._segments.append(segment)
            self._send(wire.segment(segment.number, segment.size), segment.descriptor)
            slot = segment.take()
            assert slot is not None
        self._taken.append(slot)
        return slot

    @staticmethod
    def _fits(segment: Segment, frame: Frame) -> bool:
        if not segment.free:
            return False
        array = segment.free[0].array
        return (array.shape, array.dtype) == (frame.data.shape, frame.data.dtype)

    def _retire(self) -> None:
        for segment in self._segments:
            segment.close()
            if self._socket.fileno() >= 0:
                self._send(wire.retire(segment.number))
        self._segments.clear()

    def _send(self, content: bytes, *descriptors: int) -> None:
        try:
            if descriptors:
                socket.send_fds(self._socket, [content], descriptors)
            else:
                self._socket.send(content)
        except OSError as error:
            raise PeerGone(f"the other process is gone: {error.strerror}") from None


def _message(content: bytes) -> Mapping[str, Any]:
    try:
        message = json.loads(content[1:])
    except ValueError as error:
        raise ProtocolError(f"message of the other process: {error}") from None
    if not isinstance(message, dict):
        raise ProtocolError(mismatch("message of the other process", "a JSON object", content[:16]))
    return message
