"""Processor `rotate`: turns every frame by right angles."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from consumers.processor import Metadata, Processor, Setting
from ioc.core.dimensions import without_dimensions
from ioc.core.frame import Frame

ANGLES = ("0", "90", "180", "270")


class Rotate(Processor):
    """Returns the frame turned clockwise, as one who looks at row 0 at the top sees it."""

    declared_settings = (Setting("Angle", "90", unit="deg", choices=ANGLES, description="Clockwise, in degrees"),)

    def process(self, frame: Frame, metadata: Metadata) -> Frame:
        data = turned(frame.data, ANGLES.index(str(self.settings["Angle"])))
        return replace(frame, data=data, attributes=without_dimensions(frame.attributes))


def turned(data: NDArray, quarters: int) -> NDArray:
    """Return an image turned clockwise by so many right angles."""
    return np.ascontiguousarray(np.rot90(data, -quarters))
