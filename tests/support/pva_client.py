"""The client's side of pvAccess in bytes, for tests of the server's: messages as clients send them, in either order."""

import struct
from collections.abc import Iterable

Tree = dict[str, "Tree | str | int"]
"""A pvRequest: structures, and options as text or numbers."""

_SCALARS = {int: 0x22, str: 0x60}


class Sender:
    """Lays out a client's messages in one byte order."""

    def __init__(self, big: bool = False) -> None:
        self.big = big
        self._order = ">" if big else "<"

    def pack(self, codes: str, *values: int) -> bytes:
        """Return numbers in this order."""
        return struct.pack(self._order + codes, *values)

    def size(self, count: int) -> bytes:
        """Return a size."""
        return bytes((count,)) if count < 254 else b"\xfe" + self.pack("I", count)

    def string(self, text: str) -> bytes:
        """Return a string."""
        data = text.encode()
        return self.size(len(data)) + data

    def message(self, command: int, body: bytes, segments: int = 1) -> bytes:
        """Return a message, cut into so many segments."""
        if segments == 1:
            return self._header(0, command, len(body)) + body
        step = -(-len(body) // segments)
        parts = [body[at * step : (at + 1) * step] for at in range(segments)]
        marks = [0x10, *[0x30] * (segments - 2), 0x20]
        return b"".join(self._header(mark, command, len(part)) + part for mark, part in zip(marks, parts, strict=True))

    def control(self, command: int, value: int) -> bytes:
        """Return a control message."""
        return self._header(0x01, command, value)

    def kind(self, tree: Tree) -> bytes:
        """Return the full type of a tree."""
        members = [
            self.string(name) + (self.kind(inner) if isinstance(inner, dict) else bytes((_SCALARS[type(inner)],)))
            for name, inner in tree.items()
        ]
        return b"\x80" + self.string("") + self.size(len(members)) + b"".join(members)

    def value(self, tree: Tree) -> bytes:
        """Return the value of a tree."""
        return b"".join(self._leaf(inner) for inner in tree.values())

    def validation(self, user: str | None = None) -> bytes:
        """Return who the client is."""
        begin = self.pack("IHH", 0x8000, 0x7FFF, 0)
        if user is None:
            return self.message(1, begin + self.string("anonymous") + b"\xff")
        claims: Tree = {"user": user, "host": "somewhere"}
        return self.message(1, begin + self.string("ca") + self.kind(claims) + self.value(claims))

    def create(self, cid: int, name: str) -> bytes:
        """Return the wish for a channel."""
        return self.message(7, self.pack("HI", 1, cid) + self.string(name))

    def operation(self, command: int, ids: tuple[int, int], tree: Tree, window: int | None = None) -> bytes:
        """Return the opening of an operation on (sid, ioid)."""
        pipeline = b"" if window is None else self.pack("I", window)
        bits = 0x08 if window is None else 0x88
        return self.message(command, self.pack("IIB", *ids, bits) + self.kind(tree) + self.value(tree) + pipeline)

    def step(self, command: int, ids: tuple[int, int], bits: int, count: int | None = None) -> bytes:
        """Return a wish of an open operation."""
        return self.message(command, self.pack("IIB", *ids, bits) + (b"" if count is None else self.pack("I", count)))

    def search(
        self, names: Iterable[tuple[int, str]], flags: int = 0x80, reply: tuple[bytes, int] = (bytes(16), 0)
    ) -> bytes:
        """Return a search; `reply` is address (16 bytes) and port."""
        wanted = [self.pack("I", number) + self.string(name) for number, name in names]
        body = self.pack("IB", 77, flags) + bytes(3) + reply[0] + self.pack("H", reply[1])
        return self.message(
            3, body + self.size(1) + self.string("tcp") + self.pack("H", len(wanted)) + b"".join(wanted)
        )

    def _header(self, flags: int, command: int, value: int) -> bytes:
        return struct.pack(self._order + "BBBBI", 0xCA, 2, flags | (0x80 if self.big else 0), command, value)

    def _leaf(self, inner: "Tree | str | int") -> bytes:
        if isinstance(inner, dict):
            return self.value(inner)
        return self.string(inner) if isinstance(inner, str) else self.pack("i", inner)
