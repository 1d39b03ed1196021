"""Pattern `counter`: the frame's number (from 1) is in its pixels, so that whoever gets a frame can tell which it is.

Every pixel is the number modulo BASE, the power of two up to which the type holds every whole number: 2^8 for UInt8,
2^7 for Int8, 2^24 for Float32, 2^53 for Float64, ... Only the first few pixels hold the digits of the number in base
BASE, lowest first, so that 64 bits are exact in every type (in unsigned types these are the 8 bytes of a
little-endian integer). The first digit is what all other pixels are, too: a frame that was torn or mixed up shows.
"""

import math

import numpy as np
from numpy.typing import NDArray

from ioc.core.errors import mismatch
from ioc.core.frame import DataType

NUMBER_BITS = 64


class Counter:
    """Makes each image anew from its number."""

    period = None
    count = None
    anew = True

    def __init__(self, shape: tuple[int, ...], data_type: DataType) -> None:
        self.shape = shape
        self.dtype = data_type.dtype
        self._bits = base_bits(self.dtype)
        self._digits = min(digits_of(self.dtype), math.prod(shape))

    def fill(self, index: int, out: NDArray) -> None:
        number = index + 1
        low = (1 << self._bits) - 1
        out.fill(number & low)
        out.flat[: self._digits] = [number >> self._bits * digit & low for digit in range(self._digits)]

    def describe(self) -> str:
        return f"generated images, pattern counter, {self.shape} {self.dtype}"

    def close(self) -> None:
        """Do nothing: the counter holds no images."""


def counter_of(data: NDArray) -> int:
    """Return the number of the frame whose pixels are `data`, of pattern `counter`; exact up to 2^64.

    Images with fewer pixels than digits give the number modulo what their digits hold.

    Raises:
        ValueError: the pixels do not agree with each other: torn, mixed up, or another pattern.
    """
    bits, digits = base_bits(data.dtype), digits_of(data.dtype)
    number = sum(int(value) << bits * place for place, value in enumerate(data.flat[:digits]))
    rest = data.reshape(-1)[digits:]
    low = number & ((1 << bits) - 1)
    if rest.size and not (rest == rest.dtype.type(low)).all():
        where = digits + int(np.argmax(rest != rest.dtype.type(low)))
        raise ValueError(mismatch(f"counter image {data.shape}, pixel {where}", str(low), data.flat[where].item()))
    return number


def base_bits(dtype: np.dtype) -> int:
    """Return the bits of BASE: of all whole numbers from 0 that the type holds without a gap."""
    if dtype.kind == "f":
        return np.finfo(dtype).nmant + 1
    return dtype.itemsize * 8 - (dtype.kind == "i")


def digits_of(dtype: np.dtype) -> int:
    """Return how many digits in base BASE a number of 64 bits has."""
    return -(-NUMBER_BITS // base_bits(dtype))
