"""Sums over the pixels of a frame, along x and along y, in one pass.

The sums are those of float64, exact for all integers up to 16 bits. The pixels are taken in bands that stay in the
cache: a band is converted to float64 and multiplied with vectors of ones (its sums along x and y) and with itself (its
sum of squares), all done by BLAS. Squares are taken of the distance to the mean of the first row, so that a small
spread on a large offset is not lost: that mean is at most sqrt(rows) sigma away from the frame's.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BAND_PIXELS = 1 << 16
"""float64 pixels that are worked on at a time: 512 KiB, which a core's own cache holds."""


@dataclass(frozen=True, slots=True)
class Level:
    """Sum, mean and standard deviation of the pixels; `shift` was taken off before they were added up."""

    total: float
    mean: float
    sigma: float
    shift: float


@dataclass(slots=True)
class Sums:
    """What is made once for all frames of one shape `[y, x]`; `of_rows` and `of_columns` are the sums last made."""

    shape: tuple[int, ...]
    band: NDArray[np.float64]
    ones: NDArray[np.float64]
    of_rows: NDArray[np.float64]
    of_columns: NDArray[np.float64]

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> "Sums":
        """Make the scratch of a shape."""
        height, width = shape
        band_rows = min(height, max(1, BAND_PIXELS // max(width, 1)))
        ones = np.ones(max(width, band_rows))
        return cls(shape, np.empty((band_rows, width)), ones, np.empty(height), np.empty(width))

    def level(self, rows: NDArray) -> Level:
        """Add up the pixels `[y, x]` along both axes; return their level."""
        shift = 0.0 if rows.dtype.itemsize <= 2 else _finite(float(rows[0].mean(dtype=np.float64)))
        squares = self.add_up(rows, shift)
        moved = float(self.of_rows.sum())  # the total of pixel - shift
        variance = (squares - moved * (moved / rows.size)) / rows.size
        sigma = 0.0 if variance < 0 else math.sqrt(variance)
        return Level(moved + shift * rows.size, shift + moved / rows.size, sigma, shift)

    def add_up(self, rows: NDArray, shift: float) -> float:
        """Sum pixel - shift along both axes; return the sum of its squares."""
        self.of_columns.fill(0.0)
        squares = 0.0
        for first in range(0, rows.shape[0], self.band.shape[0]):
            band = self._load(rows, first)
            if shift:
                band -= shift
            self._sum(band, first)
            flat = band.reshape(-1)
            squares += float(np.dot(flat, flat))
        return squares

    def add_up_above(self, rows: NDArray, threshold: float) -> None:
        """Sum the pixels that are not below the threshold along both axes."""
        self.of_columns.fill(0.0)
        for first in range(0, rows.shape[0], self.band.shape[0]):
            band = self._load(rows, first)
            band *= band >= threshold
            self._sum(band, first)

    def add_up_mixed(self, rows: NDArray, threshold: float) -> float:
        """Do as `add_up_above`; return the sum of pixel * x * y besides."""
        self.of_columns.fill(0.0)
        across, mixed = np.arange(rows.shape[1], dtype=np.float64), 0.0
        for first in range(0, rows.shape[0], self.band.shape[0]):
            band = self._load(rows, first)
            band *= band >= threshold
            self._sum(band, first)
            mixed += float(np.arange(first, first + band.shape[0]) @ (band @ across))
        return mixed

    def centroid(self, shape: tuple[int, ...], shift: float) -> tuple[float, float]:
        """Return the centre of mass (y, x) of the sums with `shift` put back; NaN if all pixels are 0."""
        of_y = self.of_rows + shift * self.shape[1]
        of_x = (self.of_columns + shift * self.shape[0]).reshape(shape[1], -1).sum(axis=1)
        total = float(of_y.sum())
        if total == 0:
            return math.nan, math.nan
        return float(of_y @ np.arange(shape[0])) / total, float(of_x @ np.arange(shape[1])) / total

    def _load(self, rows: NDArray, first: int) -> NDArray[np.float64]:
        """Return a band of rows as float64: the one copy of the pixels that there is."""
        band = self.band[: min(self.band.shape[0], rows.shape[0] - first)]
        np.copyto(band, rows[first : first + band.shape[0]])
        return band

    def _sum(self, band: NDArray[np.float64], first: int) -> None:
        height, width = band.shape
        np.dot(band, self.ones[:width], out=self.of_rows[first : first + height])
        self.of_columns += np.dot(self.ones[:height], band)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0
