"""The histogram of areaDetector's NDPluginStats: its steps lie around their values."""

import numpy as np
from numpy.typing import NDArray

from consumers.processors.histogram import entropy


def histogram(data: NDArray, ends: tuple[float, float], steps: int) -> tuple[NDArray, dict[str, float]]:
    """Return the pixels in each of `steps` steps between the ends, both included, and the figures of the records.

    The first step lies around the lower end, the last one around the upper end. Pixels that are not a number are in
    none. Ends in the wrong order are made one apart. Source: ADCore, NDPluginStats.cpp, doComputeHistogramT.
    """
    low, high = ends[0], ends[1] if ends[1] > ends[0] else ends[0] + 1
    values, weights = _values(data)
    below, above = values < low, values > high
    inside = ~(below | above | np.isnan(values))
    at = ((values[inside] - low) * ((steps - 1) / (high - low)) + 0.5).astype(np.int64)
    counts = np.bincount(at, None if weights is None else weights[inside], steps)[:steps].astype(np.float64)
    many = np.ones(()) if weights is None else weights
    return counts, {
        "HistBelow": int((below * many).sum()),
        "HistAbove": int((above * many).sum()),
        "HistEntropy": entropy(counts, data.size),
    }


def _values(data: NDArray) -> tuple[NDArray[np.float64], NDArray | None]:
    """Return the pixels; of bytes, each value that there may be, and how often it is: that is much faster."""
    if data.dtype == np.uint8:
        return np.arange(256.0), np.bincount(data.reshape(-1), minlength=256)
    return data.reshape(-1).astype(np.float64), None
