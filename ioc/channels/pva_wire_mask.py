"""Bit sets of pvAccess: which fields of a structure a message is about.

Bits count the fields of a structure in depth-first order, the structure itself is bit 0. Here a bit set is an int.
Source: pvAccess protocol specification, "BitSet".
"""

from ioc.channels.pva_wire_buffer import Reader, size
from ioc.core.errors import ProtocolError, mismatch

WHOLE = 1
"""The bit set that says: everything."""
LONGEST_MASK = 128
"""Bytes: as many bits as the largest type that is accepted has fields."""
_WORD = 8


def encode(mask: int) -> bytes:
    """Return a bit set, little-endian."""
    length = (mask.bit_length() + 7) // 8
    return size(length) + mask.to_bytes(length, "little")


def read(reader: Reader) -> int:
    """Return the next bit set; whole words of 64 bits are in the message's byte order, the rest is little-endian.

    Raises:
        ProtocolError: it is cut off or too long.
    """
    length = reader.count(least_bytes=1)
    if length > LONGEST_MASK:
        raise ProtocolError(mismatch("pvAccess bit set", f"at most {LONGEST_MASK} bytes", length))
    words = length // _WORD
    mask = 0
    for at in range(words):
        mask |= reader.number("Q") << (at * 64)
    return mask | int.from_bytes(reader.take(length % _WORD), "little") << (words * 64)
