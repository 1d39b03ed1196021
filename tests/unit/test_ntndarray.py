"""NTNDArray: the exact type, what a frame becomes, and what odd structures are refused with."""

from typing import Any

import numpy as np
import pytest
from p4p import Type, Value
from p4p.nt import NTNDArray, NTScalar

from ioc.channels import ntndarray
from ioc.channels.ntndarray import TYPE, empty_value, from_value, is_empty, to_value
from ioc.core.errors import ProtocolError
from ioc.core.frame import DataType, Frame

FIELDS = [
    "value",
    "codec",
    "compressedSize",
    "uncompressedSize",
    "dimension",
    "uniqueId",
    "dataTimeStamp",
    "attribute",
    "descriptor",
    "alarm",
    "timeStamp",
    "display",
]
MEMBERS = [
    "booleanValue",
    "byteValue",
    "shortValue",
    "intValue",
    "longValue",
    "ubyteValue",
    "ushortValue",
    "uintValue",
    "ulongValue",
    "floatValue",
    "doubleValue",
]
SCALAR_CODES = {
    DataType.INT8: 1,
    DataType.INT16: 2,
    DataType.INT32: 3,
    DataType.INT64: 4,
    DataType.UINT8: 5,
    DataType.UINT16: 6,
    DataType.UINT32: 7,
    DataType.UINT64: 8,
    DataType.FLOAT32: 9,
    DataType.FLOAT64: 10,
}


def frame(data: np.ndarray, **attributes: Any) -> Frame:
    return Frame(3, 41, 1_700_000_000_123_456_789, data, attributes)


def attributes_of(value: Value) -> dict[str, object]:
    return {element["name"]: element["value"] for element in value["attribute"]}


def changed(**fields: Any) -> Value:
    """Return a good mono structure of 3 x 4 uint16 pixels with some fields replaced."""
    value = to_value(frame(np.zeros((3, 4), np.uint16)))
    for name, content in fields.items():
        value[name] = content
    return value


def test_the_type_is_adcores_in_order() -> None:
    description = TYPE.aspy()
    assert TYPE.getID() == "epics:nt/NTNDArray:1.0"
    assert [name for name, _ in description[2]] == FIELDS
    union = description[2][0][1]
    assert [name for name, _ in union[2]] == MEMBERS


def test_dimensions_are_listed_fastest_first() -> None:
    value = to_value(frame(np.zeros((3, 4), np.uint16)))
    assert [dimension["size"] for dimension in value["dimension"]] == [4, 3]
    assert [dimension["fullSize"] for dimension in value["dimension"]] == [4, 3]
    assert [dimension["binning"] for dimension in value["dimension"]] == [1, 1]
    assert value["uniqueId"] == 41
    assert value["compressedSize"] == value["uncompressedSize"] == 24
    for stamp in ("timeStamp", "dataTimeStamp"):
        assert value[f"{stamp}.secondsPastEpoch"] == 1_700_000_000
        assert value[f"{stamp}.nanoseconds"] == 123_456_789


@pytest.mark.parametrize("data_type", DataType)
def test_codec_parameters_name_the_pixel_type(data_type: DataType) -> None:
    value = to_value(frame(np.zeros((2, 2), data_type.dtype)))
    assert value["codec.name"] == ""
    assert value["codec.parameters"] == SCALAR_CODES[data_type]
    assert "any parameters int32_t" in str(value)
    assert value["value"].dtype == data_type.dtype


@pytest.mark.parametrize(("shape", "mode"), [((2, 5), 0), ((2, 5, 3), 2)])
def test_color_mode_is_an_int32_attribute(shape: tuple[int, ...], mode: int) -> None:
    value = to_value(frame(np.zeros(shape, np.uint8)))
    element = next(element for element in value["attribute"] if element["name"] == "ColorMode")
    assert element["value"] == mode
    assert "any value int32_t" in str(element)
    assert [dimension["size"] for dimension in value["dimension"]] == list(reversed(shape))


@pytest.mark.parametrize(
    ("given", "shown"),
    [(5, "int32_t = 5"), (1 << 40, "int64_t"), (1.5, "double"), ("on", 'string = "on"'), (True, "bool")],
)
def test_attributes_have_the_type_of_their_value(given: Any, shown: str) -> None:
    value = to_value(frame(np.zeros((2, 2), np.uint8), Given=given))
    element = next(element for element in value["attribute"] if element["name"] == "Given")
    assert f"any value {shown}" in str(element)
    assert element["value"] == given


def test_series_travels_as_an_int64_attribute_and_comes_back() -> None:
    value = to_value(frame(np.zeros((2, 2), np.uint8)))
    assert attributes_of(value)["Series"] == 3
    back = from_value(value)
    assert (back.series, back.unique_id, back.timestamp_ns) == (3, 41, 1_700_000_000_123_456_789)
    assert back.attributes == {}


def test_numpy_scalars_are_attributes_too() -> None:
    back = from_value(to_value(frame(np.zeros((2, 2), np.uint8), A=np.float32(1.5), B=np.int16(-2), C=np.bool_(True))))
    assert back.attributes == {"A": 1.5, "B": -2, "C": True}


def test_a_bayer_image_stays_one() -> None:
    value = to_value(frame(np.zeros((2, 2), np.uint8), ColorMode=1))
    assert attributes_of(value)["ColorMode"] == 1
    assert from_value(value).attributes == {"ColorMode": 1}


def test_unique_id_wraps_around_at_int32() -> None:
    value = to_value(Frame(1, 1 << 31, 0, np.zeros((2, 2), np.uint8)))
    assert value["uniqueId"] == -(1 << 31)


def test_data_in_foreign_byte_order_or_not_contiguous_is_sent_right() -> None:
    expected = np.arange(24, dtype=np.uint16).reshape(4, 6)
    assert np.array_equal(from_value(to_value(frame(expected.astype(">u2")))).data, expected)
    assert np.array_equal(from_value(to_value(frame(expected[::2, ::3]))).data, expected[::2, ::3])


def test_the_received_pixels_are_a_read_only_view() -> None:
    value = to_value(frame(np.zeros((3, 4), np.uint16)))
    data = from_value(value).data
    assert np.shares_memory(data, value["value"])
    assert not data.flags.writeable


def test_sending_copies_the_pixels() -> None:
    pixels = np.ones((3, 4), np.uint16)
    value = to_value(frame(pixels))
    pixels[:] = 7
    assert value["value"].max() == 1


def test_before_the_first_frame_nothing_is_selected() -> None:
    value = empty_value()
    assert is_empty(value)
    assert value["value"] is None
    assert value["dimension"] == []
    assert not is_empty(changed())
    with pytest.raises(ProtocolError, match="an array in the union, found None"):
        from_value(value)


@pytest.mark.parametrize(("mode", "shape", "axis"), [(3, (2, 3, 5), 1), (4, (3, 2, 5), 0)])
def test_other_color_layouts_become_rgb1(mode: int, shape: tuple[int, ...], axis: int) -> None:
    pixels = np.arange(30, dtype=np.uint8).reshape(shape)
    value = to_value(frame(np.zeros((5, 6), np.uint8)))
    value["value"] = ("ubyteValue", pixels.reshape(-1))
    value["dimension"] = [{"size": size} for size in reversed(shape)]
    value["attribute"] = [{"name": "ColorMode", "value": ("i", mode)}]
    back = from_value(value)
    assert back.data.shape == (2, 5, 3)
    assert back.data.flags.c_contiguous
    assert np.array_equal(back.data, np.moveaxis(pixels, axis, 2))
    assert back.attributes == {}


def test_an_rgb1_image_without_color_mode_is_known_by_its_dimension_of_3() -> None:
    value = to_value(frame(np.zeros((2, 5, 3), np.uint8)))
    value["attribute"] = []
    assert from_value(value).data.shape == (2, 5, 3)
    assert from_value(value).series == 0


def test_what_p4p_wraps_is_understood() -> None:
    pixels = np.arange(12, dtype=np.float32).reshape(3, 4)
    back = from_value(NTNDArray().wrap(pixels))
    assert np.array_equal(back.data, pixels)
    assert (back.series, back.unique_id) == (0, 0)


def test_attributes_that_are_no_scalars_are_left_out() -> None:
    odd = [{"name": "A", "value": None}, {"name": "B", "value": np.arange(3)}, {"name": "C", "value": ("i", 1)}]
    assert from_value(changed(attribute=odd)).attributes == {"C": 1}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dimension": []}, "a product of 12 pixels, found \\[\\]"),
        ({"dimension": [{"size": 4}]}, "a product of 12 pixels"),
        ({"dimension": [{"size": 12}]}, "2 dimensions"),
        ({"dimension": [{"size": 4}, {"size": 4}]}, "a product of 12 pixels"),
        ({"dimension": [{"size": -4}, {"size": -3}]}, "sizes of 0 and more"),
        ({"dimension": [{"size": 2**31 - 1}] * 40}, "a product of 12 pixels"),
        ({"dimension": [{"size": 2}, {"size": 3}, {"size": 2}]}, "a dimension of 3 where it belongs"),
        ({"dimension": [{"size": 12}, {"size": 1}, {"size": 1}, {"size": 1}]}, "2 dimensions, or 3"),
        ({"value": ("booleanValue", np.zeros(12, bool))}, "booleanValue"),
        ({"codec": {"name": "lz4"}}, "no compression, found 'lz4'; turn compression off"),
        ({"compressedSize": -1}, "compressedSize: expected 0 or more bytes, found -1"),
        ({"uncompressedSize": -24}, "uncompressedSize: expected 0 or more bytes"),
        ({"attribute": [{"name": "Series", "value": "first"}]}, "attribute Series: expected an integer"),
    ],
)
def test_structures_that_do_not_fit_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        from_value(changed(**fields))


def test_a_dimension_of_3_with_a_mono_color_mode_is_refused() -> None:
    value = changed(dimension=[{"size": 3}, {"size": 2}, {"size": 2}])
    with pytest.raises(ProtocolError, match="RGB1, RGB2 or RGB3"):
        from_value(value)


def test_something_else_than_an_ntndarray_is_refused() -> None:
    with pytest.raises(ProtocolError, match=r"expected epics:nt/NTNDArray:1\.0, found 'epics:nt/NTScalar:1\.0'"):
        from_value(NTScalar("d").wrap(1.0))


@pytest.mark.parametrize("missing", ["value", "codec", "dimension", "uniqueId", "attribute", "timeStamp"])
def test_a_structure_that_only_claims_to_be_one_is_refused(missing: str) -> None:
    fields = [(name, kind) for name, kind in TYPE.aspy()[2] if name != missing]
    with pytest.raises(ProtocolError):
        from_value(Value(Type(fields, id=ntndarray.TYPE_ID), {}))
    strings = [(name, "s" if name == missing else kind) for name, kind in TYPE.aspy()[2]]
    with pytest.raises(ProtocolError):
        from_value(Value(Type(strings, id=ntndarray.TYPE_ID), {}))


@pytest.mark.parametrize(
    ("data", "attributes", "message"),
    [
        (np.zeros((2, 2), np.complex64), {}, "no areaDetector data type for complex64"),
        (np.zeros(4, np.uint8), {}, "expected \\[y, x\\] or \\[y, x, 3\\], found \\(4,\\)"),
        (np.zeros((2, 2, 4), np.uint8), {}, "expected \\[y, x\\] or"),
        (np.zeros((2, 2), np.uint8), {"A": 1 << 63}, "attribute A: expected an integer of 64 bits"),
        (np.zeros((2, 2), np.uint8), {"A": [1]}, "attribute A: expected bool, int, float or str"),
    ],
)
def test_frames_that_no_ntndarray_can_hold_are_refused(data: np.ndarray, attributes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_value(Frame(1, 1, 0, data, attributes))
