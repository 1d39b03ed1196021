"""Values of pvAccess of any type, as a client's requests carry them.

A structure is read as a dict, an array as a list, a union or `any` as what is in it. Each value that is made counts
against the message (`Reader.spend`): an array of large structures takes few bytes. Source: pvAccess protocol
specification, "Data encoding".
"""

from typing import Any

from ioc.channels.pva_wire_buffer import Reader
from ioc.channels.pva_wire_types import (
    ANY,
    ARRAY,
    DEEPEST,
    SCALARS,
    STRING,
    STRUCTURE,
    UNION,
    Registry,
    Type,
)
from ioc.core.errors import ProtocolError, mismatch


def read(reader: Reader, kind: Type | None, registry: Registry, depth: int = 0) -> Any:
    """Return the next value of a type; None for the null type.

    Raises:
        ProtocolError: it is cut off, too large or too deep.
    """
    if kind is None:
        return None
    if depth > DEEPEST:
        raise ProtocolError(mismatch("pvAccess value", f"at most {DEEPEST} levels", "more"))
    reader.spend()
    code = kind.code
    if code == STRUCTURE:
        return {name: read(reader, member, registry, depth + 1) for name, member in kind.members}
    if code == STRING:
        return reader.string()
    if code in SCALARS:
        return reader.scalar(SCALARS[code])
    if code == UNION:
        return _read_union(reader, kind, registry, depth)
    if code == ANY:
        return read(reader, registry.read(reader, depth + 1), registry, depth + 1)
    return _read_array(reader, kind, registry, depth)


def _read_union(reader: Reader, kind: Type, registry: Registry, depth: int) -> Any:
    chosen = reader.size()
    if chosen is None:
        return None
    if chosen >= len(kind.members):
        raise ProtocolError(mismatch("pvAccess union", f"one of {len(kind.members)} members", chosen))
    return read(reader, kind.members[chosen][1], registry, depth + 1)


def _read_array(reader: Reader, kind: Type, registry: Registry, depth: int) -> list[Any]:
    count = reader.count(least_bytes=1)
    reader.spend(count)
    element = kind.element if kind.members else Type(kind.code & ~ARRAY)
    nullable = element.code in (STRUCTURE, UNION, ANY)
    return [
        None if nullable and not reader.number("B") else read(reader, element, registry, depth + 1)
        for _ in range(count)
    ]
