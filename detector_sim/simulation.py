"""The images of areaDetector's simDetector: LinearRamp, Peaks, Sine and Offset&Noise, with its parameters.

Every mode adds the background: `offset`, and random parts of `noise` that are drawn once and read from a random start
in each image. Numbers are made in float64; integers take them as C does on the common machines: towards zero, wrapped
around. Parameters: areaDetector, ADSimDetector documentation.
"""

import math

import numpy as np
from numpy.typing import NDArray

from detector_sim.source import Source
from ioc.core.camera_config import SineConfig
from ioc.core.config_detector import DetectorConfig
from ioc.core.errors import RayfanBug, mismatch

SEED = 20_080_320
"""The same parameters always make the same images."""
REACH = 4
"""Sigmas from its centre up to which a peak is drawn."""


class Simulated:
    """One mode of simDetector; subclasses say what an image is without its background."""

    period = None
    count = None
    anew = False

    def __init__(self, config: DetectorConfig) -> None:
        width, height = config.size
        self.simulation = config.simulation
        self.shape = (height, width) if config.color_mode == "Mono" else (height, width, 3)
        self.dtype = config.data_type.dtype
        self._name = config.source.pattern
        self._random = np.random.default_rng(SEED)
        self._background = self._make_background()

    def fill(self, index: int, out: NDArray) -> None:
        self.draw(index, out)
        if self._background is None:
            return
        start = int(self._random.integers(self._background.size))
        pixels, turned = out.reshape(-1), self._background.size - start
        pixels[:turned] += self._background[start:]
        pixels[turned:] += self._background[:start]

    def draw(self, index: int, out: NDArray) -> None:
        """Write image `index` without its background."""
        raise NotImplementedError

    def describe(self) -> str:
        return f"simulated images, pattern {self._name}, {self.shape} {self.dtype}"

    def close(self) -> None:
        self._background = None

    @property
    def colours(self) -> NDArray[np.float64]:
        """What each colour is multiplied with; a single 1 for Mono."""
        return np.array(self.simulation.gain_rgb if len(self.shape) == 3 else (1.0,))

    def _make_background(self) -> NDArray | None:
        offset, noise = self.simulation.offset, self.simulation.noise
        if offset == noise == 0:
            return None
        values = offset + noise * self._random.random(math.prod(self.shape)) if noise else np.array([offset])
        return np.broadcast_to(wrapped(values, self.dtype), math.prod(self.shape))


class LinearRamp(Simulated):
    """First gain * (gain_x * column + gain_y * row), then `gain` more in every pixel of every image."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__(config)
        gain_x, gain_y = self.simulation.gain_xy
        slope = gain_y * np.arange(self.shape[0])[:, None] + gain_x * np.arange(self.shape[1])
        self._steps = wrapped(self.simulation.gain * self.colours, self.dtype)
        first = slope[..., None] * (self.simulation.gain * self.colours)
        self._first = wrapped(first, self.dtype).reshape(self.shape)

    def draw(self, index: int, out: NDArray) -> None:
        if self.dtype.kind == "f":
            steps = self._steps * self.dtype.type(index)
        else:
            steps = self._steps * np.uint64(index % 2**64).astype(self.dtype)  # wraps around like so many additions
        np.add(self._first, steps, out=out)


class GaussianPeaks(Simulated):
    """A grid of Gaussian peaks, each up to `peak_variation` percent higher in every image."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__(config)
        one = self.simulation
        self._rows = _peaks(self.shape[0], one.peak_start[1], one.peak_step[1], one.peak_number[1], one.peak_width[1])
        self._columns = _peaks(
            self.shape[1], one.peak_start[0], one.peak_step[0], one.peak_number[0], one.peak_width[0]
        )

    def draw(self, index: int, out: NDArray) -> None:
        one = self.simulation
        heights = np.full((self._rows.shape[1], self._columns.shape[1]), one.gain * one.gain_xy[0] * one.gain_xy[1])
        if one.peak_variation:
            heights *= 1 + self._random.integers(1, one.peak_variation + 1, heights.shape) / 100
        image = self._rows @ heights @ self._columns.T
        np.copyto(out, wrapped(image[..., None] * self.colours, self.dtype).reshape(self.shape))


class Sine(Simulated):
    """Two waves along x and two along y, put together and added up; they go on from image to image."""

    def draw(self, index: int, out: NDArray) -> None:
        one = self.simulation
        x_1, x_2 = (_wave(index, self.shape[1], one.gain_xy[0], wave) for wave in one.x_sines)
        y_1, y_2 = (_wave(index, self.shape[0], one.gain_xy[1], wave)[:, None] for wave in one.y_sines)
        if len(self.shape) == 3:  # red shows the first waves along x, green those along y, blue the second ones
            planes = (x_1 + 0 * y_1, y_1 + 0 * x_1, (x_2 + y_2) / 2)
            image = np.stack(planes, axis=-1) * self.colours
        else:
            x = x_1 + x_2 if one.x_operation == "Add" else x_1 * x_2
            y = y_1 + y_2 if one.y_operation == "Add" else y_1 * y_2
            image = x + y
        np.copyto(out, wrapped(one.gain * image, self.dtype))


class OffsetNoise(Simulated):
    """The background alone."""

    def draw(self, index: int, out: NDArray) -> None:
        out[...] = 0


MODES: dict[str, type[Simulated]] = {
    "sim_ramp": LinearRamp,
    "sim_peaks": GaussianPeaks,
    "sim_sine": Sine,
    "sim_noise": OffsetNoise,
}


def open_simulated(config: DetectorConfig) -> Source:
    """Return the source of one of simDetector's modes."""
    try:
        return MODES[config.source.pattern](config)
    except KeyError:
        raise RayfanBug(mismatch("open_simulated", ", ".join(MODES), config.source.pattern)) from None


def wrapped(values: NDArray[np.float64], dtype: np.dtype) -> NDArray:
    """Return numbers in a data type: integers are cut towards zero and wrap around, whatever the size of the number."""
    if dtype.kind == "f":
        return values.astype(dtype)
    cut = np.trunc(values)
    cut -= np.floor((cut + 2.0**63) / 2.0**64) * 2.0**64  # congruent, and within 64 bits with a sign
    return cut.astype(np.int64).astype(dtype)


def _peaks(length: int, start: int, step: int, number: int, sigma: int) -> NDArray[np.float64]:
    """Return `[pixel, peak]`, the Gaussians along one axis of `length` pixels, cut off at `REACH` sigmas."""
    distance = (np.arange(length)[:, None] - (start + step * np.arange(number))) / sigma
    return np.where(np.abs(distance) <= REACH, np.exp(-0.5 * distance**2), 0.0)


def _wave(index: int, length: int, gain: float, wave: SineConfig) -> NDArray[np.float64]:
    """Return a wave along `length` pixels; its argument counts pixels on from image to image."""
    cycles = (index * length + np.arange(length)) * gain / length * wave.frequency + wave.phase / 360
    return wave.amplitude * np.sin(2 * np.pi * cycles)
