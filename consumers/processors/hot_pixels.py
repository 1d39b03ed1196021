"""Processor `hot_pixels`: replaces pixels that stand out from their neighbours (hot pixels, cosmic rays)."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from consumers.processor import Metadata, Processor, Setting, Statistic
from ioc.core.frame import Frame

NEIGHBOURS = tuple((y, x) for y in range(3) for x in range(3) if (y, x) != (1, 1))


class HotPixels(Processor):
    """Returns the frame with every pixel that is more than `Threshold` above the median of its 8 neighbours replaced.

    It gets that median. At the edge the neighbours are those of the frame mirrored about its outermost pixels. Only
    pixels that are more than `Threshold` above their lowest neighbour are looked at closely; no other can be hot.
    """

    declared_settings = (Setting("Threshold", 100.0, unit="counts", low=0, description="Above the median: hot"),)
    declared_statistics = (Statistic("HotPixels", int, unit="pixel", description="Pixels replaced"),)

    def process(self, frame: Frame, metadata: Metadata) -> Frame:
        data = frame.data
        if min(data.shape[:2]) < 2:
            return frame  # nothing to mirror: such a frame has no neighbours on both sides
        around = np.pad(data, ((1, 1), (1, 1), *((0, 0),) * (data.ndim - 2)), mode="reflect")
        threshold = float(self.settings["Threshold"])
        places = np.nonzero(_differs(data, _lowest(around, data.shape), threshold))
        medians = np.median([shifted[places] for shifted in _neighbours(around, data.shape)], axis=0)
        hot = data[places].astype(np.float64) - medians > threshold
        self.report(HotPixels=int(hot.sum()))
        if not hot.any():
            return frame
        clean = data.copy()
        clean[tuple(axis[hot] for axis in places)] = medians[hot].astype(data.dtype)
        return replace(frame, data=clean)


def _neighbours(around: NDArray, shape: tuple[int, ...]) -> Iterator[NDArray]:
    for y, x in NEIGHBOURS:
        yield around[y : y + shape[0], x : x + shape[1]]


def _lowest(around: NDArray, shape: tuple[int, ...]) -> NDArray:
    lowest: NDArray | None = None
    for shifted in _neighbours(around, shape):
        lowest = shifted.copy() if lowest is None else np.minimum(lowest, shifted, out=lowest)
    assert lowest is not None
    return lowest


def _differs(data: NDArray, lowest: NDArray, threshold: float) -> NDArray[np.bool_]:
    """Return where data - lowest > threshold, without the overflow of small integers."""
    wide = np.float64 if data.dtype.itemsize > 2 else np.int32
    return np.subtract(data, lowest, dtype=wide, casting="unsafe") > threshold
