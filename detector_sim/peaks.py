"""Pattern `peaks`: a grid of Gaussian peaks on a weak background, as areaDetector's simDetector makes them.

Every peak has a height of its own in every image.
"""

import numpy as np
from numpy.typing import NDArray

MOST_PEAKS = 8
"""Peaks along one axis."""
SMALLEST_STEP = 16
"""Pixels between peaks at least; smaller images have fewer peaks."""
SIGMA_OF_STEP = 0.12
HEIGHTS = (0.4, 0.9)
"""Lowest and highest peak."""
BACKGROUND = 0.05


class Peaks:
    """What each pixel of the peaks expects; a Gaussian is separable, so an image is a product of three matrices."""

    def __init__(self, height: int, width: int, images: int, seed: int) -> None:
        self._rows = _profiles(height)
        self._columns = _profiles(width).T.copy()
        shape = (images, self._rows.shape[1], self._columns.shape[0])
        self._heights = np.random.default_rng(seed).uniform(*HEIGHTS, shape).astype(np.float32)

    def expected(self, image: int, rows: slice) -> NDArray[np.float32]:
        values = self._rows[rows] @ self._heights[image] @ self._columns
        values += np.float32(BACKGROUND)
        return values


def _profiles(length: int) -> NDArray[np.float32]:
    """Return `[pixel, peak]`, the Gaussians along one axis of `length` pixels."""
    peaks = min(MOST_PEAKS, max(1, length // SMALLEST_STEP))
    step = length / peaks
    centres = (np.arange(peaks) + 0.5) * step - 0.5
    distance = (np.arange(length)[:, None] - centres) / (step * SIGMA_OF_STEP)
    return np.exp(-0.5 * distance**2).astype(np.float32)
