"""Pattern `rings`: powder diffraction on a flat detector, with beam centre, beamstop and a decaying background.

The intensity of the beam, and of each ring, differs from image to image.
"""

import numpy as np
from numpy.typing import NDArray

CENTRE = (0.53, 0.48)
"""Where the beam hits, as parts of height and width; off the middle, so that a flip or a swap of axes shows."""
BEAMSTOP = 0.06
"""Radius of the beamstop, as part of the shorter side."""
RINGS = np.sqrt(np.array([3.0, 4.0, 8.0, 11.0, 12.0, 16.0, 19.0, 20.0, 24.0]) / 24.0) * 0.62
"""Radii, as parts of the shorter side: the allowed h²+k²+l² of a face-centred cubic powder, at small angles."""
STRENGTHS = np.array([1.0, 0.6, 0.45, 0.5, 0.2, 0.12, 0.2, 0.18, 0.15])
RING_WIDTH = 0.006
"""Sigma of a ring, as part of the shorter side."""
BACKGROUND = 0.12
BACKGROUND_DECAY = 0.35
VARIATION = 0.15
"""Spread of the intensities from image to image."""
STEPS = 16
"""Table entries per pixel of radius."""


class Rings:
    """What each pixel of the rings expects, looked up in a table over the radius."""

    def __init__(self, height: int, width: int, images: int, seed: int) -> None:
        side = min(height, width)
        self._y = np.arange(height, dtype=np.float32)[:, None] - np.float32(CENTRE[0] * height)
        self._x = np.arange(width, dtype=np.float32)[None, :] - np.float32(CENTRE[1] * width)
        longest = int(np.hypot(np.abs(self._y).max(), np.abs(self._x).max())) + 2
        radius = np.arange(longest * STEPS) / (STEPS * side)
        random = np.random.default_rng(seed)
        self._tables = np.stack([_table(radius, random) for _ in range(images)])

    def expected(self, image: int, rows: slice) -> NDArray[np.float32]:
        radius = np.hypot(self._y[rows], self._x)
        radius *= STEPS
        return self._tables[image].take(radius.astype(np.int32))


def _table(radius: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float32]:
    """Return the expected values over `radius`, in parts of the shorter side."""
    strengths = STRENGTHS * random.uniform(1 - VARIATION, 1, STRENGTHS.size)
    rings = np.exp(-0.5 * ((radius[:, None] - RINGS) / RING_WIDTH) ** 2) @ strengths
    values = rings * (1 - BACKGROUND) + BACKGROUND * np.exp(-radius / BACKGROUND_DECAY)
    values *= random.uniform(1 - VARIATION, 1)
    values[radius < BEAMSTOP] = 0.0
    return np.clip(values, 0.0, 1.0).astype(np.float32)
