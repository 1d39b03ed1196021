"""Frames as PvaPy's NtNdArray objects, and back. Imports pvaccess: never beside softioc, both bring EPICS libraries."""

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from ioc.core.compressed import NAME, SHAPE, TYPE, codec_of, without_note
from ioc.core.dimensions import fastest_first
from ioc.core.errors import UserError, mismatch
from ioc.core.frame import Attribute, DataType, Frame

pva: Any = import_module("pvaccess")
"""A module of C++ classes without type hints."""
COLOR_MODE, SERIES = "ColorMode", "Series"
STANDARD = frozenset(pva.NtNdArray().getStructureDict())
"""Fields of an NTNDArray; a class may publish more, which PvaPy's split example calls extra fields."""
RGB1 = 2
_NS = 1_000_000_000
_FIELDS = {
    DataType.INT8: ("byteValue", pva.BYTE),
    DataType.UINT8: ("ubyteValue", pva.UBYTE),
    DataType.INT16: ("shortValue", pva.SHORT),
    DataType.UINT16: ("ushortValue", pva.USHORT),
    DataType.INT32: ("intValue", pva.INT),
    DataType.UINT32: ("uintValue", pva.UINT),
    DataType.INT64: ("longValue", pva.LONG),
    DataType.UINT64: ("ulongValue", pva.ULONG),
    DataType.FLOAT32: ("floatValue", pva.FLOAT),
    DataType.FLOAT64: ("doubleValue", pva.DOUBLE),
}
_VALUES = ((bool, pva.BOOLEAN), (int, pva.LONG), (float, pva.DOUBLE), (str, pva.STRING))
_STAMP = {"secondsPastEpoch": pva.LONG, "nanoseconds": pva.INT, "userTag": pva.INT}
_BY_CODE = {int(code): data_type for data_type, (_, code) in _FIELDS.items()}
_STATISTICS = {
    bool: (pva.BOOLEAN,),
    int: (pva.BYTE, pva.UBYTE, pva.SHORT, pva.USHORT, pva.INT, pva.UINT, pva.LONG, pva.ULONG),
    float: (pva.FLOAT, pva.DOUBLE),
    str: (pva.STRING,),
}


def statistic_types(declared: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of the Python types of a class's statistics; those that are no scalars are left out."""
    return {
        name: kind.__name__
        for name, code in declared.items()
        for kind, codes in _STATISTICS.items()
        if any(code == one for one in codes)
    }


def to_object(frame: Frame, fields: Iterable[str] = ()) -> Any:
    """Return a frame as PvaPy's classes expect it; the pixels are copied.

    Attributes that are named in `fields` are fields of the object, too.
    """
    codec = codec_of(frame)
    field, code = _FIELDS[DataType.of(frame.data.dtype)]
    shape, nbytes = frame.data.shape, frame.data.nbytes
    if codec is not None:
        shape, nbytes, code = codec.shape, codec.nbytes, _FIELDS[codec.data_type][1]
    extra = {name: frame.attributes[name] for name in fields if name in frame.attributes and name not in STANDARD}
    found = pva.NtNdArray({name: _kind_of(value) for name, value in extra.items()}) if extra else pva.NtNdArray()
    for name, value in extra.items():
        found[name] = value
    found["uniqueId"] = _wrapped(frame.unique_id)
    found["dimension"] = [
        pva.PvDimension(size, one.offset, size, one.binning, one.reverse)
        for size, one in fastest_first(frame.attributes, shape)
    ]
    found["codec"] = pva.PvCodec(codec.name if codec else "", pva.PvInt(int(code)))
    found["compressedSize"] = frame.data.nbytes
    found["uncompressedSize"] = nbytes
    stamp = pva.PvTimeStamp(frame.timestamp_ns // _NS, frame.timestamp_ns % _NS, 0)
    found["timeStamp"] = stamp
    found["dataTimeStamp"] = stamp
    attributes = {COLOR_MODE: RGB1 if len(shape) == 3 else 0, **without_note(frame.attributes), SERIES: frame.series}
    found["attribute"] = [pva.NtAttribute(name, _variant(value)) for name, value in attributes.items()]
    found["value"] = {field: np.ascontiguousarray(frame.data).reshape(-1)}
    return found


def value_object(value: Any, timestamp_ns: int) -> Any:
    """Return the value of a metadata channel as PvaPy's classes expect it, with the time of the frame it belongs to."""
    first = value[0] if isinstance(value, list) and value else value
    kind = _kind_of(first)
    structure = {"value": [kind] if isinstance(value, list) else kind, "timeStamp": _STAMP}
    stamp = {"secondsPastEpoch": timestamp_ns // _NS, "nanoseconds": timestamp_ns % _NS, "userTag": 0}
    return pva.PvObject(structure, {"value": value, "timeStamp": stamp})


def from_object(value: Any, given: Frame) -> Frame:
    """Return the frame that a PvaPy class publishes; `given` is the one that it was called with last.

    Scalar fields that an NTNDArray does not have become attributes.

    Raises:
        UserError: it is no NTNDArray with an image.
    """
    fields = set(value.getStructureDict()) if isinstance(value, pva.PvObject) else set[str]()
    if not {"uniqueId", "dimension", "value"} <= fields:
        raise UserError(mismatch("updateOutputChannel", "an NTNDArray", type(value).__name__))
    shape = tuple(dimension["size"] for dimension in reversed(value["dimension"]))
    field = pva.NtNdArray.getSelectedUnionFieldName(value)
    if not shape or not field:
        raise UserError(mismatch("updateOutputChannel", "an NTNDArray with an image", "one without"))
    pixels = value["value"][0][field]
    attributes = _attributes(value["attribute"])
    attributes |= {name: value[name] for name in fields - STANDARD if isinstance(value[name], bool | int | float | str)}
    series = attributes.pop(SERIES, given.series)
    attributes.pop(COLOR_MODE, None)
    codec = value["codec"]
    if codec["name"]:
        data_type = _BY_CODE[codec["parameters"][0]["value"]]
        attributes |= {NAME: codec["name"], SHAPE: ",".join(map(str, shape)), TYPE: data_type.value}
        shape, pixels = (1, len(pixels)), pixels.view(np.uint8)
    if int(np.prod(shape)) != pixels.size:
        raise UserError(mismatch("updateOutputChannel, dimension", f"a product of {pixels.size} pixels", shape))
    stamp = value["timeStamp"]
    unique_id = value["uniqueId"]
    return Frame(
        int(series),
        given.unique_id if unique_id == _wrapped(given.unique_id) else unique_id & 0xFFFFFFFF,
        stamp["secondsPastEpoch"] * _NS + stamp["nanoseconds"],
        pixels.reshape(shape),
        attributes,
    )


def _attributes(elements: list[Mapping[str, Any]]) -> dict[str, Attribute]:
    pairs = ((one["name"], one["value"][0].get("value")) for one in elements if one["value"])
    return {name: value for name, value in pairs if isinstance(value, bool | int | float | str)}


def _kind_of(value: object) -> Any:
    return next((code for types, code in _VALUES if isinstance(value, types)), pva.DOUBLE)


def _variant(value: Attribute) -> Any:
    if isinstance(value, bool):
        return pva.PvBoolean(value)
    if isinstance(value, int):
        return pva.PvInt(value) if -(1 << 31) <= value < 1 << 31 else pva.PvLong(value)
    return pva.PvDouble(value) if isinstance(value, float) else pva.PvString(value)


def _wrapped(unique_id: int) -> int:
    """Return an id as the int32 that NTNDArray has."""
    return (unique_id + (1 << 31)) % (1 << 32) - (1 << 31)
