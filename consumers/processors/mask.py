"""Processor `mask`: gives bad pixels one value."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from consumers.image_file import check_fits, read_image
from consumers.processor import Metadata, Processor, Setting, Statistic, Value
from ioc.core.errors import RefusedError, mismatch
from ioc.core.frame import Frame


class Mask(Processor):
    """Returns the frame with `Fill` where the mask is not 0, as areaDetector's NDPluginBadPixel and pyFAI see masks."""

    declared_settings = (
        Setting("File", "", description="Mask [y, x], not 0: bad (.npy, .h5)"),
        Setting("Fill", 0.0, unit="counts", description="Value of bad pixels"),
    )
    declared_statistics = (Statistic("Masked", int, unit="pixel", description="Bad pixels of the mask"),)

    def configure(self, settings: Mapping[str, Value]) -> None:
        mask = read_image(str(settings["File"]), "setting File")
        if mask is None:
            raise RefusedError(mismatch("setting File", "a file with a mask", ""))
        self._bad = mask != 0
        self.settings = settings
        self.report(Masked=int(self._bad.sum()))

    def process(self, frame: Frame, metadata: Metadata) -> Frame:
        check_fits(self._bad, frame.data.shape, "mask")
        data = frame.data.copy()
        data[self._bad] = _fitting(float(self.settings["Fill"]), data.dtype)
        return replace(frame, data=data)

    def reset(self) -> None:
        self.report(Masked=int(self._bad.sum()))


def _fitting(value: float, dtype: np.dtype) -> float | int:
    """Return the value, or the limit of an integer type that it is beyond."""
    if dtype.kind == "f":
        return value
    limits = np.iinfo(dtype)
    return min(max(round(value), int(limits.min)), int(limits.max))
