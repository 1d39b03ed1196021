"""Shared memory that frames of any size are copied into, to be given to local members.

One segment of equal slots at a time. A frame that does not fit makes a new segment of larger slots; the old one is
retired, and closed when the last frame in it is finished with. All together stay within the budget.
"""

from dataclasses import dataclass, field

import numpy as np

from ioc.channels.local_pool import ALIGNMENT, PooledFrame, Segment, Slot
from ioc.channels.local_wire import frame_place
from ioc.core.errors import UserError, mismatch
from ioc.core.frame import Frame

FEWEST_SLOTS = 2
GROWTH = 1.25
"""How much larger the slots become at least, so that sizes that creep up do not make a segment each."""


@dataclass(slots=True)
class FrameStore:
    """At most `budget` bytes of slots; more than `useful` of them would never be used."""

    budget: int
    useful: int
    _segment: Segment | None = None
    _slot_bytes: int = 0
    _retired: list[Segment] = field(default_factory=list)

    def place(self, frame: Frame) -> PooledFrame | None:
        """Return a copy of a frame in a slot that is held once; None if no memory is free just now.

        Raises:
            UserError: the budget does not hold two such frames, or the machine has not that memory.
        """
        slot = self._take(frame.data.nbytes)
        if slot is None:
            return None
        data = slot.array[0, : frame.data.nbytes].view(frame.data.dtype).reshape(frame.data.shape)
        slot.place = frame_place(slot.segment.number, slot.offset, data.shape, data.dtype)
        np.copyto(data, frame.data)  # the source may be used again as soon as the processor is done with it
        return PooledFrame(frame.series, frame.unique_id, frame.timestamp_ns, data, frame.attributes, slot)

    @property
    def size_bytes(self) -> int:
        """Return the bytes of shared memory in use."""
        return sum(segment.size for segment in self._all())

    def unused(self) -> list[Segment]:
        """Return retired segments in which no frame lies any more, each once; the caller closes them."""
        free = [segment for segment in self._retired if segment.held == 0]
        self._retired = [segment for segment in self._retired if segment.held]
        return free

    def close(self) -> None:
        """Let go of all segments."""
        for segment in self._all():
            segment.close()
        self._segment, self._retired = None, []

    def _all(self) -> list[Segment]:
        return [*self._retired, *([self._segment] if self._segment is not None else [])]

    def _take(self, size: int) -> Slot | None:
        if (self._segment is None or size > self._slot_bytes) and not self._renew(size):
            return None
        return self._segment.take() if self._segment is not None else None

    def _renew(self, size: int) -> bool:
        """Make a segment whose slots hold `size` bytes; return False if memory has to become free for it first."""
        if FEWEST_SLOTS * size > self.budget:
            raise UserError(mismatch("memory_budget", f"{FEWEST_SLOTS} frames of {size} bytes", f"{self.budget} bytes"))
        if self._segment is not None:
            self._retired.append(self._segment)
            self._segment = None
        wanted = min(max(size, round(self._slot_bytes * GROWTH), ALIGNMENT), self.budget // FEWEST_SLOTS)
        left = self.budget - sum(segment.size for segment in self._retired)
        slots = min(self.useful, left // wanted)
        if slots < FEWEST_SLOTS:
            return False
        self._segment = Segment((1, wanted), np.dtype(np.uint8), slots)
        self._slot_bytes = wanted
        return True
