"""One definition per PV, without EPICS: what a record is called, holds, shows and accepts.

ADCore's pattern: a PAIR makes `X` (the demand) and `X_RBV` (the read-back), READ makes `X_RBV` only, WRITE makes `X`
only. SHOWN makes a read-back that ADCore calls `X`, without `_RBV`. A COMMAND makes `X`, which goes back to 0 by
itself; a put-callback completes when the command has completed. A BUSY makes `X`, `X_RBV` and `XBusy`: a put-callback
on `X` completes when the activity has ended, and a plain put of 0 meanwhile acts at once (areaDetector's `Acquire`).
"""

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields, replace
from enum import Enum
from pathlib import Path

from ioc.core.config import LONGEST_PV_NAME
from ioc.core.errors import ConfigError, RefusedError, mismatch
from ioc.core.frame import DataType

Value = float | int | bool | str

LONGEST_DESCRIPTION = 40
"""Characters of the DESC field (EPICS base, dbCommon.dbd: size(41) with the closing NUL)."""
LONGEST_UNIT = 15
"""Characters of the EGU field (EPICS base, size(16))."""
LONGEST_CHOICE = 25
"""Characters of one choice of an mbbi or bi record (EPICS base, size(26))."""
MOST_CHOICES = 16
"""Choices of an mbbi record."""
SHORT_STRING = 40
"""Bytes of an EPICS string with its closing NUL; a longer one is an array of characters."""
INT32 = (-(2**31), 2**31 - 1)
INT64 = (-(2**63), 2**63 - 1)


class Kind(Enum):
    """What a record holds; the value is the word of the listing.

    INT has 32 bits like ADCore's integers. COUNT has 64; over Channel Access it arrives as a double. An ARRAY is a
    row of numbers that only the owner writes (`RecordServer.set_array`).
    """

    FLOAT = "float"
    INT = "int32"
    COUNT = "int64"
    BOOL = "bool"
    ENUM = "enum"
    STRING = "string"
    ARRAY = "array"


class Access(Enum):
    """Which records a definition makes; see the head of this module."""

    READ = "read"
    PAIR = "pair"
    WRITE = "write"
    SHOWN = "shown"
    COMMAND = "command"
    BUSY = "busy"


class Severity(Enum):
    """Alarm severities of EPICS."""

    NO_ALARM = "NO_ALARM"
    MINOR = "MINOR"
    MAJOR = "MAJOR"
    INVALID = "INVALID"


@dataclass(frozen=True, slots=True)
class Limits:
    """A closed interval in the record's unit; None leaves that end open."""

    low: float | None = None
    high: float | None = None

    def hold(self, value: float) -> bool:
        """Return whether `value` lies within."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        if self.low is None:
            return "any" if self.high is None else f"at most {self.high:g}"
        return f"at least {self.low:g}" if self.high is None else f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True, slots=True)
class Alarms:
    """Limits beyond which the read-back is in alarm: MINOR from `low` and `high`, MAJOR from `lolo` and `hihi`."""

    lolo: float | None = None
    low: float | None = None
    high: float | None = None
    hihi: float | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One PV or the PVs of one parameter.

    `name` is relative to the prefix and without `_RBV`, for example `cam1:AcquireTime`. `accepted` refuses puts,
    `display` is what screens scale to (left out: `accepted`). `severities` are alarms of choices, in order, on
    read-backs. `shown` are the choices of read-backs, where they differ from those of the demand. `size`
    is the bytes of a STRING with its closing NUL, or the elements of an ARRAY, which are of the type `element`.
    `kept` says whether autosave keeps what is put to a PAIR or a WRITE.

    Raises:
        ConfigError: a text is longer than EPICS allows, or the choices do not fit the kind.
    """

    name: str
    kind: Kind
    description: str
    access: Access = Access.READ
    unit: str = ""
    precision: int = 3
    display: Limits | None = None
    accepted: Limits = Limits()
    alarms: Alarms | None = None
    choices: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    severities: tuple[Severity, ...] = ()
    initial: Value | None = None
    size: int = SHORT_STRING
    element: DataType = DataType.FLOAT64
    kept: bool = True

    def __post_init__(self) -> None:
        _at_most(self.name, "description", self.description, LONGEST_DESCRIPTION)
        _at_most(self.name, "unit", self.unit, LONGEST_UNIT)
        for choice in self.choices:
            _at_most(self.name, "choice", choice, LONGEST_CHOICE)
        fitting = {Kind.ENUM: range(1, MOST_CHOICES + 1), Kind.BOOL: (0, 2)}.get(self.kind, (0,))
        if len(self.choices) not in fitting:
            raise ConfigError(mismatch(f"record {self.name}", f"choices that fit {self.kind.value}", self.choices))
        if self.kind is Kind.ARRAY and self.access not in (Access.READ, Access.SHOWN):
            raise ConfigError(mismatch(f"record {self.name}", "an array that is only shown", self.access.value))
        if self.initial is not None:
            self.check(self.initial)

    @property
    def demand(self) -> str | None:
        """Name of the record that clients put to, None if there is none."""
        return None if self.access in (Access.READ, Access.SHOWN) else self.name

    @property
    def readback(self) -> str | None:
        """Name of the record that shows what is in effect, None if there is none."""
        if self.access is Access.SHOWN:
            return self.name
        return self.name + "_RBV" if self.access in (Access.READ, Access.PAIR, Access.BUSY) else None

    @property
    def busy(self) -> str | None:
        """Name of the record that is 1 while the activity of a BUSY goes on, None for the others."""
        return self.name + "Busy" if self.access is Access.BUSY else None

    @property
    def names(self) -> tuple[str, ...]:
        """All names that this definition makes, relative to the prefix."""
        return tuple(name for name in (self.demand, self.readback, self.busy) if name is not None)

    @property
    def start_value(self) -> Value:
        """The value at start: `initial`, or the empty value of the kind."""
        if self.initial is not None:
            return self.initial
        return {Kind.FLOAT: 0.0, Kind.BOOL: False, Kind.ENUM: (*self.choices, "")[0], Kind.STRING: ""}.get(self.kind, 0)

    def check(self, value: Value) -> Value:
        """Return a put's value if it is accepted.

        Raises:
            RefusedError: it is out of the accepted limits, not finite, no choice, or too long.
        """
        if self.kind is Kind.STRING:
            if not isinstance(value, str) or len(value.encode()) >= self.size:
                raise RefusedError(mismatch(self.name, f"a text of at most {self.size - 1} bytes", value))
        elif self.kind is Kind.ENUM:
            if value not in self.choices:
                raise RefusedError(mismatch(self.name, f"one of {', '.join(self.choices)}", value))
        elif self.kind is Kind.BOOL:
            if value not in (0, 1):
                raise RefusedError(mismatch(self.name, "0 or 1", value))
        elif isinstance(value, str) or not math.isfinite(value) or not self.accepted.hold(value):
            expected = f"{self.accepted} {self.unit}".rstrip()
            raise RefusedError(mismatch(self.name, f"{expected}, finite" if expected == "any" else expected, value))
        return value

    def under(self, device: str) -> "Record":
        """Return this definition with `device` (for example `cam1:`) before its name."""
        return replace(self, name=device + self.name)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the listing: one PV."""

    name: str
    kind: str
    unit: str
    description: str
    writable: str
    limits: str


def fit_enum(choices: Sequence[str]) -> bool:
    """Return whether texts can be the choices of an ENUM."""
    return 1 <= len(choices) <= MOST_CHOICES and all(len(choice) <= LONGEST_CHOICE for choice in choices)


def under(device: str, records: Iterable[Record]) -> list[Record]:
    """Return the definitions with `device` (for example `cam1:`) before their names."""
    return [record.under(device) for record in records]


def check_names(records: Sequence[Record], prefix: str) -> None:
    """Check that every full name is unique and short enough for Channel Access.

    Raises:
        ConfigError: names the record.
    """
    seen: set[str] = set()
    for name in (name for record in records for name in record.names):
        _at_most(prefix + name, "name", prefix + name, LONGEST_PV_NAME)
        if name in seen:
            raise ConfigError(mismatch(f"record {name}", "one definition", "two"))
        seen.add(name)


def listing(records: Iterable[Record], prefix: str) -> Iterator[Row]:
    """Yield one row for each PV of the tables, in their order."""
    for record in records:
        accepted = "" if record.accepted == Limits() else str(record.accepted)
        for name in record.names:
            writable = name == record.demand
            limits = ", ".join(record.choices if writable else record.shown or record.choices) or accepted
            yield Row(
                name=prefix + name,
                kind=record.kind.value,
                unit=record.unit,
                description=record.description,
                writable="yes" if writable else "no",
                limits=limits if writable or record.choices else "",
            )


def write_listing(rows: Iterable[Row], path: Path) -> None:
    """Write the rows as a CSV file with a heading."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Row))
        writer.writerows(astuple(row) for row in rows)


def _at_most(record: str, what: str, text: str, longest: int) -> None:
    if len(text) > longest:
        raise ConfigError(mismatch(f"record {record}", f"a {what} of at most {longest} characters", text))
