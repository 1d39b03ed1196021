"""The atoms of pvAccess in bytes: numbers, sizes and strings; read with every length checked before it is believed.

Source: EPICS pvAccess protocol specification, "Data encoding".
"""

import struct

from ioc.core.errors import ProtocolError, mismatch

NULL_SIZE = 0xFF
LONG_SIZE = 0xFE
"""The byte that a size of 32 bits follows."""
LONGEST_STRING = 4096
"""Bytes of a string from outside: channel names, accounts, options of a request."""
MOST_VALUES = 4096
"""Values that one message may hold, inner ones counted: a few bytes may describe very many."""

_ORDERS = {False: "<", True: ">"}
_NUMBERS = {(big, code): struct.Struct(_ORDERS[big] + code) for big in _ORDERS for code in "?bBhHiIqQfd"}


def size(count: int) -> bytes:
    """Return a size or count, little-endian."""
    return bytes((count,)) if count < LONG_SIZE else b"\xfe" + struct.pack("<I", count)


def string(text: str) -> bytes:
    """Return a string, little-endian size."""
    encoded = text.encode()
    return size(len(encoded)) + encoded


class Reader:
    """Reads one message from its begin to its end, in the byte order of its header."""

    __slots__ = ("_at", "_body", "_values", "big")

    def __init__(self, body: bytes, big: bool = False) -> None:
        self.big = big
        self._body = body
        self._at = 0
        self._values = 0

    @property
    def left(self) -> int:
        """Return how many bytes are not read yet."""
        return len(self._body) - self._at

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes.

        Raises:
            ProtocolError: there are not so many.
        """
        begin = self._at
        if count > len(self._body) - begin:
            raise ProtocolError(mismatch("pvAccess message", f"{count} more bytes", self.left))
        self._at = begin + count
        return self._body[begin : self._at]

    def number(self, code: str) -> int:
        """Return the next integer; `code` as in the struct module."""
        packed = _NUMBERS[self.big, code]
        return packed.unpack(self.take(packed.size))[0]

    def scalar(self, code: str) -> bool | int | float:
        """Return the next number of any kind; `code` as in the struct module."""
        packed = _NUMBERS[self.big, code]
        return packed.unpack(self.take(packed.size))[0]

    def size(self) -> int | None:
        """Return the next size, None for the null size.

        Raises:
            ProtocolError: it is cut off, or larger than 2^31 - 2.
        """
        first = self.take(1)[0]
        if first == NULL_SIZE:
            return None
        if first < LONG_SIZE:
            return first
        count = self.number("i")
        if not 0 <= count < 0x7FFFFFFF:
            raise ProtocolError(mismatch("pvAccess size", "0 to 2^31 - 2", count))
        return count

    def count(self, least_bytes: int) -> int:
        """Return the next size, 0 for null; that many things of at least `least_bytes` bytes each must be there.

        Raises:
            ProtocolError: the message is too short for them.
        """
        count = self.size() or 0
        if count * least_bytes > self.left:
            raise ProtocolError(mismatch("pvAccess count", f"at most what {self.left} bytes hold", count))
        return count

    def string(self) -> str:
        """Return the next string; a null one is empty.

        Raises:
            ProtocolError: it is cut off, too long, or not UTF-8.
        """
        length = self.size() or 0
        if length > LONGEST_STRING:
            raise ProtocolError(mismatch("pvAccess string", f"at most {LONGEST_STRING} bytes", length))
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            raise ProtocolError(f"pvAccess string: expected UTF-8: {error}") from None

    def spend(self, values: int = 1) -> None:
        """Count values that are made from this message.

        Raises:
            ProtocolError: there are more than `MOST_VALUES`.
        """
        self._values += values
        if self._values > MOST_VALUES:
            raise ProtocolError(mismatch("pvAccess message", f"at most {MOST_VALUES} values", self._values))
