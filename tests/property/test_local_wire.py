"""The local channel's messages: what goes in comes out, and any bytes are accepted or one error."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.channels import local_wire as wire
from ioc.core.errors import ProtocolError
from ioc.core.frame import DataType, EndOfSeries, Frame
from ioc.core.sequence import Ranges

int64 = st.integers(-(1 << 63), (1 << 63) - 1)
attributes = st.dictionaries(
    st.text(max_size=8), st.one_of(st.booleans(), int64, st.floats(allow_nan=False), st.text(max_size=20)), max_size=4
)
described = st.builds(
    wire.Described,
    st.integers(0, (1 << 32) - 1),
    st.integers(0, 1 << 60),
    st.one_of(st.tuples(*[st.integers(0, 1 << 20)] * 2), st.tuples(*[st.integers(0, 1 << 20)] * 3)),
    st.sampled_from([member.dtype for member in DataType]),
    int64,
    int64,
    int64,
    attributes,
)
items = st.lists(st.one_of(described, st.builds(EndOfSeries, int64, st.integers(0, 1 << 60))), max_size=8)


def entry(one: wire.Described | EndOfSeries) -> bytes:
    if isinstance(one, EndOfSeries):
        return wire.end_item(one)
    frame = Frame(one.series, one.unique_id, one.timestamp_ns, np.empty(0), one.attributes)
    return wire.frame_item(wire.frame_place(one.segment, one.offset, one.shape, one.dtype), frame)


@given(items, st.integers(0, 1 << 60))
def test_items_round_trip(entries: list[wire.Described | EndOfSeries], missed: int) -> None:
    message = wire.items_head(missed) + b"".join(entry(one) for one in entries)
    assert wire.parse_items_head(message) == missed
    assert list(wire.parse_items(message)) == entries


@given(st.binary(max_size=200))
def test_any_bytes_are_accepted_or_one_error(noise: bytes) -> None:
    for parse in (wire.parse_hello, wire.parse_welcome, wire.parse_segment, wire.parse_retire, wire.parse_items_head):
        with contextlib.suppress(ProtocolError):
            parse(noise)
    with contextlib.suppress(ProtocolError):
        list(wire.parse_items(wire.items_head(0) + noise))


@given(items.filter(bool), st.data())
def test_a_message_that_is_cut_short_is_an_error(
    entries: list[wire.Described | EndOfSeries], data: st.DataObject
) -> None:
    parts = [entry(one) for one in entries]
    whole = wire.items_head(0) + b"".join(parts)
    last = len(parts[-1])
    cut = whole[: len(whole) - data.draw(st.integers(1, last - 1))]
    with pytest.raises(ProtocolError):
        list(wire.parse_items(cut))


def test_hello_round_trip_and_refusals() -> None:
    who = wire.Hello("Cons1", "stats", 3)
    assert wire.parse_hello(wire.hello(who)) == who
    for bad in (wire.Hello("../Cons1", "stats", 0), wire.Hello("Cons1", "stats", -1)):
        with pytest.raises(ProtocolError):
            wire.parse_hello(wire.hello(bad))


def test_attributes_that_are_too_large_are_an_error() -> None:
    big = wire.Described(1, 0, (1, 1), np.dtype(np.uint8), 1, 1, 1, {"a": "x" * 20_000})
    with pytest.raises(ProtocolError, match="at most"):
        entry(big)


@given(st.integers(1, 2**62), st.integers(0, 2**62), st.sets(st.integers(1, 10_000), max_size=60))
def test_end_markers_carry_what_was_filtered(series: int, published: int, filtered: set[int]) -> None:
    marker = EndOfSeries(series, published, tuple(Ranges((one, one) for one in filtered)))
    assert list(wire.parse_items(wire.items_head(0) + wire.end_item(marker))) == [marker]


@given(st.binary(max_size=40))
def test_filtered_ids_that_are_none_are_refused(noise: bytes) -> None:
    head = wire.end_item(EndOfSeries(1, 2))  # its last four bytes count those that follow
    length = len(noise).to_bytes(4, "little")
    message = wire.items_head(0) + head[:-4] + length + noise
    try:
        (marker,) = wire.parse_items(message)
    except ProtocolError:
        return
    assert isinstance(marker, EndOfSeries)
    assert all(1 <= first <= last for first, last in marker.filtered)


def test_more_filtered_ranges_than_there_is_room_for_are_cut() -> None:
    marker = EndOfSeries(1, 10_000, tuple((n, n) for n in range(1, 10_000, 2)))
    message = wire.items_head(0) + wire.end_item(marker)
    assert len(message) < wire.LARGEST_MESSAGE
    (read,) = wire.parse_items(message)
    assert isinstance(read, EndOfSeries)
    assert read.filtered == marker.filtered[: wire.MOST_FILTERED_RANGES]
