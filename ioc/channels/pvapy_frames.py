"""Frames out of the events of PvaPy's EJFAT publisher: a pickle of an NTNDArray, read without unpickling.

The pickle is `pvaccess.pvaccess.NtNdArray(structure, values, type id, field ids)`, or `PvObject(structure, values)`.
In `values` a union is a pair of dicts, `({member: array}, {member: type})`; so is a variant, with the member `value`.
Dimensions are listed fastest first.

Source: pvapy/hpc/ejfatDataPublisher.py, and what PvaPy 5.6.0 writes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioc.channels.ntndarray_union import BY_CODE, UNION
from ioc.channels.pvapy_pickle import Made, Name, read
from ioc.core.compressed import NAME, SHAPE, TYPE, parse_codec, without_note
from ioc.core.errors import ProtocolError, mismatch
from ioc.core.frame import Attribute, DataType, Frame

COLOR_MODE, SERIES = "ColorMode", "Series"
RGB1 = 2
MOST_ATTRIBUTES = 1024
MOST_DIMENSIONS = 3

_NS = 1_000_000_000
_WHERE = "PvaPy payload"
_MEMBERS = {member: data_type for data_type, (member, _) in UNION.items()}
_KINDS = {data_type.dtype.str[1:]: data_type for data_type in DataType}
"""Data types by NumPy's kind and size, `u2`."""


@dataclass(frozen=True, slots=True)
class ForeignFrame:
    """A frame of PvaPy's; `series` None: its attributes name none, and `frame.unique_id` is the one of its source."""

    frame: Frame
    series: int | None


def read_frame(payload: memoryview) -> ForeignFrame:
    """Return the frame of an event of PvaPy's publisher; its data is a read-only view of the payload.

    Attributes that are no scalar or text are left out.

    Raises:
        ProtocolError: it is no pickle that PvaPy writes, or no NTNDArray with an image.
    """
    made = read(payload)
    if not isinstance(made, Made) or made.name not in (Name.NT_ND_ARRAY, Name.PV_OBJECT) or len(made.arguments) < 2:
        raise ProtocolError(mismatch(_WHERE, "an NtNdArray or PvObject", type(made).__name__))
    values = _mapping(made.arguments[1], "values")
    attributes = _attributes(values.get("attribute"))
    series = attributes.pop(SERIES, None)
    mode = attributes.pop(COLOR_MODE, None)
    pixels = _pixels(values.get("value"))
    shape = _shape(values.get("dimension"))
    name = _mapping(values.get("codec", {}), "codec").get("name", "")
    if name:
        pixels, note = _packed(pixels, shape, values, name)
        attributes |= note
    else:
        pixels = _image(pixels, shape, mode)
    unique_id = _integer(values.get("uniqueId"), "uniqueId") & 0xFFFFFFFF
    frame = Frame(0, unique_id, _time(values.get("timeStamp")), pixels, attributes)
    known = isinstance(series, int) and not isinstance(series, bool) and 0 < series < 1 << 63
    return ForeignFrame(frame, series if known else None)  # type: ignore[arg-type]


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if type(value) is not dict:
        raise ProtocolError(mismatch(f"{_WHERE}, {where}", "a structure", type(value).__name__))
    return value


def _integer(value: Any, where: str) -> int:
    if type(value) is not int:
        raise ProtocolError(mismatch(f"{_WHERE}, {where}", "an integer", type(value).__name__))
    return value


def _elements(value: Any, where: str, most: int) -> Sequence[Mapping[str, Any]]:
    if type(value) is not list or len(value) > most:
        found = len(value) if type(value) is list else type(value).__name__
        raise ProtocolError(mismatch(f"{_WHERE}, {where}", f"a list of at most {most} structures", found))
    return [_mapping(one, where) for one in value]


def _chosen(value: Any, where: str) -> tuple[str, Any] | None:
    """Return the member of a union or variant that is there, and its value; None if it is empty."""
    if type(value) is not tuple or len(value) != 2 or type(value[0]) is not dict or len(value[0]) > 1:
        raise ProtocolError(mismatch(f"{_WHERE}, {where}", "a union", type(value).__name__))
    return next(iter(value[0].items()), None)


def _attributes(value: Any) -> dict[str, Attribute]:
    found: dict[str, Attribute] = {}
    for one in _elements(value, "attribute", MOST_ATTRIBUTES) if value is not None else ():
        name, chosen = one.get("name"), _chosen(one.get("value"), "attribute value")
        if type(name) is str and chosen is not None and type(chosen[1]) in (bool, int, float, str):
            found[name] = chosen[1]
    return without_note(found)


def _pixels(value: Any) -> NDArray:
    chosen = _chosen(value, "value")
    if chosen is None:
        raise ProtocolError(mismatch(f"{_WHERE}, value", "an image", "none"))
    member, made = chosen
    if member not in _MEMBERS or not isinstance(made, Made):
        raise ProtocolError(mismatch(f"{_WHERE}, value", "an array of one of areaDetector's types", member[:40]))
    array = _array(made)
    if array.dtype != _MEMBERS[member].dtype:
        raise ProtocolError(mismatch(f"{_WHERE}, {member}", str(_MEMBERS[member].dtype), str(array.dtype)))
    return array


def _array(made: Made) -> NDArray:
    """Return the one-dimensional array that a pickle describes, as a view of its bytes."""
    if made.name is Name.RECONSTRUCT:
        state = made.state
        if type(state) is not tuple or len(state) != 5:
            raise ProtocolError(mismatch(f"{_WHERE}, array", "its state: version, shape, type, order, bytes", "others"))
        content, dtype, shape = state[4], state[2], state[1]
    elif made.name is Name.FROM_BUFFER and len(made.arguments) == 4:
        content, dtype, shape = made.arguments[:3]
    else:
        raise ProtocolError(mismatch(f"{_WHERE}, array", "an array of NumPy", made.name.name))
    data_type = _data_type(dtype)
    if type(content) is not memoryview or type(shape) is not tuple or len(shape) != 1 or type(shape[0]) is not int:
        raise ProtocolError(mismatch(f"{_WHERE}, array", "bytes and one dimension", type(content).__name__))
    if shape[0] * data_type.dtype.itemsize != len(content):
        raise ProtocolError(mismatch(f"{_WHERE}, array", f"{len(content)} bytes", f"{shape[0]} x {data_type.value}"))
    array = np.frombuffer(content, data_type.dtype.newbyteorder("<"))
    array.flags.writeable = False
    return array


def _data_type(value: Any) -> DataType:
    expected = "one of areaDetector's data types, little-endian"
    if not isinstance(value, Made) or value.name is not Name.DTYPE or not value.arguments:
        raise ProtocolError(mismatch(f"{_WHERE}, dtype", expected, type(value).__name__))
    kind, state = value.arguments[0], value.state
    order = state[1] if type(state) is tuple and len(state) > 1 else "|"
    if type(kind) is not str or kind not in _KINDS or order not in ("<", "|", "="):
        raise ProtocolError(mismatch(f"{_WHERE}, dtype", expected, str(kind)[:20] if type(kind) is str else "no text"))
    return _KINDS[kind]


def _shape(value: Any) -> tuple[int, ...]:
    """Return the shape, slowest dimension first."""
    sizes = [_integer(one.get("size"), "dimension") for one in _elements(value, "dimension", MOST_DIMENSIONS)]
    if not sizes or min(sizes) < 0:
        raise ProtocolError(mismatch(f"{_WHERE}, dimension", "sizes of 0 and more", sizes))
    return tuple(reversed(sizes))


def _image(pixels: NDArray, shape: tuple[int, ...], mode: Any) -> NDArray:
    product = 1
    for size in shape:
        product *= size
    if product != pixels.size:
        raise ProtocolError(mismatch(f"{_WHERE}, dimension", f"a product of {pixels.size} pixels", shape))
    if len(shape) == 2:
        return pixels.reshape(shape)
    if len(shape) != 3 or shape[2] != 3 or mode not in (None, RGB1):
        raise ProtocolError(mismatch(f"{_WHERE}, dimension", "[y, x], or [y, x, 3] of colour mode RGB1", shape))
    return pixels.reshape(shape)


def _packed(
    pixels: NDArray, shape: tuple[int, ...], values: Mapping[str, Any], name: Any
) -> tuple[NDArray, dict[str, Attribute]]:
    """Return the bytes `[1, n]` of a compressed image, and the note of what they are."""
    chosen = _chosen(_mapping(values["codec"], "codec").get("parameters"), "codec.parameters")
    data_type = BY_CODE.get(chosen[1]) if chosen is not None and type(chosen[1]) is int else None
    length = _integer(values.get("compressedSize"), "compressedSize")
    if data_type is None or type(name) is not str or pixels.dtype.itemsize != 1 or not 0 < length <= pixels.size:
        raise ProtocolError(mismatch(f"{_WHERE}, codec", "bytes, and the type of the pixels", str(data_type)))
    note: dict[str, Attribute] = {NAME: name, SHAPE: ",".join(map(str, shape)), TYPE: data_type.value}
    content = pixels[:length].view(np.uint8).reshape(1, -1)
    parse_codec(note, content.shape, content.dtype)
    return content, note


def _time(value: Any) -> int:
    """Return ns since 1970 UTC."""
    stamp = _mapping(value, "timeStamp")
    seconds = _integer(stamp.get("secondsPastEpoch"), "timeStamp")
    found = seconds * _NS + _integer(stamp.get("nanoseconds"), "timeStamp")
    if not 0 <= found < 1 << 63:
        raise ProtocolError(mismatch(f"{_WHERE}, timeStamp", "a time from 1970 to 2262", seconds))
    return found
