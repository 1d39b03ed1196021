"""Pixels as those of another type, as ADCore converts them (NDArrayPool.cpp), with an answer where C has none."""

import numpy as np
from numpy.typing import NDArray

from ioc.core.frame import DataType

AUTOMATIC = "Automatic"
"""The choice of DataTypeOut that keeps the type of the input."""
CHOICES = (*(member.value for member in DataType), AUTOMATIC)
"""Choices of DataTypeOut."""


def cast(data: NDArray, dtype: np.dtype) -> NDArray:
    """Return pixels as `dtype`: integers wrap around as in C, fractions are cut off.

    A real number that the type cannot hold, of which C leaves open what becomes, becomes the nearest one that it can;
    NaN becomes 0.
    """
    if data.dtype == dtype:
        return data
    if data.dtype.kind != "f" or dtype.kind == "f":
        with np.errstate(over="ignore"):  # a real number beyond float32 is infinite there
            return data.astype(dtype)
    ends = np.iinfo(dtype)
    whole = np.trunc(data.astype(np.float64))
    below, above = ~(whole > ends.min), whole >= float(ends.max)  # 2^63 - 1 and 2^64 - 1 are no real numbers
    found = np.where(below | above, 0, whole).astype(dtype)
    found[above] = ends.max
    found[below] = ends.min
    found[np.isnan(whole)] = 0
    return found


def type_out(chosen: object, data: NDArray) -> np.dtype:
    """Return the type that DataTypeOut asks for."""
    return data.dtype if chosen == AUTOMATIC else DataType(chosen).dtype
