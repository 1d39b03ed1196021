"""A source's images in shared memory: all of them beforehand if they fit, one by one otherwise."""

import logging

from detector_sim.source import Source
from ioc.channels.local_pool import Segment, Slot
from ioc.core.errors import UserError, mismatch

log = logging.getLogger(__name__)

MOST_PINNED_SHARE = 0.5
"""Part of the memory budget that images made beforehand may take."""
FEWEST_SLOTS = 8


class ImageStore:
    """Hands out slots that hold the images of one source, held once for the caller."""

    def __init__(self, source: Source, budget: int, useful: int) -> None:
        """Reserve shared memory of at most `budget` bytes and fill it if the source repeats itself.

        `useful` is how many frames can be on their way at a time: more slots would never be used.

        Raises:
            UserError: the budget does not hold a handful of images, or the machine has not that memory.
        """
        self.source = source
        image_bytes = source.dtype.itemsize
        for length in source.shape:
            image_bytes *= length
        self.image_bytes = image_bytes
        self.pinned = source.period is not None and source.period * image_bytes <= budget * MOST_PINNED_SHARE
        slots = source.period if self.pinned and source.period else min(useful, budget // max(image_bytes, 1))
        if not self.pinned and slots < FEWEST_SLOTS:
            raise UserError(
                mismatch("memory_budget", f"at least {FEWEST_SLOTS} images of {image_bytes} bytes", f"{budget} bytes")
            )
        self.segment = Segment(source.shape, source.dtype, slots)
        self._ready = self._fill() if self.pinned else []

    @property
    def size_bytes(self) -> int:
        """Return the bytes of shared memory reserved."""
        return self.segment.size

    def slot(self, index: int) -> Slot | None:
        """Return a slot with image `index` (from 0) in it; None if all memory is in use for now."""
        if self.pinned:
            slot = self._ready[index % len(self._ready)]
            slot.hold()
            return slot
        slot = self.segment.take()
        if slot is None:
            return None
        try:
            self.source.fill(index, slot.array)
        except UserError:
            slot.drop()
            raise
        return slot

    def _fill(self) -> list[Slot]:
        ready = list(self.segment.free)
        self.segment.free.clear()
        for index, slot in enumerate(ready):
            slot.pinned = True
            self.source.fill(index, slot.array)
        log.info("%d images of %d bytes lie ready: %s", len(ready), self.image_bytes, self.source.describe())
        return ready
