"""Put a box for each process into the column of its role; run by Phoebus (Jython 2.7) when a process changes.

PVs: name, role and state of each slot of the supervisor, in this order.
"""

from org.csstudio.display.builder.runtime.script import PVUtil, ScriptUtil
from org.phoebus.framework.macros import Macros

COLUMNS = {
    "detector": "Sources",
    "intake": "Sources",
    "collector": "Behind them",
    "ingress": "Behind them",
    "balancer": "Behind them",
}
"""The heading of the column of each role; that of members for all others."""
ASIDE = ("web",)
"""Roles that no frame goes through: they have no box."""
BELOW, GAP = 34, 10

filled = {}
prefix = widget.getEffectiveMacros().getValue("P")  # noqa: F821 - given by Phoebus
for slot in range(len(pvs) // 3):  # noqa: F821 - given by Phoebus
    name, role, state = [PVUtil.getString(pv) for pv in pvs[3 * slot : 3 * slot + 3]]  # noqa: F821
    box = ScriptUtil.findWidgetByName(widget, "Box" + str(slot + 1))  # noqa: F821
    if not name or state == "Absent" or role in ASIDE:
        box.setPropertyValue("visible", False)
        continue
    heading = ScriptUtil.findWidgetByName(widget, COLUMNS.get(role, "Who takes frames"))  # noqa: F821
    width, height = box.getPropertyValue("width"), box.getPropertyValue("height")
    across = max(1, heading.getPropertyValue("width") // width)
    number = filled.get(heading, 0)
    filled[heading] = number + 1
    box.setPropertyValue("x", heading.getPropertyValue("x") + (number % across) * (width + GAP))
    box.setPropertyValue("y", heading.getPropertyValue("y") + BELOW + (number // across) * (height + GAP))
    device = "cam1:" if role == "detector" else name + ":"
    macros = Macros()
    for key, value in (("P", prefix), ("R", device), ("S", "Process" + str(slot + 1) + ":"), ("N", name)):
        macros.add(key, value)
    if str(box.getPropertyValue("macros")) != str(macros):
        if box.getPropertyValue("file"):
            box.setPropertyValue("file", "")  # the same file with other macros would stay as it is
        box.setPropertyValue("macros", macros)
        box.setPropertyValue("file", "box_" + role + ".bob")
    box.setPropertyValue("visible", True)
