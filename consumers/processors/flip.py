"""Processor `flip`: mirrors every frame."""

from dataclasses import replace

import numpy as np

from consumers.processor import Metadata, Processor, Setting
from ioc.core.frame import Frame


class Flip(Processor):
    """Returns the frame with its columns (X), its rows (Y) or both in reverse order."""

    declared_settings = (
        Setting("X", True, description="Reverse the columns"),
        Setting("Y", False, description="Reverse the rows"),
    )

    def process(self, frame: Frame, metadata: Metadata) -> Frame:
        data = frame.data
        if self.settings["X"]:
            data = data[:, ::-1]
        if self.settings["Y"]:
            data = data[::-1]
        return replace(frame, data=np.ascontiguousarray(data))
