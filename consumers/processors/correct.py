"""Processor `correct`: takes the dark image off every frame and divides by the flat field."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from consumers.image_file import check_fits, read_image
from consumers.processor import Metadata, Processor, Setting, Value
from ioc.core.frame import Frame


class Correct(Processor):
    """Returns `Scale * (data - dark) / (flat - dark)` as float32, of 32-bit and larger pixels as float64.

    Without a flat field the divisor is 1. Where it is 0 or less, a pixel without light, the result is 0.
    """

    declared_settings = (
        Setting("DarkFile", "", description="Without light: FILE.npy, FILE.h5:DATASET"),
        Setting("FlatFile", "", description="Of even light: FILE.npy, FILE.h5:DATASET"),
        Setting("Scale", 1.0, description="Factor of the result"),
    )

    def configure(self, settings: Mapping[str, Value]) -> None:
        dark = read_image(str(settings["DarkFile"]), "setting DarkFile")
        flat = read_image(str(settings["FlatFile"]), "setting FlatFile")
        self._dark = dark
        self._gain = None if flat is None else _inverse(flat if dark is None else flat - dark)
        self.settings = settings

    def process(self, frame: Frame, metadata: Metadata) -> Frame:
        check_fits(self._dark, frame.data.shape, "dark image")
        check_fits(self._gain, frame.data.shape, "flat field")
        data = frame.data.astype(np.float64 if frame.data.dtype.itemsize > 2 else np.float32)
        if self._dark is not None:
            data -= _aligned(self._dark, data)
        if self._gain is not None:
            data *= _aligned(self._gain, data)
        if self.settings["Scale"] != 1.0:
            data *= float(self.settings["Scale"])
        return replace(frame, data=data)


def _inverse(divisor: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(1.0, divisor, out=np.zeros_like(divisor), where=divisor > 0)


def _aligned(image: NDArray, data: NDArray) -> NDArray:
    """Return an image of one colour as one that goes with the three of `data`."""
    return image[..., np.newaxis] if image.ndim < data.ndim else image
