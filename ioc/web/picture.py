"""A frame as a picture for a browser: binned to the size asked for, 8 bits a pixel, with its histogram; no I/O."""

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioc.core.frame import Frame

LARGEST = 2048
"""Columns and rows of a picture at most."""
BINS = 128
SAMPLE = 1 << 18
"""Pixels that a histogram is made of; of larger frames every n-th."""
DARKEST, BRIGHTEST = 0.5, 99.5
"""Percentiles that are shown black and white where no contrast is asked for."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How a frame is to be shown.

    `most` columns and rows; what is at `low` is black and at `high` white, in units of a pixel, None: found from the
    frame; `log`: on a logarithmic scale; `cursor` is a pixel of the frame, x and y, whose value is wanted.
    """

    most: int = 800
    low: float | None = None
    high: float | None = None
    log: bool = False
    cursor: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known of a picture, ready for JSON, and its pixels: uint8 `[y, x]` or `[y, x, 3]`, C order."""

    facts: dict[str, Any]
    pixels: bytes


def draw(frame: Frame, wish: Wish) -> Picture:
    """Return the picture of a frame."""
    data = frame.data
    height, width = data.shape[:2]
    step = max(1, -(-max(height, width, 1) // max(1, min(wish.most, LARGEST))))
    small = binned(data, step)
    low, high = contrast(small, wish)
    pixels = scaled(small, low, high, wish.log)
    facts = {
        "series": frame.series,
        "id": frame.unique_id,
        "key": f"{frame.unique_id}.{frame.timestamp_ns}",
        "time": frame.timestamp_ns / 1e9,
        "size": [width, height],
        "shown": [pixels.shape[1], pixels.shape[0]],
        "colors": 3 if data.ndim == 3 else 1,
        "step": step,
        "type": data.dtype.name,
        "contrast": [low, high],
        "histogram": histogram(data),
        "cursor": value_at(data, wish.cursor),
    }
    return Picture(facts, pixels.tobytes())


def binned(data: NDArray, step: int) -> NDArray:
    """Return the means of blocks of `step` times `step` pixels; those at the far edges may be smaller."""
    if step == 1 or not data.size:
        return data
    exact = np.float32 if data.dtype.itemsize <= 2 else np.float64
    rows, columns = (np.arange(0, size, step) for size in data.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(data, rows, axis=0, dtype=exact), columns, axis=1)
    counts = np.outer(np.diff(rows, append=data.shape[0]), np.diff(columns, append=data.shape[1])).astype(exact)
    return sums / (counts if data.ndim == 2 else counts[:, :, None])


def contrast(data: NDArray, wish: Wish) -> tuple[float, float]:
    """Return what is shown black and white: as asked for, else percentiles of the pixels."""
    low, high = wish.low, wish.high
    if low is None or high is None:
        sample = _sample(data, SAMPLE // 4)
        found = np.percentile(sample, (DARKEST, BRIGHTEST), method="nearest").tolist() if sample.size else [0.0, 1.0]
        low = float(found[0]) if low is None else low
        high = float(found[1]) if high is None else high
    if high <= low:
        high = max(low + 1.0, math.nextafter(low, math.inf))
    return (low, high) if math.isfinite(high) else (math.nextafter(low, 0.0), low)


def scaled(data: NDArray, low: float, high: float, log: bool) -> NDArray[np.uint8]:
    """Return pixels of 8 bits, 0 for `low` and less, 255 for `high` and more; what is no number is black."""
    part = np.clip(np.nan_to_num(_part(data, low, high), nan=0.0), 0.0, 1.0)
    if log:
        span = min(high - low, sys.float_info.max)
        part = np.log1p(part * span) / math.log1p(span)
    return (part * 255.0).astype(np.uint8)


def histogram(data: NDArray) -> dict[str, Any]:
    """Return how many pixels (of a sample) have which value: `counts` of equal bins from `low` to `high`."""
    sample = _sample(data, SAMPLE)
    if not sample.size:
        return {"low": 0.0, "high": 1.0, "counts": []}
    low, high = float(sample.min()), float(sample.max())
    places = np.minimum(_part(sample, low, high) * BINS, BINS - 1).astype(np.intp)
    return {"low": low, "high": high, "counts": np.bincount(places, minlength=BINS).tolist()}


def value_at(data: NDArray, cursor: tuple[int, int] | None) -> dict[str, Any] | None:
    """Return the true value of a pixel as text, three of a colour; None where there is none."""
    if cursor is None:
        return None
    x, y = cursor
    if not (0 <= y < data.shape[0] and 0 <= x < data.shape[1]):
        return None
    values = data[y, x].reshape(-1)
    return {"x": x, "y": y, "text": ", ".join(str(value) for value in values.tolist())}


def _part(data: NDArray, low: float, high: float) -> NDArray:
    """Return how far each pixel lies from `low` (0) to `high` (1); halves, because a difference may overflow."""
    exact = np.float32 if data.dtype.itemsize <= 2 else np.float64
    span = high / 2 - low / 2
    return (data.astype(exact) / 2 - exact(low / 2)) / exact(span) if span > 0 else np.zeros(data.shape, exact)


def _sample(data: NDArray, most: int) -> NDArray:
    """Return at most about `most` of the pixels that are numbers, evenly spread."""
    flat = data.reshape(-1)
    sample = flat[:: max(1, flat.size // most)]
    return sample[np.isfinite(sample)] if sample.dtype.kind == "f" else sample
