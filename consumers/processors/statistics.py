"""Processor `statistics`: the figures of areaDetector's NDPluginStats, of every frame.

The sums are those of float64, exact for all integers up to 16 bits. Everything comes from one pass over the pixels in
bands that stay in the cache: a band is converted to float64 and multiplied with vectors of ones (its sums along x and
y) and with itself (its sum of squares), all done by BLAS. Squares are taken of the distance to the mean of the first
row, so that a small spread on a large offset is not lost: that mean is at most sqrt(rows) sigma away from the frame's.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumers.processor import Metadata, Processor, Setting, Statistic
from ioc.core.frame import Frame

BAND_PIXELS = 1 << 16
"""float64 pixels that are worked on at a time: 512 KiB, which a core's own cache holds."""


class Statistics(Processor):
    """Returns the frame itself, without a copy of its pixels, with the figures as attributes.

    Of RGB1 frames all three colours count; positions are those of the pixel.
    """

    declared_settings = (
        Setting("CentroidThreshold", 0.0, unit="counts", description="Pixels below do not count for centroid"),
    )
    declared_statistics = (
        Statistic("MinValue", unit="counts", description="Lowest pixel"),
        Statistic("MaxValue", unit="counts", description="Highest pixel"),
        Statistic("MeanValue", unit="counts", description="Mean of the pixels"),
        Statistic("Sigma", unit="counts", description="Standard deviation of the pixels"),
        Statistic("Total", unit="counts", description="Sum of the pixels"),
        Statistic("CentroidX", unit="pixel", description="Centre of mass, column from 0"),
        Statistic("CentroidY", unit="pixel", description="Centre of mass, row from 0"),
    )

    def __init__(self) -> None:
        self._scratch = _Scratch.of((0, 0))

    def process(self, frame: Frame, metadata: Metadata) -> Frame:
        threshold = float(self.settings["CentroidThreshold"])
        with np.errstate(all="ignore"):  # infinities and NaN in a frame give NaN, as they should
            figures = self._figures(frame.data, threshold)
        self.report(**figures)
        return Frame(frame.series, frame.unique_id, frame.timestamp_ns, frame.data, {**frame.attributes, **figures})

    def _figures(self, data: NDArray, threshold: float) -> dict[str, float]:
        rows = data.reshape(data.shape[0], -1)
        if self._scratch.shape != rows.shape:
            self._scratch = _Scratch.of(rows.shape)
        scratch = self._scratch
        lowest, highest = float(data.min()), float(data.max())
        shift = 0.0 if data.dtype.itemsize <= 2 else _finite(float(rows[0].mean(dtype=np.float64)))
        squares = scratch.add_up(rows, shift)
        moved = float(scratch.of_rows.sum())  # the total of pixel - shift
        total = moved + shift * data.size
        mean = shift + moved / data.size
        variance = (squares - moved * (moved / data.size)) / data.size
        if lowest >= threshold:
            y, x = scratch.centroid(data.shape, shift)
        else:
            scratch.add_up_above(rows, threshold)
            y, x = scratch.centroid(data.shape, 0.0)
        return {
            "MinValue": lowest,
            "MaxValue": highest,
            "MeanValue": mean,
            "Sigma": 0.0 if variance < 0 else math.sqrt(variance),
            "Total": total,
            "CentroidX": x,
            "CentroidY": y,
        }


@dataclass(slots=True)
class _Scratch:
    """What is made once for all frames of one shape `[y, x]`; `of_rows` and `of_columns` are the sums last made."""

    shape: tuple[int, ...]
    band: NDArray[np.float64]
    ones: NDArray[np.float64]
    of_rows: NDArray[np.float64]
    of_columns: NDArray[np.float64]

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> "_Scratch":
        """Make the scratch of a shape."""
        height, width = shape
        band_rows = min(height, max(1, BAND_PIXELS // max(width, 1)))
        ones = np.ones(max(width, band_rows))
        return cls(shape, np.empty((band_rows, width)), ones, np.empty(height), np.empty(width))

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
