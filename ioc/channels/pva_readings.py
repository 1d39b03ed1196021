"""A pvAccess structure as a reading: normative scalars, enums and arrays; anything else is shown as text.

Source: https://docs.epics-controls.org, Normative Types: NTScalar, NTEnum, NTScalarArray, display_t, control_t,
valueAlarm_t.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from p4p import Value

from ioc.core.reading import Form, Reading, severity_name

LONGEST_TEXT = 16_384
"""Characters of a text that are shown."""
MOST_ELEMENTS = 65_536
"""Elements of an array that are shown."""

_CODES = {
    "?": "bool",
    "b": "int8",
    "B": "uint8",
    "h": "int16",
    "H": "uint16",
    "i": "int32",
    "I": "uint32",
    "l": "int64",
    "L": "uint64",
    "f": "float32",
    "d": "float64",
}
_DISPLAY = {
    "units": "display.units",
    "description": "display.description",
    "precision": "display.precision",
    "min": "display.limitLow",
    "max": "display.limitHigh",
    "warn_low": "valueAlarm.lowWarningLimit",
    "warn_high": "valueAlarm.highWarningLimit",
    "alarm_low": "valueAlarm.lowAlarmLimit",
    "alarm_high": "valueAlarm.highAlarmLimit",
}
"""What is known of a value, and the field that tells."""


def reading_of(value: Value) -> Reading:
    """Return what a structure says."""
    common: dict[str, Any] = {
        "severity": severity_name(int(_field(value, "alarm.severity", 0))),
        "stamp_ns": _field(value, "timeStamp.secondsPastEpoch", 0) * 1_000_000_000
        + _field(value, "timeStamp.nanoseconds", 0),
    }
    if value.has("value.index"):
        labels = tuple(str(label) for label in value["value.choices"])
        index = int(value["value.index"])
        text = labels[index] if 0 <= index < len(labels) else str(index)
        return Reading(Form.CHOICE, number=index, text=text, labels=labels, **common)
    content = value["value"] if value.has("value") else None
    if isinstance(content, str):
        return Reading(Form.TEXT, text=content[:LONGEST_TEXT], **common)
    if isinstance(content, np.ndarray):
        return Reading(Form.ARRAY, array=content[:MOST_ELEMENTS], display=_display(value), **common)
    if isinstance(content, int | float):
        code = _CODES.get(str(value.type().aspy("value")), "float64")
        number = content if isinstance(content, float) else int(content)
        return Reading(Form.NUMBER, number=number, code=code, display=_display(value), **common)
    return Reading(Form.OTHER, text=str(value)[:LONGEST_TEXT], **common)


def _display(value: Value) -> Mapping[str, str | float | int]:
    return {name: value[field] for name, field in _DISPLAY.items() if value.has(field)}


def _field(value: Value, name: str, default: int) -> int:
    return value[name] if value.has(name) else default
