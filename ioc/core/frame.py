"""A frame (one NDArray) and the end marker of a series: the two things that travel through a channel."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum

import numpy as np
from numpy.typing import NDArray

Attribute = bool | int | float | str


class DataType(Enum):
    """areaDetector's data types; the value is the name that its records show."""

    INT8 = "Int8"
    UINT8 = "UInt8"
    INT16 = "Int16"
    UINT16 = "UInt16"
    INT32 = "Int32"
    UINT32 = "UInt32"
    INT64 = "Int64"
    UINT64 = "UInt64"
    FLOAT32 = "Float32"
    FLOAT64 = "Float64"

    @property
    def dtype(self) -> np.dtype:
        """The NumPy type, native byte order."""
        return np.dtype(self.value.lower())

    @classmethod
    def of(cls, dtype: np.dtype) -> "DataType":
        """Return the data type of a NumPy type.

        Raises:
            ValueError: areaDetector has no such type (bool, complex, float16, strings).
        """
        try:
            return _BY_NAME[dtype.name]
        except KeyError:
            raise ValueError(f"no areaDetector data type for {dtype}, expected one of {', '.join(_BY_NAME)}") from None


_BY_NAME = {member.value.lower(): member for member in DataType}


class ColorMode(IntEnum):
    """areaDetector's colour modes that Rayfan makes; the numbers are those of the ColorMode attribute."""

    MONO = 0
    RGB1 = 2


@dataclass(slots=True)
class Frame:
    """One image with its identity.

    `data` is `[y, x]`, or `[y, x, 3]` for RGB1, C order, and is not to be written to: it may lie in shared
    memory. `series` and `unique_id` (from 1, +1 per frame) are the identity everywhere, on every wire and in every
    file. `timestamp_ns` counts nanoseconds since 1970 UTC.
    """

    series: int
    unique_id: int
    timestamp_ns: int
    data: NDArray
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    @property
    def color_mode(self) -> ColorMode:
        """Mono for `[y, x]`, RGB1 for `[y, x, 3]`."""
        return ColorMode.RGB1 if self.data.ndim == 3 else ColorMode.MONO


@dataclass(frozen=True, slots=True)
class EndOfSeries:
    """The in-band end marker: how many frames of the series the detector published.

    `filtered` names ids, as ranges with both ends, that processors on the way put nothing out for, on purpose.
    """

    series: int
    published: int
    filtered: tuple[tuple[int, int], ...] = ()


Item = Frame | EndOfSeries
