"""Frames as events for PvaPy's EJFAT receiver: the pickle of an NTNDArray as PvaPy writes it, made opcode by opcode.

The layout is that of `pvapy_frames`. No pickler is used; NumPy's names are those that NumPy 1 and 2 know.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ioc.channels.ntndarray_union import UNION
from ioc.channels.pvapy_frames import COLOR_MODE, RGB1, SERIES
from ioc.core.compressed import codec_of, without_note
from ioc.core.dimensions import fastest_first
from ioc.core.errors import mismatch
from ioc.core.frame import Attribute, DataType, Frame

TYPE_ID = "epics:nt/NTNDArray:1.0"
_NS = 1_000_000_000
_BOOLEAN, _INT, _LONG, _DOUBLE, _STRING = 0, 3, 4, 10, 11
_INT32 = range(-(1 << 31), 1 << 31)


def write_frame(frame: Frame) -> Sequence[bytes | memoryview]:
    """Return an event for PvaPy's receiver, in pieces: what is before the pixels, the pixels, what is behind them.

    The pixels are a view of the frame's data; only data that is not C-ordered and little-endian is copied.

    Raises:
        ValueError: the frame does not fit into an NTNDArray.
    """
    codec = codec_of(frame)
    data = np.ascontiguousarray(frame.data, dtype=frame.data.dtype.newbyteorder("<"))
    data_type = DataType.of(frame.data.dtype)
    member, code = UNION[data_type]
    shape, nbytes, pixel_code = data.shape, data.nbytes, code
    if codec is not None:
        shape, nbytes, pixel_code = codec.shape, codec.nbytes, UNION[codec.data_type][1]
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3):
        raise ValueError(mismatch(f"frame {frame.unique_id}, shape", "[y, x] or [y, x, 3]", shape))
    stamp = {"secondsPastEpoch": frame.timestamp_ns // _NS, "nanoseconds": frame.timestamp_ns % _NS, "userTag": 0}
    color = {COLOR_MODE: RGB1 if len(shape) == 3 else 0}
    attributes = {**color, **without_note(frame.attributes), SERIES: frame.series}
    values = {
        "codec": {"name": codec.name if codec else "", "parameters": ({"value": pixel_code}, {"value": _Code(_INT)})},
        "compressedSize": data.nbytes,
        "uncompressedSize": nbytes,
        "dimension": [
            {"size": size, "offset": one.offset, "fullSize": size, "binning": one.binning, "reverse": one.reverse}
            for size, one in fastest_first(frame.attributes, shape)
        ],
        "uniqueId": (frame.unique_id + (1 << 31)) % (1 << 32) - (1 << 31),
        "dataTimeStamp": stamp,
        "attribute": [_attribute(name, value) for name, value in attributes.items()],
        "descriptor": "",
        "alarm": _ALARM_VALUES,
        "timeStamp": stamp,
        "display": {"limitLow": 0.0, "limitHigh": 0.0, "description": "", "format": "", "units": ""},
    }
    kind = data.dtype.str[1:]
    # dict of values: all but the image, then key `value` and a pair of dicts, the first one open for the array
    before = _opening() + b"}(" + b"".join(_dump(key) + _dump(value) for key, value in values.items())
    before += _dump("value") + b"}" + _dump(member) + _array_head(kind, data.size)
    before += b"\x8e" + data.nbytes.to_bytes(8, "little")
    after = b"tb" + b"s" + _dump({member: [_Code(code)]}) + b"\x86" + b"u" + _closing()
    return before, data.reshape(-1).view(np.uint8).data, after


@dataclass(frozen=True, slots=True)
class _Code:
    """One of PvaPy's scalar types."""

    number: int


def _attribute(name: str, value: Attribute) -> dict[str, object]:
    return {
        "name": name,
        "value": ({"value": value}, {"value": _Code(_code_of(name, value))}),
        "tags": [],
        "descriptor": "",
        "alarm": _ALARM_VALUES,
        "timeStamp": {"secondsPastEpoch": 0, "nanoseconds": 0, "userTag": 0},
        "sourceType": 0,
        "source": "",
    }


def _code_of(name: str, value: object) -> int:
    if isinstance(value, bool):
        return _BOOLEAN
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return _INT if value in _INT32 else _LONG
    if isinstance(value, float):
        return _DOUBLE
    if isinstance(value, str):
        return _STRING
    raise ValueError(mismatch(f"attribute {name}", "bool, int of 64 bits, float or str", str(value)[:80]))


_ALARM_VALUES = {"severity": 0, "status": 0, "message": ""}
_TIME = {"secondsPastEpoch": _Code(_LONG), "nanoseconds": _Code(_INT), "userTag": _Code(_INT)}
_ALARM = {"severity": _Code(_INT), "status": _Code(_INT), "message": _Code(_STRING)}
_TEXT, _NUMBER, _REAL = _Code(_STRING), _Code(_INT), _Code(_DOUBLE)
_STRUCTURE = {
    "value": ({"booleanValue": [_Code(_BOOLEAN)], **{member: [_Code(code)] for member, code in UNION.values()}},),
    "codec": {"name": _TEXT, "parameters": ()},
    "compressedSize": _Code(_LONG),
    "uncompressedSize": _Code(_LONG),
    "dimension": [
        {"size": _NUMBER, "offset": _NUMBER, "fullSize": _NUMBER, "binning": _NUMBER, "reverse": _Code(_BOOLEAN)}
    ],
    "uniqueId": _NUMBER,
    "dataTimeStamp": _TIME,
    "attribute": [
        {
            "name": _TEXT,
            "value": (),
            "tags": [_TEXT],
            "descriptor": _TEXT,
            "alarm": _ALARM,
            "timeStamp": _TIME,
            "sourceType": _NUMBER,
            "source": _TEXT,
        }
    ],
    "descriptor": _TEXT,
    "alarm": _ALARM,
    "timeStamp": _TIME,
    "display": {"limitLow": _REAL, "limitHigh": _REAL, "description": _TEXT, "format": _TEXT, "units": _TEXT},
}
"""The type of an NTNDArray as PvaPy writes it: an empty tuple is a variant, a tuple of a dict a union."""
_FIELD_IDS = {
    "codec": "codec_t",
    "dataTimeStamp": "time_t",
    "dimension": "dimension_t",
    "attribute": "epics:nt/NTAttribute:1.0",
    "alarm": "alarm_t",
    "timeStamp": "time_t",
    "display": "display_t",
}


@lru_cache(maxsize=1)
def _opening() -> bytes:
    """Return all before the values: protocol 4, what is to be made, its type."""
    return b"\x80\x04" + _global("pvaccess.pvaccess", "NtNdArray") + b"(" + _dump(_STRUCTURE)


@lru_cache(maxsize=1)
def _closing() -> bytes:
    """Return all behind the values."""
    return _dump(TYPE_ID) + _dump(_FIELD_IDS) + b"tR."


@lru_cache(maxsize=64)
def _array_head(kind: str, size: int) -> bytes:
    """Return an array of `size` elements up to its bytes; the state that follows them is closed by `tb`."""
    made = _global("numpy.core.multiarray", "_reconstruct") + _global("numpy", "ndarray")
    made += _dump(0) + b"\x85" + b"C\x01b" + b"\x87R"
    order = "|" if kind.endswith("1") else "<"
    dtype = _global("numpy", "dtype") + _dump(kind) + b"\x89\x88\x87R"
    dtype += b"(" + b"".join(map(_dump, (3, order, None, None, None, -1, -1, 0))) + b"tb"
    return made + b"(" + _dump(1) + _dump(size) + b"\x85" + dtype + b"\x89"


def _global(module: str, name: str) -> bytes:
    return _dump(module) + _dump(name) + b"\x93"


def _dump(value: object) -> bytes:
    """Return a value of plain containers, as opcodes of protocol 4."""
    match value:
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            return b"J" + value.to_bytes(4, "little", signed=True) if value in _INT32 else _long(value)
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            text = value.encode()
            return b"X" + len(text).to_bytes(4, "little") + text
        case dict():
            return b"}(" + b"".join(_dump(key) + _dump(one) for key, one in value.items()) + b"u"
        case list():
            return b"](" + b"".join(map(_dump, value)) + b"e"
        case tuple():
            return b"(" + b"".join(map(_dump, value)) + b"t"
        case _Code():
            return _scalar_type(value.number)
        case _:
            raise ValueError(mismatch("PvaPy payload", "plain values", type(value).__name__))


@lru_cache(maxsize=16)
def _scalar_type(number: int) -> bytes:
    return _global("pvaccess.pvaccess", "ScalarType") + _dump(number) + b"\x85R"


def _long(value: int) -> bytes:
    content = value.to_bytes(9 if value >= 1 << 63 else 8, "little", signed=True)
    return b"\x8a" + bytes((len(content),)) + content
