"""pvAccess against any bytes in any pieces, and images against a reader that knows nothing of how they were laid."""

from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioc.channels import pva_wire_mask, pva_wire_types, pva_wire_values
from ioc.channels.pva_wire_buffer import Reader, size, string
from ioc.channels.pva_wire_connection import ChannelWanted, Connection, Event
from ioc.channels.pva_wire_framing import Command, Splitter
from ioc.channels.pva_wire_image import EMPTY, Image, image_of
from ioc.channels.pva_wire_ntndarray import TYPE, Selection, select
from ioc.channels.pva_wire_search import ANY, Place, Search, beacon, forward, found, read_datagram
from ioc.channels.pva_wire_types import ANY as ANY_CODE
from ioc.channels.pva_wire_types import ARRAY, SCALARS, STRING, STRUCTURE, UNION, Registry, Type, array_of, structure
from ioc.core.errors import ProtocolError
from ioc.core.frame import DataType, Frame
from tests.support.pva_client import Sender

GOLDEN = [bytes.fromhex(file.read_text()) for file in Path(__file__).parents[1].glob("unit/pva_golden/*.hex")]

texts = st.text(max_size=8)
scalars = st.sampled_from([*SCALARS, STRING, ANY_CODE]).flatmap(lambda code: st.sampled_from([code, code | ARRAY]))


def composite(inner: st.SearchStrategy[Type]) -> st.SearchStrategy[Type]:
    members = st.dictionaries(texts, inner, max_size=4).map(lambda found: tuple(found.items()))
    made = st.builds(
        lambda name, fields, code: structure(name, *fields, code=code),
        texts,
        members,
        st.sampled_from([STRUCTURE, UNION]),
    )
    return made | made.map(array_of)


types = st.recursive(scalars.map(Type), composite, max_leaves=20)
attributes = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda name: name not in ("ColorMode", "Series")),
    st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(allow_nan=False) | texts,
    max_size=4,
)
shapes = st.tuples(st.integers(0, 5), st.integers(0, 5)) | st.tuples(st.integers(1, 4), st.integers(1, 4), st.just(3))
frames = st.builds(
    lambda shape, data_type, unique_id, stamp, found: Frame(
        3,
        unique_id,
        stamp,
        np.random.default_rng(unique_id % 97).integers(0, 100, shape).astype(data_type.dtype),
        found,
    ),
    shapes,
    st.sampled_from(list(DataType)),
    st.integers(1, 1 << 40),
    st.integers(0, 1 << 62),
    attributes,
)


@given(types)
def test_types_come_back(kind: Type) -> None:
    reader = Reader(pva_wire_types.encode(kind))
    assert Registry().read(reader) == kind
    assert reader.left == 0


@given(st.integers(0, (1 << 500) - 1))
def test_bit_sets_come_back(mask: int) -> None:
    assert pva_wire_mask.read(Reader(pva_wire_mask.encode(mask))) == mask


@given(st.integers(0, (1 << 31) - 2), texts)
def test_sizes_and_strings_come_back(count: int, text: str) -> None:
    assert Reader(size(count)).size() == count
    assert Reader(string(text)).string() == text


def events_of(pieces: list[bytes]) -> tuple[list[Event], str | None]:
    """Return what a connection makes of bytes that arrive in pieces, and the error that ended it."""
    connection, events = Connection(), []
    try:
        for piece in pieces:
            for event in connection.feed(piece):
                events.append(event)
                if isinstance(event, ChannelWanted):
                    connection.open_channel(event)
    except ProtocolError as error:
        return events, str(error)
    return events, None


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    """Return data cut at places (modulo its length)."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[begin:end] for begin, end in pairwise(places)]


cut_places = st.lists(st.integers(0, 1 << 16), max_size=12)
changes = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4)


@given(st.sampled_from(GOLDEN), cut_places, changes)
def test_how_bytes_are_cut_changes_nothing_and_any_change_is_one_error(
    data: bytes, cuts: list[int], changed: list[tuple[int, int]]
) -> None:
    mutated = bytearray(data)
    for at, value in changed:
        mutated[at % len(mutated)] = value
    whole = events_of([bytes(mutated)])
    assert events_of(pieces_of(bytes(mutated), cuts)) == whole


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_behind_a_header_are_taken_or_one_error(body: bytes, big: bool) -> None:
    sender = Sender(big)
    for command in Command:
        events_of([sender.validation() + sender.create(1, "X"), sender.message(command, body)])


@given(st.binary(max_size=300))
def test_any_datagram_is_taken_or_one_error(data: bytes) -> None:
    try:
        read_datagram(data)
    except ProtocolError:
        return


def fields_of(image: Image, selection: Selection, first: bool = True) -> dict[str, Any]:
    """Return what a reader finds in an update: dotted names of changed leaves; pixels as NumPy has them."""
    data = b"".join(bytes(part) for part in image.update(selection, 5, first, False))
    (message,) = Splitter(from_server=True, longest=1 << 20).feed(data)
    reader = Reader(message.body)
    assert (reader.number("I"), reader.number("B")) == (5, 0)
    mask = pva_wire_mask.read(reader)
    registry = Registry()
    found: dict[str, Any] = {}

    def walk(kind: Type, prefix: str, bit: int) -> int:
        for name, member in kind.members:
            if member.code == STRUCTURE:
                bit = walk(member, f"{prefix}{name}.", bit + 1)
                continue
            if mask & 1 or mask >> bit & 1:
                if name == "value":
                    found[name] = pixels(member)
                else:
                    found[f"{prefix}{name}"] = pva_wire_values.read(reader, member, registry)
            bit += 1
        return bit

    def pixels(union: Type) -> np.ndarray | None:
        chosen = reader.size()
        if chosen is None:
            return None
        name, array = union.members[chosen]
        count = reader.size() or 0
        dtype = np.dtype(SCALARS[array.code & ~ARRAY].replace("q", "i8").replace("Q", "u8")).newbyteorder("<")
        assert name.endswith("Value")
        return np.frombuffer(reader.take(count * dtype.itemsize), dtype)

    walk(selection.type, "", 1)
    assert pva_wire_mask.read(reader) == 0  # no overrun
    assert reader.left == 0
    return found


@given(frames, st.booleans())
@settings(max_examples=60)
def test_an_image_is_read_as_it_was_laid(frame: Frame, first: bool) -> None:
    found = fields_of(image_of(frame), select(), first)
    assert found["value"].tobytes() == frame.data.tobytes()
    assert found["value"].dtype == frame.data.dtype
    assert [one["size"] for one in found["dimension"]] == list(frame.data.shape[::-1])
    assert found["uniqueId"] == (frame.unique_id + (1 << 31)) % (1 << 32) - (1 << 31)
    stamp = found["timeStamp.secondsPastEpoch"] * 10**9 + found["timeStamp.nanoseconds"]
    assert stamp == frame.timestamp_ns
    assert found["compressedSize"] == found["uncompressedSize"] == frame.data.nbytes
    values = {one["name"]: one["value"] for one in found["attribute"]}
    mode = int(frame.color_mode)
    assert values == {"ColorMode": mode, "Series": 3, **frame.attributes}
    assert {type(value) for value in values.values()} <= {bool, int, float, str}
    assert ("display.units" in found) is first


leaves = [name for name in select().leaves if "." in name] + [name for name, _ in TYPE.members]


@given(st.lists(st.sampled_from(leaves), min_size=1, max_size=5), frames)
@settings(max_examples=60)
def test_a_selection_gets_its_fields_and_no_others(fields: list[str], frame: Frame) -> None:
    selection = select(fields)
    found = fields_of(image_of(frame), selection)
    assert tuple(found) == selection.leaves
    assert all(any(leaf == field or leaf.startswith(f"{field}.") for field in fields) for leaf in found)
    everything = fields_of(image_of(frame), select())
    for leaf, value in found.items():
        assert np.array_equal(value, everything[leaf])


def test_the_empty_image_has_nothing() -> None:
    found = fields_of(EMPTY, select())
    assert (found["value"], found["dimension"], found["attribute"], found["uniqueId"]) == (None, [], [], 0)


def test_an_overrun_is_marked_with_what_changed() -> None:
    frame = Frame(1, 2, 3, np.zeros((2, 2), np.uint8))
    selection = select(["uniqueId", "timeStamp"])
    (data,) = image_of(frame).update(selection, 5, False, True)
    assert data[-len(selection.mask) :] == selection.mask
    assert data[13 : 13 + len(selection.mask)] == selection.mask


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (Frame(1, 1, 0, np.zeros((2, 2), np.complex64)), "no areaDetector data type"),
        (Frame(1, 1, 0, np.zeros(4, np.uint8)), "expected \\[y, x\\]"),
        (Frame(1, 1, 0, np.zeros((2, 2, 4), np.uint8)), "expected \\[y, x\\]"),
        (Frame(1, 1, 0, np.zeros((2, 2), np.uint8), {"a": 1 << 70}), "64 bits"),
    ],
)
def test_what_is_no_image_is_refused(frame: Frame, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        image_of(frame)


def test_pixels_are_sent_from_where_they_are_if_that_can_be() -> None:
    data = np.arange(20, dtype=np.uint16).reshape(4, 5)
    (_, pixels, _) = image_of(Frame(1, 1, 0, data)).update(select(), 1, True, False)
    assert np.shares_memory(np.frombuffer(pixels, np.uint8), data)
    (_, pixels, _) = image_of(Frame(1, 1, 0, data[:, ::2])).update(select(), 1, True, False)
    assert bytes(pixels) == data[:, ::2].tobytes()
    (_, pixels, _) = image_of(Frame(1, 1, 0, data.astype(">u2"))).update(select(), 1, True, False)
    assert bytes(pixels) == data.tobytes()


names = st.lists(st.tuples(st.integers(0, (1 << 32) - 1), texts), max_size=5)


@given(names, st.booleans(), st.integers(0, 65535))
def test_searches_come_back_and_are_sent_on(wanted: list[tuple[int, str]], big: bool, port: int) -> None:
    flags = 0x81
    ((forwarded, searches),) = [read_datagram(Sender(big).search(wanted, flags, (bytes(16), port)))]
    search = searches[0]
    assert (forwarded, search.names, search.unicast, search.must_reply) == (False, tuple(wanted), True, True)
    assert (search.reply_to, search.reply_port, search.for_tcp) == (ANY, port, True)
    again = forward(search, IPv4Address("127.0.0.1"), (IPv4Address("10.0.0.1"), 4321))
    told, (same,) = read_datagram(again)
    assert told and not same.unicast
    assert (same.reply_to, same.reply_port, same.names) == (IPv4Address("10.0.0.1"), port or 4321, search.names)


def test_answers_and_beacons_are_laid_as_the_protocol_says() -> None:
    place = Place(b"g" * 12, IPv4Address("10.0.0.2"), 5075)
    search = Search(9, 0, ANY, 1, ("tcp",), ())
    mapped = bytes(10) + b"\xff\xff\x0a\x00\x00\x02"
    where = mapped + b"\xd3\x13" + b"\x03tcp"
    assert found(place, search, [7])[8:] == b"g" * 12 + b"\x09\0\0\0" + where + b"\x01\x01\x00\x07\0\0\0"
    assert found(place, search, [])[8:] == b"g" * 12 + b"\x09\0\0\0" + where + b"\x00\x00\x00"
    assert beacon(place, 258, 3)[8:] == b"g" * 12 + b"\x00\x02\x03\x00" + where + b"\xff"
    assert not Search(9, 0, ANY, 1, ("tls",), ()).for_tcp
