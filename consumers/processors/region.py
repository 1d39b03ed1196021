"""Processor `region`: cuts a rectangle out of every frame, as areaDetector's NDPluginROI does."""

from dataclasses import replace

import numpy as np

from consumers.processor import Metadata, Processor, Setting
from ioc.core.dimensions import dimensions_of, with_dimensions
from ioc.core.errors import InputError, mismatch
from ioc.core.frame import Frame


class Region(Processor):
    """Returns `data[MinY : MinY + SizeY, MinX : MinX + SizeX]`; a rectangle that leaves the frame is cut at its edge.

    A size of 0 reaches to the edge. A rectangle that lies outside altogether counts the frame as failed.
    """

    declared_settings = (
        Setting("MinX", 0, unit="pixel", low=0, description="First column"),
        Setting("MinY", 0, unit="pixel", low=0, description="First row"),
        Setting("SizeX", 0, unit="pixel", low=0, description="Columns, 0: up to the edge"),
        Setting("SizeY", 0, unit="pixel", low=0, description="Rows, 0: up to the edge"),
    )

    def process(self, frame: Frame, metadata: Metadata) -> Frame:
        left, top, width, height = (int(self.settings[name]) for name in ("MinX", "MinY", "SizeX", "SizeY"))
        rows, columns = frame.data.shape[:2]
        if left >= columns or top >= rows:
            raise InputError(mismatch("region", f"MinX below {columns} and MinY below {rows}", (left, top)))
        part = frame.data[top : top + height if height else rows, left : left + width if width else columns]
        y, x, *colour = dimensions_of(frame.attributes, frame.data.shape)
        shown = (y.part(top, 1, False), x.part(left, 1, False), *colour)
        return replace(
            frame, data=np.ascontiguousarray(part), attributes=with_dimensions(frame.attributes, part.shape, shown)
        )
