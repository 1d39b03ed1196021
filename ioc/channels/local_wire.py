"""What the distributor and a local member say to each other, as bytes: pure, no sockets.

One message is one SEQPACKET record; its first byte says what it is. Pixels never travel: a frame is described by
where it lies in a segment.

    member -> distributor   HELLO json   LEAVE   PROGRESS   GIVE_BACK
                            GIVE_BACK: it leaves, and what it has not finished is to be given to its next life
    distributor -> member   WELCOME link   SEGMENT number size (+ descriptor)   RETIRE number   BYE
                            ITEMS missed item item ...     missed: frames dropped for this member so far
"""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import cbor2
import numpy as np

from ioc.core.errors import ProtocolError, mismatch
from ioc.core.frame import Attribute, DataType, EndOfSeries, Frame

VERSION = 3
HELLO, LEAVE, PROGRESS, GIVE_BACK = b"H", b"L", b"P", b"G"
WELCOME, SEGMENT, RETIRE, ITEMS, BYE = b"W", b"S", b"R", b"I", b"B"
LARGEST_MESSAGE = 60_000
MOST_ATTRIBUTE_BYTES = 16_384
MOST_FILTERED_RANGES = 800
"""Ranges in an end marker, 19 bytes each at most; ids beyond them are taken for missing: loss is never hidden."""

_TYPES = tuple(DataType)
_TYPE_CODE = {member.dtype: at for at, member in enumerate(_TYPES)}
_DTYPES = tuple(member.dtype for member in _TYPES)
_PLACE = struct.Struct("<BBBBIQIII")
"""is end, type, dimensions, is suspect, segment, offset, 3 x shape: the same for every frame in a slot, unless somebody
died with it."""
_IDENTITY = struct.Struct("<qqqI")
"""series, id or count, time stamp, bytes of attributes."""
_ITEM = struct.Struct(_PLACE.format + _IDENTITY.format.removeprefix("<"))
_WELCOME = struct.Struct("<cq")
_SEGMENT = struct.Struct("<cIQ")
_RETIRE = struct.Struct("<cI")
_ITEMS_HEAD = struct.Struct("<cQ")


@dataclass(frozen=True, slots=True)
class Hello:
    """Who a member is: its name and its place in a group."""

    name: str
    group: str
    member: int


class Described(NamedTuple):
    """A frame as the message describes it: `dtype` and `shape` at `offset` of segment `segment`.

    A tuple, because one is made of each frame and a frozen dataclass takes three times as long to make.
    """

    segment: int
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype
    series: int
    unique_id: int
    timestamp_ns: int
    attributes: Mapping[str, Attribute]


class Suspect(Described):
    """A frame that was in the hands of a member that died."""

    __slots__ = ()


def hello(who: Hello) -> bytes:
    """Return the first message of a member."""
    text = {"version": VERSION, "name": who.name, "group": who.group, "member": who.member}
    return HELLO + json.dumps(text).encode()


def parse_hello(message: bytes) -> Hello:
    """Return who a member says it is.

    Raises:
        ProtocolError: not a hello, or of another version.
    """
    if message[:1] != HELLO or len(message) > 4096:
        raise ProtocolError(mismatch("first message of a member", "HELLO", message[:16]))
    try:
        said = json.loads(message[1:])
        version, name, group, member = said["version"], said["name"], said["group"], said["member"]
    except (ValueError, KeyError, TypeError) as error:
        raise ProtocolError(f"first message of a member: {type(error).__name__}: {error}") from None
    if version != VERSION:
        raise ProtocolError(mismatch("a member's version of the local channel", str(VERSION), version))
    if not (isinstance(name, str) and isinstance(group, str) and type(member) is int and 0 <= member < 1024):
        raise ProtocolError(mismatch("a member's name, group and number", "str, str, 0..1023", said))
    if not name.isalnum():
        raise ProtocolError(mismatch("a member's name", "letters and digits", name))
    return Hello(name, group, member)


def welcome(link: int) -> bytes:
    """Return the answer to a hello: the number of this connection."""
    return _WELCOME.pack(WELCOME, link)


def parse_welcome(message: bytes) -> int:
    """Return the number of the connection.

    Raises:
        ProtocolError: not a welcome.
    """
    if message[:1] != WELCOME or len(message) != _WELCOME.size:
        raise ProtocolError(mismatch("first message of the distributor", "WELCOME", message[:16]))
    return _WELCOME.unpack(message)[1]


def segment(number: int, size: int) -> bytes:
    """Return the message that goes with a segment's descriptor."""
    return _SEGMENT.pack(SEGMENT, number, size)


def parse_segment(message: bytes) -> tuple[int, int]:
    """Return number and size in bytes of a segment.

    Raises:
        ProtocolError: of another length.
    """
    if len(message) != _SEGMENT.size:
        raise ProtocolError(mismatch("SEGMENT message", f"{_SEGMENT.size} bytes", len(message)))
    _, number, size = _SEGMENT.unpack(message)
    return number, size


def retire(number: int) -> bytes:
    """Return the message that says that no frame will lie in a segment any more."""
    return _RETIRE.pack(RETIRE, number)


def parse_retire(message: bytes) -> int:
    """Return the number of the segment that is given up.

    Raises:
        ProtocolError: of another length.
    """
    if len(message) != _RETIRE.size:
        raise ProtocolError(mismatch("RETIRE message", f"{_RETIRE.size} bytes", len(message)))
    return _RETIRE.unpack(message)[1]


def items_head(missed: int) -> bytes:
    """Return the beginning of an ITEMS message."""
    return _ITEMS_HEAD.pack(ITEMS, missed)


def parse_items_head(message: bytes) -> int:
    """Return how many frames were dropped for this member so far.

    Raises:
        ProtocolError: cut short.
    """
    if len(message) < _ITEMS_HEAD.size:
        raise ProtocolError(mismatch("ITEMS message", f"at least {_ITEMS_HEAD.size} bytes", len(message)))
    return _ITEMS_HEAD.unpack_from(message)[1]


def end_item(marker: EndOfSeries) -> bytes:
    """Return an end marker as one entry of an ITEMS message; of its filtered ranges, as many as there is room for."""
    filtered = cbor2.dumps(marker.filtered[:MOST_FILTERED_RANGES]) if marker.filtered else b""
    identity = _IDENTITY.pack(marker.series, marker.published, 0, len(filtered))
    return _PLACE.pack(1, 0, 0, 0, 0, 0, 0, 0, 0) + identity + filtered


def frame_place(segment: int, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """Return the part of a frame's entry that says where its pixels lie and what they are."""
    rows, columns, planes = shape if len(shape) == 3 else (*shape, 0)
    return _PLACE.pack(0, _TYPE_CODE[dtype], len(shape), 0, segment, offset, rows, columns, planes)


def suspect_place(place: bytes) -> bytes:
    """Return a place with the mark that a member died with what lies there in its hands."""
    return place[:3] + b"\x01" + place[4:]


def frame_item(place: bytes, frame: Frame) -> bytes:
    """Return a frame whose pixels are at `place` as one entry of an ITEMS message.

    Raises:
        ProtocolError: its attributes are too large or of a type that does not travel.
    """
    if not frame.attributes:
        return place + _IDENTITY.pack(frame.series, frame.unique_id, frame.timestamp_ns, 0)
    attributes = cbor2.dumps(dict(frame.attributes))
    if len(attributes) > MOST_ATTRIBUTE_BYTES:
        where = f"attributes of frame {frame.unique_id}"
        raise ProtocolError(mismatch(where, f"at most {MOST_ATTRIBUTE_BYTES} bytes", len(attributes)))
    return place + _IDENTITY.pack(frame.series, frame.unique_id, frame.timestamp_ns, len(attributes)) + attributes


def parse_items(message: bytes) -> Iterator[Described | EndOfSeries]:
    """Yield the entries of an ITEMS message.

    Raises:
        ProtocolError: cut short, or a type or shape that cannot be.
    """
    at, end = _ITEMS_HEAD.size, len(message)
    unpack, size = _ITEM.unpack_from, _ITEM.size
    while at < end:
        if end - at < size:
            raise ProtocolError(mismatch("ITEMS message", f"entries of {size} bytes", end - at))
        head = unpack(message, at)
        is_end, code, ndim, suspect, number, offset, rows, columns, planes, series, unique_id, stamp, length = head
        at += size
        if is_end:
            if length > end - at:
                raise ProtocolError(mismatch("end marker in an ITEMS message", f"{length} more bytes", end - at))
            yield EndOfSeries(series, unique_id, _filtered(message[at : at + length]) if length else ())
            at += length
            continue
        if code >= len(_DTYPES) or ndim not in (2, 3) or length > end - at:
            raise ProtocolError(mismatch("entry of an ITEMS message", "a known type, 2 or 3 dimensions", head))
        attributes = _attributes(message[at : at + length]) if length else {}
        at += length
        shape = (rows, columns) if ndim == 2 else (rows, columns, planes)
        kind = Suspect if suspect else Described
        yield kind(number, offset, shape, _DTYPES[code], series, unique_id, stamp, attributes)


def _attributes(encoded: bytes) -> Mapping[str, Attribute]:
    try:
        attributes = cbor2.loads(encoded)
    except (cbor2.CBORDecodeError, ValueError) as error:
        raise ProtocolError(f"attributes in an ITEMS message: {error}") from None
    if not isinstance(attributes, dict):
        raise ProtocolError(mismatch("attributes in an ITEMS message", "a map", type(attributes).__name__))
    return attributes


def _filtered(encoded: bytes) -> tuple[tuple[int, int], ...]:
    try:
        ranges = cbor2.loads(encoded)
    except (cbor2.CBORDecodeError, ValueError) as error:
        raise ProtocolError(f"filtered ids of an end marker: {error}") from None
    if not isinstance(ranges, list) or len(ranges) > MOST_FILTERED_RANGES:
        raise ProtocolError(mismatch("filtered ids of an end marker", "a list of ranges", type(ranges).__name__))
    found = []
    for one in ranges:
        if not isinstance(one, list) or len(one) != 2 or not all(type(id_) is int for id_ in one):
            raise ProtocolError(mismatch("filtered ids of an end marker", "pairs of int", one))
        if not 1 <= one[0] <= one[1] < 1 << 63:
            raise ProtocolError(mismatch("filtered ids of an end marker", "1 <= first <= last < 2^63", one))
        found.append((one[0], one[1]))
    return tuple(found)
