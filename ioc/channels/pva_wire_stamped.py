"""Scalars with time stamps as pvAccess sends them to a monitor: laid out by their type, many read in one pass.

How it works: the type of a channel says at which bit of an update's mask which field is. Any update can be read field
by field. Updates that follow each other mostly look alike: the same header, monitor and mask, all fields of a fixed
size. So what one of them was like is kept as a *pattern*, with which all that follow are read by one struct; an update
that differs in any of it is read field by field again. Source: pvAccess protocol specification, "Monitor".
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ioc.channels import pva_wire_mask, pva_wire_values
from ioc.channels.pva_wire_buffer import Reader
from ioc.channels.pva_wire_framing import HEADER_BYTES, SEGMENT
from ioc.channels.pva_wire_types import BOOLEAN, SCALARS, STRING, STRUCTURE, Registry, Type
from ioc.core.metadata import Update

SECONDS, NANOSECONDS = "timeStamp.secondsPastEpoch", "timeStamp.nanoseconds"
_BEFORE_MASK = HEADER_BYTES + 5
"""Bytes of an update before its mask: the header, the monitor's number and a byte of flags."""
KEY_BYTES = HEADER_BYTES + 4
"""Bytes that tell of which monitor, and how long, an update is."""
_NOT_INTEGERS = (BOOLEAN, 0x42, 0x43)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A field that is no structure; `within`: the bits that stand for it, its own and those of what it is in."""

    name: str
    type: Type
    within: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Dotted names of the fields that make an update: the value, and the id if there is one to be."""

    value: str
    unique_id: str | None = None

    def names(self) -> tuple[str, ...]:
        """Return all fields that are needed."""
        stamp = (self.value, SECONDS, NANOSECONDS)
        return stamp if self.unique_id is None else (*stamp, self.unique_id)


class Pattern:
    """What updates of one monitor look like that follow each other."""

    def __init__(self, start: bytes, leaves: list[Leaf], wanted: Wanted, big: bool) -> None:
        """Take the bytes that all begin with, and the fields that follow; then there is an empty set of overruns."""
        codes = "".join(SCALARS[leaf.type.code] for leaf in leaves)
        self._struct = struct.Struct(f"{'>' if big else '<'}{len(start)}s{codes}B")
        self._start = start
        self._places = {leaf.name: at for at, leaf in enumerate(leaves, 1)}
        value, seconds, nanoseconds, *rest = (self._places[name] for name in wanted.names())
        self._value, self._seconds, self._nanoseconds = value, seconds, nanoseconds
        self._id = rest[0] if rest else None

    @property
    def size(self) -> int:
        """Bytes of one update."""
        return self._struct.size

    def take(self, data: memoryview, found: list[Update], state: dict[str, Any]) -> int:
        """Append the updates at the beginning of `data` that look like this; return how many they are."""
        start, value, seconds, nanoseconds = self._start, self._value, self._seconds, self._nanoseconds
        place = self._id
        before = len(found)
        row = last = None
        for row in self._struct.iter_unpack(data[: len(data) // self.size * self.size]):
            if row[0] != start or row[-1]:
                break
            last = row
            stamp_ns = row[seconds] * 1_000_000_000 + row[nanoseconds]
            found.append(Update(row[value], stamp_ns, None if place is None else row[place]))
        if last is not None:
            for name, at in self._places.items():
                state[name] = last[at]
        return len(found) - before


@dataclass(slots=True)
class Stamped:
    """Reads the updates of one monitor; `patterns` of a connection are kept by the first bytes of an update."""

    wanted: Wanted
    leaves: tuple[Leaf, ...]
    registry: Registry
    state: dict[str, Any] = field(default_factory=dict)

    def read(self, reader: Reader) -> tuple[Update, list[Leaf]]:
        """Return the next update, behind its flags, and the fields that it brought.

        Raises:
            ProtocolError: it is cut off, or not of the type that was told.
        """
        mask = pva_wire_mask.read(reader)
        brought = [leaf for leaf in self.leaves if leaf.within & mask]
        for leaf in brought:
            self.state[leaf.name] = pva_wire_values.read(reader, leaf.type, self.registry)
        pva_wire_mask.read(reader)
        state, wanted = self.state, self.wanted
        unique_id = None if wanted.unique_id is None else state[wanted.unique_id]
        return Update(state[wanted.value], state[SECONDS] * 1_000_000_000 + state[NANOSECONDS], unique_id), brought

    def pattern(self, message: bytes, brought: list[Leaf], big: bool) -> Pattern | None:
        """Return what updates like this whole message look like; None if they have to be read field by field."""
        names = {leaf.name for leaf in brought}
        fixed = all(leaf.type.code in SCALARS for leaf in brought)
        if not fixed or not names.issuperset(self.wanted.names()) or message[2] & SEGMENT:
            return None
        length = message[_BEFORE_MASK]
        found = Pattern(bytes(message[: _BEFORE_MASK + 1 + length]), brought, self.wanted, big)
        return found if found.size == len(message) and not message[-1] else None


def stamped(kind: Type | None, wanted: Wanted, registry: Registry) -> Stamped | None:
    """Return what reads a channel of a type; None if that has no such fields, or they are no scalars."""
    if kind is None or kind.code != STRUCTURE:
        return None
    leaves = tuple(_leaves(kind, "", 0, 1))
    types = {leaf.name: leaf.type.code for leaf in leaves}
    if any(types.get(name) not in (*SCALARS, STRING) for name in wanted.names()):
        return None
    if any(types[name] in (STRING, *_NOT_INTEGERS) for name in wanted.names()[1:]):
        return None
    empty = {name: "" if types[name] == STRING else SCALAR_ZEROS.get(types[name], 0) for name in wanted.names()}
    return Stamped(wanted, leaves, registry, empty)


SCALAR_ZEROS: dict[int, bool | float] = {BOOLEAN: False, 0x42: 0.0, 0x43: 0.0}
"""What a field that was never sent holds, where it is not 0."""


def _leaves(kind: Type, prefix: str, bit: int, within: int) -> Iterator[Leaf]:
    """Yield the fields that are no structures, in the order in which they are sent."""
    bit += 1
    for name, member in kind.members:
        if member.code == STRUCTURE:
            yield from _leaves(member, f"{prefix}{name}.", bit, within | 1 << bit)
        else:
            yield Leaf(f"{prefix}{name}", member, within | 1 << bit)
        bit += member.nodes
