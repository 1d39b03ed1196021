"""What a PV says at one moment, whatever protocol brought it: value, alarm, time, and what is known of the value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from numpy.typing import NDArray


class Form(Enum):
    """The kinds of value; OTHER is shown as text, GONE has none: the PV does not answer (any more)."""

    NUMBER = "number"
    TEXT = "text"
    CHOICE = "choice"
    ARRAY = "array"
    OTHER = "other"
    GONE = "gone"


SEVERITIES = ("NONE", "MINOR", "MAJOR", "INVALID", "UNDEFINED")
"""Severities of alarms by EPICS's number (normative types, alarm_t)."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of a PV.

    `number` is also the index of a CHOICE; `text` its label, or the text of a TEXT or OTHER; `code` the kind of a
    number or of an array's elements as NumPy names it (`float64`); `display` has what is known of it under PVWS's
    names: units, description, precision, min, max, warn_low, warn_high, alarm_low, alarm_high. `stamp_ns` since 1970.
    """

    form: Form
    number: float | int = 0
    text: str = ""
    code: str = "float64"
    labels: tuple[str, ...] = ()
    array: NDArray | None = None
    display: Mapping[str, str | float | int] = field(default_factory=dict)
    severity: str = SEVERITIES[0]
    stamp_ns: int = 0

    @classmethod
    def gone(cls, stamp_ns: int) -> "Reading":
        """Return the reading of a PV that does not answer."""
        return cls(Form.GONE, number=float("nan"), severity="INVALID", stamp_ns=stamp_ns)

    @property
    def plain(self) -> str:
        """The value as a word for a log."""
        if self.form in (Form.TEXT, Form.OTHER, Form.CHOICE):
            return self.text
        if self.array is not None:
            return f"{self.array.dtype.name}[{self.array.size}]"
        return repr(self.number)


def severity_name(number: int) -> str:
    """Return the name of a severity; a number that EPICS does not have is UNDEFINED."""
    return SEVERITIES[number] if 0 <= number < len(SEVERITIES) else SEVERITIES[-1]
