"""Processor `histogram`: how many pixels of every frame have which value."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from consumers.processor import Metadata, Processor, Setting, Statistic
from ioc.core.errors import InputError, mismatch
from ioc.core.frame import Frame


class Histogram(Processor):
    """Returns one frame `[1, Bins]` uint64 a frame: pixels in equal steps from `Low` to `High`, both included.

    Pixels outside, and those that are not a number, are in no step. `Entropy` is that of areaDetector's NDPluginStats:
    `-sum(n ln n) / pixels` over all steps, where a step without pixels counts as one with 1.
    """

    declared_settings = (
        Setting("Low", 0.0, unit="counts", description="Lower end of the first step"),
        Setting("High", 255.0, unit="counts", description="Upper end of the last step"),
        Setting("Bins", 256, low=1, high=65536, description="Steps"),
    )
    declared_statistics = (
        Statistic("Below", int, unit="pixel", description="Pixels below Low"),
        Statistic("Above", int, unit="pixel", description="Pixels above High"),
        Statistic("Entropy", description="Of the histogram"),
    )

    def process(self, frame: Frame, metadata: Metadata) -> Frame:
        low, high = float(self.settings["Low"]), float(self.settings["High"])
        if low >= high:
            raise InputError(mismatch("histogram", "Low below High", (low, high)))
        data = frame.data
        counts = _counts(data, (low, high), int(self.settings["Bins"]))
        self.report(
            Below=int(np.count_nonzero(data < low)),
            Above=int(np.count_nonzero(data > high)),
            Entropy=entropy(counts, data.size),
        )
        return replace(frame, data=counts.reshape(1, -1))


def entropy(counts: NDArray, pixels: int) -> float:
    """Return the entropy of a histogram of so many pixels (ADCore, NDPluginStats.cpp, doComputeHistogramT)."""
    filled = np.maximum(counts, 1).astype(np.float64)
    return float(-(filled * np.log(filled)).sum() / max(1, pixels))


def _counts(data: NDArray, ends: tuple[float, float], bins: int) -> NDArray[np.uint64]:
    if data.dtype == np.uint8:  # 256 values are counted much faster than pixels are sorted into steps
        of_value = np.bincount(data.reshape(-1), minlength=256)
        return np.histogram(np.arange(256), bins, ends, weights=of_value)[0].astype(np.uint64)
    finite = data[np.isfinite(data)] if data.dtype.kind == "f" else data
    return np.histogram(finite, bins, ends)[0].astype(np.uint64)
