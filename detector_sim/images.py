"""A source's images in shared memory: all of them beforehand if they fit, one by one otherwise."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detector_sim.readout import Readout
from detector_sim.source import Source
from ioc.channels.local_pool import Segment, Slot
from ioc.core.camera_config import ReadoutConfig
from ioc.core.dimensions import with_dimensions
from ioc.core.errors import UserError, mismatch
from ioc.core.frame import Attribute

log = logging.getLogger(__name__)

MOST_PINNED_SHARE = 0.5
"""Part of the memory budget that images made beforehand may take."""
FEWEST_SLOTS = 8


@dataclass(frozen=True, slots=True)
class Image:
    """One image in a slot; time stamp (ns since 1970) and attributes only if the source has some of its own.

    `data` are the slot's array, or what of it is the image.
    """

    slot: Slot
    data: NDArray
    timestamp_ns: int | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


class Images(Protocol):
    """What the flow takes its images from."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the images, `(y, x)` or `(y, x, 3)`."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Return the type of the pixels."""
        ...

    @property
    def packed(self) -> tuple[str, int]:
        """Return the codec of the newest image, empty if it has pixels, and its bytes as they are sent."""
        ...

    @property
    def count(self) -> int | None:
        """Return after how many images there are no more, None: never."""
        ...

    @property
    def anew(self) -> bool:
        """Whether each acquisition begins with image 0; otherwise the images go on."""
        ...

    @property
    def readout(self) -> Readout:
        """Return what part of the sensor the images show."""
        ...

    @property
    def size_bytes(self) -> int:
        """Return the bytes of shared memory reserved."""
        ...

    @property
    def held(self) -> int:
        """Return how many frames' memory is in use."""
        ...

    @property
    def capacity(self) -> int | None:
        """Return how many frames can be on their way at a time, None: any number, because no memory is taken."""
        ...

    @property
    def short_of_memory(self) -> bool:
        """Whether `image` returned None the last time because no memory was free, not because there was no image."""
        ...

    def image(self, index: int) -> Image | None:
        """Return image `index` (from 0), its slot held once; None if there is none, or no memory for it, just now."""
        ...

    def retired(self) -> list[Segment]:
        """Return segments that will hold no further images, each once."""
        ...

    def close(self) -> list[Segment]:
        """Let go of the source; return the segments that are still there."""
        ...


class ImageStore:
    """Hands out the images of one source, their slots held once for the caller."""

    def __init__(self, source: Source, budget: int, useful: int, readout: Readout | None = None) -> None:
        """Reserve shared memory of at most `budget` bytes and fill it if the source repeats itself.

        `useful` is how many frames can be on their way at a time: more slots would never be used. `readout` is what
        the source's images show of a sensor, if that is not all of it.

        Raises:
            UserError: the budget does not hold a handful of images, or the machine has not that memory.
        """
        self.source = source
        self.readout = readout or Readout.of(ReadoutConfig(), (source.shape[0], source.shape[1]))
        self._attributes = with_dimensions({}, source.shape, self.readout.dimensions(source.shape))
        image_bytes = source.dtype.itemsize
        for length in source.shape:
            image_bytes *= length
        self.image_bytes = image_bytes
        self.pinned = source.period is not None and source.period * image_bytes <= budget * MOST_PINNED_SHARE
        slots = source.period if self.pinned and source.period else min(useful, budget // max(image_bytes, 1))
        if not self.pinned and slots < FEWEST_SLOTS:
            raise UserError(
                mismatch(
                    "memory_budget, the detector's share",
                    f"at least {FEWEST_SLOTS} images of {image_bytes} bytes",
                    f"{budget} bytes",
                    "one set of images gets half of its pool",
                )
            )
        self._slots = slots
        self.segment = Segment(source.shape, source.dtype, slots)
        self.short_of_memory = False
        self._ready = self._fill() if self.pinned else []

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the images, `(y, x)` or `(y, x, 3)`."""
        return self.source.shape

    @property
    def dtype(self) -> np.dtype:
        """Return the type of the pixels."""
        return self.source.dtype

    @property
    def packed(self) -> tuple[str, int]:
        """Return that images have pixels, and their bytes."""
        return "", self.image_bytes

    @property
    def count(self) -> int | None:
        """Return after how many images the source ends, None: never."""
        return self.source.count

    @property
    def anew(self) -> bool:
        """Whether each acquisition begins with image 0."""
        return self.source.anew

    @property
    def size_bytes(self) -> int:
        """Return the bytes of shared memory reserved."""
        return self.segment.size

    @property
    def held(self) -> int:
        """Return how many frames' memory is in use."""
        return len(self._ready) if self.pinned else self.segment.held

    @property
    def capacity(self) -> int | None:
        """Return how many frames can be on their way at a time, None: any number, they lie ready."""
        return None if self.pinned else self._slots

    def image(self, index: int) -> Image | None:
        """Return image `index` (from 0); None if all memory is in use for now.

        Raises:
            UserError: the source cannot be read any more.
        """
        if self.pinned:
            image = self._ready[index % len(self._ready)]
            image.slot.hold()
            return image
        slot = self.segment.take()
        self.short_of_memory = slot is None
        if slot is None:
            return None
        try:
            self.source.fill(index, slot.array)
        except UserError:
            slot.drop()
            raise
        return Image(slot, slot.array, None, self._attributes)

    def retired(self) -> list[Segment]:
        """Return segments that will hold no further images, each once."""
        return []

    def close(self) -> list[Segment]:
        """Let go of the source; return the segments that are still there."""
        if not self.pinned:
            self.source.close()
        return [self.segment]

    def _fill(self) -> list[Image]:
        slots = list(self.segment.free)
        self.segment.free.clear()
        for index, slot in enumerate(slots):
            slot.pinned = True
            self.source.fill(index, slot.array)
        self.source.close()  # nothing more is asked of it
        log.info("%d images of %d bytes lie ready: %s", len(slots), self.image_bytes, self.source.describe())
        return [Image(slot, slot.array, None, self._attributes) for slot in slots]
