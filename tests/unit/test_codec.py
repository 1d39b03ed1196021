"""The payload format of byte transports: what goes in comes out, without a copy; what is broken is refused."""

import cbor2
import numpy as np
import pytest

from ioc.core import codec
from ioc.core.errors import ProtocolError
from ioc.core.frame import Attribute, DataType, EndOfSeries, Frame

PREFIX = bytes.fromhex("d81859")


def frame(data: np.ndarray, attributes: dict[str, Attribute] | None = None) -> Frame:
    return Frame(3, 7, 1_700_000_000_123_456_789, data, attributes or {})


def payload_of(item: Frame | EndOfSeries, checksum: int | None = None) -> bytearray:
    header, pixels = codec.encode(item, checksum)
    return bytearray(header + bytes(pixels))


def payload_with(**changes: object) -> bytes:
    fields = {"version": 1, "series": 3, "unique_id": 7, "timestamp_ns": 5, "shape": [2, 3], "type": "UInt8"}
    fields["attributes"] = {}
    fields |= changes
    return with_body(cbor2.dumps({name: value for name, value in fields.items() if value is not None}))


def with_body(body: bytes, pixels: bytes = b"abcdef") -> bytes:
    head = PREFIX + len(body).to_bytes(2, "big") + body
    return head + bytes(-len(head) % 64) + pixels


@pytest.mark.parametrize("data_type", list(DataType))
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (4, 3, 3), (0, 6), (0, 0)])
def test_every_data_type_and_shape_comes_back(data_type: DataType, shape: tuple[int, ...]) -> None:
    data = np.arange(np.prod(shape)).astype(data_type.dtype).reshape(shape)
    attributes: dict[str, Attribute] = {"a": True, "b": -5, "c": 0.25, "d": "Grüße", "e": 2**64 - 1}
    found = codec.decode(payload_of(frame(data, attributes)))
    assert isinstance(found, Frame)
    assert (found.series, found.unique_id, found.timestamp_ns) == (3, 7, 1_700_000_000_123_456_789)
    assert found.data.dtype == data.dtype
    np.testing.assert_array_equal(found.data, data, strict=True)
    assert found.attributes == attributes
    assert [type(value) for value in found.attributes.values()] == [bool, int, float, str, int]


def test_end_marker_comes_back() -> None:
    assert codec.decode(payload_of(EndOfSeries(9, 100))) == EndOfSeries(9, 100)
    filtered = EndOfSeries(9, 100, ((1, 1), (2, 5), (90, 100)))
    assert codec.decode(payload_of(filtered)) == filtered
    many = tuple((at, at) for at in range(1, 3000, 2))
    assert codec.decode(payload_of(EndOfSeries(9, 3000, many))) == EndOfSeries(9, 3000, many[:1024])


def test_an_offer_travels_and_keys_of_later_releases_are_ignored() -> None:
    for item in (EndOfSeries(9, 100), frame(np.zeros((2, 2), np.uint8))):
        header, pixels = codec.encode(item, None, "10.0.0.1:5")
        assert codec.decode_with_offer(header + bytes(pixels)).resend == "10.0.0.1:5"
    found = codec.decode(payload_with(later={"a": [1, {"b": 2.5}]}, another="x"))
    assert isinstance(found, Frame) and found.unique_id == 7
    for wrong in (5, "x" * 1000):
        assert codec.decode_with_offer(payload_with(resend=wrong)).resend is None


def test_pixels_are_views_both_ways_and_read_only() -> None:
    data = np.zeros((4, 8), np.uint16)
    header, pixels = codec.encode(frame(data))
    data[0, 0] = 0x0102
    assert bytes(pixels[:2]) == b"\x02\x01"
    assert len(header) % 64 == 0
    payload = bytearray(header + bytes(pixels))
    found = codec.decode(payload)
    payload[len(header)] = 0xFF
    assert isinstance(found, Frame)
    assert found.data[0, 0] == 0x01FF
    with pytest.raises(ValueError, match="read-only"):
        found.data[0, 0] = 1


def test_other_layouts_arrive_as_c_order_little_endian() -> None:
    data = np.arange(24, dtype=">u4").reshape(4, 6)[::-1, ::2]
    found = codec.decode(payload_of(frame(data)))
    assert isinstance(found, Frame)
    np.testing.assert_array_equal(found.data, data)
    assert found.data.dtype == np.dtype("<u4")
    assert codec.pixel_checksum(frame(data)) == codec.pixel_checksum(found)


def test_checksum_finds_a_flipped_bit_only_when_verifying() -> None:
    item = frame(np.arange(100, dtype=np.uint8).reshape(10, 10))
    payload = payload_of(item, codec.pixel_checksum(item))
    assert isinstance(codec.decode(payload, verify=True), Frame)
    payload[-1] ^= 1
    assert isinstance(codec.decode(payload), Frame)
    with pytest.raises(ProtocolError, match="checksum"):
        codec.decode(payload, verify=True)


def test_end_marker_has_no_checksum_and_passes_verification() -> None:
    assert codec.pixel_checksum(EndOfSeries(1, 2)) is None
    assert codec.decode(payload_of(EndOfSeries(1, 2)), verify=True) == EndOfSeries(1, 2)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"version": 2}, "version"),
        ({"version": None}, "version"),
        ({"series": -1}, "series"),
        ({"series": 2**63}, "series"),
        ({"unique_id": 1.0}, "unique_id"),
        ({"unique_id": True}, "unique_id"),
        ({"timestamp_ns": "now"}, "timestamp_ns"),
        ({"shape": [2, 4]}, "8 bytes"),
        ({"shape": [6]}, "shape"),
        ({"shape": [0, 6]}, "0 bytes"),
        ({"shape": [-1, -6]}, "shape"),
        ({"shape": [1, 2, 4]}, "shape"),
        ({"shape": [2.0, 3.0]}, "shape"),
        ({"shape": [2**63, 2**63]}, "bytes"),
        ({"shape": "23"}, "shape"),
        ({"type": "Object"}, "type"),
        ({"type": 5}, "type"),
        ({"attributes": []}, "attributes"),
        ({"attributes": {"x": [1]}}, "attribute 'x'"),
        ({"attributes": {str(i): [i] for i in range(20)}}, "containers"),
        ({"published": 9, "shape": None, "filtered": [1]}, "filtered"),
        ({"published": 9, "shape": None, "filtered": [3, 1]}, "filtered"),
        ({"published": 9, "shape": None, "filtered": [1, 4, 4, 5]}, "filtered"),
        ({"published": 9, "shape": None, "filtered": [0, 1]}, "filtered"),
        ({"published": 9, "shape": None, "filtered": [True, 1]}, "filtered"),
        ({"published": 9, "shape": None, "filtered": "1-2"}, "filtered"),
        ({"published": 9, "shape": None, "filtered": list(range(1, 2051))}, "filtered"),
        ({"attributes": {1: 2}}, "attribute name"),
        ({"attributes": {"n" * 257: 2}}, "attribute name"),
        ({"attributes": {"x": "y" * 4097}}, "attribute"),
        ({"attributes": {str(i): i for i in range(1025)}}, "1024"),
        ({"published": -1, "shape": None}, "0 bytes"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ProtocolError, match=named):
        codec.decode(payload_with(**changes))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xa1",
        b"\xff",
        b"\xbf\xff",
        b"\x80",
        b"\x81" * 5000,
        b"\xc2\x41\x01",
        bytes.fromhex("d81c80"),
        bytes.fromhex("c51b7fffffffffffffff"),
        b"\x43abc",
        b"\xf6",
        b"\x9b" + b"\xff" * 8,
        b"\x7b" + b"\xff" * 8,
        b"\xa1\x80\x01",
        b"\xa1\x62\xff\xfe\x01",
        b"\xa0\xa0",
    ],
)
def test_cbor_that_is_no_header_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        codec.decode(with_body(body))


def test_every_truncation_is_refused() -> None:
    payload = payload_of(frame(np.ones((3, 3), np.uint16), {"a": "b"}))
    for size in range(len(payload)):
        with pytest.raises(ProtocolError):
            codec.decode(payload[:size])
    with pytest.raises(ProtocolError, match="18 bytes"):
        codec.decode(payload + b"\0")


def test_padding_must_be_zeros() -> None:
    payload = payload_of(EndOfSeries(1, 2))
    payload[-1] = 1
    with pytest.raises(ProtocolError, match="zeros"):
        codec.decode(payload)


@pytest.mark.parametrize(
    "item",
    [
        frame(np.zeros((2, 2), np.complex64)),
        frame(np.zeros((2, 2), bool)),
        frame(np.zeros(4, np.uint8)),
        frame(np.zeros((2, 2, 4), np.uint8)),
        frame(np.zeros((2, 2), np.uint8), {"x": 2**64}),
        frame(np.zeros((2, 2), np.uint8), {"": 1}),
        frame(np.zeros((2, 2), np.uint8), {"x": "y" * 4097}),
        frame(np.zeros((2, 2), np.uint8), {str(i): "y" * 4000 for i in range(20)}),
        EndOfSeries(-1, 0),
        EndOfSeries(1, 2**63),
    ],
)
def test_what_does_not_fit_the_format_is_not_encoded(item: Frame | EndOfSeries) -> None:
    with pytest.raises(ValueError):
        codec.encode(item)
