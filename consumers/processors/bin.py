"""Processor `bin`: makes one pixel of several neighbours."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from consumers.processor import Metadata, Processor, Setting
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
        rows, columns = frame.data.shape[0] // down, frame.data.shape[1] // across
        if not (rows and columns):
            raise InputError(mismatch("bin", f"blocks of at most {frame.data.shape[:2]} (y, x)", (down, across)))
        whole = frame.data[: rows * down, : columns * across]
        blocks = whole.reshape(rows, down, columns, across, *frame.data.shape[2:])
        return replace(frame, data=_binned(blocks, str(self.settings["Method"])))


def _binned(blocks: NDArray, method: str) -> NDArray:
    wide = _sum_type(blocks.dtype)
    sums = blocks.sum(axis=1, dtype=wide).sum(axis=2, dtype=wide)  # rows first: that adds whole lines of memory
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
