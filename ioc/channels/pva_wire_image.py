"""An image as the bytes of updates: everything but the pixels is laid out here, the pixels stay where they are.

What does not change from frame to frame is encoded once for frames of the same shape, type and attributes; ids and
stamps are put between. Numbers are little-endian, dimensions fastest first, as in `ntndarray`. A compressed frame gets
its `codec` as areaDetector writes it.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from ioc.channels import pva_wire_mask
from ioc.channels.pva_wire_buffer import size, string
from ioc.channels.pva_wire_framing import MAGIC, VERSION, Command
from ioc.channels.pva_wire_ntndarray import SELECTORS, Selection
from ioc.channels.pva_wire_replies import OK
from ioc.channels.pva_wire_types import BOOLEAN, DOUBLE, INT, LONG, STRING
from ioc.core.compressed import NAME, Codec, parse_codec, without_note
from ioc.core.dimensions import fastest_first
from ioc.core.errors import ProtocolError, mismatch
from ioc.core.frame import Attribute, ColorMode, DataType, Frame

COLOR_MODE, SERIES = "ColorMode", "Series"
Parts = list[bytes | memoryview]
"""What is sent one after the other."""

_NS = 1_000_000_000
_INT32 = range(-(1 << 31), 1 << 31)
_INT64 = range(-(1 << 63), 1 << 63)
_COLORED = range(2, 5)
"""RGB1, RGB2, RGB3: colour modes of images with three dimensions."""
_HEAD = struct.Struct("<BBBBIIB")
_AFTER_SIZE = 5
_SERVER = 0x40
_DESTROY = 0x10
_LONG = struct.Struct("<q")
_INT = struct.Struct("<i")
_DIMENSION = struct.Struct("<Biiii?")
"""That there is one, size, offset, fullSize, binning, reverse."""
_WHOLE = pva_wire_mask.encode(pva_wire_mask.WHOLE)
_NOTHING = pva_wire_mask.encode(0)
_TEXT = string("")
_STAMPS = ("dataTimeStamp", "timeStamp")
_VARIABLE = {
    "uniqueId": 0,
    **{f"{stamp}.secondsPastEpoch": 1 for stamp in _STAMPS},
    **{f"{stamp}.nanoseconds": 2 for stamp in _STAMPS},
}
"""Leaves that each frame has anew, and where in `Image.variables` they are."""
_CONSTANT = {
    **{f"{stamp}.userTag": bytes(4) for stamp in _STAMPS},
    **dict.fromkeys(("codec.name", "descriptor", "alarm.message"), _TEXT),
    **dict.fromkeys(("alarm.severity", "alarm.status"), bytes(4)),
    **dict.fromkeys(("display.limitLow", "display.limitHigh"), bytes(8)),
    **{f"display.{name}": _TEXT for name in ("description", "format", "units")},
}
_EMPTY = {
    **_CONSTANT,
    "value": b"\xff",
    "codec.parameters": b"\xff",
    **dict.fromkeys(("compressedSize", "uncompressedSize"), bytes(8)),
    **dict.fromkeys(("dimension", "attribute"), size(0)),
}
_NO_VARIABLES = (bytes(4), bytes(8), bytes(4))

AttributeKey = tuple[tuple[str, type, Attribute], ...]


@dataclass(slots=True)
class Template:
    """The leaves that frames of one shape, type, series and set of attributes have in common, encoded."""

    leaves: dict[str, bytes]
    programs: dict[tuple[str, ...], tuple[bytes | int, ...]] = field(default_factory=dict)

    def program(self, leaves: tuple[str, ...]) -> tuple[bytes | int, ...]:
        """Return leaves in order as runs of bytes, and numbers of variables between them; the value is left out."""
        known = self.programs.get(leaves)
        if known is None:
            known = self.programs[leaves] = tuple(self._runs(leaves))
        return known

    def _runs(self, leaves: Iterable[str]) -> Iterable[bytes | int]:
        run = b""
        for leaf in leaves:
            if leaf in _VARIABLE:
                yield from (run, _VARIABLE[leaf])
                run = b""
            elif leaf != "value":
                run += self.leaves[leaf]
        yield run


@dataclass(slots=True)
class Image:
    """One frame, or the empty image, ready to be sent; `pixels` are the frame's own memory if that can be.

    `variables` are uniqueId, seconds and nanoseconds, encoded.
    """

    template: Template
    variables: tuple[bytes, bytes, bytes]
    pixels: memoryview | None

    def update(self, selection: Selection, ioid: int, first: bool, overrun: bool) -> Parts:
        """Return a monitor's update; the `first` has all fields, a later one those that change."""
        leaves, changed = (selection.leaves, _WHOLE) if first else (selection.changing, selection.mask)
        mark = (changed if overrun else _NOTHING,)
        return self._lay(Command.MONITOR, (ioid, 0, changed), leaves, mark)

    def answer(self, selection: Selection, ioid: int, last: bool) -> Parts:
        """Return the answer to a get; `last`: the operation is over with it."""
        return self._lay(Command.GET, (ioid, _DESTROY if last else 0, OK + _WHOLE), selection.leaves, ())

    def _lay(
        self, command: Command, begin: tuple[int, int, bytes], leaves: tuple[str, ...], end: tuple[bytes, ...]
    ) -> Parts:
        ioid, bits, changed = begin
        variables = self.variables
        runs = [variables[run] if type(run) is int else run for run in self.template.program(leaves)]
        rest: bytes = b"".join((*runs, *end))  # type: ignore[arg-type]
        if leaves[:1] != ("value",):
            length = _AFTER_SIZE + len(changed) + len(rest)
            return [_HEAD.pack(MAGIC, VERSION, _SERVER, command, length, ioid, bits) + changed + rest]
        value, pixels = self.template.leaves["value"], self.pixels
        length = _AFTER_SIZE + len(changed) + len(value) + len(rest) + (pixels.nbytes if pixels is not None else 0)
        head = _HEAD.pack(MAGIC, VERSION, _SERVER, command, length, ioid, bits) + changed + value
        return [head + rest] if pixels is None else [head, pixels, rest]


EMPTY = Image(Template(_EMPTY), _NO_VARIABLES, None)
"""What is served before the first frame: no pixels, no dimension, as areaDetector does."""


def saying(text: str) -> Image:
    """Return the empty image with words in its descriptor."""
    return Image(Template({**_EMPTY, "descriptor": string(text)}), _NO_VARIABLES, None)


def image_of(frame: Frame) -> Image:
    """Return a frame ready to be sent; its pixels are not copied if they are little-endian and in C order.

    `uniqueId` is int32 and wraps around as areaDetector's counter does.

    Raises:
        ValueError: the data type is none of areaDetector's, the shape is no image, or an attribute does not fit.
    """
    data = frame.data
    attributes = frame.attributes
    key = tuple((name, type(value), value) for name, value in attributes.items()) if attributes else ()
    template = _template(data.shape, data.dtype, frame.series, key)
    seconds, nanoseconds = divmod(frame.timestamp_ns, _NS)
    wrapped = (frame.unique_id + (1 << 31)) % (1 << 32) - (1 << 31)
    variables = (_INT.pack(wrapped), _LONG.pack(seconds), _INT.pack(nanoseconds))
    pixels = memoryview(_in_order(data).data).cast("B") if data.size else None  # an image may have no pixel
    return Image(template, variables, pixels)


def _in_order(data: np.ndarray) -> np.ndarray:
    if data.flags.c_contiguous and data.dtype.isnative:
        return data
    return np.ascontiguousarray(data, data.dtype.newbyteorder("<"))  # views with steps, and pixels of other machines


@lru_cache(maxsize=64)
def _template(shape: tuple[int, ...], dtype: np.dtype, series: int, attributes: AttributeKey) -> Template:
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3):
        raise ValueError(mismatch("shape of a frame", "[y, x] or [y, x, 3]", shape))
    named = {name: value for name, _, value in attributes}
    codec = _codec(shape, dtype, named)
    pixels = int(np.prod(shape))
    selector = SELECTORS[DataType.of(dtype)]
    return Template(
        {
            **_CONSTANT,
            "value": size(selector) + size(pixels),
            "codec.name": string(codec.name),
            "codec.parameters": bytes((INT,)) + _INT.pack(SELECTORS[codec.data_type]),
            "compressedSize": _LONG.pack(pixels * dtype.itemsize),
            "uncompressedSize": _LONG.pack(codec.nbytes),
            "dimension": _dimensions(codec.shape, named),
            "attribute": _attributes(len(codec.shape), series, without_note(named)),
        }
    )


def _dimensions(shape: tuple[int, ...], attributes: dict[str, Attribute]) -> bytes:
    """Return `dimension`, fastest first."""
    entries = [
        _DIMENSION.pack(1, length, one.offset, length, one.binning, one.reverse)
        for length, one in fastest_first(attributes, shape)
    ]
    return size(len(entries)) + b"".join(entries)


def _codec(shape: tuple[int, ...], dtype: np.dtype, attributes: dict[str, Attribute]) -> Codec:
    """Return how a frame is packed; one of no name for pixels as they are."""
    if NAME not in attributes:
        return Codec("", shape, DataType.of(dtype))
    try:
        return parse_codec(attributes, shape, dtype)
    except ProtocolError as error:
        raise ValueError(str(error)) from None


def _attributes(dimensions: int, series: int, attributes: dict[str, Attribute]) -> bytes:
    mode = int(ColorMode.RGB1 if dimensions == 3 else ColorMode.MONO)
    other = attributes.pop(COLOR_MODE, None)
    attributes.pop(SERIES, None)
    if dimensions == 2 and isinstance(other, int) and other not in _COLORED:
        mode = int(other)  # Bayer and YUV images have two dimensions, as mono ones
    encoded = [
        _attribute(COLOR_MODE, bytes((INT,)) + _INT.pack(mode), "Color mode", "Driver"),
        _attribute(SERIES, bytes((LONG,)) + _LONG.pack(series), "Acquisition that the frame belongs to"),
        *(_attribute(name, _variant(name, value)) for name, value in attributes.items()),
    ]
    return size(len(encoded)) + b"".join(encoded)


def _attribute(name: str, value: bytes, descriptor: str = "", source: str = "") -> bytes:
    return b"\x01" + string(name) + value + string(descriptor) + bytes(4) + string(source)


def _variant(name: str, value: Attribute | np.generic) -> bytes:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return bytes((BOOLEAN, value))
    if isinstance(value, int):
        if value not in _INT64:
            raise ValueError(mismatch(f"attribute {name}", "an integer of 64 bits", value))
        return bytes((INT,)) + _INT.pack(value) if value in _INT32 else bytes((LONG,)) + _LONG.pack(value)
    if isinstance(value, float):
        return bytes((DOUBLE,)) + struct.pack("<d", value)
    if isinstance(value, str):
        return bytes((STRING,)) + string(value)
    raise ValueError(mismatch(f"attribute {name}", "bool, int, float or str", value))
