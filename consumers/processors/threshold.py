"""Processor `threshold`: keeps the pixels between two levels."""

from dataclasses import replace

import numpy as np

from consumers.processor import Metadata, Processor, Setting, Statistic
from ioc.core.frame import Frame


class Threshold(Processor):
    """Returns the frame with pixels outside `Low` to `High` set to 0 (zero) or to the level (clip), or a map (binary).

    The map is uint8, 1 where a pixel is within the levels, both included. Pixels that are not a number are outside.
    """

    declared_settings = (
        Setting("Low", 0.0, unit="counts", description="Lowest level that counts"),
        Setting("High", 1e18, unit="counts", description="Highest level that counts"),
        Setting("Method", "zero", choices=("zero", "clip", "binary"), description="What becomes of the others"),
    )
    declared_statistics = (Statistic("Inside", int, unit="pixel", description="Pixels between the levels"),)

    def process(self, frame: Frame, metadata: Metadata) -> Frame:
        low, high = float(self.settings["Low"]), float(self.settings["High"])
        data, method = frame.data, self.settings["Method"]
        inside = (data >= low) & (data <= high)
        self.report(Inside=int(np.count_nonzero(inside)))
        if method == "binary":
            return replace(frame, data=inside.view(np.uint8))
        if method == "clip":
            return replace(frame, data=np.clip(data, low, max(low, high)).astype(data.dtype))
        return replace(
            frame, data=data * inside if data.dtype.kind != "f" else np.where(inside, data, data.dtype.type(0))
        )
