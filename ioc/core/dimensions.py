"""What of a sensor the pixels of a frame show: offset, binning and direction of each of its dimensions.

It travels with the frame as one attribute, and becomes `dimension` where the frame becomes an NTNDArray. A frame
without that attribute shows all of its sensor. Rules (ADCore, NDArrayPool.cpp, convert): offsets add up, binnings are
multiplied, a reversal of what was reversed undoes it. `fullSize` is the size, as ADCore's converter has it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ioc.core.frame import Attribute

NAME = "RayfanDimensions"
"""The attribute: the shape, then `offset,binning,reverse` of each dimension, slowest first, as in NumPy's shape."""
_LARGEST = (1 << 31) - 1
_TEXT = re.compile(r"\d{1,10}(,\d{1,10}){1,2}(;\d{1,10},\d{1,10},[01]){2,3}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension: the first pixel of the sensor, how many of its pixels are one, whether they run backwards."""

    offset: int = 0
    binning: int = 1
    reverse: bool = False

    def part(self, first: int, binning: int, reverse: bool) -> "Dimension":
        """Return that of a part of the frame that begins at pixel `first`, binned and reversed again."""
        return Dimension(
            min(self.offset + first, _LARGEST), min(self.binning * binning, _LARGEST), self.reverse != reverse
        )


WHOLE = Dimension()


def dimensions_of(attributes: Mapping[str, Attribute], shape: Sequence[int]) -> tuple[Dimension, ...]:
    """Return the dimensions of a frame of that shape, slowest first.

    A note of another shape, made before somebody changed the frame who did not know of it, tells nothing.
    """
    note = attributes.get(NAME)
    if note is None:
        return (WHOLE,) * len(shape)
    if not isinstance(note, str) or not _TEXT.fullmatch(note):
        return (WHOLE,) * len(shape)
    sizes, *parts = note.split(";")
    if sizes != _sizes(shape) or len(parts) != len(shape):
        return (WHOLE,) * len(shape)
    numbers = (tuple(map(int, part.split(","))) for part in parts)
    return tuple(
        Dimension(min(offset, _LARGEST), min(max(binning, 1), _LARGEST), bool(reverse))
        for offset, binning, reverse in numbers
    )


def fastest_first(attributes: Mapping[str, Attribute], shape: Sequence[int]) -> list[tuple[int, Dimension]]:
    """Return size and dimension in NTNDArray's order, the reverse of NumPy's."""
    return list(zip(shape, dimensions_of(attributes, shape), strict=True))[::-1]


def with_dimensions(
    attributes: Mapping[str, Attribute], shape: Sequence[int], dimensions: Sequence[Dimension]
) -> dict[str, Attribute]:
    """Return the attributes of a frame of that shape with its dimensions noted; nothing for the whole of a sensor."""
    noted = without_dimensions(attributes)
    if any(one != WHOLE for one in dimensions):
        parts = (f"{one.offset},{one.binning},{one.reverse:d}" for one in dimensions)
        noted[NAME] = ";".join((_sizes(shape), *parts))
    return noted


def without_dimensions(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    """Return the attributes without the note."""
    return {name: value for name, value in attributes.items() if name != NAME}


def _sizes(shape: Sequence[int]) -> str:
    return ",".join(map(str, shape))
