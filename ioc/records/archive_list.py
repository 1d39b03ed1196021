"""What of an appliance is worth archiving, and how: entries for the Archiver Appliance's `archivePV`.

Left out are texts, arrays and images, and demands: their read-backs say what was in effect. What changes seldom, states
and read-backs of settings, is archived at each change; figures, which change all the time, are looked at.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ioc.records.table import Access, Kind, Record

CHANGES, FIGURES = "rayfan_changes", "rayfan_figures"
"""Names of the policies of ops/archiver/policies.py."""
CHANGE_SECONDS, FIGURE_SECONDS = 1.0, 5.0
LEFT_OUT = (Kind.STRING, Kind.ARRAY)


@dataclass(frozen=True, slots=True)
class Entry:
    """One PV of the list, as `archivePV` takes it."""

    pv: str
    samplingmethod: str
    samplingperiod: str
    policy: str


def entries(prefix: str, records: Iterable[Record]) -> list[Entry]:
    """Return the entries of all records that are worth it."""
    return [_entry(prefix, record) for record in records if record.readback is not None and record.kind not in LEFT_OUT]


def _entry(prefix: str, record: Record) -> Entry:
    settles = record.kind in (Kind.BOOL, Kind.ENUM) or record.access in (Access.PAIR, Access.BUSY)
    name = f"{prefix}{record.readback}"
    if settles:
        return Entry(name, "MONITOR", str(CHANGE_SECONDS), CHANGES)
    return Entry(name, "SCAN", str(FIGURE_SECONDS), FIGURES)
