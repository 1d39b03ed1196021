"""The server's side of pvAccess in bytes, for tests of the client's: messages as servers send them, in either order."""

import struct

from ioc.channels.pva_wire_types import SCALARS, STRING, STRUCTURE, Type
from tests.support.pva_client import Sender

OK = b"\xff"


class Teller(Sender):
    """Lays out a server's messages in one byte order, each cut into `segments`."""

    def __init__(self, big: bool = False, segments: int = 1) -> None:
        super().__init__(big)
        self._segments = segments

    def greeting(self) -> bytes:
        """Return what a server says first, with both methods."""
        methods = self.size(2) + self.string("anonymous") + self.string("ca")
        return self.control(2, 0) + self.message(1, self.pack("IH", 0x10000, 0x7FFF) + methods)

    def accepted(self) -> bytes:
        """Return that the client may go on."""
        return self.tell(9, OK)

    def made(self, cid: int, sid: int) -> bytes:
        """Return that there is a channel."""
        return self.tell(7, self.pack("II", cid, sid) + OK)

    def opened(self, ioid: int, kind: Type) -> bytes:
        """Return that a monitor is there."""
        return self.tell(13, self.pack("IB", ioid, 8) + OK + self.described(kind))

    def update(self, ioid: int, kind: Type, values: dict[int, float | str], overrun: bytes = b"\x00") -> bytes:
        """Return an update of the fields with these bits."""
        leaves = _leaves(kind, 1)
        mask = sum(1 << bit for bit in values).to_bytes((max(values, default=0) + 8) // 8, "little")
        body = b"".join(self._number(leaves[bit].code, values[bit]) for bit in sorted(values))
        return self.tell(13, self.pack("IB", ioid, 0) + self.size(len(mask)) + mask + body + overrun)

    def refused(self, ioid: int, text: str) -> bytes:
        """Return that a monitor is refused."""
        return self.tell(13, self.pack("IB", ioid, 8) + b"\x02" + self.string(text) + self.string(""))

    def found(self, number: int, port: int, cids: list[int], address: bytes = bytes(16)) -> bytes:
        """Return the answer to a search."""
        where = address + self.pack("H", port) + self.string("tcp")
        listed = b"".join(self.pack("I", cid) for cid in cids)
        return self.message(
            4, bytes(12) + self.pack("I", number) + where + b"\x01" + self.pack("H", len(cids)) + listed
        )

    def tell(self, command: int, body: bytes) -> bytes:
        """Return a message in as many segments as asked for."""
        return self.message(command, body, self._segments if len(body) >= self._segments else 1)

    def described(self, kind: Type) -> bytes:
        """Return the description of a type."""
        if kind.code != STRUCTURE:
            return bytes((kind.code,))
        members = b"".join(self.string(name) + self.described(inner) for name, inner in kind.members)
        return b"\x80" + self.string(kind.id) + self.size(len(kind.members)) + members

    def _number(self, code: int, value: float | str) -> bytes:
        if code == STRING:
            return self.string(str(value))
        return struct.pack((">" if self.big else "<") + SCALARS[code], value)

    def _header(self, flags: int, command: int, value: int) -> bytes:
        return super()._header(flags | 0x40, command, value)


def _leaves(kind: Type, bit: int) -> dict[int, Type]:
    found: dict[int, Type] = {}
    for _, member in kind.members:
        if member.code == STRUCTURE:
            found |= _leaves(member, bit + 1)
        else:
            found[bit] = member
        bit += member.nodes
    return found
