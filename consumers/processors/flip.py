"""Processor `flip`: mirrors every frame."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from consumers.processor import Metadata, Processor, Setting
from ioc.core.dimensions import dimensions_of, with_dimensions
from ioc.core.frame import Frame


class Flip(Processor):
    """Returns the frame with its columns (X), its rows (Y) or both in reverse order."""

    declared_settings = (
        Setting("X", True, description="Reverse the columns"),
        Setting("Y", False, description="Reverse the rows"),
    )

    def process(self, frame: Frame, metadata: Metadata) -> Frame:
        columns, rows, shape = bool(self.settings["X"]), bool(self.settings["Y"]), frame.data.shape
        y, x, *colour = dimensions_of(frame.attributes, shape)
        shown = (y.part(0, 1, rows), x.part(0, 1, columns), *colour)
        data = mirrored(frame.data, columns, rows)
        return replace(frame, data=data, attributes=with_dimensions(frame.attributes, shape, shown))


def mirrored(data: NDArray, columns: bool, rows: bool) -> NDArray:
    """Return an image with its columns, its rows or both in reverse order."""
    return np.ascontiguousarray(data[:: -1 if rows else 1, :: -1 if columns else 1])
