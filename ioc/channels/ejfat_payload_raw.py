"""Raw payloads: the pixels of a frame and nothing else, as senders without a format of their own send them.

What a frame is besides is made up: series and id by data id and event number, as of PvaPy's frames; its time stamp is
when it was read. There are no end markers, checksums and offers to send again.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ioc.channels.ejfat_payload import EventId, Given, Piece, numbered
from ioc.channels.ejfat_pool import BufferPool
from ioc.channels.ejfat_reassembly import Event
from ioc.core import codec
from ioc.core.clock import Clock
from ioc.core.errors import ProtocolError, mismatch
from ioc.core.frame import DataType, EndOfSeries, Frame, Item


class RawWriter:
    """Writes the pixels of frames, C order, little-endian; implements ejfat_payload.PayloadWriter."""

    def write(self, item: Item, event: EventId, resend: str | None) -> Sequence[Piece]:
        if isinstance(item, EndOfSeries):
            return ()
        codec.frame_fields(item)  # raises what does not fit
        if not item.data.size:
            raise ValueError(mismatch("raw payload", "a frame with pixels", item.data.shape))
        return (codec.bytes_of(item.data),)


class RawReader:
    """Reads events as frames of `shape`, [y, x], or of one row if that is None; implements PayloadReader."""

    def __init__(self, data_type: DataType, shape: tuple[int, int] | None, clock: Clock) -> None:
        self._dtype = data_type.dtype.newbyteorder("<")
        self._shape = shape
        self._clock = clock

    def read(self, event: Event, pool: BufferPool) -> Given:
        size, item = len(event.payload), self._dtype.itemsize
        rows, columns = self._shape or (1, size // item)
        if not size or size != rows * columns * item:
            expected = f"{rows} x {columns} pixels of {item} bytes" if self._shape else f"pixels of {item} bytes"
            todo = "see raw_shape and raw_type of the ingress"
            raise ProtocolError(mismatch("raw payload", expected, f"{size} bytes", todo))
        data: NDArray = np.frombuffer(event.payload.data, self._dtype).reshape(rows, columns)
        data.flags.writeable = False
        series, unique_id = numbered(event)
        attributes = {"DataId": event.data_id, "EventNumber": event.number}
        return Given(Frame(series, unique_id, self._clock.wall_ns(), data, attributes), event.payload)

    def is_dealt(self, series: int) -> bool:
        return True  # ids are event numbers, whose gaps are accounted for as such
