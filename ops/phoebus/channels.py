"""Show a line for each metadata channel of a consumer; run by Phoebus (Jython 2.7) when their names change."""

from org.csstudio.display.builder.runtime.script import PVUtil, ScriptUtil
from org.phoebus.framework.macros import Macros

PLACES = 8

given = widget.getEffectiveMacros()  # noqa: F821 - given by Phoebus
names = PVUtil.getString(pvs[0], True).split(", ")  # noqa: F821
for place in range(PLACES):
    row = ScriptUtil.findWidgetByName(widget, "Channel" + str(place + 1))  # noqa: F821
    name = names[place] if place < len(names) else ""
    macros = Macros()
    macros.add("P", given.getValue("P"))
    macros.add("R", given.getValue("R") + name + ":")
    macros.add("N", name)
    if row.getPropertyValue("file"):
        row.setPropertyValue("file", "")  # the same file with other macros would stay as it is
    row.setPropertyValue("macros", macros)
    if name:
        row.setPropertyValue("file", "metadata_row.bob")
