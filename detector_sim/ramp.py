"""Pattern `ramp`: areaDetector's LinearRamp, first column + row, then one more in every pixel of every image.

Integer types wrap around; float types hold the sum as exactly as they can.
"""

import numpy as np
from numpy.typing import NDArray

from ioc.core.frame import DataType


class Ramp:
    """Makes each image from the first one by adding its number."""

    period = None
    count = None
    anew = True

    def __init__(self, shape: tuple[int, ...], data_type: DataType) -> None:
        self.shape = shape
        self.dtype = data_type.dtype
        row = np.arange(shape[0], dtype=np.int64).reshape(-1, *[1] * (len(shape) - 1))
        column = np.arange(shape[1], dtype=np.int64).reshape(1, -1, *[1] * (len(shape) - 2))
        self._first = np.empty(shape, self.dtype)
        np.copyto(self._first, row + column, casting="unsafe")  # wraps around in small integer types

    def fill(self, index: int, out: NDArray) -> None:
        np.add(self._first, self._step(index), out=out)

    def describe(self) -> str:
        return f"generated images, pattern ramp, {self.shape} {self.dtype}"

    def close(self) -> None:
        """Do nothing: the ramp holds one image only."""

    def _step(self, index: int) -> np.generic:
        """Return what image `index` adds to each pixel, wrapped to the type."""
        if self.dtype.kind == "f":
            return self.dtype.type(index)
        return np.uint64(index % 2**64).astype(self.dtype)
