"""Processor `rotate`: turns every frame by right angles."""

from dataclasses import replace

import numpy as np

from consumers.processor import Metadata, Processor, Setting
from ioc.core.frame import Frame

ANGLES = ("0", "90", "180", "270")


class Rotate(Processor):
    """Returns the frame turned clockwise, as one who looks at row 0 at the top sees it."""

    declared_settings = (Setting("Angle", "90", unit="deg", choices=ANGLES, description="Clockwise, in degrees"),)

    def process(self, frame: Frame, metadata: Metadata) -> Frame:
        turned = np.rot90(frame.data, -ANGLES.index(str(self.settings["Angle"])))
        return replace(frame, data=np.ascontiguousarray(turned))
