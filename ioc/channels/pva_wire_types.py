"""Type descriptions of pvAccess, and the registry in which a connection keeps those that were told with a number.

Rules. A description is a type code, with what belongs to it; or 0xFD, a number and a description to keep under it; or
0xFE and the number of one that is kept. So few bytes can describe a very large type: what counts is its size with
everything inside it. Source: pvAccess protocol specification, "Field introspection description".
"""

from dataclasses import dataclass

from ioc.channels.pva_wire_buffer import Reader, size, string
from ioc.core.errors import ProtocolError, mismatch

BOOLEAN, INT, LONG, DOUBLE, STRING = 0x00, 0x22, 0x23, 0x43, 0x60
STRUCTURE, UNION, ANY, BOUNDED_STRING = 0x80, 0x81, 0x82, 0x83
ARRAY = 0x08
"""Added to the code of an element: an array of any length. Bounded and fixed ones, which nobody sends, are refused."""
NULL, KNOWN, KEPT = 0xFF, 0xFE, 0xFD

SCALARS = {
    0x00: "?",
    0x20: "b",
    0x21: "h",
    0x22: "i",
    0x23: "q",
    0x24: "B",
    0x25: "H",
    0x26: "I",
    0x27: "Q",
    0x42: "f",
    0x43: "d",
}
"""Code of each number, as the struct module has it."""

DEEPEST = 16
MOST_NODES = 1024
"""Fields of one type, inner ones counted."""
MOST_KEPT = 256
"""Types that one connection may have kept."""
_NESTED_ARRAYS = (STRUCTURE | ARRAY, UNION | ARRAY)
_PLAIN = {*SCALARS, STRING, ANY}


@dataclass(frozen=True, slots=True)
class Type:
    """One type: code, id, and its members by name; an array of structures or unions has its element as only member."""

    code: int
    id: str = ""
    members: tuple[tuple[str, "Type"], ...] = ()
    nodes: int = 1
    """How many fields it has with all that is inside it."""

    @property
    def element(self) -> "Type":
        """Return the type of the elements of an array of structures or unions."""
        return self.members[0][1]


def structure(type_id: str, *members: tuple[str, Type], code: int = STRUCTURE) -> Type:
    """Return a structure, or a union, of members in order."""
    return Type(code, type_id, members, 1 + sum(member.nodes for _, member in members))


def array_of(element: Type) -> Type:
    """Return an array of structures or unions."""
    return Type(element.code | ARRAY, "", (("", element),), 1 + element.nodes)


def encode(kind: Type) -> bytes:
    """Return the full description, little-endian; nothing is kept by number."""
    if kind.code in _NESTED_ARRAYS:
        return bytes((kind.code,)) + encode(kind.element)
    if kind.code not in (STRUCTURE, UNION):
        return bytes((kind.code,))
    members = b"".join(string(name) + encode(member) for name, member in kind.members)
    return bytes((kind.code,)) + string(kind.id) + size(len(kind.members)) + members


class Registry:
    """The types that the other side told with a number, for one connection."""

    def __init__(self) -> None:
        self._kept: dict[int, Type] = {}

    def read(self, reader: Reader, depth: int = 0) -> Type | None:
        """Return the next description, None for the null type.

        Raises:
            ProtocolError: it breaks the format, refers to an unknown number, or is too large or too deep.
        """
        if depth > DEEPEST:
            raise ProtocolError(mismatch("pvAccess type", f"at most {DEEPEST} levels", "more"))
        code = reader.take(1)[0]
        if code == NULL:
            return None
        if code == KNOWN:
            return self._known(reader.number("H"))
        if code == KEPT:
            return self._keep(reader.number("H"), self.read(reader, depth + 1))
        return _bounded(self._of_code(code, reader, depth))

    def _of_code(self, code: int, reader: Reader, depth: int) -> Type:
        if code in (STRUCTURE, UNION):
            type_id = reader.string()
            names = [(reader.string(), self._member(reader, depth)) for _ in range(_members(reader))]
            if len({name for name, _ in names}) < len(names):
                raise ProtocolError(f"pvAccess type {type_id!r}: expected different names, found one twice")
            return structure(type_id, *names, code=code)
        if code in _NESTED_ARRAYS:
            element = self._member(reader, depth)
            if element.code != code & ~ARRAY:
                expected = f"elements of code {code & ~ARRAY:#x}"
                raise ProtocolError(mismatch("pvAccess array type", expected, f"{element.code:#x}"))
            return array_of(element)
        if code == BOUNDED_STRING:
            reader.size()
            return Type(STRING)
        if code & ~ARRAY not in _PLAIN:
            raise ProtocolError(mismatch("pvAccess type", "a type code", f"{code:#x}"))
        return Type(code)

    def _member(self, reader: Reader, depth: int) -> Type:
        member = self.read(reader, depth + 1)
        if member is None:
            raise ProtocolError("pvAccess type: expected a member's type, found the null type")
        reader.spend()
        return member

    def _known(self, number: int) -> Type:
        kind = self._kept.get(number)
        if kind is None:
            raise ProtocolError(mismatch("pvAccess type", f"one of {len(self._kept)} kept numbers", number))
        return kind

    def _keep(self, number: int, kind: Type | None) -> Type:
        if kind is None:
            raise ProtocolError("pvAccess type: expected a type to keep, found the null type")
        if len(self._kept) >= MOST_KEPT and number not in self._kept:
            raise ProtocolError(mismatch("pvAccess types", f"at most {MOST_KEPT} kept", number))
        self._kept[number] = kind
        return kind


def _members(reader: Reader) -> int:
    return reader.count(least_bytes=2)  # a name and a code each


def _bounded(kind: Type) -> Type:
    if kind.nodes > MOST_NODES:
        raise ProtocolError(mismatch("pvAccess type", f"at most {MOST_NODES} fields", kind.nodes))
    return kind
