"""The part of a sensor that is read out: a region, binned, reversed, as areaDetector's drivers do it.

Rules (ADBase): the region is in unbinned pixels and is clamped to the sensor; what is put out has `size / binning`
pixels, a rest at the end is left out; binned pixels are summed in their own type, integers wrap around; reversal
comes last.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector_sim.source import Source
from ioc.core.camera_config import ReadoutConfig
from ioc.core.dimensions import WHOLE, Dimension


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a readout, in pixels of the sensor."""

    first: int
    size: int
    binning: int
    reverse: bool

    @property
    def pixels(self) -> int:
        """Pixels that are put out."""
        return self.size // self.binning

    def whole(self, sensor: int) -> bool:
        """Return whether the axis is put out as it is."""
        return (self.first, self.size, self.binning, self.reverse) == (0, sensor, 1, False)


@dataclass(frozen=True, slots=True)
class Readout:
    """A region that fits a sensor of `sensor` (y, x) pixels."""

    sensor: tuple[int, int]
    x: Axis
    y: Axis

    @classmethod
    def of(cls, config: ReadoutConfig, sensor: tuple[int, int]) -> "Readout":
        """Return what of a configured readout a sensor of (y, x) pixels can give."""
        rows, columns = sensor
        width, height = config.size or (columns, rows)
        x = _axis(config.offset[0], width, config.binning[0], config.reverse[0], columns)
        y = _axis(config.offset[1], height, config.binning[1], config.reverse[1], rows)
        return cls(sensor, x, y)

    @property
    def whole(self) -> bool:
        """Whether the sensor is put out as it is."""
        return self.x.whole(self.sensor[1]) and self.y.whole(self.sensor[0])

    def dimensions(self, shape: tuple[int, ...]) -> tuple[Dimension, ...]:
        """Return what images of that shape show of the sensor, slowest dimension first."""
        shown = [Dimension(axis.first, axis.binning, axis.reverse) for axis in (self.y, self.x)]
        return (*shown, WHOLE)[: len(shape)]

    def apply(self, image: NDArray, out: NDArray) -> None:
        """Write what is read out of a sensor image `[y, x]` or `[y, x, 3]` into `out`."""
        region = image[self.y.first : self.y.first + self.y.size, self.x.first : self.x.first + self.x.size]
        if (self.x.binning, self.y.binning) != (1, 1):
            region = _binned(region, self.y, self.x)
        np.copyto(out, region[:: -1 if self.y.reverse else 1, :: -1 if self.x.reverse else 1])


class Region:
    """A source behind a readout; implements detector_sim.source.Source."""

    def __init__(self, source: Source, readout: Readout) -> None:
        self._source = source
        self._readout = readout
        self._image = np.empty(source.shape, source.dtype)
        self.sensor = readout.sensor
        self.shape = (readout.y.pixels, readout.x.pixels, *source.shape[2:])
        self.dtype = source.dtype
        self.period = source.period
        self.count = source.count
        self.anew = source.anew

    def fill(self, index: int, out: NDArray) -> None:
        self._source.fill(index, self._image)
        self._readout.apply(self._image, out)

    def describe(self) -> str:
        return f"{self._source.describe()}, of which {self.shape} are read out"

    def close(self) -> None:
        self._source.close()


def read_out(source: Source, config: ReadoutConfig) -> tuple[Source, Readout]:
    """Return the source behind a readout, the source itself if all of it is put out; and the readout in effect."""
    readout = Readout.of(config, (source.shape[0], source.shape[1]))
    return (source if readout.whole else Region(source, readout)), readout


def _axis(first: int, size: int, binning: int, reverse: bool, sensor: int) -> Axis:
    first = min(max(first, 0), sensor - 1)
    size = min(max(size, 1), sensor - first)
    return Axis(first, size, min(max(binning, 1), size), reverse)


def _binned(region: NDArray, y: Axis, x: Axis) -> NDArray:
    cut = region[: y.pixels * y.binning, : x.pixels * x.binning]
    blocks = cut.reshape(y.pixels, y.binning, x.pixels, x.binning, *region.shape[2:])
    return blocks.sum(axis=(1, 3), dtype=region.dtype)
