"""Images of another detector, as they come: a receiver's frames copied into shared memory.

The foreign detector's own id stays with each frame as the attribute `SourceUniqueId`, its series as `SourceSeries` (0:
it tells none); in Rayfan the ids count from 1 by 1 in every series, so what is lost on the way here is known apart from
what is lost behind.
"""

import logging
import math

import numpy as np

from detector_sim.images import FEWEST_SLOTS, Image
from detector_sim.readout import Readout
from ioc.channels.base import Receiver
from ioc.channels.local_pool import Segment
from ioc.core.camera_config import ReadoutConfig
from ioc.core.compressed import Codec, codec_of
from ioc.core.errors import PeerError, UserError, mismatch
from ioc.core.frame import Attribute, Frame

log = logging.getLogger(__name__)

CODEC_HEAD = 4096
"""Bytes that any codec may put around the pixels."""


class LiveImages:
    """The frames of a receiver; implements detector_sim.images.Images. Shape and type may change at any frame."""

    count: int | None = None
    anew = False

    def __init__(self, receiver: Receiver, budget: int, useful: int) -> None:
        self._receiver = receiver
        self._budget = budget
        self._useful = useful
        self.short_of_memory = False
        self._held: Frame | None = None
        self._retired: list[Segment] = []
        self._earlier: list[Segment] = []
        self._segment: Segment | None = None
        self._slots: int | None = None
        self._shape: tuple[int, ...] = (1, 1)
        self._dtype = np.dtype(np.uint8)
        self._slot_shape: tuple[int, ...] = ()
        self._slots_for_packed = False
        self._packed = ("", 0)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the newest frame; (1, 1) before the first."""
        return self._shape

    @property
    def dtype(self) -> np.dtype:
        """Return the type of the newest frame."""
        return self._dtype

    @property
    def packed(self) -> tuple[str, int]:
        """Return the codec of the newest frame, empty if it has pixels, and its bytes as they came."""
        return self._packed

    @property
    def readout(self) -> Readout:
        """Return the whole of the newest frame: what the foreign sensor is, only its own records know."""
        return Readout.of(ReadoutConfig(), (self._shape[0], self._shape[1]))

    @property
    def size_bytes(self) -> int:
        """Return the bytes of shared memory reserved."""
        return self._segment.size if self._segment is not None else 0

    @property
    def held(self) -> int:
        """Return how many frames' memory is in use."""
        return self._segment.held if self._segment is not None else 0

    @property
    def capacity(self) -> int | None:
        """Return how many frames of the present size can be on their way at a time; None before the first."""
        return self._slots

    def image(self, index: int) -> Image | None:
        """Return the next frame that came, None if none did or no memory is free; `index` means nothing here.

        Raises:
            UserError: the channel is over, or its frames are too large for the memory budget.
        """
        frame = self._held or self._next()
        self.short_of_memory = False
        if frame is None:
            return None
        segment = self._fitting(frame)
        slot = segment.take() if segment is not None else None
        if slot is None:
            self._held = frame
            self.short_of_memory = True
            return None
        self._held = None
        data = slot.array if slot.array.shape == frame.data.shape else slot.array[:, : frame.data.shape[1]]
        np.copyto(data, frame.data)  # out of the network library's memory, once, for all members
        source: dict[str, Attribute] = {"SourceSeries": frame.series, "SourceUniqueId": frame.unique_id}
        attributes: dict[str, Attribute] = {**frame.attributes, **source}
        return Image(slot, data, frame.timestamp_ns, attributes)

    def retired(self) -> list[Segment]:
        """Return segments of earlier shapes, each once."""
        retired, self._retired = self._retired, []
        return retired

    def close(self) -> list[Segment]:
        """Stop receiving; return the segments that are still there."""
        self._receiver.close(drain=False)
        last = [self._segment] if self._segment is not None else []
        self._segment = None
        return [*self.retired(), *last]

    def _next(self) -> Frame | None:
        try:
            items = self._receiver.receive(1, 0.0)
        except PeerError as error:
            raise UserError(str(error)) from None
        self._receiver.release(len(items))
        return next((item for item in items if isinstance(item, Frame)), None)

    def _fitting(self, frame: Frame) -> Segment | None:
        """Return the segment for a frame; None while two earlier ones still hold frames that are on their way."""
        codec = codec_of(frame)
        data = frame.data
        shape, dtype = (data.shape, data.dtype) if codec is None else ((1, room_of(codec, data.nbytes)), np.dtype("u1"))
        pixels = (data.shape, data.dtype) if codec is None else (codec.shape, codec.data_type.dtype)
        self._packed = ("" if codec is None else codec.name, data.nbytes)
        if self._segment is not None and pixels == (self._shape, self._dtype) and self._holds(shape, codec is not None):
            return self._segment
        needed_bytes = math.prod(shape) * dtype.itemsize
        slots = min(self._useful, self._budget // max(needed_bytes, 1))
        if slots < FEWEST_SLOTS:
            needed = f"at least {FEWEST_SLOTS} images of {needed_bytes} bytes"
            raise UserError(mismatch("memory_budget", needed, f"{self._budget} bytes"))
        self._earlier = [segment for segment in self._earlier if segment.held]
        if self._segment is not None and self._earlier and self._segment.held:
            return None
        if self._segment is not None:
            self._retired.append(self._segment)
            self._earlier.append(self._segment)
        self._segment = Segment(shape, dtype, slots)
        self._slots, self._slot_shape, self._slots_for_packed = slots, shape, codec is not None
        self._shape, self._dtype = pixels
        log.info("frames are %s %s%s from now on", *pixels, f", {codec.name}" if codec is not None else "")
        return self._segment

    def _holds(self, shape: tuple[int, ...], packed: bool) -> bool:
        """Return whether a slot is of that shape, or has room enough for compressed bytes."""
        if not packed or not self._slots_for_packed:
            return (shape, packed) == (self._slot_shape, self._slots_for_packed)
        return shape[1] <= self._slot_shape[1]


def room_of(codec: Codec, size: int) -> int:
    """Return the bytes of a slot for compressed images: those of the pixels and what a codec may add, `size` at least.

    LZ4 adds one byte in 255, bitshuffle four to each block of 8192 besides.
    """
    return max(codec.nbytes + codec.nbytes // 200 + CODEC_HEAD, size)
