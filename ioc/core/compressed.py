"""A compressed frame: the bytes that a codec made of the pixels, with a note of what they were.

It travels on every channel as any other frame does: its `data` is `[1, n]` uint8, and three attributes say what the
bytes are. Where it becomes an NTNDArray, the note becomes `codec`, `dimension` and the sizes, as areaDetector writes
them. Names of codecs are those of areaDetector's NDPluginCodec, and `zstd`, which that does not have.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ioc.core.attribute_types import without_types
from ioc.core.dimensions import without_dimensions
from ioc.core.errors import ProtocolError, mismatch
from ioc.core.frame import Attribute, DataType, Frame

NAME, SHAPE, TYPE = "RayfanCodec", "RayfanCodecShape", "RayfanCodecType"
"""The attributes: name of the codec, `y,x` or `y,x,3`, and the data type of the pixels."""
CODECS = ("lz4", "bslz4", "blosc", "zlib", "lz4hdf5", "zstd")
MOST_PIXEL_BYTES = 1 << 32
"""Larger frames are refused: the size is believed before there are pixels."""


@dataclass(frozen=True, slots=True)
class Codec:
    """How the pixels of a frame are packed, and their shape `[y, x]` or `[y, x, 3]` and type when they are not."""

    name: str
    shape: tuple[int, ...]
    data_type: DataType

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels."""
        size = self.data_type.dtype.itemsize
        for extent in self.shape:
            size *= extent
        return size


def codec_of(frame: Frame) -> Codec | None:
    """Return how a frame is packed; None if it has pixels.

    Raises:
        ProtocolError: its attributes say so, but not in a way that can be.
    """
    return parse_codec(frame.attributes, frame.data.shape, frame.data.dtype) if NAME in frame.attributes else None


def parse_codec(attributes: Mapping[str, Attribute], shape: tuple[int, ...], dtype: np.dtype) -> Codec:
    """Return the codec that the attributes of a packed frame describe, whose data have this shape and type.

    Raises:
        ProtocolError: an attribute is missing or wrong, or the data are not a row of bytes.
    """
    name, kind = attributes.get(NAME), attributes.get(TYPE)
    if name not in CODECS or not isinstance(name, str):
        raise ProtocolError(mismatch(f"attribute {NAME}", f"one of {', '.join(CODECS)}", str(name)[:80]))
    try:
        data_type = DataType(kind)
    except ValueError:
        raise ProtocolError(mismatch(f"attribute {TYPE}", "a data type", str(kind)[:80])) from None
    codec = Codec(name, _shape(attributes.get(SHAPE)), data_type)
    if codec.nbytes > MOST_PIXEL_BYTES:
        raise ProtocolError(mismatch(f"attribute {SHAPE}", f"at most {MOST_PIXEL_BYTES} bytes", codec.nbytes))
    if dtype != np.uint8 or len(shape) != 2 or shape[0] != 1:
        raise ProtocolError(mismatch("a compressed frame", "data[1, n] of UInt8", (shape, str(dtype))))
    return codec


def packed(frame: Frame, name: str, content: NDArray[np.uint8]) -> Frame:
    """Return a frame with `content`, the bytes `[n]` that codec `name` made of its pixels, in their place."""
    shape = ",".join(map(str, frame.data.shape))
    note = {NAME: name, SHAPE: shape, TYPE: DataType.of(frame.data.dtype).value}
    return replace(frame, data=content.reshape(1, -1), attributes={**frame.attributes, **note})


def unpacked(frame: Frame, pixels: NDArray) -> Frame:
    """Return a packed frame with its pixels in place again, without the note."""
    return replace(frame, data=pixels, attributes=_without_codec(frame.attributes))


def without_note(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    """Return the attributes that are for others: not how a frame is packed, what it shows, of which types they are."""
    return without_types(without_dimensions(_without_codec(attributes)))


def _without_codec(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    return {name: value for name, value in attributes.items() if name not in (NAME, SHAPE, TYPE)}


def _shape(text: Attribute | None) -> tuple[int, ...]:
    parts = text.split(",") if isinstance(text, str) and len(text) < 40 else []
    if len(parts) not in (2, 3) or not all(part.isascii() and part.isdigit() for part in parts):
        raise ProtocolError(mismatch(f"attribute {SHAPE}", "'y,x' or 'y,x,3'", str(text)[:80]))
    shape = tuple(map(int, parts))
    if min(shape) < 1 or shape[2:] not in ((), (3,)):
        raise ProtocolError(mismatch(f"attribute {SHAPE}", "sizes of 1 and more, 3 colours or none", text))
    return shape
