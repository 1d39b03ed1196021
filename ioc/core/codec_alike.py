"""Frames one like the other, as bytes and back: a header that differs from the last one in id, time stamp and checksum
only is neither made nor read anew. The bytes are those of `codec`, which does whatever is not like the last one.

How it works: the writer says these three numbers in 8 bytes each, however small they are, and keeps the header with
where they lie. The reader keeps a header that `codec` has accepted, and where they lie in it; of the next one it
compares all bytes but these. So nothing is believed that was not checked, in this header or in the last one.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cbor2
import numpy as np
from numpy.typing import NDArray

from ioc.core import codec
from ioc.core.codec import MOST_INTEGER, Decoded, Payload
from ioc.core.errors import ProtocolError
from ioc.core.frame import Attribute, EndOfSeries, Frame, Item

WIDE = 1 << 63
"""An integer that CBOR says in 8 bytes ..."""

WIDE_MARK = b"\x1b"
"""... behind this one."""

SHORT_MAP = 0xA0
"""What a map of less than 24 fields begins with, plus their number."""

NUMBERS = ("unique_id", "timestamp_ns", "checksum")
MOST_IN_VAIN = 8
"""Headers that were kept and of no use, after which only each so-manieth is kept: attributes change with each frame."""

_NUMBER = struct.Struct(">Q")
_BLANK = bytes(_NUMBER.size)


class AlikeWriter:
    """Writes items as `codec.encode` does; with `checksum`, readers can tell whether pixels were altered."""

    def __init__(self, checksum: bool) -> None:
        self._checksum = checksum
        self._like: tuple[object, ...] = ()
        self._header = bytearray()
        self._at: list[int] = []

    def write(self, item: Item, resend: str | None) -> tuple[bytes, memoryview]:
        """Return the header and the pixels of an item.

        Raises:
            ValueError: the item does not fit into the format.
        """
        if isinstance(item, EndOfSeries):
            return codec.encode(item, None, resend)
        like = (item.series, item.data.shape, item.data.dtype, resend, *_prints(item.attributes))
        numbers = [item.unique_id, item.timestamp_ns]
        if like != self._like or not all(type(one) is int and 0 <= one <= MOST_INTEGER for one in numbers):
            codec.encode(item, None, resend)  # raises what is wrong with it
            self._keep(item, resend)
            self._like = like
        pixels = codec.bytes_of(item.data)
        if self._checksum:
            numbers.append(codec.checksum_of(pixels))
        for at, number in zip(self._at, numbers, strict=True):
            _NUMBER.pack_into(self._header, at, number)
        return bytes(self._header), pixels

    def _keep(self, frame: Frame, resend: str | None) -> None:
        """Lay out the header of a frame, with room for the numbers.

        Raises:
            ValueError: it does not fit.
        """
        names = NUMBERS if self._checksum else NUMBERS[:2]
        fields = {**codec.frame_fields(frame, resend), **dict.fromkeys(names, WIDE)}
        body, ends = bytearray([SHORT_MAP + len(fields)]), {}
        for name, value in fields.items():
            body += cbor2.dumps(name) + cbor2.dumps(value)
            ends[name] = len(body)
        self._header = bytearray(codec.framed(bytes(body)))
        self._at = [codec.BODY_AT + ends[name] - _NUMBER.size for name in names]


def _prints(attributes: Mapping[str, Attribute]) -> tuple[object, ...]:
    """Return what is the same for the same attributes only: 1, 1.0 and True are equal, as are 0.0 and -0.0."""
    return tuple((name, type(value), value or repr(value)) for name, value in attributes.items())


@dataclass(frozen=True, slots=True)
class _Known:
    """A header that was read: its bytes with the numbers blank, where these lie, bytes of header and pixels, and what
    it says.
    """

    blank: bytes
    at: tuple[int, ...]
    size: int
    frame: Frame
    resend: str | None


class AlikeReader:
    """Reads items as `codec.decode_with_offer` does; with `verify`, pixels are compared with the checksum."""

    def __init__(self, verify: bool) -> None:
        self._verify = verify
        self._known: _Known | None = None
        self._in_vain = 0

    def read(self, payload: Payload) -> Decoded:
        """Return the item that `payload` holds, whose data is a read-only view of it, and the offer to send again.

        Raises:
            ProtocolError: the payload is no such item, or its pixels do not match the checksum.
        """
        view = memoryview(payload.data if isinstance(payload, np.ndarray) else payload).cast("B")
        known = self._known
        if known is not None and len(view) == known.size:
            found = self._alike(view, known)
            if found is not None:
                self._in_vain = 0
                return found
        decoded = codec.decode_with_offer(view, self._verify)
        if isinstance(decoded.item, Frame):
            self._in_vain += 1
            if self._in_vain <= MOST_IN_VAIN or self._in_vain % MOST_IN_VAIN == 0:
                self._known = _known(view, decoded)
        return decoded

    def _alike(self, view: memoryview, known: _Known) -> Decoded | None:
        """Return the frame if its header is like the known one."""
        header, numbers = _blanked(view[: len(known.blank)], known.at)
        if header != known.blank or numbers[0] > MOST_INTEGER or numbers[1] > MOST_INTEGER:
            return None
        pixels, like = view[len(header) :], known.frame
        if self._verify and len(numbers) == len(NUMBERS):
            codec.verify_pixels(pixels, numbers[2])
        data: NDArray = np.frombuffer(pixels, like.data.dtype).reshape(like.data.shape)
        data.flags.writeable = False
        return Decoded(Frame(like.series, numbers[0], numbers[1], data, dict(like.attributes)), known.resend)


def _blanked(header: memoryview, at: Sequence[int]) -> tuple[bytearray, list[int]]:
    """Return a header with its numbers blank, and these."""
    blank, numbers = bytearray(header), []
    for one in at:
        numbers.append(_NUMBER.unpack_from(blank, one)[0])
        blank[one : one + _NUMBER.size] = _BLANK
    return blank, numbers


def _known(view: memoryview, decoded: Decoded) -> _Known | None:
    """Return what is to be known of a header that was read; None if its numbers are not in 8 bytes each."""
    assert isinstance(decoded.item, Frame)
    fields, start = codec.fields_of(view)
    header = bytes(view[:start])
    names = [name for name in NUMBERS if name in fields]
    keys = [cbor2.dumps(name) + WIDE_MARK for name in names]
    if any(header.count(key) != 1 for key in keys):
        return None
    at = tuple(header.index(key) + len(key) for key in keys)
    if not _are_they(header, at, fields, names):
        return None
    data = decoded.item.data
    alone = np.broadcast_to(np.zeros((), data.dtype), data.shape)  # only its type and shape are wanted
    like = replace(decoded.item, data=alone)
    return _Known(bytes(_blanked(memoryview(header), at)[0]), at, len(view), like, decoded.resend)


def _are_they(header: bytes, at: Sequence[int], fields: Mapping[str, object], names: Sequence[str]) -> bool:
    """Return whether these are the numbers, and not text that looks like them: others in their place are read there."""
    other = bytearray(header)
    for one, place in enumerate(at):
        _NUMBER.pack_into(other, place, WIDE + one)
    changed = {name: WIDE + one for one, name in enumerate(names)}
    try:
        return codec.fields_of(memoryview(other))[0] == {**fields, **changed}
    except ProtocolError:  # in a text they are no UTF-8
        return False
