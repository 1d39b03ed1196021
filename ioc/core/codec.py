"""A frame as bytes: one CBOR item that describes it, then its raw pixels.

    D8 18 59 nn nn   tag 24 "encoded CBOR data item", byte string of n bytes (RFC 8949, 3.4.5.1): one item, length first
    map of n bytes   version, series, then of a frame: unique_id, timestamp_ns, shape [y, x] or [y, x, 3], type,
                     attributes, checksum (if one was made); of an end marker: published, filtered (if any: first,
                     last, first, last ...); of both: resend, if lost packets can be asked for there
    00 ...           up to a multiple of 64 bytes, so that the pixels of an aligned buffer are aligned
    pixels           C order, little-endian; none for an end marker

Bytes are accepted or raise ProtocolError. Before cbor2 sees the map, `_scan` has made sure that it holds nothing but
64-bit integers, floats, booleans, text and a few containers: no tag, hence nothing that builds an object. Keys that a
later release adds are ignored; one that changes what the others mean has another version.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import cbor2
import numpy as np
import xxhash
from numpy.typing import NDArray

from ioc.core.errors import ProtocolError, mismatch
from ioc.core.frame import Attribute, DataType, EndOfSeries, Frame, Item

VERSION = 1
ALIGNMENT = 64
MOST_HEADER_BYTES = 0xFFFF
MOST_ATTRIBUTES = 1024
LONGEST_NAME = 256
LONGEST_TEXT = 4096
MOST_INTEGER = (1 << 63) - 1
MOST_CONTAINERS = 16
"""The map itself, the shape and the attributes, and what later releases may add."""
MOST_FILTERED_RANGES = 1024
"""Ranges of ids that an end marker names at most; of more the oldest travel."""
LONGEST_OFFER = 128

Payload = bytes | bytearray | memoryview | NDArray[np.uint8]

PREFIX = b"\xd8\x18\x59"
BODY_AT = len(PREFIX) + 2
"""Where the map of the header begins, bytes."""
_WHERE = "frame header"
_ATTRIBUTE_INTEGERS = (-(1 << 63), (1 << 64) - 1)


class Decoded(NamedTuple):
    """An item, and where its sender says that lost packets can be asked for; None: it does not say so."""

    item: Item
    resend: str | None


def encode(item: Item, checksum: int | None = None, resend: str | None = None) -> tuple[bytes, memoryview]:
    """Return the header and the pixels of an item, both to be sent in this order.

    The pixels are a view of the frame's data, bytes; only data that is not C-ordered and little-endian is copied.
    `resend` tells the receiver where lost packets can be asked for.

    Raises:
        ValueError: the frame does not fit into the format, for example an attribute that is not a number or text.
    """
    if isinstance(item, EndOfSeries):
        fields = {"version": VERSION, "series": item.series, "published": item.published, **_offer(resend)}
        if item.filtered:
            fields["filtered"] = [id_ for pair in item.filtered[:MOST_FILTERED_RANGES] for id_ in pair]
        return _header(fields), memoryview(b"")
    fields = frame_fields(item, resend)
    if checksum is not None:
        fields["checksum"] = checksum
    return _header(fields), bytes_of(item.data)


def frame_fields(frame: Frame, resend: str | None = None) -> dict[str, object]:
    """Return what the header of a frame says, but for the checksum.

    Raises:
        ValueError: the frame does not fit into the format.
    """
    _check_shape(frame.data.shape)
    check_attributes(frame.attributes, ValueError)
    return {
        "version": VERSION,
        "series": frame.series,
        "unique_id": frame.unique_id,
        "timestamp_ns": frame.timestamp_ns,
        "shape": frame.data.shape,
        "type": DataType.of(frame.data.dtype).value,
        "attributes": dict(frame.attributes),
        **_offer(resend),
    }


def _offer(resend: str | None) -> dict[str, object]:
    return {} if resend is None else {"resend": resend}


def pixel_checksum(item: Item) -> int | None:
    """Return the XXH3 (64 bits) of a frame's pixel bytes as they are sent; an end marker has none.

    Raises:
        ValueError: areaDetector has no such data type.
    """
    if isinstance(item, EndOfSeries):
        return None
    DataType.of(item.data.dtype)
    return checksum_of(bytes_of(item.data))


def decode(payload: Payload, verify: bool = False) -> Item:
    """Return the item that `payload` holds; a frame's data is a read-only view of the payload.

    With `verify`, the pixels are compared with the checksum, where the sender made one.

    Raises:
        ProtocolError: the payload is no such item, or its pixels do not match the checksum.
    """
    return decode_with_offer(payload, verify).item


def decode_with_offer(payload: Payload, verify: bool = False) -> Decoded:
    """Return the item as `decode` does, and the offer to send lost packets again.

    Raises:
        ProtocolError: as `decode`.
    """
    view = memoryview(payload.data if isinstance(payload, np.ndarray) else payload).cast("B")
    fields, start = fields_of(view)
    version = _integer(fields, "version")
    if version != VERSION:
        raise ProtocolError(mismatch(f"{_WHERE}, version", str(VERSION), version, "use the same release on both sides"))
    offer = fields.get("resend")
    resend = offer if type(offer) is str and len(offer) <= LONGEST_OFFER else None
    if "published" in fields:
        filtered = _filtered(fields)
        _check_size(len(view) - start, 0)
        return Decoded(EndOfSeries(_integer(fields, "series"), _integer(fields, "published"), filtered), resend)
    frame = _frame(fields, view[start:])
    if verify and "checksum" in fields:
        verify_pixels(view[start:], fields["checksum"])
    return Decoded(frame, resend)


def bytes_of(data: NDArray) -> memoryview:
    """Return the bytes of `data` in C order and little-endian; a copy only if it is not so already."""
    return np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data


def _header(fields: Mapping[str, object]) -> bytes:
    for name in ("series", "unique_id", "timestamp_ns", "published"):
        value = fields.get(name, 0)
        if type(value) is not int or not 0 <= value <= MOST_INTEGER:
            raise ValueError(mismatch(f"frame, {name}", f"an integer of 0 to {MOST_INTEGER}", value))
    return framed(cbor2.dumps(fields))


def framed(body: bytes) -> bytes:
    """Return the header whose map `body` is, up to where the pixels begin.

    Raises:
        ValueError: it is too long.
    """
    if len(body) > MOST_HEADER_BYTES:
        raise ValueError(
            mismatch("frame, attributes", f"a header of at most {MOST_HEADER_BYTES} bytes", len(body), "send fewer")
        )
    head = PREFIX + len(body).to_bytes(2, "big") + body
    return head + bytes(-len(head) % ALIGNMENT)


def _check_shape(shape: tuple[int, ...]) -> None:
    if not _is_image(shape):
        raise ValueError(mismatch("frame, shape", "[y, x] or [y, x, 3]", shape))


def _is_image(shape: tuple[int, ...]) -> bool:
    return len(shape) in (2, 3) and min(shape) >= 0 and shape[2:] in ((), (3,))


def check_attributes(attributes: Mapping[str, Attribute], error: type[Exception]) -> None:
    """Raise `error` unless the attributes are few enough, of known types and within their limits."""
    if len(attributes) > MOST_ATTRIBUTES:
        raise error(mismatch("frame, attributes", f"at most {MOST_ATTRIBUTES}", len(attributes)))
    for name, value in attributes.items():
        if type(name) is not str or not 1 <= len(name) <= LONGEST_NAME:
            raise error(mismatch("frame, attribute name", f"text of 1 to {LONGEST_NAME} characters", str(name)[:80]))
        if not _is_attribute(value):
            raise error(mismatch(f"frame, attribute {name[:80]!r}", "a number, boolean or text", str(value)[:80]))


def _is_attribute(value: object) -> bool:
    kind = type(value)
    if kind is str:
        return len(value) <= LONGEST_TEXT  # type: ignore[arg-type]
    if kind is int:
        return _ATTRIBUTE_INTEGERS[0] <= value <= _ATTRIBUTE_INTEGERS[1]  # type: ignore[operator]
    return kind is float or kind is bool


def fields_of(view: memoryview) -> tuple[dict[str, Any], int]:
    """Return the map of the header and where the pixels begin.

    Raises:
        ProtocolError: there is no whole header, or it holds what no header does.
    """
    if view[: len(PREFIX)] != PREFIX or len(view) < BODY_AT:
        raise ProtocolError(mismatch(_WHERE, f"{PREFIX.hex()} at the start", bytes(view[:BODY_AT]).hex()))
    end = BODY_AT + int.from_bytes(view[len(PREFIX) : BODY_AT], "big")
    start = end + (-end % ALIGNMENT)
    if start > len(view):
        raise ProtocolError(mismatch(_WHERE, f"{start} bytes", len(view)))
    if any(view[end:start]):
        raise ProtocolError(mismatch(_WHERE, "zeros up to the pixels", bytes(view[end:start]).hex()))
    body = bytes(view[BODY_AT:end])
    _scan(body)
    try:
        fields = cbor2.loads(body)
    except (cbor2.CBORDecodeError, ValueError, TypeError) as error:
        raise ProtocolError(f"{_WHERE}: not a CBOR map: {error}") from None
    if not isinstance(fields, dict):
        raise ProtocolError(mismatch(_WHERE, "a CBOR map", type(fields).__name__))
    return fields, start


def _steps() -> tuple[int, ...]:
    """Return, by first byte of a CBOR item, how long it is when that says all; 0 where a closer look is needed."""
    steps = [0] * 256
    for major in (0x00, 0x20):  # unsigned and negative integers
        steps[major : major + 24] = [1] * 24
        steps[major + 24 : major + 28] = [2, 3, 5, 9]
    steps[0x60 : 0x60 + 24] = range(1, 25)  # text of up to 23 bytes
    steps[0xF4], steps[0xF5] = 1, 1  # false, true
    steps[0xF9], steps[0xFA], steps[0xFB] = 3, 5, 9  # floats
    return tuple(steps)


_STEPS = _steps()


def _scan(body: bytes) -> None:
    """Walk over one CBOR item without building anything.

    Raises:
        ProtocolError: it holds something that a header does not, or is longer or shorter than `body`.
    """
    at, pending, containers, size = 0, 1, 0, len(body)
    while pending:
        if at >= size:
            raise ProtocolError(mismatch(_WHERE, "a whole CBOR item", f"its first {size} bytes"))
        pending -= 1
        step = _STEPS[body[at]]
        if step:
            at += step
            continue
        at, children = _look(body, at)
        if children is not None:
            pending += children
            containers += 1
            if containers > MOST_CONTAINERS:
                raise ProtocolError(mismatch(_WHERE, f"at most {MOST_CONTAINERS} containers", "more"))
    if at != size:
        raise ProtocolError(mismatch(_WHERE, f"a CBOR item of {size} bytes", at))


def _look(body: bytes, at: int) -> tuple[int, int | None]:
    """Return where the next item begins, and the number of children if this is a container."""
    major, low = body[at] >> 5, body[at] & 0x1F
    if major not in (3, 4, 5) or low > 27:
        raise ProtocolError(mismatch(_WHERE, "numbers, text, a shape, attributes", f"CBOR item {body[at]:#04x}"))
    at += 1
    argument = low
    if low >= 24:
        width = 1 << (low - 24)
        argument = int.from_bytes(body[at : at + width], "big")
        at += width
    if major == 3:
        return at + argument, None
    return at, argument if major == 4 else 2 * argument


def _frame(fields: Mapping[str, Any], pixels: memoryview) -> Frame:
    shape = fields.get("shape")
    if not isinstance(shape, list) or any(type(size) is not int for size in shape) or not _is_image(tuple(shape)):
        raise ProtocolError(mismatch(f"{_WHERE}, shape", "[y, x] or [y, x, 3]", str(shape)[:80]))
    try:
        dtype = DataType(fields.get("type")).dtype.newbyteorder("<")
    except ValueError:
        raise ProtocolError(mismatch(f"{_WHERE}, type", "a data type", str(fields.get("type"))[:80])) from None
    attributes = fields.get("attributes", {})
    if not isinstance(attributes, dict):
        raise ProtocolError(mismatch(f"{_WHERE}, attributes", "a map", str(attributes)[:80]))
    check_attributes(attributes, ProtocolError)
    size = dtype.itemsize
    for extent in shape:
        size *= extent
    _check_size(len(pixels), size)
    data = np.frombuffer(pixels, dtype).reshape(shape)
    data.flags.writeable = False
    return Frame(
        _integer(fields, "series"), _integer(fields, "unique_id"), _integer(fields, "timestamp_ns"), data, attributes
    )


def _filtered(fields: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    """Return the ranges of ids that an end marker names: from 1 on, ascending, apart from each other."""
    ids = fields.get("filtered", [])
    expected = f"up to {MOST_FILTERED_RANGES} ranges, first and last ids ascending"
    if not isinstance(ids, list) or len(ids) % 2 or len(ids) > 2 * MOST_FILTERED_RANGES:
        raise ProtocolError(mismatch(f"{_WHERE}, filtered", expected, type(ids).__name__))
    before = 0
    for at, id_ in enumerate(ids):
        if type(id_) is not int or not before + (at % 2 == 0) <= id_ <= MOST_INTEGER:
            raise ProtocolError(mismatch(f"{_WHERE}, filtered", expected, str(id_)[:80]))
        before = id_
    return tuple(zip(ids[::2], ids[1::2], strict=True))


def _integer(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    if type(value) is not int or not 0 <= value <= MOST_INTEGER:
        raise ProtocolError(mismatch(f"{_WHERE}, {name}", f"an integer of 0 to {MOST_INTEGER}", str(value)[:80]))
    return value


def _check_size(found: int, expected: int) -> None:
    if found != expected:
        raise ProtocolError(mismatch("frame, pixels", f"{expected} bytes", found))


def checksum_of(pixels: memoryview) -> int:
    """Return the XXH3 (64 bits) of pixel bytes."""
    return xxhash.xxh3_64_intdigest(pixels)


def verify_pixels(pixels: memoryview, checksum: object) -> None:
    """Compare pixel bytes with their checksum.

    Raises:
        ProtocolError: they do not match.
    """
    found = checksum_of(pixels)
    if found != checksum:
        raise ProtocolError(mismatch("frame, checksum of the pixels", str(checksum)[:80], found))
