"""Generated images: peaks and rings made beforehand and shown in turn, a ramp and a counter made one by one.

The beforehand ones are photon counts: a pattern says what each pixel expects (1.0 is the brightest), this module
scales it to the data type, adds counting noise and rounds. The noise is normal with the variance of Poisson's law; it
is drawn once and read from random starts, as areaDetector's simDetector does with its background.
"""

import math
import os
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detector_sim.counter import Counter
from detector_sim.peaks import Peaks
from detector_sim.ramp import Ramp
from detector_sim.rings import Rings
from detector_sim.simulation import MODES, open_simulated
from detector_sim.source import Source
from ioc.core.config_detector import DetectorConfig
from ioc.core.errors import ConfigError, RayfanBug, mismatch
from ioc.core.frame import DataType

SEED = 20_240_229
"""The same configuration always makes the same images."""

FULL_SCALE = {
    DataType.INT8: 90.0,
    DataType.UINT8: 200.0,
    DataType.INT16: 25_000.0,
    DataType.UINT16: 50_000.0,
    DataType.FLOAT32: 1_000.0,
    DataType.FLOAT64: 1_000.0,
}
"""Counts in the brightest pixel: a few sigma below what small types hold, and what detectors count in wide ones."""
WIDE_FULL_SCALE = 1_000_000.0
"""Counts in the brightest pixel of 32-bit and 64-bit integers."""

RGB_GAINS = (1.0, 0.7, 0.4)
"""Red, green, blue; unlike each other, so that a swap shows."""

BAND_PIXELS = 1 << 17
"""Pixels made at a time: their float32 scratch arrays stay in a core's cache. At least the longest row."""
NOISE_SAMPLES = 1 << 20
"""Normal numbers drawn; several bands long, so that the bands of an image differ."""
MOST_MEMORY_SHARE = 0.5
"""Part of the machine's memory that images made beforehand may take."""


class Pattern(Protocol):
    """What the pixels of an image expect."""

    def expected(self, image: int, rows: slice) -> NDArray[np.float32]:
        """Return a new array `[y, x]` of values in 0 to 1 for some rows of image `image` (from 0)."""
        ...


def open_generated(config: DetectorConfig) -> Source:
    """Return the source of the pattern that the configuration names.

    Raises:
        ConfigError: the images made beforehand do not fit into memory.
    """
    width, height = config.size
    shape = (height, width) if config.color_mode == "Mono" else (height, width, len(RGB_GAINS))
    pattern, prepared = config.source.pattern, config.source.prepared
    if pattern == "counter":
        return Counter(shape, config.data_type)
    if pattern == "ramp":
        return Ramp(shape, config.data_type)
    if pattern in MODES:
        return open_simulated(config)
    check_memory(prepared, math.prod(shape) * config.data_type.dtype.itemsize)
    if pattern == "peaks":
        return Prepared(Peaks(height, width, prepared, SEED), "peaks", prepared, shape, config.data_type)
    if pattern == "rings":
        return Prepared(Rings(height, width, prepared, SEED), "rings", prepared, shape, config.data_type)
    raise RayfanBug(mismatch("open_generated", "a pattern of the configuration", pattern))


def check_memory(prepared: int, image_bytes: int) -> None:
    """Refuse images that would take more than their share of this machine's memory.

    Raises:
        ConfigError: names the key and how many images would fit.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    most = int(memory * MOST_MEMORY_SHARE) // image_bytes
    if prepared > most:
        raise ConfigError(
            mismatch(
                "detector.source.prepared",
                f"at most {most} images of {image_bytes} bytes on this machine",
                prepared,
                "make fewer or smaller ones, or use pattern 'ramp' or 'counter'",
            )
        )


class Prepared:
    """Images of a pattern, made beforehand and shown in turn."""

    count = None
    anew = False

    def __init__(self, pattern: Pattern, name: str, period: int, shape: tuple[int, ...], data_type: DataType) -> None:
        self.shape = shape
        self.dtype = data_type.dtype
        self.period = period
        self._name = name
        self._images: NDArray | None = np.empty((period, *shape), self.dtype)
        painter = _Painter(pattern, data_type)
        for image in range(period):
            painter.paint(image, self._images[image])

    def fill(self, index: int, out: NDArray) -> None:
        if self._images is None:
            raise RayfanBug(f"{self.describe()}: asked for image {index} after it was closed")
        np.copyto(out, self._images[index % self.period])

    def describe(self) -> str:
        return f"{self.period} generated images, pattern {self._name}, {self.shape} {self.dtype}"

    def close(self) -> None:
        self._images = None


class _Painter:
    """Turns expected values into noisy counts of one data type."""

    def __init__(self, pattern: Pattern, data_type: DataType) -> None:
        self._pattern = pattern
        self._full_scale = np.float32(FULL_SCALE.get(data_type, WIDE_FULL_SCALE))
        self._lowest, self._highest = _limits(data_type.dtype)
        self._random = np.random.default_rng(SEED)
        self._noise = self._random.standard_normal(NOISE_SAMPLES, np.float32)

    def paint(self, image: int, out: NDArray) -> None:
        """Write image `image` into `out`, `[y, x]` or `[y, x, 3]`, a band of rows at a time."""
        height, width = out.shape[:2]
        rows = max(1, BAND_PIXELS // width)
        for first in range(0, height, rows):
            band = slice(first, min(first + rows, height))
            counts = self._pattern.expected(image, band)
            counts *= self._full_scale
            self._add_noise(counts)
            if out.ndim == 2:
                self._round(counts, out[band])
            else:
                for colour, gain in enumerate(RGB_GAINS):
                    self._round(counts * np.float32(gain), out[band, :, colour])

    def _add_noise(self, counts: NDArray[np.float32]) -> None:
        start = int(self._random.integers(0, NOISE_SAMPLES - counts.size))
        noise = self._noise[start : start + counts.size]
        sigma = np.sqrt(counts)
        sigma *= noise.reshape(counts.shape)
        counts += sigma

    def _round(self, counts: NDArray[np.float32], out: NDArray) -> None:
        np.clip(counts, self._lowest, self._highest, out=counts)
        if out.dtype.kind != "f":
            np.rint(counts, out=counts)
        np.copyto(out, counts, casting="unsafe")


def _limits(dtype: np.dtype) -> tuple[float, float]:
    """Return what counts of a type may be: none is negative, and small integers end early."""
    if dtype.kind == "f" or dtype.itemsize >= 4:
        return 0.0, math.inf  # counts end far below what these types hold
    return 0.0, float(np.iinfo(dtype).max)
