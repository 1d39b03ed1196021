"""What PVWS tells of a PV: all of it once, then only what changes; no I/O.

Source: ornl-epics/pvws, Vtype2Json: numbers with units and limits, enums with labels, arrays as base64 of little-endian
elements, anything else as text. A PV that does not answer is a number whose value is "NaN".
"""

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioc.core.reading import Form, Reading

_NUMBER_TYPES = {
    "int8": "VByte",
    "uint8": "VUByte",
    "int16": "VShort",
    "uint16": "VUShort",
    "int32": "VInt",
    "uint32": "VUInt",
    "int64": "VLong",
    "uint64": "VULong",
    "float32": "VFloat",
    "float64": "VDouble",
    "bool": "VBoolean",
}
_ARRAY_KEYS = {"int8": "b64byt", "int16": "b64srt", "float32": "b64flt", "float64": "b64dbl"}
"""How arrays are named; those of all other numbers are sent as int32."""
_OTHER_ARRAYS = "b64int"
_NAN = "NaN"


@dataclass(frozen=True, slots=True)
class Told:
    """What a client knows of a PV."""

    form: Form
    severity: str
    readonly: bool


def update(name: str, reading: Reading, before: Told | None, readonly: bool) -> tuple[dict[str, Any], Told]:
    """Return the update that tells a client of a reading, and what it knows then; `before` None: nothing yet."""
    message: dict[str, Any] = {"type": "update", "pv": name}
    known = before if before is not None and before.form is reading.form else None
    if known is None:
        message |= _about(reading)
    if known is None or known.severity != reading.severity:
        message["severity"] = reading.severity
    if known is None or known.readonly != readonly:
        message["readonly"] = readonly
    message |= _value(reading)
    message["seconds"], message["nanos"] = divmod(reading.stamp_ns, 1_000_000_000)
    return message, Told(reading.form, reading.severity, readonly)


def _about(reading: Reading) -> dict[str, Any]:
    """Return what is told once."""
    if reading.form is Form.NUMBER:
        return {"vtype": _NUMBER_TYPES[reading.code], **_finite(reading.display)}
    if reading.form is Form.ARRAY and reading.array is not None:
        return {"vtype": f"{_NUMBER_TYPES.get(reading.array.dtype.name, 'V')}Array", **_finite(reading.display)}
    if reading.form is Form.CHOICE:
        return {"vtype": "VEnum", "labels": list(reading.labels)}
    return {"vtype": "VString"} if reading.form is Form.TEXT else {}


def _finite(display: Mapping[str, str | float | int]) -> dict[str, Any]:
    """Return what JSON can say; limits that are not set are not numbers."""
    return {name: one for name, one in display.items() if not isinstance(one, float) or math.isfinite(one)}


def _value(reading: Reading) -> dict[str, Any]:
    if reading.form in (Form.NUMBER, Form.GONE):
        return {"value": reading.number if math.isfinite(reading.number) else _NAN}
    if reading.form is Form.CHOICE:
        return {"value": reading.number, "text": reading.text}
    if reading.array is not None and reading.array.dtype.kind in "iufb":
        return _packed(reading.array)
    return {"text": reading.text if reading.array is None else str(reading.array.tolist())}


def _packed(array: NDArray) -> dict[str, Any]:
    key = _ARRAY_KEYS.get(array.dtype.name, _OTHER_ARRAYS)
    elements = array if key != _OTHER_ARRAYS else array.astype(np.int32)
    content = np.ascontiguousarray(elements.astype(elements.dtype.newbyteorder("<")))
    return {key: base64.b64encode(content.tobytes()).decode("ascii")}
