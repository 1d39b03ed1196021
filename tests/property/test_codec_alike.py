"""Frames one like the other are written and read as `codec` does it, whatever comes between them."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioc.core import codec
from ioc.core.codec_alike import MOST_IN_VAIN, AlikeReader, AlikeWriter
from ioc.core.errors import ProtocolError
from ioc.core.frame import Attribute, EndOfSeries, Frame, Item

IDS = st.integers(0, codec.MOST_INTEGER)
VALUES = st.sampled_from(
    [0, 1, True, 1.0, 0.0, -0.0, float("nan"), "", "a", "\x69unique_id\x1b\0\0\0\0\0\0\0\5", 1 << 63]
)
ATTRIBUTES = st.dictionaries(st.sampled_from(["a", "b", "unique_id", "checksum"]), VALUES, max_size=3)
DATA = st.sampled_from(
    [np.arange(12, dtype=kind).reshape(shape) for kind in ("u1", "<u2", ">f4") for shape in ((3, 4), (2, 2, 3))]
)
FRAMES = st.builds(Frame, st.sampled_from([1, 2]), IDS, IDS, DATA, ATTRIBUTES)
ITEMS = st.one_of(FRAMES, st.builds(EndOfSeries, IDS, IDS))
OFFERS = st.sampled_from([None, "10.0.0.1:5/0123456789abcdef"])


def told(item: Item, resend: str | None) -> tuple[object, ...]:
    """Return all of an item, as what can be compared: NaN is NaN, and 1 is not True."""
    if isinstance(item, EndOfSeries):
        return item, resend
    attributes = {name: (type(value), repr(value)) for name, value in item.attributes.items()}
    return (item.series, item.unique_id, item.timestamp_ns, item.data.tolist(), item.data.shape, attributes, resend)


def outcome(read: Any, payload: bytes) -> object:
    try:
        found = read(payload)
    except ProtocolError as error:
        return str(error)
    return told(*found)


@settings(max_examples=40)
@given(st.lists(st.tuples(ITEMS, OFFERS), max_size=12), st.booleans())
def test_what_is_written_is_what_codec_reads(items: list[tuple[Item, str | None]], checksum: bool) -> None:
    writer, reader = AlikeWriter(checksum), AlikeReader(verify=True)
    for item, offer in items:
        payload = b"".join(map(bytes, writer.write(item, offer)))
        assert len(payload) % codec.ALIGNMENT == (item.data.nbytes % codec.ALIGNMENT if isinstance(item, Frame) else 0)
        assert told(*codec.decode_with_offer(payload, verify=True)) == told(item, offer)
        assert told(*reader.read(payload)) == told(item, offer)
        fields, _ = codec.fields_of(memoryview(payload))
        assert ("checksum" in fields) is (checksum and isinstance(item, Frame))


@settings(max_examples=40)
@given(st.lists(FRAMES, min_size=1, max_size=4), st.booleans(), st.randoms(use_true_random=False))
def test_any_bytes_are_read_as_codec_reads_them(frames: list[Frame], verify: bool, rng: random.Random) -> None:
    """The reader is given headers that differ a little from those that it knows."""
    writer, reader = AlikeWriter(checksum=True), AlikeReader(verify)
    known = [b"".join(map(bytes, writer.write(frame, None))) for frame in frames]
    known += [b"".join(map(bytes, codec.encode(frame, codec.pixel_checksum(frame)))) for frame in frames]
    for _ in range(20):
        changed = bytearray(rng.choice(known))
        for _ in range(rng.choice((0, 0, 1, 2))):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        if rng.random() < 0.1:
            del changed[rng.randrange(len(changed)) :]
        payload = bytes(changed)
        assert outcome(reader.read, payload) == outcome(lambda data: codec.decode_with_offer(data, verify), payload)


def frame(unique_id: int, **attributes: Attribute) -> Frame:
    return Frame(1, unique_id, 5, np.zeros((2, 2), np.uint8), attributes)


def test_a_text_that_looks_like_a_number_of_the_header_is_read_as_the_text_that_it_is() -> None:
    text = "\x69unique_id\x1b\0\0\0\0\0\0\0\5"
    sent = Frame(1, 0, 1 << 32, np.zeros((2, 2), np.uint8), {"a": text})
    payload = b"".join(map(bytes, codec.encode(sent, codec.pixel_checksum(sent))))
    assert payload.count(text.encode()) == 1, "the id is in one byte: the text looks like it, and alone"
    reader = AlikeReader(verify=True)
    for _ in range(2):
        assert told(*reader.read(payload)) == told(sent, None)


def test_frames_that_are_alike_are_read_without_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, reader = AlikeWriter(checksum=True), AlikeReader(verify=True)
    payloads = [b"".join(map(bytes, writer.write(frame(number, a="x"), None))) for number in range(1, 5)]
    reader.read(payloads[0])
    monkeypatch.setattr(codec, "decode_with_offer", lambda *_: pytest.fail("read anew"))
    monkeypatch.setattr(codec, "encode", lambda *_: pytest.fail("made anew"))
    for number, payload in enumerate(payloads[1:], start=2):
        found = reader.read(payload).item
        assert isinstance(found, Frame) and found.unique_id == number and found.attributes == {"a": "x"}
        assert not found.data.flags.writeable
        found.attributes["a"] = "y"  # type: ignore[index]
    assert told(reader.read(payloads[0]).item, None) == told(frame(1, a="x"), None)
    writer.write(frame(9, a="x"), None)
    with pytest.raises(ProtocolError, match="checksum"):
        reader.read(payloads[0][:-1] + b"\1")


def test_attributes_that_change_each_frame_are_not_remembered_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, reader = AlikeWriter(checksum=True), AlikeReader(verify=True)
    looked = 0
    real = codec.fields_of

    def fields_of(view: memoryview) -> Any:
        nonlocal looked
        looked += 1
        return real(view)

    monkeypatch.setattr(codec, "fields_of", fields_of)
    count = 10 * MOST_IN_VAIN
    for number in range(count):
        reader.read(b"".join(map(bytes, writer.write(frame(number, a=number + 1000), None))))
    assert count <= looked <= count + 2 * (2 * MOST_IN_VAIN + 10)


def test_a_frame_that_does_not_fit_is_refused_and_the_next_one_is_written() -> None:
    writer = AlikeWriter(checksum=True)
    writer.write(frame(1), None)
    for bad in (replace(frame(2), data=np.zeros(3)), frame(-1), replace(frame(2), data=np.zeros((2, 2), object))):
        with pytest.raises(ValueError, match="expected"):
            writer.write(bad, None)
    found = codec.decode(b"".join(map(bytes, writer.write(frame(3), None))))
    assert isinstance(found, Frame) and found.unique_id == 3
