"""The alarm tree of an appliance for Phoebus' alarm server: what its records raise alarms for, by process.

The limits and severities are those of the records; the alarm server only follows them. What somebody has set, such as
a switch that areaDetector shows in yellow while it is on, is no alarm: read-backs of settings are left out. Format: the
XML that `alarm-server -import` reads.
"""

from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

from ioc.records.table import Access, Kind, Record, Severity

SETTINGS = (Access.PAIR, Access.BUSY)
DETAILS = "`rayfan top {prefix}` shows all processes, `rayfan ledger --prefix {prefix} --missed` what became of frames."
HEARTBEAT = "Heartbeat"
"""Has no limits: it stands for the appliance as a whole, which is gone when this PV is."""


def alarm_tree(prefix: str, parts: Iterable[tuple[str, Sequence[Record]]]) -> str:
    """Return the XML: a component for each part, named after its process, with a PV for each of its alarms."""
    root = ElementTree.Element("config", name="Rayfan")
    top = ElementTree.SubElement(root, "component", name=prefix)
    guidance = ElementTree.SubElement(top, "guidance")
    ElementTree.SubElement(guidance, "title").text = "Where to look"
    ElementTree.SubElement(guidance, "details").text = DETAILS.format(prefix=prefix)
    for name, records in parts:
        alarming = [record for record in records if is_alarm(record)]
        if alarming:
            component = ElementTree.SubElement(top, "component", name=name)
            for record in alarming:
                _add(component, prefix, record)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def is_alarm(record: Record) -> bool:
    """Return whether a record can come into an alarm that somebody should see."""
    if record.readback is None or record.access in SETTINGS:
        return False
    rises = any(severity is not Severity.NO_ALARM for severity in record.severities)
    return rises or record.alarms is not None or record.name == HEARTBEAT


def _add(component: ElementTree.Element, prefix: str, record: Record) -> None:
    pv = ElementTree.SubElement(component, "pv", name=f"{prefix}{record.readback}")
    ElementTree.SubElement(pv, "description").text = record.description
    ElementTree.SubElement(pv, "enabled").text = "true"
    counts = record.kind in (Kind.COUNT, Kind.INT)  # stays in alarm by itself; a state may be over before it is seen
    ElementTree.SubElement(pv, "latching").text = "false" if counts else "true"
    ElementTree.SubElement(pv, "annunciating").text = "false"
