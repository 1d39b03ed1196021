"""Makes EPICS records of the definitions with softioc.

Read-backs are soft records without Python behind them: a value is put by one call into the database library, alarms
and dead bands are the record's own business, and READONLY access security keeps clients out. Demands have softioc's
Python device support. A BUSY is a `bo` that processes at once and forwards to a hidden second `bo`, `XWait`, which
stays active until the activity has ended: that is what a put-callback waits for.
"""

import ctypes
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from softioc import builder, fields, imports

from ioc.core.frame import DataType
from ioc.records.table import (
    INT32,
    INT64,
    SHORT_STRING,
    Access,
    Kind,
    Limits,
    Record,
    Value,
)

READ_ONLY_GROUP = "READONLY"
"""Access security group of read-backs; db/rayfan.acf lets clients only read it."""

_TYPES: Any = fields
"""softioc fills this module with the DBF_ codes at run time, out of sight of a type checker."""

_STATE_PREFIXES = ("ZR", "ON", "TW", "TH", "FR", "FV", "SX", "SV", "EI", "NI", "TE", "EL", "TV", "TT", "FT", "FF")
"""Field prefixes of the states of an mbbi (EPICS base, mbbiRecord.dbd)."""

ELEMENT_TYPES = {
    DataType.INT8: "CHAR",
    DataType.UINT8: "UCHAR",
    DataType.INT16: "SHORT",
    DataType.UINT16: "USHORT",
    DataType.INT32: "LONG",
    DataType.UINT32: "ULONG",
    DataType.INT64: "INT64",
    DataType.UINT64: "UINT64",
    DataType.FLOAT32: "FLOAT",
    DataType.FLOAT64: "DOUBLE",
}
"""Types of a waveform's elements (EPICS base, menuFtype)."""

IOC_STATS_WRITABLE = ("ACCESS", "READACF", "SYSRESET", "START_CNT", "HEARTBEAT")
"""Records of devIocStats that are not for clients to write."""

_INPUT_TYPES = {
    Kind.FLOAT: "ai",
    Kind.INT: "longin",
    Kind.COUNT: "int64in",
    Kind.BOOL: "bi",
    Kind.ENUM: "mbbi",
    Kind.STRING: "stringin",
}


class Readback:
    """One record that only the owner writes."""

    def __init__(self, full_name: str, record: Record) -> None:
        """Add the record to the database that is being built."""
        self.turn = threading.Lock()
        """Held by who puts a value and notes it."""
        self._full_name = full_name
        self._record = record
        self._choices = choices_of(record)
        self._disabled = False
        waveform = is_long(record) or record.kind is Kind.ARRAY
        builder_type = "waveform" if waveform else _INPUT_TYPES[record.kind]
        made = getattr(builder.records, builder_type)(full_name, **_readback_fields(record))
        if is_long(record):
            made.add_info("Q:form", "String")

    def put(self, value: Value) -> None:
        """Write, process and post the value now, in this thread: nothing is merged with the value before."""
        code, count, data = _encode(self._record, self._choices, value)
        if self._disabled:
            self._disabled = False
            self._put_field("DISA", 0)
        imports.db_put_field_process(self._full_name, code, ctypes.addressof(data), count, True)

    def put_array(self, values: NDArray) -> None:
        """Write, process and post a row of numbers, in the record's type; what does not fit in is cut off."""
        row = np.ascontiguousarray(values[: self._record.size], self._record.element.dtype)
        code = getattr(_TYPES, f"DBF_{ELEMENT_TYPES[self._record.element]}")
        imports.db_put_field_process(self._full_name, code, row.ctypes.data, len(row), True)

    def invalidate(self) -> None:
        """Disable the record until the next value: alarm INVALID, status DISABLE."""
        self._disabled = True
        self._put_field("DISA", 1)
        self._put_field("PROC", 1)

    def _put_field(self, field: str, number: int) -> None:
        data = ctypes.c_int16(number)
        name = f"{self._full_name}.{field}"
        imports.db_put_field_process(name, _TYPES.DBF_SHORT, ctypes.addressof(data), 1, True)


def make_demand(
    full_name: str, record: Record, validate: Callable[[Any, Any], bool], on_update: Callable[[Any], Any]
) -> Any:
    """Add the record that clients put to; return softioc's wrapper of it."""
    hooks: dict[str, Any] = {
        "validate": validate,
        "on_update": on_update,
        "always_update": True,
        "blocking": record.access is not Access.BUSY,
        "DESC": record.description,
    }
    start = to_raw(record, record.start_value)
    if record.kind is Kind.STRING:
        if is_long(record):
            return builder.longStringOut(full_name, initial_value=start, length=record.size, **hooks)
        return builder.stringOut(full_name, initial_value=start, **hooks)
    hooks["initial_value"] = start
    choices = choices_of(record)
    if record.kind is Kind.ENUM:
        return builder.mbbOut(full_name, *choices, **hooks)
    if record.kind is Kind.BOOL:
        if record.access is Access.BUSY:
            hooks["FLNK"] = wait_name(full_name)
        return builder.boolOut(full_name, choices[0], choices[1], **hooks)
    hooks.update(_range_fields(record), EGU=record.unit)
    if record.kind is Kind.FLOAT:
        return builder.aOut(full_name, PREC=record.precision, **hooks)
    return (builder.longOut if record.kind is Kind.INT else builder.int64Out)(full_name, **hooks)


def make_wait(full_name: str, on_update: Callable[[Any], Any]) -> Any:
    """Add the hidden record that holds the put-callback of the BUSY `full_name`."""
    return builder.boolOut(
        wait_name(full_name),
        on_update=on_update,
        always_update=True,
        blocking=True,
        initial_value=0,
        DESC="Holds the put-callback",
        ASG=READ_ONLY_GROUP,
    )


def protect_ioc_stats(ioc_name: str) -> None:
    """Let clients only read the records of devIocStats: one of them, SYSRESET, would end the process."""
    group = ctypes.create_string_buffer(READ_ONLY_GROUP.encode(), SHORT_STRING)
    for name in IOC_STATS_WRITABLE:
        field = f"{ioc_name}:{name}.ASG"
        imports.db_put_field_process(field, _TYPES.DBF_STRING, ctypes.addressof(group), 1, False)


def in_put_callback(record: Any) -> bool:
    """Return whether a softioc record is processed for a put-callback; to be called under its lock.

    EPICS keeps a pointer to the put-notify in the field PPN of every record that takes part (dbNotify.c).
    """
    offset = record.fields["PPN"][0]
    return bool(ctypes.c_void_p.from_address(record.record.value + offset).value)


def wait_name(full_name: str) -> str:
    """Return the name of the record that holds a BUSY's put-callback."""
    return full_name + "Wait"


def is_long(record: Record) -> bool:
    """Return whether a string needs an array of characters."""
    return record.kind is Kind.STRING and record.size > SHORT_STRING


def choices_of(record: Record) -> tuple[str, ...]:
    """Return the choices; No and Yes for a BOOL that names none."""
    return record.choices or (("No", "Yes") if record.kind is Kind.BOOL else ())


def to_raw(record: Record, value: Value) -> Any:
    """Return a value as softioc takes it; integers saturate at the ends of their type.

    Raises:
        ValueError: a text is no choice of the record.
    """
    if record.kind is Kind.ENUM:
        return choices_of(record).index(value) if isinstance(value, str) else int(value)
    if record.kind is Kind.FLOAT:
        return float(value)
    if record.kind is Kind.STRING:
        return _cut(str(value), record.size)
    low, high = INT64 if record.kind is Kind.COUNT else INT32
    return max(low, min(high, int(value)))


def from_raw(record: Record, raw: Any) -> Value:
    """Return what softioc hands over as a value of the record; a state without a name stays a number."""
    if record.kind is Kind.ENUM:
        choices = choices_of(record)
        return choices[raw] if 0 <= raw < len(choices) else raw
    if record.kind is Kind.BOOL:
        return bool(raw) if raw in (0, 1) else raw
    return raw


def _cut(text: str, size: int) -> str:
    """Return as much of a text as fits into `size` bytes with a closing NUL."""
    return text.encode()[: size - 1].decode(errors="ignore")


def _encode(record: Record, choices: tuple[str, ...], value: Value) -> tuple[int, int, Any]:
    raw = to_raw(record, value)
    if record.kind is Kind.FLOAT:
        return _TYPES.DBF_DOUBLE, 1, ctypes.c_double(raw)
    if record.kind is Kind.COUNT:
        return _TYPES.DBF_INT64, 1, ctypes.c_int64(raw)
    if record.kind is Kind.INT:
        return _TYPES.DBF_LONG, 1, ctypes.c_int32(raw)
    if choices:
        return _TYPES.DBF_ENUM, 1, ctypes.c_uint16(raw)
    text = raw.encode()
    if is_long(record):
        return _TYPES.DBF_CHAR, len(text) + 1, ctypes.create_string_buffer(text)
    return _TYPES.DBF_STRING, 1, ctypes.create_string_buffer(text, SHORT_STRING)


def _readback_fields(record: Record) -> dict[str, Any]:
    made: dict[str, Any] = {"DESC": record.description, "ASG": READ_ONLY_GROUP, "PINI": "YES", "DISS": "INVALID"}
    choices = choices_of(record)
    if is_long(record):
        return made | {"FTVL": "CHAR", "NELM": record.size}
    if record.kind is Kind.ARRAY:
        return made | {"FTVL": ELEMENT_TYPES[record.element], "NELM": record.size, "EGU": record.unit}
    if record.kind is Kind.STRING:
        return made
    if record.kind is Kind.ENUM:
        for index, (prefix, choice) in enumerate(zip(_STATE_PREFIXES, record.shown or choices, strict=False)):
            made |= {prefix + "VL": index, prefix + "ST": choice}
        severities = zip(_STATE_PREFIXES, record.severities, strict=False)
        return made | {prefix + "SV": severity.value for prefix, severity in severities}
    if record.kind is Kind.BOOL:
        off, on = record.shown or choices
        made |= {"ZNAM": off, "ONAM": on}
        return made | {
            field: severity.value for field, severity in zip(("ZSV", "OSV"), record.severities, strict=False)
        }
    made |= _range_fields(record) | _alarm_fields(record) | {"EGU": record.unit}
    return made | ({"PREC": record.precision} if record.kind is Kind.FLOAT else {})


def _range_fields(record: Record) -> dict[str, Any]:
    """Return the display limits; DRVL and DRVH stay out, because they clamp a put instead of refusing it."""
    limits: Limits = record.display or record.accepted
    made = {"LOPR": limits.low, "HOPR": limits.high}
    return {field: value for field, value in made.items() if value is not None}


def _alarm_fields(record: Record) -> dict[str, Any]:
    if record.alarms is None:
        return {}
    table = (
        ("LOLO", "LLSV", "MAJOR", record.alarms.lolo),
        ("LOW", "LSV", "MINOR", record.alarms.low),
        ("HIGH", "HSV", "MINOR", record.alarms.high),
        ("HIHI", "HHSV", "MAJOR", record.alarms.hihi),
    )
    made: dict[str, Any] = {}
    for limit_field, severity_field, severity, limit in table:
        if limit is not None:
            made |= {limit_field: limit, severity_field: severity}
    return made
