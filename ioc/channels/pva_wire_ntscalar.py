"""A double with alarm and time stamp (NTScalar) as pvAccess sends it: type, selections, updates in bytes.

Whatever a client selects, it is told the whole type; the mask of each update says what is in it, as pvxs has it. The
alarm never changes and comes with the first update only. Source: pvAccess protocol specification, "Monitor"; EPICS
Normative Types, "NTScalar".
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress

from ioc.channels import pva_wire_mask
from ioc.channels.pva_wire_buffer import string
from ioc.channels.pva_wire_framing import Command, header, message
from ioc.channels.pva_wire_replies import OK
from ioc.channels.pva_wire_types import DOUBLE, INT, LONG, STRING, STRUCTURE, Type, structure
from ioc.core.errors import RefusedError, mismatch
from ioc.core.metadata import Update

TYPE = structure(
    "epics:nt/NTScalar:1.0",
    ("value", Type(DOUBLE)),
    ("alarm", structure("alarm_t", ("severity", Type(INT)), ("status", Type(INT)), ("message", Type(STRING)))),
    (
        "timeStamp",
        structure("time_t", ("secondsPastEpoch", Type(LONG)), ("nanoseconds", Type(INT)), ("userTag", Type(INT))),
    ),
)
USER_TAG = 0x7FFFFFFF
"""The userTag of a time stamp has 31 bits for the id."""
_CHANGING = {
    1: ("value", "d"),
    7: ("timeStamp.secondsPastEpoch", "q"),
    8: ("timeStamp.nanoseconds", "i"),
    9: ("timeStamp.userTag", "i"),
}
"""Bit, dotted name and code of the fields that an update may change."""
_ALARM = {3: ("alarm.severity", struct.pack("<i", 0)), 4: ("alarm.status", struct.pack("<i", 0))}
_ALARM[5] = ("alarm.message", string(""))
_UPDATE = struct.Struct("<IB")


@dataclass(frozen=True, slots=True)
class Selection:
    """The fields that a client has selected, as bits."""

    bits: frozenset[int]

    @property
    def changing(self) -> list[int]:
        """The bits of those that an update may change, in order."""
        return [bit for bit in _CHANGING if bit in self.bits]


def select(fields: Sequence[str] = ()) -> Selection:
    """Return the selection of dotted field names; none of them: everything.

    Raises:
        RefusedError: there are names, and none of them is a field.
    """
    known = {bit: name for bit, (name, _) in (*_CHANGING.items(), *_ALARM.items())}
    chosen = {bit for bit, name in known.items() if not fields or any(_covers(field, name) for field in fields)}
    if not chosen:
        expected = ", ".join(name for name, _ in TYPE.members)
        raise RefusedError(mismatch("request, field", f"one of {expected}", ", ".join(fields)[:80]))
    return Selection(frozenset(chosen))


def type_of(field: str) -> Type | None:
    """Return the type of a field by its dotted name (empty: of the whole), None if there is none."""
    kind = TYPE
    for name in filter(None, field.split(".")):
        inner = dict(kind.members).get(name) if kind.code == STRUCTURE else None
        if inner is None:
            return None
        kind = inner
    return kind


def body(selection: Selection, update: Update) -> bytes:
    """Return all selected fields, alarm too, behind the mask that says so."""
    values = dict(zip(_CHANGING, _fields(update), strict=True))
    parts = [pva_wire_mask.encode(sum(1 << bit for bit in selection.bits))]
    for bit in sorted(selection.bits):
        parts.append(_ALARM[bit][1] if bit in _ALARM else struct.pack(f"<{_CHANGING[bit][1]}", values[bit]))
    return b"".join(parts)


def answer(selection: Selection, ioid: int, update: Update, last: bool) -> bytes:
    """Return the answer to a get; `last` if the client wants no other one."""
    return message(Command.GET, _UPDATE.pack(ioid, 0x10 if last else 0) + OK + body(selection, update))


class Encoder:
    """The updates of one monitor, in bytes."""

    def __init__(self, ioid: int, selection: Selection) -> None:
        self._ioid = ioid
        self._selection = selection
        changing = selection.changing
        self._chosen = tuple(bit in changing for bit in _CHANGING)
        self._mask = pva_wire_mask.encode(sum(1 << bit for bit in changing))
        codes = "".join(_CHANGING[bit][1] for bit in changing)
        payload = struct.calcsize(f"<{codes}B") + _UPDATE.size + len(self._mask)
        self._start = header(Command.MONITOR, payload) + _UPDATE.pack(ioid, 0) + self._mask
        self._pack = struct.Struct(f"<{len(self._start)}s{codes}B").pack

    @property
    def empty(self) -> bool:
        """Whether there is nothing that an update would change."""
        return not any(self._chosen)

    def first(self, update: Update) -> bytes:
        """Return the update that a monitor begins with, with all fields."""
        return message(Command.MONITOR, _UPDATE.pack(self._ioid, 0) + body(self._selection, update) + b"\x00")

    def updates(self, updates: Iterable[Update]) -> bytes:
        """Return updates that follow each other."""
        pack, start, chosen = self._pack, self._start, self._chosen
        if all(chosen):
            return b"".join([pack(start, *_fields(one), 0) for one in updates])
        return b"".join([pack(start, *compress(_fields(one), chosen), 0) for one in updates])

    def merged(self, update: Update) -> bytes:
        """Return an update in which others are merged that could not be sent."""
        values = self._pack(self._start, *compress(_fields(update), self._chosen), 0)[len(self._start) : -1]
        return message(Command.MONITOR, _UPDATE.pack(self._ioid, 0) + self._mask + values + self._mask)


def _fields(update: Update) -> tuple[float, int, int, int]:
    value, stamp_ns, unique_id = update
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    return value, seconds, nanoseconds, (unique_id or 0) & USER_TAG  # pyright: ignore[reportReturnType]


def _covers(field: str, name: str) -> bool:
    return name == field or name.startswith(f"{field}.")
