"""NTNDArray: a frame as areaDetector's pvAccess structure, and back.

Fields in the order in which ADCore and normativeTypesCPP build them; clients go by name, generic viewers show this
order. Dimensions are listed fastest first: the NumPy shape `[y, x]` is sent as `x, y`, and `[y, x, 3]` as `3, x, y`.
Source: https://docs.epics-controls.org, Normative Types, NTNDArray; areaDetector ntndArrayConverter.cpp.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from p4p import Type, Value

from ioc.channels.ntndarray_union import BY_CODE, UNION
from ioc.core.compressed import NAME, SHAPE, Codec, codec_of, parse_codec, without_note
from ioc.core.compressed import TYPE as PIXEL_TYPE
from ioc.core.dimensions import Dimension, fastest_first, with_dimensions
from ioc.core.errors import ProtocolError, mismatch
from ioc.core.frame import Attribute, ColorMode, DataType, Frame

TYPE_ID = "epics:nt/NTNDArray:1.0"
ATTRIBUTE_TYPE_ID = "epics:nt/NTAttribute:1.0"
COLOR_MODE = "ColorMode"
SERIES = "Series"
"""Name of the int64 attribute that carries a frame's series."""

_NS = 1_000_000_000
_INT32 = range(-(1 << 31), 1 << 31)
_INT64 = range(-(1 << 63), 1 << 63)
_RGB2 = 3
_RGB3 = 4
_COLOR_AXIS = {ColorMode.RGB1.value: 2, _RGB2: 1, _RGB3: 0}
"""Axis of the NumPy shape along which the three colours lie, by colour mode."""

_UNION = (
    ("booleanValue", "a?"),
    ("byteValue", "ab"),
    ("shortValue", "ah"),
    ("intValue", "ai"),
    ("longValue", "al"),
    ("ubyteValue", "aB"),
    ("ushortValue", "aH"),
    ("uintValue", "aI"),
    ("ulongValue", "aL"),
    ("floatValue", "af"),
    ("doubleValue", "ad"),
)

_TIME = ("S", "time_t", [("secondsPastEpoch", "l"), ("nanoseconds", "i"), ("userTag", "i")])
_ALARM = ("S", "alarm_t", [("severity", "i"), ("status", "i"), ("message", "s")])
_CODEC = ("S", "codec_t", [("name", "s"), ("parameters", "v")])
_DIMENSION = [("size", "i"), ("offset", "i"), ("fullSize", "i"), ("binning", "i"), ("reverse", "?")]
_ATTRIBUTE = [("name", "s"), ("value", "v"), ("descriptor", "s"), ("sourceType", "i"), ("source", "s")]
_DISPLAY = [("limitLow", "d"), ("limitHigh", "d"), ("description", "s"), ("format", "s"), ("units", "s")]

TYPE = Type(
    [
        ("value", ("U", None, list(_UNION))),
        ("codec", _CODEC),
        ("compressedSize", "l"),
        ("uncompressedSize", "l"),
        ("dimension", ("aS", "dimension_t", _DIMENSION)),
        ("uniqueId", "i"),
        ("dataTimeStamp", _TIME),
        ("attribute", ("aS", ATTRIBUTE_TYPE_ID, _ATTRIBUTE)),
        ("descriptor", "s"),
        ("alarm", _ALARM),
        ("timeStamp", _TIME),
        ("display", ("S", "display_t", _DISPLAY)),
    ],
    id=TYPE_ID,
)
"""The one type that every image of this process has; p4p posts only values of the very type it opened with."""


def _pvapy_type() -> Type:
    """Return the type of PvaPy 5.6's NtNdArray: other order in the union, attributes with tags, alarm and time."""
    order = ("boolean", "byte", "ubyte", "short", "ushort", "int", "uint", "long", "ulong", "float", "double")
    union = dict(_UNION)
    members = [(f"{name}Value", union[f"{name}Value"]) for name in order]
    alarm, time_stamp = ("S", "structure", _ALARM[2]), ("S", "structure", _TIME[2])
    attribute = [("name", "s"), ("value", "v"), ("tags", "as"), ("descriptor", "s"), ("alarm", alarm)]
    attribute += [("timeStamp", time_stamp), ("sourceType", "i"), ("source", "s")]
    changed = {"value": ("U", "structure", members), "attribute": ("aS", ATTRIBUTE_TYPE_ID, attribute)}
    return Type([(name, changed.get(name, spec)) for name, spec in TYPE.items()], id=TYPE_ID)


PVAPY_TYPE = _pvapy_type()
"""What a channel has to be for PvaPy to put its own images into it: it compares types, and dies if they differ."""


def empty_value(kind: Type = TYPE) -> Value:
    """Return what is served before the first frame: no union member selected, no dimension, as areaDetector does."""
    return Value(kind, {})


def is_empty(value: Value) -> bool:
    """Return whether the structure carries no image yet."""
    return value.getID() == TYPE_ID and value["value"] is None


def to_value(frame: Frame) -> Value:
    """Return a frame as an NTNDArray; the pixels are copied (p4p always does), so the frame's memory is free again.

    See `fields_of`.
    """
    return Value(TYPE, fields_of(frame))


def fields_of(frame: Frame) -> dict[str, Any]:
    """Return what the fields of an NTNDArray are for a frame, the pixels as they lie.

    A compressed frame gets its `codec` as areaDetector writes it (ntndArrayConverter.cpp, fromCodec): the bytes in
    `ubyteValue`, the type of the pixels in `codec.parameters`, their shape in `dimension`. `uniqueId` is int32 and
    wraps around as areaDetector's counter does. Every field that can change from frame to frame is marked as changed.

    Raises:
        ValueError: the data type is none of areaDetector's, the shape is no image, or an attribute does not fit.
    """
    data = frame.data
    codec = _codec(frame)
    if data.ndim not in (2, 3) or (data.ndim == 3 and data.shape[2] != 3):
        raise ValueError(mismatch(f"shape of frame {frame.unique_id}", "[y, x] or [y, x, 3]", data.shape))
    member, code = UNION[DataType.of(data.dtype)]
    shape, nbytes = data.shape, data.nbytes
    if codec is not None:
        shape, nbytes, code = codec.shape, codec.nbytes, UNION[codec.data_type][1]
    stamp = {"secondsPastEpoch": frame.timestamp_ns // _NS, "nanoseconds": frame.timestamp_ns % _NS}
    return {
        "value": (member, data.reshape(-1)),
        "codec": {"name": codec.name if codec else "", "parameters": ("i", code)},
        "compressedSize": data.nbytes,
        "uncompressedSize": nbytes,
        "dimension": _dimensions(frame, shape),
        "uniqueId": _wrapped(frame.unique_id),
        "dataTimeStamp": stamp,
        "attribute": _attributes(frame, ColorMode.RGB1 if len(shape) == 3 else ColorMode.MONO),
        "timeStamp": stamp,
    }


def _dimensions(frame: Frame, shape: tuple[int, ...]) -> list[dict[str, int | bool]]:
    """Return the entries of `dimension`, fastest first."""
    return [
        {"size": size, "offset": one.offset, "fullSize": size, "binning": one.binning, "reverse": one.reverse}
        for size, one in fastest_first(frame.attributes, shape)
    ]


def _codec(frame: Frame) -> Codec | None:
    try:
        return codec_of(frame)
    except ProtocolError as error:
        raise ValueError(str(error)) from None


def from_value(value: Value, compressed: bool = False) -> Frame:
    """Return the frame of an NTNDArray; its data is a read-only view on what was received.

    With `compressed`, an image that a codec of ours packed is taken as it is; else it is refused. RGB2 and RGB3
    images are copied into RGB1. Attributes that are no scalar or string are left out, `Series` and the colour modes
    that the shape says are taken out of the attributes. A structure without `Series` is of series 0.

    Raises:
        ProtocolError: it is no NTNDArray, has no image, is compressed, or its dimensions do not match its pixels.
    """
    if not isinstance(value, Value) or value.getID() != TYPE_ID:
        found = value.getID() if isinstance(value, Value) else type(value).__name__
        raise ProtocolError(mismatch("image channel", TYPE_ID, found))
    try:
        return _parse(value, compressed)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ProtocolError(f"NTNDArray: a field is missing or of another type than it should be: {error}") from None


def from_fields(value: Value, compressed: bool = False) -> Frame:
    """Return the frame of a structure that has some of NTNDArray's fields, `value` and `dimension` at least.

    What is not there is as if it were empty; the time stamp is that of the arrival. See `from_value`.

    Raises:
        ProtocolError: it has no image, or its dimensions do not match its pixels.
    """
    try:
        return _parse(_Filled(value), compressed)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ProtocolError(f"image: a field is missing or of another type than it should be: {error}") from None


class _Filled:
    """A structure with what is missing of an NTNDArray filled in."""

    def __init__(self, value: Value) -> None:
        self._value = value

    def __getitem__(self, name: str) -> Any:
        try:
            return self._value[name]
        except KeyError:
            if name not in _EMPTY:
                raise
        if name in _ARRIVAL:
            return _ARRIVAL[name](time.time_ns())
        return _EMPTY[name]


_ARRIVAL: dict[str, Callable[[int], int]] = {
    "timeStamp.secondsPastEpoch": lambda now: now // _NS,
    "timeStamp.nanoseconds": lambda now: now % _NS,
}
_EMPTY: dict[str, Any] = {
    "uniqueId": 0,
    "codec.name": "",
    "codec.parameters": None,
    "compressedSize": 0,
    "uncompressedSize": 0,
    "attribute": [],
    **dict.fromkeys(_ARRIVAL, 0),
}


def _parse(value: "Value | _Filled", compressed: bool) -> Frame:
    unique_id = value["uniqueId"]
    where = f"NTNDArray {unique_id}"
    if not isinstance(unique_id, int):
        raise ProtocolError(mismatch(f"{where}, uniqueId", "an integer", unique_id))
    packed = _check_codec(value, where, compressed)
    attributes = without_note(_scalars(value["attribute"]))
    series = attributes.pop(SERIES, 0)
    if isinstance(series, bool) or not isinstance(series, int):
        raise ProtocolError(mismatch(f"{where}, attribute {SERIES}", "an integer", series))
    mode = attributes.get(COLOR_MODE)
    sizes = [dimension["size"] for dimension in value["dimension"]]
    if packed:
        data, note = _packed(value, where)
        attributes.update(note)
        shape = tuple(reversed(sizes))
    else:
        data = _image(value["value"], sizes, mode, where)
        shape = data.shape
    attributes = with_dimensions(attributes, shape, _shown(value["dimension"], None if packed else mode))
    if mode == ColorMode.MONO or mode in _COLOR_AXIS:
        del attributes[COLOR_MODE]
    seconds, nanoseconds = value["timeStamp.secondsPastEpoch"], value["timeStamp.nanoseconds"]
    return Frame(series, unique_id, seconds * _NS + nanoseconds, data, attributes)


def _shown(entries: list[Any], mode: Any) -> list[Dimension]:
    """Return what the entries of `dimension` say besides sizes, slowest first, the colour last."""
    found = [
        Dimension(max(0, _entry(one, "offset", 0)), max(1, _entry(one, "binning", 1)), bool(_entry(one, "reverse", 0)))
        for one in reversed(entries)
    ]
    axis = _COLOR_AXIS.get(mode)
    if axis is not None and len(found) == 3:
        found.append(found.pop(axis))
    return found


def _entry(dimension: Any, name: str, missing: int) -> int:
    """Return a field of an entry; one that asked for some fields only may lack it."""
    try:
        return int(dimension[name])
    except KeyError:
        return missing


def _check_codec(value: "Value | _Filled", where: str, compressed: bool) -> bool:
    """Return whether the image is packed."""
    codec = value["codec.name"]
    if codec and not compressed:
        todo = "turn compression off at the source"
        raise ProtocolError(mismatch(f"{where}, codec", "no compression", codec, todo))
    for size in ("compressedSize", "uncompressedSize"):
        if value[size] < 0:
            raise ProtocolError(mismatch(f"{where}, {size}", "0 or more bytes", value[size]))
    return bool(codec)


def _packed(value: "Value | _Filled", where: str) -> tuple[NDArray, dict[str, Attribute]]:
    """Return the bytes `[1, n]` of a packed image and the note of what they are."""
    content, length = value["value"], value["compressedSize"]
    data_type = BY_CODE.get(value["codec.parameters"])
    if not isinstance(content, np.ndarray) or content.dtype.itemsize != 1 or not 0 < length <= content.size:
        raise ProtocolError(mismatch(f"{where}, value", f"{length} bytes of a codec", type(content).__name__))
    if data_type is None:
        raise ProtocolError(mismatch(f"{where}, codec.parameters", "a data type", value["codec.parameters"]))
    shape = ",".join(str(dimension["size"]) for dimension in reversed(value["dimension"]))
    note: dict[str, Attribute] = {NAME: value["codec.name"], SHAPE: shape, PIXEL_TYPE: data_type.value}
    data = content[:length].view(np.uint8).reshape(1, -1)
    codec = parse_codec(note, data.shape, data.dtype)
    if codec.nbytes != value["uncompressedSize"]:
        raise ProtocolError(mismatch(f"{where}, uncompressedSize", f"{codec.nbytes} bytes", value["uncompressedSize"]))
    return data, note


def _image(pixels: Any, sizes: list[int], mode: Any, where: str) -> NDArray:
    if not isinstance(pixels, np.ndarray):
        raise ProtocolError(mismatch(f"{where}, value", "an array in the union", pixels))
    if pixels.dtype == np.bool_:
        raise ProtocolError(mismatch(f"{where}, value", "one of areaDetector's data types", "booleanValue"))
    shape = tuple(reversed(sizes))
    product = 1
    for size in sizes:
        if size < 0:
            raise ProtocolError(mismatch(f"{where}, dimension", "sizes of 0 and more", sizes))
        product *= size
    if product != pixels.size or not sizes:
        raise ProtocolError(mismatch(f"{where}, dimension", f"a product of {pixels.size} pixels", sizes))
    if len(sizes) == 2:
        return pixels.reshape(shape)
    if len(sizes) != 3:
        raise ProtocolError(mismatch(f"{where}, dimension", "2 dimensions, or 3 with a colour", sizes))
    return _colored(pixels.reshape(shape), mode, where)


def _colored(data: NDArray, mode: Any, where: str) -> NDArray:
    """Return `data[y, x, 3]`; without a colour mode the fastest dimension must be the colour."""
    axis = 2 if mode is None else _COLOR_AXIS.get(mode)
    if axis is None or data.shape[axis] != 3:
        expected = "RGB1, RGB2 or RGB3 with a dimension of 3 where it belongs"
        raise ProtocolError(mismatch(f"{where}, 3 dimensions", expected, {COLOR_MODE: mode, "shape": data.shape}))
    if axis == 2:
        return data
    return np.ascontiguousarray(np.moveaxis(data, axis, 2))  # the colours lie apart: a view would not be C order


def _attributes(frame: Frame, color_mode: ColorMode) -> list[dict[str, object]]:
    mode = int(color_mode)
    other = frame.attributes.get(COLOR_MODE)
    if mode == ColorMode.MONO and isinstance(other, int) and other not in _COLOR_AXIS:
        mode = int(other)  # Bayer and YUV images have two dimensions, as mono ones
    return [
        {"name": COLOR_MODE, "value": ("i", mode), "descriptor": "Color mode", "source": "Driver"},
        {"name": SERIES, "value": ("l", frame.series), "descriptor": "Acquisition that the frame belongs to"},
        *(
            {"name": name, "value": _variant(name, value)}
            for name, value in without_note(frame.attributes).items()
            if name not in (COLOR_MODE, SERIES)
        ),
    ]


def _variant(name: str, value: object) -> tuple[str, Attribute]:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return "?", value
    if isinstance(value, int):
        if value not in _INT64:
            raise ValueError(mismatch(f"attribute {name}", "an integer of 64 bits", value))
        return ("i" if value in _INT32 else "l"), value
    if isinstance(value, float):
        return "d", value
    if isinstance(value, str):
        return "s", value
    raise ValueError(mismatch(f"attribute {name}", "bool, int, float or str", value))


def _scalars(elements: list[Value]) -> dict[str, Attribute]:
    pairs = ((element["name"], element["value"]) for element in elements)
    return {name: value for name, value in pairs if isinstance(value, bool | int | float | str)}


def _wrapped(unique_id: int) -> int:
    return (unique_id + (1 << 31)) % (1 << 32) - (1 << 31)
