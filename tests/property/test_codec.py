"""The payload format against any frame and any bytes."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ioc.core import codec
from ioc.core.errors import ProtocolError
from ioc.core.frame import DataType, EndOfSeries, Frame, Item

integers = st.integers(0, codec.MOST_INTEGER)
values = st.one_of(st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), st.text(max_size=40))
attributes = st.dictionaries(st.text(min_size=1, max_size=20), values, max_size=12)
shapes = st.one_of(
    st.tuples(st.integers(1, 6), st.integers(1, 6)), st.tuples(st.integers(1, 4), st.integers(1, 4), st.just(3))
)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    dtype = draw(st.sampled_from(list(DataType))).dtype
    data = draw(hnp.arrays(dtype, draw(shapes)))
    return Frame(draw(integers), draw(integers), draw(integers), data, draw(attributes))


items = st.one_of(frames(), st.builds(EndOfSeries, integers, integers))


def payload_of(item: Item) -> bytearray:
    header, pixels = codec.encode(item, codec.pixel_checksum(item))
    return bytearray(header + bytes(pixels))


def refused_or_item(payload: bytes | bytearray) -> None:
    try:
        codec.decode(payload, verify=True)
    except ProtocolError:
        pass


@given(items)
def test_what_is_encoded_is_decoded(item: Item) -> None:
    found = codec.decode(payload_of(item), verify=True)
    if isinstance(item, EndOfSeries):
        assert found == item
        return
    assert isinstance(found, Frame)
    assert (found.series, found.unique_id, found.timestamp_ns) == (item.series, item.unique_id, item.timestamp_ns)
    assert found.data.dtype == item.data.dtype
    assert found.data.shape == item.data.shape
    assert found.data.tobytes() == item.data.tobytes()
    assert found.attributes == item.attributes
    assert all(type(found.attributes[name]) is type(value) for name, value in item.attributes.items())


@settings(max_examples=300)
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_an_item_or_one_error(data: bytes, as_body: bool) -> None:
    if as_body:
        head = b"\xd8\x18\x59" + len(data).to_bytes(2, "big") + data
        data = head + bytes(-len(head) % 64)
    refused_or_item(data)


@settings(max_examples=300)
@given(items, st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_bytes_are_an_item_or_one_error(item: Item, changes: list[tuple[float, int]]) -> None:
    payload = payload_of(item)
    for place, value in changes:
        payload[math.floor(place * len(payload))] = value
    refused_or_item(payload)
