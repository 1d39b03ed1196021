"""`Trans1:`, areaDetector's NDPluginTransform: turns and mirrors each frame in one of eight ways."""

from dataclasses import replace

from consumers.plugins.plugin import Outputs, Plugin
from consumers.processors.flip import mirrored
from consumers.processors.rotate import turned
from ioc.core.dimensions import without_dimensions
from ioc.core.frame import Frame
from ioc.records.table import Access, Kind, Record

TYPES = ("None", "Rot90", "Rot180", "Rot270", "Mirror", "Rot90Mirror", "Rot180Mirror", "Rot270Mirror")
"""Clockwise angles, and whether columns are reversed behind that (ADCore, NDPluginTransform.cpp)."""
TRANSFORM_RECORDS = (Record("Type", Kind.ENUM, "How frames are turned", Access.WRITE, choices=TYPES),)


class Transform(Plugin):
    """Puts the frame out turned; with `None`, as it came."""

    kind = "NDPluginTransform"

    def work(self, frame: Frame) -> Outputs:
        mirror, quarters = divmod(TYPES.index(str(self.chosen["Type"])), 4)
        if not mirror and not quarters:
            return (frame,)
        data = turned(frame.data, quarters) if quarters else frame.data
        data = mirrored(data, columns=True, rows=False) if mirror else data
        return (replace(frame, data=data, attributes=without_dimensions(frame.attributes)),)  # none says "turned"
