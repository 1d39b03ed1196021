"""What is known of a frame besides its pixels: values of other channels, each with a word on how it was found."""

from collections.abc import Iterable, Mapping
from enum import Enum
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ioc.core.frame import Attribute

MetadataValue = Attribute | NDArray
LONGEST_TEXT = 255
"""Characters of a text that becomes an attribute; NDAttributes of areaDetector have 256 bytes."""
QUALITY_SUFFIX = "Quality"
"""What is put behind a channel's name for the attribute that holds the quality."""


@cache
def quality_name(name: str) -> str:
    """Return the name of the attribute that holds the quality of a channel."""
    return name + QUALITY_SUFFIX


class Quality(Enum):
    """How the value of a channel was found for a frame; docs/explanation/metadata.md has the rules."""

    MATCHED = "matched"
    INTERPOLATED = "interpolated"
    NEAREST = "nearest"
    AMBIGUOUS = "ambiguous"
    LATE = "late"
    MISSING = "missing"
    DISCONNECTED = "disconnected"

    def __init__(self, word: str) -> None:
        self.found = word in ("matched", "interpolated", "nearest")
        """Whether the frame has the value that was asked for. An attribute: it is asked for with every frame."""
        self.word = word
        """The value, which Enum is slow to give."""

    __hash__ = object.__hash__  # there is one of each; Enum's own is slow


class Update(NamedTuple):
    """One value of a channel: when it was true by the channel's clock (ns since 1970 UTC), and its id if it has one."""

    value: MetadataValue
    stamp_ns: int
    unique_id: int | None = None


class Metadata(dict[str, MetadataValue]):
    """The values of a frame by name of their channel; a channel without one has a quality only."""

    __slots__ = ("quality",)

    def __init__(
        self,
        values: Mapping[str, MetadataValue] | Iterable[tuple[str, MetadataValue]] = (),
        quality: Mapping[str, Quality] | None = None,
    ) -> None:
        super().__init__(values)
        self.quality: dict[str, Quality] = dict(quality) if quality else {}

    def attributes(self) -> dict[str, Attribute]:
        """Return values and qualities as attributes of a frame; arrays have no place there, texts are cut."""
        found: dict[str, Attribute] = {}
        for name, quality in self.quality.items():
            value = self.get(name)
            if type(value) is float:
                found[name] = value
            elif isinstance(value, str):
                found[name] = value[:LONGEST_TEXT]
            elif value is not None and not isinstance(value, np.ndarray):
                found[name] = value
            found[quality_name(name)] = quality.word
        return found

    @classmethod
    def carried(cls, attributes: Mapping[str, Attribute], names: Iterable[str]) -> "Metadata":
        """Return what a process before this one has put into the attributes of a frame."""
        found = cls()
        for name in names:
            word = attributes.get(quality_name(name))
            if word not in _QUALITIES:
                continue
            found.quality[name] = _QUALITIES[word]
            if name in attributes:
                found[name] = attributes[name]
        return found

    @classmethod
    def told(cls, attributes: Mapping[str, Attribute]) -> "Metadata":
        """Return what the attributes of a frame from elsewhere say: each name that a quality goes along with."""
        ends = [name for name, word in attributes.items() if name.endswith(QUALITY_SUFFIX) and word in _QUALITIES]
        return cls.carried(attributes, [name.removesuffix(QUALITY_SUFFIX) for name in ends])

    def joined(self, other: "Metadata") -> "Metadata":
        """Return these values and qualities and those of `other`, which count where both have a name."""
        found = Metadata(self, self.quality)
        found.update(other)
        found.quality |= other.quality
        return found


_QUALITIES: dict[object, Quality] = {quality.value: quality for quality in Quality}


def same(first: MetadataValue, second: MetadataValue) -> bool:
    """Return whether two values are equal; NaN is not."""
    return bool(np.array_equal(first, second))
