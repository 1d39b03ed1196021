"""Processor `bin`: makes one pixel of several neighbours."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from consumers.processor import Metadata, Processor, Setting
from ioc.core.dimensions import dimensions_of, with_dimensions
from ioc.core.errors import InputError, mismatch
from ioc.core.frame import Frame


class Bin(Processor):
    """Returns the sums or means of blocks of BinY rows and BinX columns; a rest at the right or lower edge is left out.

    A sum of integers is at least 32 bits wide (64 for 32-bit pixels), so that nothing overflows; a mean is float32,
    of 32-bit and larger pixels float64.
    """

    declared_settings = (
        Setting("BinX", 2, unit="pixel", low=1, high=4096, description="Columns that become one"),
        Setting("BinY", 2, unit="pixel", low=1, high=4096, description="Rows that become one"),
        Setting("Method", "sum", choices=("sum", "mean"), description="What becomes of a block"),
    )

    def process(self, frame: Frame, metadata: Metadata) -> Frame:
        across, down = int(self.settings["BinX"]), int(self.settings["BinY"])
        if down > frame.data.shape[0] or across > frame.data.shape[1]:
            raise InputError(mismatch("bin", f"blocks of at most {frame.data.shape[:2]} (y, x)", (down, across)))
        y, x, *colour = dimensions_of(frame.attributes, frame.data.shape)
        shown = (y.part(0, down, False), x.part(0, across, False), *colour)
        data = _binned(blocks_of(frame.data, across, down), str(self.settings["Method"]))
        return replace(frame, data=data, attributes=with_dimensions(frame.attributes, data.shape, shown))


def blocks_of(data: NDArray, across: int, down: int) -> NDArray:
    """Return a view `[y, down, x, across]`, with colours behind, of the whole blocks of an image."""
    rows, columns = data.shape[0] // down, data.shape[1] // across
    return data[: rows * down, : columns * across].reshape(rows, down, columns, across, *data.shape[2:])


def sums_of(blocks: NDArray) -> NDArray:
    """Return the sum of each block `[y, down, x, across]`, in a type that holds it."""
    wide = _sum_type(blocks.dtype)
    return blocks.sum(axis=1, dtype=wide).sum(axis=2, dtype=wide)  # rows first: that adds whole lines of memory


def _binned(blocks: NDArray, method: str) -> NDArray:
    sums = sums_of(blocks)
    if method == "sum":
        return sums
    kind = np.float32 if blocks.dtype.itemsize <= 2 else np.float64
    return (sums / (blocks.shape[1] * blocks.shape[3])).astype(kind)


def _sum_type(dtype: np.dtype) -> np.dtype:
    """Return the type that a block of at most 4096 x 4096 pixels of `dtype` fits into (8 bits: exactly 32)."""
    if dtype.kind == "f":
        return np.dtype(np.float64)
    size = 8 if dtype.itemsize >= 2 else 4
    return np.dtype(f"{dtype.kind}{size}")
